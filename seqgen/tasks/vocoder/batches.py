"""Batches of audio and its log-mel frames, as pure functions of their number."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.audio import io
from seqgen.audio.codec import Codec
from seqgen.audio.features import log_mel
from seqgen.audio.filter_bank import FilterBank
from seqgen.audio.prediction import LinearPrediction
from seqgen.data.directory import DataDir, Utterance
from seqgen.data.loader import loader
from seqgen.errors import SeqgenError
from seqgen.spec import FeatureSpec
from seqgen.stream.conditioning import Frames
from seqgen.tasks.vocoder.config import number_of
from seqgen.tasks.vocoder.given_frames import GivenFrames
from seqgen.train.source import Source

_STREAM = noise.name_to_stream("seqgen.data.segments")
LONGEST_UTTERANCE = 600.0
"""Seconds that :class:`UtteranceBatches` takes as one piece."""
HELD_BYTES = 512_000_000
"""Elements and frames that :class:`SegmentBatches` keeps at most: nearly three hours at 16 kHz."""


@dataclass(frozen=True)
class Batch:
    """Batch of B recordings, or stretches of them, and what they are conditioned on.

    Attributes:
        x: ``[B, T]`` int64 symbols, or ``[B, T, 1]`` float32 where the codec is real-valued.
        lengths: ``[B]`` int64; positions of ``x`` that are real, the rest is encoded silence.
        skip: ``[B]`` int64; of the real positions so many are there to be heard only: what follows them is learnt from.
        cond: log-mel frames ``[B, left + F + right, bands]`` float32 and speakers; frame ``left`` covers the first
            sample of ``x``.
        ids: utterance ids. texts: their transcripts.
    """

    x: Tensor
    lengths: Tensor
    cond: Frames
    ids: tuple[str, ...]
    texts: tuple[str, ...] = ()
    skip: Tensor | None = None


def _samples(utterance: Utterance, first: int, last: int) -> npt.NDArray[np.float32]:
    """Samples ``[first, last)`` of an utterance, with silence where there are none."""
    start, stop = max(first, 0), min(last, utterance.samples)
    if start >= stop:
        return np.zeros(last - first, np.float32)
    audio, _ = io.read(utterance.path, start=utterance.start + start, count=stop - start)
    return np.pad(audio, (start - first, last - stop))


@dataclass(frozen=True)
class _Window:
    """Window on recordings: stretches of ``segment`` samples with their frames, ``left`` before, ``right`` after."""

    features: FeatureSpec
    codec: Codec
    prediction: LinearPrediction | None
    bank: FilterBank | None
    given: GivenFrames | None
    left: int
    right: int
    speakers: tuple[str, ...]

    @staticmethod
    def build(
        data: DataDir,
        *,
        features: FeatureSpec,
        codec: Codec,
        prediction: LinearPrediction | None,
        bank: FilterBank | None,
        given: GivenFrames | None,
        left: int,
        right: int,
        speakers: Sequence[str],
    ) -> _Window:
        """Check that the data fits the features and the speakers."""
        data.require_rate(features.sample_rate)
        if left < 0 or right < 0:
            raise SeqgenError(f"context of {left} and {right} frames", remedy="give frames of at least 0")
        known = tuple(speakers or data.speakers)
        for utterance in data:
            if number_of(utterance.speaker, known) is None:
                raise SeqgenError(
                    f"{data.path}: '{utterance.id}' is spoken by '{utterance.speaker}', "
                    f"whom the model does not know (it knows {', '.join(known)})",
                    remedy="train on data of every speaker, or leave these utterances out",
                )
        return _Window(features, codec, prediction, bank, given, left, right, known)

    def batch(self, utterances: Sequence[Utterance], offsets: Sequence[int], segment: int) -> Batch:
        """Stretches ``[offset, offset + segment)``; offsets and ``segment`` are multiples of the hop."""
        return self.told(utterances, offsets, segment, *self.stretches(utterances, offsets, segment))

    def stretches(
        self, utterances: Sequence[Utterance], offsets: Sequence[int], segment: int
    ) -> tuple[Tensor, npt.NDArray[np.float32]]:
        """Elements ``[B, T]`` (or ``[B, T, 1]``) of stretches, and frames ``[B, left + F + right, bands]``.

        Frames of the whole recording are reproduced by reading as many hops more on both sides as a frame's window
        reaches. The rows are laid end to end for one transform; those extra frames, where neighbours meet, are dropped.
        """
        hop, frames = self.features.hop, segment // self.features.hop
        history = self.prediction.order if self.prediction is not None else 0
        behind = self.bank.reach if self.bank is not None else 0
        reach, right = -(-max(self.features.pad, history) // hop), max(self.right, -(-behind // hop))
        before, after = self.left + reach, right + reach
        audio = np.stack(
            [
                _samples(utterance, offset - before * hop, offset + segment + after * hop)
                for utterance, offset in zip(utterances, offsets, strict=True)
            ]
        )
        if self.given is None:
            mel = log_mel(audio.reshape(-1), self.features).reshape(len(audio), before + frames + after, -1)
            mel = mel[:, reach : mel.shape[1] - reach].copy()
        else:
            mel = np.empty((len(audio), self.left + frames + right, self.features.bands), np.float32)
        for row, utterance, offset in zip(mel, utterances, offsets, strict=True):
            first, count = offset // hop - self.left, self.features.frames(utterance.samples)  # of row[0], of all
            if self.given is not None:
                row[:] = self.given.stretch(utterance.id, count, first, first + len(row))
            row[: max(0, -first)] = self.features.silence
            row[max(0, count - first) :] = self.features.silence
        speech = audio[:, before * hop - history : before * hop + segment + behind]
        x = elements(speech, mel[:, self.left :], self.codec, self.prediction, self.bank)
        return x, mel[:, : self.left + frames + self.right]

    def told(self, utterances: Sequence[Utterance], offsets: Sequence[int], segment: int, x: Tensor, mel: Any) -> Batch:
        """Batch of stretches with all that is known of their utterances."""
        real = [min(segment, one.samples - offset) for one, offset in zip(utterances, offsets, strict=True)]
        return Batch(
            x=x,
            lengths=torch.tensor(real) * self.codec.symbols_per_sample,
            cond=Frames(
                torch.as_tensor(mel),
                torch.tensor([number_of(one.speaker, self.speakers) for one in utterances]),
                self.left,
            ),
            ids=tuple(one.id for one in utterances),
            texts=tuple(one.text for one in utterances),
        )


def elements(
    speech: npt.NDArray[np.float32],
    mel: npt.NDArray[np.float32],
    codec: Codec,
    prediction: LinearPrediction | None,
    bank: FilterBank | None,
) -> Tensor:
    """Sequences that waveforms become, ``[B, order + N + reach]``, frames of all of them ``[B, F, bands] → [B, T]``, or
    ``[B, T, 1]`` where the codec is real-valued."""
    if prediction is not None:
        speech = prediction.excite(speech, mel[..., : prediction.spec.n_mels])
    if bank is not None:
        speech = bank.analyse(speech)
    codes: npt.NDArray[Any] = codec.encode(speech)
    return torch.from_numpy(codes if codec.alphabet else codes.copy()[..., None])


def recording(
    audio: npt.NDArray[np.float32],
    features: FeatureSpec,
    codec: Codec,
    prediction: LinearPrediction | None,
    bank: FilterBank | None = None,
) -> Batch:
    """Batch of one whole recording ``[N]`` at the features' rate, filled up with silence to a whole frame, of the first
    speaker."""
    mel = log_mel(audio, features)[None]
    history, behind = prediction.order if prediction is not None else 0, bank.reach if bank is not None else 0
    speech = np.pad(audio, (history, mel.shape[1] * features.hop - len(audio) + behind))[None]
    silent = np.full((1, -(-behind // features.hop), features.bands), features.silence, np.float32)
    return Batch(
        x=elements(speech, np.concatenate([mel, silent], axis=1), codec, prediction, bank),
        lengths=torch.tensor([len(audio) * codec.symbols_per_sample]),
        cond=Frames(torch.from_numpy(mel), torch.zeros(1, dtype=torch.int64)),
        ids=("",),
    )


class SegmentBatches:
    """Batches of short stretches drawn at random from a data directory; batch ``step`` is a function of (seed, step).

    Every hop-aligned offset of every utterance is equally likely, so long utterances are drawn more often, as their
    share of the corpus demands; the last offset may reach beyond the end by less than a hop. Training resumes at any
    step by asking for it. Of a small corpus (:data:`HELD_BYTES`) elements and frames of an utterance are made once and
    kept; of a larger one those of each stretch are made anew, to the same bits.

    With ``context`` a row begins so many samples before its stretch, or where the recording begins: then each sample
    that is learnt from has the past that it will have when it is generated, as far back as that. ``skip`` says where
    the stretch begins.

    Shapes: ``x`` ``[B, T · symbols_per_sample]``, ``cond`` ``[B, left + T / hop + right, bands]`` with T the segment
    and the longest context of the batch. Frames outside the recording are ``features.silence``; the others equal those
    of the whole recording.

    Args:
        data: utterances, all at ``features.sample_rate``. features, codec: what is computed from the samples.
        prediction: the codec is given the excitation that this leaves (``None``: the waveform).
        bank: and of that the bands (``None``: as it is). given: frames in place of the recordings' own.
        segment, context: samples, multiples of the hop. batch_size: sequences of the global batch.
        seed: of the run. left, right: frames of context and of look-ahead.
        speakers: index of each speaker; by default the data's own, sorted.

    Raises:
        SeqgenError: for data of another rate (both are named), an unknown speaker, or sizes that do not fit.

    Example:
        >>> batches = SegmentBatches(
        ...     DataDir.load(Path("data/train")), features=spec, codec=Bytes16(), segment=960, batch_size=32, seed=1
        ... )  # doctest: +SKIP
        >>> batches[1000].x.shape  # doctest: +SKIP
        torch.Size([32, 1920])
    """

    def __init__(
        self,
        data: DataDir,
        *,
        features: FeatureSpec,
        codec: Codec,
        prediction: LinearPrediction | None = None,
        bank: FilterBank | None = None,
        given: GivenFrames | None = None,
        segment: int,
        context: int = 0,
        batch_size: int,
        seed: int,
        left: int = 0,
        right: int = 0,
        speakers: Sequence[str] = (),
    ) -> None:
        if segment <= 0 or segment % features.hop:
            raise SeqgenError(
                f"segment of {segment} samples is not a multiple of the hop {features.hop}",
                remedy=f"use {max(1, round(segment / features.hop)) * features.hop}",
            )
        if batch_size <= 0:
            raise SeqgenError(f"batch_size {batch_size}", remedy="give at least 1")
        if context < 0 or context % features.hop:
            raise SeqgenError(
                f"context of {context} samples is not a multiple of the hop {features.hop}",
                remedy=f"use {max(0, -(-context // features.hop)) * features.hop}",
            )
        self.data, self.segment, self.batch_size, self.seed = data, segment, batch_size, seed
        self.context = context
        self._window = _Window.build(
            data,
            features=features,
            codec=codec,
            prediction=prediction,
            bank=bank,
            given=given,
            left=left,
            right=right,
            speakers=speakers,
        )
        beyond = np.array([max(0, utterance.samples - segment) for utterance in data], np.int64)
        offsets = -(-beyond // features.hop) + 1
        self._ends = np.cumsum(offsets)
        self._rows = np.arange(batch_size)
        a_sample = codec.symbols_per_sample * (1 if codec.alphabet else 4) + 4 * features.bands / features.hop
        total = sum(one.samples + segment + context for one in data)
        small = codec.alphabet <= 256 and total * a_sample <= HELD_BYTES
        self._held: dict[str, tuple[Tensor, Tensor]] | None = {} if small else None

    @property
    def speakers(self) -> tuple[str, ...]:
        """Speakers in the order of their indices."""
        return self._window.speakers

    def shard(self, rank: int, world: int) -> SegmentBatches:
        """Rows ``rank, rank + world, …`` of the same global batches, for one of ``world`` processes.

        Raises:
            SeqgenError: when the batch does not divide evenly (the mean of the ranks' losses would not be the batch's).
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world} processes")
        if len(self._rows) % world:
            raise SeqgenError(
                f"batch_size {self.batch_size} cannot be shared evenly by {world} processes",
                remedy=f"use a multiple of {world}",
            )
        part = copy.copy(self)
        part._rows = self._rows[rank::world]
        return part

    def draws(self, step: int) -> list[tuple[Utterance, int]]:
        """Utterance and first sample of each row of batch ``step``."""
        positions = 2 * (step * self.batch_size + self._rows.astype(np.int64))
        total = int(self._ends[-1])
        # Two 24-bit words: one alone would reach only some of the offsets of a corpus of a day.
        coarse = noise.uniforms(self.seed, _STREAM, positions)
        fine = noise.uniforms(self.seed, _STREAM, positions + 1)
        numbers = np.minimum(((coarse + fine * 2.0**-24) * total).astype(np.int64), total - 1)
        chosen = np.searchsorted(self._ends, numbers, side="right")
        hops = numbers - np.where(chosen > 0, self._ends[chosen - 1], 0)
        hop = self._window.features.hop
        return [(self.data.utterances[int(one)], int(count) * hop) for one, count in zip(chosen, hops, strict=True)]

    def __getitem__(self, step: int) -> Batch:
        if step < 0:
            raise IndexError(f"batch {step}")
        utterances, offsets = zip(*self.draws(step), strict=True)
        if not self.context:
            return self._batch(utterances, offsets, self.segment)
        heard = [min(offset, self.context) for offset in offsets]
        starts = [offset - before for offset, before in zip(offsets, heard, strict=True)]
        batch = self._batch(utterances, starts, max(heard) + self.segment)
        skip = torch.tensor(heard) * self._window.codec.symbols_per_sample
        ends = skip + self.segment * self._window.codec.symbols_per_sample
        return replace(batch, lengths=torch.minimum(batch.lengths, ends), skip=skip)

    def _batch(self, utterances: Sequence[Utterance], offsets: Sequence[int], segment: int) -> Batch:
        if self._held is None:
            return self._window.batch(utterances, offsets, segment)
        x, mel = zip(
            *(self._stretch(one, offset, segment) for one, offset in zip(utterances, offsets, strict=True)), strict=True
        )
        symbols = torch.stack(x)
        symbols = symbols.long() if symbols.dtype == torch.uint8 else symbols
        return self._window.told(utterances, offsets, segment, symbols, torch.stack(mel))

    def _stretch(self, utterance: Utterance, offset: int, segment: int) -> tuple[Tensor, Tensor]:
        """Elements and frames of a stretch of an utterance that is held."""
        window = self._window
        hop, per = window.features.hop, window.codec.symbols_per_sample
        assert self._held is not None
        if utterance.id not in self._held:
            # Whatever a stretch has beyond the end is silence, which is made here with the rest.
            whole = window.features.frames(utterance.samples) * hop + self.segment + self.context
            x, mel = window.stretches([utterance], [0], whole)
            self._held[utterance.id] = (
                x[0].to(torch.uint8 if window.codec.alphabet else x.dtype),
                torch.from_numpy(mel[0]),
            )
        x, mel = self._held[utterance.id]
        frames = window.left + segment // hop + window.right
        return x[offset * per : (offset + segment) * per], mel[offset // hop : offset // hop + frames]


class UtteranceBatches(Sequence[Batch]):
    """Batches of whole utterances, longest first so that lack of memory shows at once, padded to the longest of their
    batch.

    Shapes: ``x`` ``[B, F · hop · symbols_per_sample]``, ``cond`` ``[B, left + F + right, bands]`` with F the frames of
    the longest; frames outside the recording are ``features.silence``.

    Args: as :class:`SegmentBatches`.

    Raises:
        SeqgenError: also for an utterance of more than ``LONGEST_UTTERANCE`` seconds.
    """

    def __init__(
        self,
        data: DataDir,
        *,
        features: FeatureSpec,
        codec: Codec,
        prediction: LinearPrediction | None = None,
        bank: FilterBank | None = None,
        given: GivenFrames | None = None,
        batch_size: int,
        left: int = 0,
        right: int = 0,
        speakers: Sequence[str] = (),
    ) -> None:
        self._window = _Window.build(
            data,
            features=features,
            codec=codec,
            prediction=prediction,
            bank=bank,
            given=given,
            left=left,
            right=right,
            speakers=speakers,
        )
        if batch_size <= 0:
            raise SeqgenError(f"batch_size {batch_size}", remedy="give at least 1")
        self.data, self.batch_size = data, batch_size
        self._order = sorted(data, key=lambda utterance: (-utterance.samples, utterance.id.encode()))
        longest = self._order[0]
        if longest.seconds > LONGEST_UTTERANCE:
            raise SeqgenError(
                f"{data.path}: '{longest.id}' lasts {longest.seconds:.0f} s, too long to evaluate in one piece",
                remedy="cut the recordings with `seqgen data prepare --max-seconds 30`",
            )

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self.batch_size)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # int or slice, as a list does
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        utterances = self._order[number * self.batch_size : (number + 1) * self.batch_size]
        features = self._window.features
        segment = features.frames(utterances[0].samples) * features.hop
        return self._window.batch(utterances, [0] * len(utterances), segment)


@dataclass(frozen=True)
class Recordings(Source):
    """Source of a split of recordings: stretches drawn at random for training, or whole utterances once.

    ``segments`` and ``utterances`` may be missing where nobody asks for such batches; ``workers`` are loading
    processes.
    """

    segments: SegmentBatches | None
    utterances: UtteranceBatches | None
    workers: int = 0

    def batches(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        assert self.segments is not None
        return loader(self.segments.shard(rank, world), start, stop, self.workers)

    def whole(self) -> Iterator[Batch]:
        batches = self.utterances
        assert batches is not None
        return iter(batches[index] for index in range(len(batches)))
