"""Variable-length whole numbers: seven bits a byte, the lowest first, the eighth says whether more follow (LEB128)."""

from __future__ import annotations

from seqgen.errors import SeqgenError

_LONGEST = 9  # bytes: 63 bits


def written(*numbers: int) -> bytes:
    """The bytes of numbers from 0 on.

    Example:
        >>> written(5, 300).hex()
        '05ac02'
    """
    made = bytearray()
    for number in numbers:
        while number > 0x7F:
            made.append(number & 0x7F | 0x80)
            number >>= 7
        made.append(number)
    return bytes(made)


def folded(number: int) -> int:
    """A number of either sign as one from 0 on: 0, -1, 1, -2 … as 0, 1, 2, 3 …"""
    return number << 1 if number >= 0 else -number * 2 - 1


def unfolded(number: int) -> int:
    """The inverse of :func:`folded`."""
    return -(number + 1) // 2 if number & 1 else number >> 1


class Reader:
    """Reader of numbers and bytes, from the start of ``data`` on.

    Raises:
        SeqgenError: from every method, where the data end too early or hold no such number.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def rest(self) -> int:
        """Bytes that are left."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count > self.rest:
            raise damaged(f"{count} bytes are missing")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self) -> int:
        """The next number."""
        made = 0
        for index in range(_LONGEST):
            (byte,) = self.take(1)
            made |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return made
        raise damaged("a number is too long")


def damaged(how: str) -> SeqgenError:
    """The refusal of a compressed file that is not as it was written."""
    return SeqgenError(f"the compressed file is damaged: {how}", remedy="copy it again, or compress the original anew")
