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
from seqgen.data.batches import Batch, UtteranceBatches
from seqgen.data.directory import DataDir, Utterance
from seqgen.flows.affine import logistic, logistic_log_density
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.metrics.table import evaluate_pair
from seqgen.models.frames import with_speaker
from seqgen.runtime.contract import Floats, Runtime
from seqgen.sample import AutoRegressive
from seqgen.spec import FeatureSpec
from seqgen.subscale import Subscale
from seqgen.train.run import RunConfig
from seqgen.train.voice import Voice

Floats1 = npt.NDArray[np.float32]
_ROWS = 16  # utterances that one call of a runtime makes side by side


@dataclass(frozen=True)
class Likelihood:
    """Mean over samples, and its 95 % interval over utterances (those are what is independent).

    ``utterances``: bits and samples of each, by id.
    """

    bits_per_sample: float
    half_width: float
    samples: int
    utterances: dict[str, tuple[float, int]]


@torch.no_grad()
def likelihood(
    voice: Voice, run: RunConfig, data: DataDir, speakers: Sequence[str], runtime: Runtime | None = None
) -> Likelihood:
    """Exact negative log-likelihood of whole utterances, in bits per audio sample, each as a fresh stream begins it.

    With a ``runtime`` the probabilities are those of its own logits, rounded weights and all.

    The interval is that of a ratio: ``1.96 · sd(bits_i - mean·n_i) / (√U · mean n)`` over U utterances.
    """
    batches = UtteranceBatches(
        data,
        features=run.features,
        codec=voice.codec,
        prediction=voice.prediction,
        batch_size=8,
        right=voice.right,
        speakers=speakers,
    )
    each: dict[str, tuple[float, int]] = {}
    for index in range(len(batches)):
        batch = batches[index]
        if runtime is None:
            assert isinstance(voice.generator, AutoRegressive | Subscale)
            log_prob = voice.generator.log_prob(batch.x, batch.cond, batch.speaker)
        else:
            log_prob = _log_prob_of(runtime, voice, batch)
        real = torch.arange(log_prob.shape[1])[None] < batch.lengths[:, None]
        bits = (-(log_prob * real).sum(dim=1) / math.log(2)).tolist()
        samples = (batch.lengths // voice.generator.per_sample).tolist()
        each |= {name: (b, n) for name, b, n in zip(batch.ids, bits, samples, strict=True)}
    mean, half_width = ratio(np.array([b for b, _ in each.values()]), np.array([n for _, n in each.values()]))
    return Likelihood(mean, half_width, sum(n for _, n in each.values()), each)


@torch.no_grad()
def divergence(
    runtime: Runtime, voice: Voice, run: RunConfig, data: DataDir, speakers: Sequence[str]
) -> tuple[float, float]:
    """How far a runtime's distributions, rounded weights and all, lie from those of ``voice``, which draws from noise:

        E_z[ln p(x_t | z_<t) - ln q(x_t | z_<t)],        x = voice(z)

    in nats per sample, with half of its 95 % interval over utterances. The noise of an utterance is that of its stream.
    """
    batches = UtteranceBatches(
        data, features=run.features, codec=voice.codec, batch_size=8, right=voice.right, speakers=speakers
    )
    amounts, counts = list[float](), list[int]()
    for index in range(len(batches)):
        batch = batches[index]
        frames = _frames(runtime, voice, batch)
        spec = runtime.manifest.spec
        samples = frames.shape[1] * spec.up - spec.latency
        uniforms = np.stack([noise.block(0, noise.name_to_stream(name), 0, samples) for name in batch.ids])
        z = logistic(torch.from_numpy(uniforms))
        given, _ = voice.vocoder.step(z, voice.vocoder.init_state(len(z)), frames)
        rounded, _ = runtime.step(z.numpy(), runtime.init(len(z)), frames.numpy())
        x = given[..., 0] + given[..., 1].exp() * z
        full, quick = (logistic_log_density(x, params[..., 0], params[..., 1])
                       for params in (given.double(), torch.from_numpy(rounded).double()))  # fmt: skip
        real = torch.arange(samples)[None] < batch.lengths[:, None]
        amounts += ((full - quick) * real).sum(dim=1).tolist()
        counts += batch.lengths.tolist()
    return ratio(np.array(amounts), np.array(counts))


def ratio(amounts: npt.NDArray[np.float64], samples: npt.NDArray[np.int64]) -> tuple[float, float]:
    """``Σ amounts / Σ samples`` over utterances and half of its 95 % interval, by the delta method.

    Example:
        >>> mean, half = ratio(np.array([3.0, 9.0]), np.array([1, 3]))
        >>> mean, half
        (3.0, 0.0)
    """
    mean = amounts.sum() / samples.sum()
    spread = np.std(amounts - mean * samples, ddof=1) if len(samples) > 1 else math.nan
    return float(mean), float(1.96 * spread / (math.sqrt(len(samples)) * samples.mean()))


def _log_prob_of(runtime: Runtime, voice: Voice, batch: Batch) -> torch.Tensor:
    """``ln p`` of a batch's elements through a runtime's ``step``: whole frames, beyond the end silence."""
    manifest, per = runtime.manifest, voice.generator.per_sample
    spec, frames = manifest.spec, _frames(runtime, voice, batch)
    values = batch.x if batch.x.dim() == 2 else batch.x[..., 0]
    beyond = frames.shape[1] * spec.up - spec.latency + manifest.ahead - values.shape[1] // per
    silence = torch.from_numpy(voice.codec.encode(np.zeros((len(values), beyond), np.float32)))
    x = torch.cat([values, silence.to(values.dtype)], dim=1)
    params, _ = runtime.step(x.numpy(), runtime.init(len(x)), frames.numpy())
    scored = voice.generator.emission.log_prob(torch.from_numpy(params), x[:, : params.shape[1]])
    return scored[:, : values.shape[1]]


def _frames(runtime: Runtime, voice: Voice, batch: Batch) -> torch.Tensor:
    """Whole frames for all of a batch, look-ahead included; beyond the end the last one again."""
    spec = runtime.manifest.spec
    given = with_speaker(batch.cond, batch.speaker, voice.generator.speakers)
    needed = -(-(batch.x.shape[1] // voice.generator.per_sample + spec.latency) // spec.up)
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
    uniforms = np.stack([noise.block(seed, stream, 0, (samples + manifest.ahead) * width) for stream in streams])
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


Maker = Callable[[Sequence[Floats], Sequence[str], Sequence[int]], list[Floats1]]


def maker(voice: Voice, run: RunConfig, speakers: Sequence[str], *, seed: int = 0, temperature: float = 1.0) -> Maker:
    """What :func:`vocode` does, by a voice that makes whole recordings: features, speakers and streams to audio."""
    width, hop = voice.generator.per_sample * voice.generator.draws, run.features.hop

    def one(features: Floats, speaker: str, stream: int) -> Floats1:
        count = (len(features) * hop + voice.generator.ahead) * width
        u = noise.block(seed, stream, 0, count).reshape(1, -1, voice.generator.draws)
        frames = np.pad(features, ((0, voice.right), (0, 0)), constant_values=run.features.silence)
        who = torch.tensor([speakers.index(speaker)])
        return voice.make(torch.from_numpy(u), torch.from_numpy(frames)[None], who, temperature)[0].numpy()

    return lambda features, names, streams: [one(*each) for each in zip(features, names, streams, strict=True)]


def resynthesise(
    make: Maker,
    spec: FeatureSpec,
    utterances: Sequence[Utterance],
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterable[Pair]:
    """Vocode held-out utterances from their own features and score them beside Griffin–Lim from the same features."""
    ordered = sorted(utterances, key=lambda one: -one.samples)
    for start in range(0, len(ordered), _ROWS):
        group = ordered[start : start + _ROWS]
        references = [recording(one) for one in group]
        features = [log_mel(reference, spec) for reference in references]
        streams = [noise.name_to_stream(one.id) for one in group]
        speakers = [one.speaker for one in group]
        made = make(features, speakers, streams)
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
