"""What a trained generator is worth on held-out recordings: exact likelihood, and distances of its audio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from seqgen import noise
from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.batches import UtteranceBatches
from seqgen.data.directory import DataDir, Utterance
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.metrics.table import evaluate_pair
from seqgen.runtime.contract import Floats, Runtime
from seqgen.sample import AutoRegressive
from seqgen.train.run import RunConfig, Voice

Floats1 = npt.NDArray[np.float32]
_ROWS = 16  # utterances that one call of a runtime makes side by side


@dataclass(frozen=True)
class Likelihood:
    """Mean over samples, and its 95 % interval over utterances (those are what is independent)."""

    bits_per_sample: float
    half_width: float
    samples: int


@torch.no_grad()
def likelihood(voice: Voice, run: RunConfig, data: DataDir, speakers: Sequence[str]) -> Likelihood:
    """Exact negative log-likelihood of whole utterances, in bits per audio sample.

    The interval is that of a ratio: ``1.96 · sd(bits_i - mean·n_i) / (√U · mean n)`` over U utterances.
    """
    batches = UtteranceBatches(
        data,
        features=run.features,
        codec=voice.codec,
        prediction=voice.prediction,
        batch_size=8,
        left=voice.left,
        right=voice.right,
        speakers=speakers,
    )
    generator, bits, samples = voice.generator, [], []
    assert isinstance(generator, AutoRegressive)
    for index in range(len(batches)):
        batch = batches[index]
        log_prob = generator.log_prob(batch.x, batch.cond, batch.speaker, left=voice.left)
        real = torch.arange(log_prob.shape[1])[None] < batch.lengths[:, None]
        bits += (-(log_prob * real).sum(dim=1) / math.log(2)).tolist()
        samples += (batch.lengths // generator.per_sample).tolist()
    b, n = np.asarray(bits), np.asarray(samples)
    mean = b.sum() / n.sum()
    spread = np.std(b - mean * n, ddof=1) if len(n) > 1 else math.nan
    return Likelihood(float(mean), float(1.96 * spread / (math.sqrt(len(n)) * n.mean())), int(n.sum()))


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

    Shapes: per utterance features ``[F_i, n_mels]`` → audio ``[F_i · hop]``.
    """
    manifest = runtime.manifest
    spec, width = manifest.spec, manifest.uniforms_per_sample
    ahead = -(-spec.latency // spec.up)
    longest = max(f.shape[0] for f in features)
    cond = np.zeros((len(features), longest + ahead, spec.in_dim), np.float32)
    cond[:, :, : manifest.features.n_mels] = manifest.features.silence
    for row, (one, speaker) in enumerate(zip(features, speakers, strict=True)):
        cond[row, : one.shape[0], : manifest.features.n_mels] = one
        if spec.in_dim > manifest.features.n_mels:
            cond[row, :, manifest.features.n_mels + manifest.speakers.index(speaker)] = 1
    samples = longest * spec.up
    uniforms = np.stack([noise.block(seed, stream, 0, samples * width) for stream in streams])
    # The look-ahead's last conditioning is for samples beyond the end, which are dropped.
    total = (longest + ahead) * spec.up - spec.latency
    uniforms = np.pad(uniforms, ((0, 0), (0, (total - samples) * width)))
    audio, _ = runtime.sample(uniforms, runtime.init(len(features)), cond, temperature)
    return [audio[row, : one.shape[0] * spec.up] for row, one in enumerate(features)]


@dataclass(frozen=True)
class Pair:
    """One held-out utterance: reference, the voice's audio, Griffin–Lim's audio, and the distances of both."""

    utterance: Utterance
    reference: Floats1
    vocoded: Floats1
    baseline: Floats1
    scores: dict[str, float]
    baseline_scores: dict[str, float]


def resynthesise(
    runtime: Runtime,
    utterances: Sequence[Utterance],
    *,
    seed: int = 0,
    temperature: float = 1.0,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterable[Pair]:
    """Vocode held-out utterances from their own features and score them beside Griffin–Lim from the same features."""
    spec = runtime.manifest.features
    ordered = sorted(utterances, key=lambda one: -one.samples)
    for start in range(0, len(ordered), _ROWS):
        group = ordered[start : start + _ROWS]
        references = [recording(one) for one in group]
        features = [log_mel(reference, spec) for reference in references]
        streams = [noise.name_to_stream(one.id) for one in group]
        speakers = [one.speaker for one in group]
        made = vocode(runtime, features, speakers, streams, seed=seed, temperature=temperature)
        for utterance, reference, frames, audio in zip(group, references, features, made, strict=True):
            vocoded = audio[: len(reference)]
            baseline = griffin_lim(frames, spec, len(reference))
            rate = spec.sample_rate
            yield Pair(
                utterance,
                reference,
                vocoded,
                baseline,
                evaluate_pair(reference, vocoded, rate),
                evaluate_pair(reference, baseline, rate),
            )
            progress(1)
