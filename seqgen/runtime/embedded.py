"""The voice that is part of the package: what speaks where no other is named."""

from __future__ import annotations

from pathlib import Path

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError

NAME = "kathleen"
_PLACE = Path(__file__).parent / "voices"


def embedded() -> Bundle:
    """Bundle of the voice; what it was trained on, and how it was judged, stands beside it in ``CARD.md``.

    Raises:
        SeqgenError: where the package was installed without it.

    Example:
        >>> embedded().manifest.licence
        'CC0-1.0 (trained on Kathleen)'
    """
    place = _PLACE / NAME
    if not place.is_dir():
        raise SeqgenError(f"{place}: the package was installed without its voice", remedy="name another by --voice")
    return Bundle.open(place)
