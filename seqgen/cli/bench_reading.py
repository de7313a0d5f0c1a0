"""Words a second that become phones, numbers and all, on one core."""

from __future__ import annotations

import time

from seqgen.text.pronounced.aloud import read_aloud
from seqgen.text.pronounced.markup import script_of
from seqgen.text.pronounced.pronouncer import Pronouncer

PASSAGE = """\
Dr. Mary Lee came to St. Louis on March 3rd, 1998, at 7:45 p.m., with two bags and $12.50 in her pocket. "Is it far?"
she asked; the driver, an old man, shook his head. It was 3.5 km, or about 2 miles, and the rain had not stopped since
noon. She had read of the house years ago, in a book that nobody close to her would live to finish: chapter IV, p. 112.
The BBC called it the strangest place in the U.S., and NASA's engineers, who lead quiet lives, had measured -4 degrees
Celsius in its cellar on a summer's day. None of that mattered now. Whoever stood behind the windows and watched the
street was going to record every step that she took, and she would let them, for the third time that week.
"""


def words_per_second(pronouncer: Pronouncer, seconds: float) -> int:
    """Words of a passage, as they are written, that a pronouncer makes phones of in a second; first once for what is
    kept at hand."""
    script = script_of(PASSAGE * 10)
    count = len(script.text.split())
    rounds = 0
    for _ in read_aloud(script, pronouncer):
        pass
    began = time.perf_counter()
    while rounds == 0 or time.perf_counter() - began < seconds:
        for _ in read_aloud(script, pronouncer):
            pass
        rounds += 1
    return round(rounds * count / (time.perf_counter() - began))
