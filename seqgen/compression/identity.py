"""Identities of what executes a model, and how files name them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from seqgen.compression import varint
from seqgen.errors import SeqgenError

_TEXT = 1 << 10  # bytes that an identity has at most
# What identities are likely to hold; part of the formats that write them: it changes with their versions only.
_WORDS = (
    b"checkpoint best bundle generic neon avx amx avx2 avx512 ARM GenuineIntel\nint8\nbf16\nonnx\n1.31.1\nnative\n"
    b"torch\n2.13.0+cpu\ntorch\n2.13.0+cu130, numpy 2.4.6\nAVX2 AuthenticAMD\nAVX512 AuthenticAMD\n1\nfloat32\nstep-00"
)
LARGEST = 2 * _TEXT
"""Bytes that a header with an identity has at most."""


@dataclass(frozen=True)
class NumericIdentity:
    """Identity of what executes a model: two of the same identity round alike.

    Attributes:
        runtime: ``torch``, ``onnx``, ``native``. version: of its library, and of numpy. instructions: kernels that it
            runs, and whose processor. threads: of one call. precision: format of the weights.
    """

    runtime: str
    version: str
    instructions: str
    threads: int
    precision: str

    def differences(self, other: NumericIdentity) -> list[str]:
        """Differences in words: ``threads 2 instead of 1``."""
        mine, theirs = vars(self), vars(other)
        return [f"{name} {mine[name]} instead of {theirs[name]}" for name in mine if mine[name] != theirs[name]]

    def require_same(self, other: NumericIdentity) -> None:
        """Refuse to decode what another one encoded.

        Raises:
            SeqgenError: saying what differs.
        """
        if differing := self.differences(other):
            raise SeqgenError(
                f"this would round otherwise than what compressed it: {'; '.join(differing)}",
                remedy="decompress with the same runtime (--runtime) of the same version, on a processor of the same "
                "kind",
            )


def written(identity: NumericIdentity, label: str = "") -> bytes:
    """The bytes of an identity, and of where the weights are from: their number and text, deflated with a
    dictionary."""
    lines = (identity.runtime, identity.version, identity.instructions, str(identity.threads), identity.precision)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=_WORDS)
    text = deflate.compress("\n".join((*lines, label)).encode()[:_TEXT]) + deflate.flush()
    return varint.written(len(text)) + text


def read(reader: varint.Reader) -> tuple[NumericIdentity, str]:
    """The inverse of :func:`written`.

    Raises:
        SeqgenError: where nothing of the kind was written.
    """
    try:
        inflate = zlib.decompressobj(-15, zdict=_WORDS)
        lines = inflate.decompress(reader.take(reader.number()), _TEXT).decode().split("\n")
        runtime, version, instructions, threads, precision, label = lines
        return NumericIdentity(runtime, version, instructions, int(threads), precision), label
    except (zlib.error, ValueError) as error:
        raise varint.damaged(f"no identity of a model ({error})") from None
