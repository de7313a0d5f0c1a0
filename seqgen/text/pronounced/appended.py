"""Text of a document that is read, in pieces: what is appended to it or cut off costs its own length alone."""

from __future__ import annotations


class AppendedText:
    """Text that grows at its end, where some of it may be cut off again.

    Attributes:
        size: characters. heard: those up to the last that is no blank.

    Example:
        >>> text = AppendedText()
        >>> text.add("one "), text.add("two "), text.cut(5), text.whole(), text.heard
        (None, None, 'wo ', 'one t', 5)
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.size = self.heard = 0

    def add(self, text: str) -> None:
        """Appends a text."""
        if not text:
            return
        said = len(text.rstrip())
        self.heard = self.size + said if said else self.heard
        self.size += len(text)
        self._pieces.append(text)

    def cut(self, size: int) -> str:
        """Cuts off what is behind so many characters, and gives it."""
        gone: list[str] = []
        while self.size > size:
            piece = self._pieces.pop()
            self.size -= len(piece)
            gone.append(piece)
        if self.size < size:
            kept, gone[-1] = gone[-1][: size - self.size], gone[-1][size - self.size :]
            self._pieces.append(kept)
            self.size = size
        if self.heard > size:
            self.heard = size - self._blanks()
        return "".join(reversed(gone))

    def whole(self) -> str:
        """All of it."""
        return "".join(self._pieces)

    def _blanks(self) -> int:
        """Blanks at the end."""
        count = 0
        for piece in reversed(self._pieces):
            said = len(piece.rstrip())
            count += len(piece) - said
            if said:
                break
        return count
