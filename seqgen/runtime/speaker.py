"""Speakers: texts become sentences of phones, these frames, and frames sound, in a stream."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.audio.periodicity import HIGHEST, LOWEST
from seqgen.runtime.contract import Floats, Runtime
from seqgen.runtime.speech import Moment, Piece, Speech, spoken
from seqgen.spec import FeatureSpec
from seqgen.text.pronounced.aloud import Aloud
from seqgen.text.pronounced.pronouncer import Pronouncer

PROSODY = 3
"""Numbers of a phone's prosody: the logarithm of its frames, its pitch, its loudness."""
_DRAWN = {name: noise.name_to_stream(f"seqgen.speaker.{name}") for name in ("prosody", "frames")}
_OCTAVES = math.log2(HIGHEST / LOWEST)  # from a pitch of 0 to one of 1
_LONGEST = 200  # frames of a phone that is drawn
_TOGETHER = 32  # frames that sound at a time

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


class Sentence(NamedTuple):
    """N phones as they are going to be said.

    Attributes:
        tokens: of the phones. durations: frames of each. manner: pitch and loudness of each, ``[N, 2]``. nats: by which
            each is louder than usual.
    """

    tokens: Integers
    durations: Integers
    manner: Reals
    nats: Reals


class Speaker(ABC):
    """Speaker of texts: prosody of phones and frames of prosody by networks, sound of frames by a vocoder.

    Noise is indexed by the place in the text: the same seed gives the same sound however the text arrives.

    Args:
        spec: of the frames. pronouncer: of the texts.
        uniforms: numbers that drawing one of prosody takes, and one of a frame.
    """

    def __init__(self, spec: FeatureSpec, pronouncer: Pronouncer, uniforms: tuple[int, int]) -> None:
        self.spec, self.pronouncer = spec, pronouncer
        self._each = dict(zip(("prosody", "frames"), uniforms, strict=True))

    @abstractmethod
    def prosody(self, tokens: Integers, u: Floats, temperature: float) -> Reals:
        """Prosody of a sentence's phones, ``[N], [N·3, …] → [N, 3]``."""

    @abstractmethod
    def numbers(self, sentence: Sentence, u: Floats, temperature: float) -> Iterator[Floats]:
        """Frames ``[f, bands]`` of a sentence, block by block; ``u [F·bands, …]``."""

    @abstractmethod
    def sound(self, blocks: Iterable[Floats], seed: int = 0) -> Iterator[Floats]:
        """Samples ``[N]``, ``hop`` of each frame, of frames ``[f, bands]`` that come in blocks."""

    @property
    @abstractmethod
    def look_ahead(self) -> int:
        """Frames beyond the end of a stretch that its last samples need."""

    def speech(self, temperature: float = 1.0, seed: int = 0, speed: float = 1.0) -> Speech:
        """Speech of a text that is still to come; all of it so many times as fast."""
        return Speech(self, temperature, seed, speed)

    def speak(
        self,
        text: str | Iterable[Piece],
        temperature: float = 1.0,
        seed: int = 0,
        tell: Callable[[Moment], object] = lambda _: None,
    ) -> Iterator[Floats]:
        """Samples ``[N]`` of a text, or of a document of SSML, as they are made, see :meth:`frames`."""
        return self.sound(self.frames(text, temperature, seed, tell=tell), seed)

    def frames(
        self,
        text: str | Iterable[Piece],
        temperature: float = 1.0,
        seed: int = 0,
        speed: float = 1.0,
        tell: Callable[[Moment], object] = lambda _: None,
    ) -> Iterator[Floats]:
        """Frames ``[f, bands]`` of a text, or of a document of SSML, as they are made; all of it so many times as fast.

        Of a text that comes in pieces they are the same however it is cut; ``None`` among them flushes, see
        :class:`~seqgen.runtime.speech.Speech`. ``tell`` hears when what is said.
        """
        return spoken(self.speech(temperature, seed, speed), [text] if isinstance(text, str) else text, tell)

    def spoken(self, sentence: Sentence, before: int, temperature: float, seed: int) -> Iterator[Floats]:
        """Frames ``[f, bands]`` of a sentence, behind so many of others."""
        count, start = int(sentence.durations.sum()), 0
        louder = np.repeat(sentence.nats, sentence.durations)[:, None]
        u = self._uniforms("frames", seed, before * self.spec.bands, count * self.spec.bands)
        for block in self.numbers(sentence, u, temperature):
            frames, stop = np.maximum(block, self.spec.silence), start + len(block)
            bands = self.spec.n_mels
            frames[:, :bands] = np.maximum(frames[:, :bands] + louder[start:stop], self.spec.silence)
            start = stop
            yield frames.astype(np.float32)

    def sentence(self, told: Aloud, before: int, temperature: float, seed: int) -> Sentence:
        """Prosody as it is drawn, behind so many phones, and as the text says."""
        count, hop = len(told.tokens), self.spec.hop
        u = self._uniforms("prosody", seed, before * PROSODY, count * PROSODY)
        drawn = self.prosody(told.tokens, u, temperature)
        usual = np.clip(np.exp(drawn[:, 0]), None, _LONGEST) / told.rate
        durations = np.where(np.isnan(told.pauses), usual, told.pauses * self.spec.sample_rate / hop)
        manner = drawn[:, 1:] + np.stack([told.octaves / _OCTAVES, np.zeros(count)], axis=1)
        return Sentence(told.tokens, np.maximum(np.rint(durations), 1).astype(np.int64), manner, told.nats)

    def _uniforms(self, what: str, seed: int, start: int, count: int) -> Floats:
        each = self._each[what]
        return noise.block(seed, _DRAWN[what], start * each, count * each).reshape(count, each)


def places(sentence: Sentence) -> Floats:
    """Numbers that each frame of a sentence is told beside its phone's column, ``[F, 4]``: the phone's pitch and
    loudness, how far through it the middle of the frame is, and the logarithm of its frames."""
    durations = sentence.durations
    owner = np.repeat(np.arange(len(durations)), durations)
    first = np.cumsum(durations) - durations
    through = (np.arange(len(owner)) - first[owner] + 0.5) / durations[owner]
    told = [*sentence.manner[owner].T, through, np.log(durations[owner])]
    return np.stack(told, axis=1).astype(np.float32)


def vocoded(runtime: Runtime, blocks: Iterable[Floats], seed: int) -> Iterator[Floats]:
    """Samples of frames that come in blocks, by the vocoder of one voice; behind the end as many silent frames as it
    looks ahead."""
    manifest = runtime.manifest
    hop, per, ahead = manifest.spec.up, manifest.uniforms_per_sample, manifest.ahead
    silent = np.full((manifest.spec.alignment.look_ahead, manifest.features.bands), manifest.features.silence, "f4")
    state, given, made, owed = runtime.init(1), 0, 0, 0
    waiting = np.zeros((0, manifest.features.bands), np.float32)
    for block in itertools.chain(_cut(blocks), [silent]):
        owed += 0 if block is silent else len(block) * hop
        given, waiting = given + len(block), np.concatenate([waiting, block])
        count = manifest.spec.alignment.first_samples(given) - made
        if count and owed > made:
            u = runtime.uniforms(seed, 0, made * per, (count + ahead) * per)
            audio, state = runtime.sample(u[None], state, waiting[None])
            yield audio[0, : owed - made] if block is silent else audio[0]
            made, waiting = made + count, waiting[:0]


def _cut(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Blocks of so many frames that sound comes soon, whatever comes at a time."""
    for block in blocks:
        for start in range(0, len(block), _TOGETHER):
            yield block[start : start + _TOGETHER]
