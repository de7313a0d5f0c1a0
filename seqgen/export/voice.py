"""Bundles of voices: written from a vocoder as it stands, golden vectors included."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file

from seqgen import bundle, noise
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import program
from seqgen.export.onnx import export_graphs
from seqgen.generation.vocoder import Vocoder, VocoderState
from seqgen.manifest import VocoderManifest
from seqgen.runtime.native import Engine
from seqgen.spec import FeatureSpec, StreamSpec
from seqgen.stream.state import leaves, table
from seqgen.train import weights

GOLDEN_FRAMES = 12
GOLDEN_ROWS = 2


@dataclass(frozen=True)
class About:
    """Description of a voice in its bundle.

    Attributes:
        name, kind, licence, provenance: as in the manifest; the versions of torch and platform are added.
        codec: registered name. features, speakers: of the data that it was trained on.
        config: resolved configuration of the run, YAML.
    """

    name: str
    kind: str
    codec: str
    features: FeatureSpec
    speakers: tuple[str, ...]
    licence: str
    config: str
    provenance: Mapping[str, str] = field(default_factory=dict)


def write(
    vocoder: Vocoder,
    about: About,
    out: Path,
    precision: program.Precision = "float32",
    *,
    engine_only: bool = False,
) -> Bundle:
    """Write a voice as it stands as a bundle, golden vectors included.

    ``precision`` is how the native engine holds the weights when the bundle is opened. The file keeps float32 for the
    other runtimes, unless it is for the engine only: with ``engine_only`` the bundle has what the native engine reads
    and no more, its weights rounded to ``precision``.

    Raises:
        SeqgenError: where ``out`` cannot be written, or the engine cannot run the model.
    """
    generator = vocoder.generator
    programmed = program.runnable(vocoder)
    if (precision != "float32" or engine_only) and not programmed:
        remedy = "leave out --engine-only" if engine_only else "export it in float32"
        raise SeqgenError(f"the native engine cannot run {program.named(vocoder)}", remedy=remedy)
    with torch.no_grad():
        state = vocoder.init_state(1)

    def fill(directory: Path) -> None:
        (directory / "config.yaml").write_text(about.config, encoding="utf-8")
        parameters = {name: tensor.contiguous() for name, tensor in weights.of(generator).items()}
        initial = {name: leaf.numpy().copy() for name, leaf in leaves(state)}
        if vocoder.prediction is not None:
            matrices = {name: tensor.contiguous() for name, tensor in vocoder.prediction.named_buffers()}
            save_file(matrices, directory / "prediction.safetensors")
        if not engine_only:
            save_file(parameters, directory / "weights.safetensors")
            save_numpy(initial, directory / "initial.safetensors")
            export_graphs(vocoder, directory)
        golden = _golden(vocoder, about.features.bands + generator.speakers)
        if programmed:
            alone = {name: tensor.numpy() for name, tensor in parameters.items()} | initial
            program.write(vocoder, directory, about.features.sample_rate, precision, alone if engine_only else None)
            golden |= _engine_golden(directory, golden, precision) if precision != "float32" else {}
        if engine_only:
            golden = _engine_alone(golden, precision)
        save_numpy(golden, directory / "golden.safetensors")

    return bundle.write(out, _manifest(vocoder, about, state), fill)


def _manifest(vocoder: Vocoder, about: About, state: VocoderState) -> VocoderManifest:
    generator, features = vocoder.generator, about.features
    channels = features.bands + generator.speakers
    versions = {"torch": torch.__version__, "platform": f"{platform.system()} {platform.machine()}"}
    return VocoderManifest(
        name=about.name,
        kind=about.kind,
        sample_rate=features.sample_rate,
        features=features,
        feature_signature=features.signature,
        speakers=about.speakers,
        codec=about.codec,
        symbols_per_sample=generator.symbols_per_sample,
        uniforms_per_sample=generator.symbols_per_sample * generator.num_uniforms,
        spec=StreamSpec(in_dim=channels, out_dim=1, up=features.hop, latency=generator.latency, context=None),
        state=table(state),
        licence=about.licence,
        provenance={**versions, **about.provenance},
        ahead=generator.ahead,
        lanes=generator.lanes,
    )


def _golden(vocoder: Vocoder, channels: int) -> dict[str, npt.NDArray[Any]]:
    """Two rows of speech-like features, noise, and what torch makes of them in two chunks."""
    generator, hop = vocoder.generator, vocoder.generator.hop
    rng = np.random.Generator(np.random.Philox(0))
    ahead = generator.ahead
    beyond = -(-ahead // hop)  # what lies ahead is known when it has been made
    frames = GOLDEN_FRAMES + beyond
    every = rng.normal(-4.0, 2.0, (GOLDEN_ROWS, frames + beyond, channels)).astype(np.float32)
    features, samples = every[:, :frames], generator.alignment.first_samples(frames)
    width = generator.symbols_per_sample * generator.num_uniforms
    longer = np.stack([noise.block(0, row, 0, (samples + beyond * hop + ahead) * width) for row in range(GOLDEN_ROWS)])
    uniforms = longer[:, : (samples + ahead) * width]
    with torch.no_grad():
        u = torch.from_numpy(longer).unflatten(1, (-1, generator.num_uniforms))
        state = vocoder.init_state(GOLDEN_ROWS)
        values = vocoder.generate(u, state, torch.from_numpy(every)).values
        u = u[:, : (samples + ahead) * generator.symbols_per_sample]
        elements = generator.elements(u, values[:, : u.shape[1]])
        audio, _, after = vocoder.generate(u, state, torch.from_numpy(features))
        params, _ = vocoder.step(elements, state, torch.from_numpy(features))
    golden = {
        "features": features,
        "uniforms": uniforms,
        "elements": elements.numpy(),
        "params": params[:, : 64 * generator.symbols_per_sample].numpy(),
        "audio": audio.numpy(),
    }
    golden |= {f"state.{name}": leaf.numpy() for name, leaf in leaves(after)}
    return {name: np.ascontiguousarray(value) for name, value in golden.items()}


def _engine_golden(
    directory: Path, golden: dict[str, npt.NDArray[Any]], precision: program.Precision
) -> dict[str, npt.NDArray[Any]]:
    """Output of the engine's generic kernels, which define the others, for the golden inputs with rounded weights."""
    engine = Engine(directory, format=precision, isa="generic")
    features, expected = golden["features"], golden["audio"]
    audio = np.empty_like(expected)
    every = np.empty((*golden["elements"].shape, engine.info.params), np.float32)
    given, made = engine.scoring(golden["elements"], every)
    drawn = {"given": {"uniforms": golden["uniforms"]}, "made": {"audio": audio}, "temperature": 1.0}
    scored = {"given": given, "made": made}
    for drawing, options in ((True, drawn), (False, scored)):
        engine.run(engine.init(len(features)), features, expected.shape[1], drawing=drawing, **options)
    params = np.ascontiguousarray(every[:, : golden["params"].shape[1]])
    return {f"audio.{precision}": audio, f"params.{precision}": params}


def _engine_alone(golden: dict[str, npt.NDArray[Any]], precision: program.Precision) -> dict[str, npt.NDArray[Any]]:
    """Golden vectors that this precision is compared with."""
    suffix = "" if precision == "float32" else f".{precision}"
    kept = {"features", "uniforms", "elements", f"audio{suffix}", f"params{suffix}"}
    return {name: value for name, value in golden.items() if name in kept}
