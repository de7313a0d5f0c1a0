"""Evaluation of a vocoder on held-out recordings: exact figures of its method, and the audio that it makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import config as configs
from seqgen import noise
from seqgen.audio import io
from seqgen.data.directory import DataDir, Utterance
from seqgen.generation.vocoder import Vocoder
from seqgen.models.frames import with_speaker
from seqgen.noise import Key
from seqgen.objectives.contract import Measure, Objective
from seqgen.runtime.contract import Floats, Runtime
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Gathered, Table
from seqgen.tasks.vocoder.batches import Batch

Floats1 = npt.NDArray[np.float32]
_EVALUATION = 1 << 62  # streams of an evaluation lie beyond those of any step


@torch.no_grad()
def measured(objective: Objective, batches: Iterable[Any], seed: int) -> Gathered:
    """The figures of a method on whole utterances, or windows of them."""
    found = Gathered()
    for index, batch in enumerate(batches):
        found.add(objective.measure(batch, Key(seed, _EVALUATION + index), index), batch.ids)
    return found


def of_utterances(run: RunConfig, label: str, data: DataDir, found: Gathered) -> Table:
    """Table of what was found over the utterances of a data directory, by the weights of a label."""
    return Table(
        title=f"{len(data)} utterances, checkpoint {label}",
        figures=found.figures,
        record={
            "config_digest": configs.digest(run),
            "checkpoint": label,
            "data": str(data.path),
            "utterances": len(data),
        },
        examples=found.examples,
    )


@torch.no_grad()
def measured_by(runtime: Runtime, vocoder: Vocoder, batches: Iterable[Batch]) -> Gathered:
    """Figures of a runtime's own distributions, rounded weights and all, on whole utterances.

    Of a voice that reads what it drew: bits per sample of the recordings. Of one that draws from noise: how far its
    distributions lie from those of the voice in float32, in nats per sample,

        E_z[ln p(x_t | z_<t) - ln q(x_t | z_<t)],        x = voice(z).
    """
    found = Gathered()
    for batch in batches:
        per, lengths = vocoder.generator.symbols_per_sample, batch.lengths
        amounts = _judged(runtime, vocoder, batch)
        real = torch.arange(batch.x.shape[1])[None] < lengths[:, None]
        measures = {}
        for name, amount in amounts.items():
            total = (amount * real[:, : amount.shape[1]]).sum(dim=1)
            bits = name == "nats"
            called, unit = ("bits_per_sample", "") if bits else (f"{name}_from_float32", "nats/sample")
            measures[called] = Measure(total / np.log(2) if bits else total, lengths // per, unit)
        found.add(measures, batch.ids)
    return found


def _judged(runtime: Runtime, vocoder: Vocoder, batch: Batch) -> dict[str, Tensor]:
    """Amounts ``[B, T]`` of a batch's elements through a runtime's ``step``: whole frames, beyond the end silence."""
    manifest, generator = runtime.manifest, vocoder.generator
    spec, per = manifest.spec, generator.symbols_per_sample
    frames = _frames(runtime, vocoder, batch)
    values = batch.x if batch.x.dim() == 2 else batch.x[..., 0]
    count = spec.alignment.first_samples(frames.shape[1]) + manifest.ahead
    beyond = np.zeros((len(values), count - values.shape[1] // per), np.float32)
    silence = torch.from_numpy(vocoder.codec.encode(beyond))
    line = torch.cat([values, silence.to(values.dtype)], dim=1)
    width = generator.num_uniforms
    u = np.stack([noise.block(0, noise.name_to_stream(name), 0, count * per * width) for name in batch.ids])
    x = generator.elements(torch.from_numpy(u).unflatten(1, (-1, width)), line)
    params, _ = runtime.step(x.numpy(), runtime.init(len(x)), frames.numpy())
    made = torch.from_numpy(params)
    reference, _ = vocoder.step(x, vocoder.init_state(len(x)), frames) if not manifest.feeds_back else (made, None)
    amounts = generator.judge(made, reference, x[:, : made.shape[1]])
    return {name: amount[:, : values.shape[1]] for name, amount in amounts.items()}


def _frames(runtime: Runtime, vocoder: Vocoder, batch: Batch) -> Tensor:
    """Whole frames for all of a batch, look-ahead included; beyond the end the last one again."""
    features = batch.cond.features[:, batch.cond.left :]
    given = with_speaker(features, batch.cond.speaker, vocoder.generator.speakers)
    samples = batch.x.shape[1] // vocoder.generator.symbols_per_sample
    needed = runtime.manifest.spec.alignment.frames(samples)
    return torch.cat([given[:, :needed], given[:, -1:].expand(-1, max(0, needed - given.shape[1]), -1)], dim=1)


def recording(utterance: Utterance) -> Floats1:
    """The utterance's samples."""
    return io.read(utterance.path, start=utterance.start, count=utterance.samples)[0]


def vocode(
    runtime: Runtime,
    features: Sequence[Floats],
    speakers: Sequence[str],
    streams: Sequence[int],
    *,
    seed: int = 0,
    temperature: float = 1.0,
) -> list[Floats1]:
    """Audio of several utterances side by side: each as if it were alone, whatever its neighbours.

    Shapes: per utterance features ``[F_i, bands]`` → audio ``[F_i · hop]``.
    """
    manifest = runtime.manifest
    spec, width = manifest.spec, manifest.uniforms_per_sample
    ahead = spec.alignment.look_ahead
    longest = max(f.shape[0] for f in features)
    cond = np.zeros((len(features), longest + ahead, spec.in_dim), np.float32)
    cond[:, :, : manifest.features.bands] = manifest.features.silence
    for row, (one, speaker) in enumerate(zip(features, speakers, strict=True)):
        cond[row, : one.shape[0], : manifest.features.bands] = one
        if spec.in_dim > manifest.features.bands:
            cond[row, :, manifest.features.bands + manifest.speakers.index(speaker)] = 1
    samples = longest * spec.up
    uniforms = np.stack([noise.block(seed, stream, 0, (samples + manifest.ahead) * width) for stream in streams])
    # The look-ahead's last conditioning is for samples beyond the end, which are dropped.
    total = spec.alignment.first_samples(longest + ahead)
    uniforms = np.pad(uniforms, ((0, 0), (0, (total - samples) * width)))
    audio, _ = runtime.sample(uniforms, runtime.init(len(features)), cond, temperature)
    return [audio[row, : one.shape[0] * spec.up] for row, one in enumerate(features)]
