"""Counter-based randomness: Philox4x32-10, the same bits in numpy, torch and C++.

Everything random in seqgen is a function of (seed, stream, position), so a waveform does not depend on how it was
cut into chunks, on its batch-mates, on the runtime, or on a restart in the middle.

One Philox block turns a 128-bit counter and a 64-bit key into four 32-bit words. Position ``p`` of a stream is word
``p mod 4`` of the block with

    counter = (b mod 2^32, b >> 32, stream >> 32, seed >> 32),  b = p // 4,     key = (seed mod 2^32, stream mod 2^32)

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3 and table 2.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORD = 0xFFFFFFFF

Words = tuple[Any, Any, Any, Any]
ArrayT = TypeVar("ArrayT")


class Key(NamedTuple):
    """Key of one stream of randomness: a run's seed and what is drawn (a step, an utterance, a listener)."""

    seed: int
    stream: int


def _high_low(multiplier: int, word: Any) -> tuple[Any, Any]:
    """Both halves of a 32 x 32 bit product, in int64 arithmetic.

    The product may pass 2^63 and wrap to a negative number; its 64 bits are right all the same, and masking after the
    arithmetic shift removes the copies of the sign. This holds in numpy and in torch, which has no uint64 multiply.
    """
    product = word * multiplier
    return (product >> 32) & _WORD, product & _WORD


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 on int64 arrays (numpy or torch) that hold 32-bit words.

    Shapes: four words of any one shape in, four of that shape out; values in ``[0, 2^32)``.

    Example:
        >>> zero = np.zeros(1, np.int64)
        >>> [hex(int(word[0])) for word in philox4x32((zero, zero, zero, zero), (0, 0))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _high_low(_MULTIPLIERS[0], c0)
        high1, low1 = _high_low(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def words(seed: int, stream: int, positions: Any) -> Any:
    """32-bit words at ``positions`` (int64 array or tensor, any shape), as int64 of the same shape and library."""
    seed, stream = seed & (2**64 - 1), stream & (2**64 - 1)
    blocks = positions >> 2
    zero = positions * 0
    counter = (blocks & _WORD, (blocks >> 32) & _WORD, zero + (stream >> 32), zero + (seed >> 32))
    made = philox4x32(counter, (seed & _WORD, stream & _WORD))
    lane = positions & 3
    return sum(word * (lane == index) for index, word in enumerate(made))


def uniforms(seed: int, stream: int, positions: Any) -> Any:
    """Uniform numbers in [0, 1) at ``positions``: ``(word >> 8) · 2^-24``, exact in float32.

    Shapes: int64 array or tensor of any shape in; floats of the same shape and library out (numpy: float64,
    torch: its default dtype; the value is the same 24-bit fraction in each).

    Example:
        >>> bool(uniforms(1, 2, np.arange(4))[3] == uniforms(1, 2, np.array([3]))[0])
        True
    """
    return (words(seed, stream, positions) >> 8) * 2.0**-24


def block(seed: int, stream: int, start: int, count: int) -> npt.NDArray[np.float32]:
    """Uniforms at positions ``start .. start + count - 1`` as float32 ``[count]``, four words to a Philox block.

    Example:
        >>> np.array_equal(block(7, 0, 0, 10)[6:], block(7, 0, 6, 4))
        True
    """
    first, last = start >> 2, (start + count + 3) >> 2
    blocks = np.arange(first, last, dtype=np.int64)
    seed, stream = seed & (2**64 - 1), stream & (2**64 - 1)
    zero = np.zeros_like(blocks)
    counter = (blocks & _WORD, (blocks >> 32) & _WORD, zero + (stream >> 32), zero + (seed >> 32))
    made = np.stack(philox4x32(counter, (seed & _WORD, stream & _WORD)), axis=-1).reshape(-1)
    offset = start - 4 * first
    return ((made[offset : offset + count] >> 8) * 2.0**-24).astype(np.float32)


def name_to_stream(name: str) -> int:
    """A 63-bit stream number for a name (an utterance id, say), the same on every machine."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1
