"""From an experiment to a bundle, and from a bundle to a verdict on it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

from seqgen import bundle, config, noise
from seqgen.bundle import Bundle, Manifest
from seqgen.emissions.contract import Emission
from seqgen.errors import SeqgenError
from seqgen.export.onnx import export_graphs
from seqgen.runtime import open_runtime
from seqgen.runtime.contract import Runtime
from seqgen.runtime.torch import TorchRuntime
from seqgen.spec import StreamSpec
from seqgen.stream.state import leaves, table
from seqgen.train import weights
from seqgen.train.experiment import Experiment
from seqgen.train.run import System

GOLDEN_FRAMES = 12
GOLDEN_ROWS = 2
# Parameters of two correct runtimes differ by rounding alone: about 1e-6 for float32 sums of a few hundred terms. The
# edges between drawn values move as much, so about one draw in 20,000 of a flat distribution over 256 values may flip.
PARAMS_TOLERANCE = 1e-4
FLIP_BOUND = 1e-5


def export(experiment: Experiment, out: Path, *, provenance: Mapping[str, str] | None = None) -> Bundle:
    """Write the voice of an experiment's best checkpoint as a bundle, golden vectors included.

    Raises:
        SeqgenError: where there is no checkpoint, or ``out`` cannot be written.
    """
    system, source = experiment.load()
    made = {
        "config_digest": config.digest(experiment.run),
        "checkpoint": source.name,
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        **(provenance or {}),
    }
    return write(system, experiment, out, made)


def write(system: System, experiment: Experiment, out: Path, provenance: Mapping[str, str]) -> Bundle:
    """Write ``system`` as it stands, under the experiment's configuration."""
    vocoder, generator, run = system.vocoder, system.generator, experiment.run
    with torch.no_grad():
        state = vocoder.init_state(1)
    channels = run.features.n_mels + generator.speakers
    manifest = Manifest(
        name=run.name,
        kind="vocoder",
        sample_rate=run.features.sample_rate,
        features=run.features,
        feature_signature=run.features.signature,
        speakers=experiment.speakers,
        codec=run.data.codec,
        symbols_per_sample=generator.per_sample,
        uniforms_per_sample=generator.per_sample * generator.emission.draws,
        spec=StreamSpec(in_dim=channels, out_dim=1, up=run.features.hop, latency=generator.latency, context=None),
        state=table(state),
        licence=run.licence,
        provenance=provenance,
    )

    def fill(directory: Path) -> None:
        (directory / "config.yaml").write_text(config.dump(run), encoding="utf-8")
        save_file({k: v.contiguous() for k, v in weights.of(generator).items()}, directory / "weights.safetensors")
        save_numpy({name: leaf.numpy().copy() for name, leaf in leaves(state)}, directory / "initial.safetensors")
        if vocoder.prediction is not None:
            matrices = {name: tensor.contiguous() for name, tensor in vocoder.prediction.named_buffers()}
            save_file(matrices, directory / "prediction.safetensors")
        export_graphs(vocoder, directory)
        save_numpy(_golden(system, channels), directory / "golden.safetensors")

    return bundle.write(out, manifest, fill)


def _golden(system: System, channels: int) -> dict[str, npt.NDArray[Any]]:
    """Two rows of speech-like features, noise, and what torch makes of them in two chunks."""
    vocoder, generator = system.vocoder, system.generator
    net = generator.conditioner
    hop = net.spec.up if net is not None else 1
    rng = np.random.Generator(np.random.Philox(0))
    features = rng.normal(-4.0, 2.0, (GOLDEN_ROWS, GOLDEN_FRAMES, channels)).astype(np.float32)
    samples = GOLDEN_FRAMES * hop - generator.latency
    width = generator.per_sample * generator.emission.draws
    uniforms = np.stack([noise.block(0, row, 0, samples * width) for row in range(GOLDEN_ROWS)])
    with torch.no_grad():
        u = torch.from_numpy(uniforms).unflatten(1, (-1, generator.emission.draws))
        state = vocoder.init_state(GOLDEN_ROWS)
        audio, values, after = vocoder.sample(u, state, torch.from_numpy(features))
        params, _ = vocoder.step(values, state, torch.from_numpy(features))
    golden = {
        "features": features,
        "uniforms": uniforms,
        "elements": values.numpy(),
        "params": params[:, : 64 * generator.per_sample].numpy(),
        "audio": audio.numpy(),
    }
    golden |= {f"state.{name}": leaf.numpy() for name, leaf in leaves(after)}
    return {name: np.ascontiguousarray(value) for name, value in golden.items()}


@dataclass(frozen=True)
class Verdict:
    """What replaying the golden vectors showed.

    Attributes:
        runtime: which one.
        params_error: largest difference of the distributions' parameters, relative to the largest of them.
        flips: streams that left the golden one at an element whose uniform number lies within ``FLIP_BOUND`` of the
            edge between two values, where the rounding of two correct programs may decide differently; from there on
            the two streams are different audio of the same distribution.
        unexplained: streams that left it anywhere else: a mistake.
        chunked: whether the runtime makes the very same samples in two chunks as in one.
    """

    runtime: str
    params_error: float
    flips: int
    unexplained: int
    chunked: bool

    @property
    def ok(self) -> bool:
        """Whether the runtime may be trusted with this bundle."""
        return self.params_error <= PARAMS_TOLERANCE and self.unexplained == 0 and self.chunked

    def __str__(self) -> str:
        streams = "the same audio" if not self.flips else f"{self.flips} stream(s) flipped by rounding"
        return f"parameters within {self.params_error:.1e}, {streams}, {self.unexplained} unexplained differences"


def replay(runtime: Runtime, reference: TorchRuntime) -> Verdict:
    """Run a bundle's golden vectors through a runtime, as one block and as two."""
    golden = runtime.bundle.tensors("golden.safetensors")
    features, uniforms = golden["features"], golden["uniforms"]
    state = runtime.init(features.shape[0])
    params, _ = runtime.step(golden["elements"], state, features)
    expected = golden["params"]
    error = np.abs(params[:, : expected.shape[1]] - expected).max() / max(1.0, np.abs(expected).max())
    audio, _ = runtime.sample(uniforms, state, features)
    spec, per = runtime.manifest.spec, runtime.manifest.uniforms_per_sample
    frames = features.shape[1] // 2
    cut = (frames * spec.up - spec.latency) * per
    first, between = runtime.sample(uniforms[:, :cut], state, features[:, :frames])
    second, _ = runtime.sample(uniforms[:, cut:], between, features[:, frames:])
    vocoder = reference.vocoder
    got, wanted = (vocoder.elements(one, features) for one in (audio, golden["audio"]))
    flips, unexplained = departures(vocoder.generator.emission, got, wanted, params, uniforms)
    chunked = bool(np.array_equal(np.concatenate([first, second], axis=1), audio))
    return Verdict(type(runtime).__name__, float(error), flips, unexplained, chunked)


def departures(
    emission: Emission,
    got: npt.NDArray[Any],
    wanted: npt.NDArray[Any],
    params: npt.NDArray[np.float32],
    uniforms: npt.NDArray[np.float32],
) -> tuple[int, int]:
    """How many streams leave the wanted elements through a rounding flip, and how many without excuse.

    Shapes: ``got, wanted [B, T]``; ``params [B, T, P]`` of the wanted elements; ``uniforms [B, T·draws]``. A flip is a
    first differing element that the emission draws, too, when its uniform is moved by ``FLIP_BOUND``.
    """
    flips = unexplained = 0
    for row in range(len(got)):
        different = np.flatnonzero(got[row] != wanted[row])
        if not different.size:
            continue
        at = int(different[0])
        u = torch.from_numpy(uniforms[row].reshape(-1, emission.draws)[at])
        moved = torch.stack([(u + step).clamp(0, 1 - 2**-24) for step in (-FLIP_BOUND, FLIP_BOUND)])
        drawn = emission.sample(torch.from_numpy(params[row, at]).expand(2, -1), moved).double()
        low, high = float(drawn.min()), float(drawn.max())
        explained = low - 1e-4 * (emission.levels == 0) <= got[row, at] <= high + 1e-4 * (emission.levels == 0)
        flips, unexplained = flips + explained, unexplained + (not explained)
    return int(flips), int(unexplained)


def check(directory: Path, *, runtimes: tuple[str, ...] = ("onnx", "torch")) -> list[Verdict]:
    """Open a bundle (every hash verified) and replay its golden vectors through each runtime.

    Raises:
        SeqgenError: where the bundle is damaged, or a runtime does not reproduce it.
    """
    opened = Bundle.open(directory)
    reference = TorchRuntime(opened)
    verdicts = [replay(open_runtime(opened, name), reference) for name in runtimes]
    for verdict in verdicts:
        if not verdict.ok:
            raise SeqgenError(
                f"{directory}: {verdict.runtime} does not reproduce the golden vectors ({verdict}, "
                f"same in chunks: {verdict.chunked})",
                remedy="export the bundle again on this machine",
            )
    return verdicts
