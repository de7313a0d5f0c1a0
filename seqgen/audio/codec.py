"""Codecs between waveforms and the symbols (or real numbers) that a sequence model reads and draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from seqgen.audio import mulaw
from seqgen.audio.io import pcm16


class Codec(ABC):
    """A bijection (up to quantisation) between a waveform and the sequence that a model is trained on.

    Shapes: waveform ``[..., N]`` float32 in [-1, 1); symbols ``[..., N · symbols_per_sample]``, int64 in
    ``[0, alphabet)``, or float32 where ``alphabet`` is 0.

    Attributes:
        symbols_per_sample: sequence positions per audio sample.
        alphabet: number of symbols; 0 means real-valued.
        start: the value fed to the model before the first position; what silence would have left there.
        silence: the elements of a zero sample.

    Example:
        >>> Bytes16().decode(Bytes16().encode(np.float32([0.5, -1.0])))
        array([ 0.5, -1. ], dtype=float32)
    """

    symbols_per_sample: ClassVar[int]
    alphabet: ClassVar[int]
    start: ClassVar[int | float]
    silence: ClassVar[tuple[int | float, ...]]

    @abstractmethod
    def encode(self, audio: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Waveform to sequence."""

    @abstractmethod
    def decode(self, symbols: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Sequence to waveform.

        Raises:
            ValueError: for symbols outside the alphabet or a split sample.
        """


@final
class Bytes16(Codec):
    """Codec of 16-bit PCM as two bytes per sample, coarse first: ``s = pcm16 + 32768``, ``coarse = s >> 8``, ``fine = s
    & 255``.

    Lossless for 16-bit recordings. ``start`` is the fine byte of digital silence (32768 = 128·256 + 0).

    Source: Kalchbrenner et al. 2018, "Efficient Neural Audio Synthesis", section 2.1.
    """

    symbols_per_sample = 2
    alphabet = 256
    start = 0
    silence = (128, 0)

    def encode(self, audio: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """``[..., N]`` → int64 ``[..., 2N]``, interleaved coarse, fine."""
        s = pcm16(audio).astype(np.int64) + 32768
        return np.stack([s >> 8, s & 255], axis=-1).reshape(*s.shape[:-1], 2 * s.shape[-1])

    def decode(self, symbols: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """``[..., 2N]`` → float32 ``[..., N]``."""
        b = np.asarray(symbols)
        if b.shape[-1] % 2:
            raise ValueError(f"a 16-bit sample is two bytes, got {b.shape[-1]} of them")
        if b.size and (b.min() < 0 or b.max() > 255):
            raise ValueError(f"bytes must lie in [0, 256), got [{b.min()}, {b.max()}]")
        s = b[..., 0::2].astype(np.int32) * 256 + b[..., 1::2].astype(np.int32) - 32768
        return (s / 32768).astype(np.float32)


@final
class MuLaw8(Codec):
    """Codec of one 8-bit µ-law symbol per sample (see :mod:`seqgen.audio.mulaw`)."""

    symbols_per_sample = 1
    alphabet = 256
    start = 128
    silence = (128,)

    def encode(self, audio: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """``[..., N]`` → int64 ``[..., N]``."""
        return mulaw.encode(audio, self.alphabet)

    def decode(self, symbols: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """``[..., N]`` → float32 ``[..., N]``."""
        return mulaw.decode(symbols, self.alphabet)


@final
class Float(Codec):
    """Codec that leaves the waveform as it is, for real-valued distributions and flows."""

    symbols_per_sample = 1
    alphabet = 0
    start = 0.0
    silence = (0.0,)

    def encode(self, audio: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """``[..., N]`` → float32 ``[..., N]``."""
        return np.asarray(audio, dtype=np.float32)

    def decode(self, symbols: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """``[..., N]`` → float32 ``[..., N]``; no clamping, since :func:`seqgen.audio.io.pcm16` saturates."""
        return np.asarray(symbols, dtype=np.float32)
