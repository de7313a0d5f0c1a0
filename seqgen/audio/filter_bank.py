"""Filter banks that cut a waveform into bands and put it together again: one orthonormal change of basis, both ways.

A model of full-band samples spends most of its likelihood on what is noise to the ear, above 4 kHz; what makes a voice
is a ladder of harmonics below. Cut into M bands, each at an Mth of the rate, that ladder is a signal of its own, its
period M times as short, and a network makes one step where it made M.

    e_{Mm+b} = Σ_n f_b[n] x_{Mm+M+n},       x_{Mm+r} = Σ_{j=1}^{2K} Σ_b f_b[M(j-1)+r] e_{M(m-j)+b}

The bands of one place follow each other, so that a waveform of N samples is a sequence of N numbers, of the same energy
and likelihood. A sample needs the numbers before it alone: putting together adds no delay to a stream. What it costs is
at the other end: numbers look :attr:`FilterBank.reach` samples ahead, and the first samples of a stream lack what lies
before it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from seqgen.errors import SeqgenError

# Angles of the lattices of each number of bands, M/2 rows: the least energy of the prototype beyond π/M.
_ANGLES = {
    2: [[-3.48395, -1.91575, 1.419456, -1.045977, -2.138401, 0.603144, -1.106133, 0.988139]],
    4: [
        [1.045956, 2.190839, -1.589625, 0.827336, 1.818201, 1.940811, 1.379808, 1.613901],
        [0.786928, 1.361346, -1.369742, -0.746289, -1.724201, -1.17414, -1.52054, 0.655518],
    ],
}


def _prototype(bands: int) -> npt.NDArray[np.float64]:
    """Low-pass prototype ``[2KM]``, symmetric, whose polyphase pairs are power complementary by construction."""
    angles = np.array(_ANGLES[bands])
    depth, step = angles.shape[1], 2 * bands
    made = np.zeros(depth * step)
    for row, (first, *turns) in enumerate(angles):
        a, b = np.zeros(depth), np.zeros(depth)
        a[0], b[0] = np.cos(first), np.sin(first)
        for angle in turns:
            b = np.concatenate([[0], b[:-1]])
            a, b = np.cos(angle) * a + np.sin(angle) * b, np.sin(angle) * a - np.cos(angle) * b
        made[row::step], made[bands + row :: step] = a, b
        made[step - 1 - row :: step], made[bands - 1 - row :: step] = a[::-1], b[::-1]
    return made / np.sqrt(step)


class FilterBank:
    """Filter bank of M bands, cosine modulated and paraunitary: ``f_b[n] = 2 p[n] cos((2b+1) π/2M (n - (N-1)/2) +
    (-1)^b π/4)``.

    Shapes and units: ``taps [M, N]`` with N = 16 M; waveforms and bands share their unit.

    Args:
        bands: 2 or 4.

    Raises:
        SeqgenError: for another number of bands.

    Source: Koilpillai & Vaidyanathan 1992, "Cosine-modulated FIR filter banks satisfying perfect reconstruction",
    IEEE Transactions on Signal Processing 40 (4), sections II and III. For vocoders: Yu et al., arXiv 1909.01700.

    Example:
        >>> bank = FilterBank(4)
        >>> bool(np.allclose(bank.taps @ bank.taps.T, np.eye(4)))
        True
    """

    def __init__(self, bands: int) -> None:
        if bands not in _ANGLES:
            raise SeqgenError(
                f"a filter bank of {bands} bands", remedy=f"choose {' or '.join(map(str, _ANGLES))}, or 0 for none"
            )
        self.bands = bands
        prototype = _prototype(bands)
        b, n = np.arange(bands)[:, None], np.arange(len(prototype))
        turn = (2 * b + 1) * np.pi / (2 * bands) * (n - (len(prototype) - 1) / 2) + (-1.0) ** b * np.pi / 4
        self.taps: npt.NDArray[np.float64] = 2 * prototype * np.cos(turn)

    @property
    def reach(self) -> int:
        """Samples behind the place of a number that it is told by."""
        return self.taps.shape[1] + self.bands

    def analyse(self, audio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Waveforms with ``reach`` samples behind them to numbers, ``[B, T + reach] → [B, T]``, T a multiple of M."""
        windows = np.lib.stride_tricks.sliding_window_view(audio, self.taps.shape[1], axis=1)
        count = audio.shape[1] - self.reach
        chosen = windows[:, self.bands : self.bands + count : self.bands]  # [B, T/M, N]
        return (chosen.astype(np.float64) @ self.taps.T).reshape(len(audio), -1).astype(np.float32)

    def synthesis(self) -> npt.NDArray[np.float64]:
        """Weights of the past, ``[M, N + M - 1]``: row r is for samples ``t ≡ r (mod M)``, its last number for
        ``e_{t-1}``."""
        bands, length = self.taps.shape
        made = np.zeros((bands, length + bands - 1))
        each = np.arange(length)
        for r in range(bands):
            made[r, made.shape[1] - 1 - r - each] = self.taps[bands - 1 - each % bands, each // bands * bands + r]
        return made


def bank_for(bands: int, codec: str) -> FilterBank | None:
    """Filter bank that a configuration asks for; ``None`` for no bands.

    Raises:
        SeqgenError: where the codec's elements are no real numbers.
    """
    if bands == 0:
        return None
    if codec != "float":
        raise SeqgenError(
            f"bands are real numbers, data.codec is '{codec}'", remedy="set data.codec to float, or data.bands to 0"
        )
    return FilterBank(bands)
