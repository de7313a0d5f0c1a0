"""Spelt numbers and their digits, as pairs: ``python -m egs.synthetic.bytenet.numbers WORDS [WORDS ...] COUNT``.

A line ``one five six<TAB>156`` for each of COUNT different numbers; how many words it has is drawn among WORDS, then
each digit, by Philox alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from seqgen import noise

SPELT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_STREAM = noise.name_to_stream("egs.synthetic.bytenet.numbers")
_TRIES = 100  # per number, until another one is found


def numbers(words: Sequence[int], count: int, seed: int = 0) -> Iterator[str]:
    """Different strings of digits, each of one of the lengths."""
    made: set[str] = set()
    width = 1 + max(words)
    for draw in range(_TRIES * count):
        u = noise.block(seed, _STREAM, draw * width, width)
        length = words[int(u[0] * len(words))]
        digits = "".join(str(int(10 * one)) for one in u[1 : 1 + length])
        if digits not in made:
            made.add(digits)
            yield digits
        if len(made) == count:
            return
    raise ValueError(f"there are not {count} numbers of {words} words")


def main(words: Sequence[int], count: int) -> None:
    """Write the pairs to standard output."""
    for digits in numbers(words, count):
        sys.stdout.write(f"{' '.join(SPELT[int(one)] for one in digits)}\t{digits}\n")


if __name__ == "__main__":
    *lengths, total = map(int, sys.argv[1:])
    main(lengths, total)
