"""Texts of symbols, however these come: stop sequences as a search of the whole text finds them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from serving.streams.continuation import Continuation, StopMatcher
from serving.streams.text import nucleus
from tests.serving.text_fakes import BYTES


def ending(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text up to the stop sequence that is complete first, of several the longest; and whether there is one."""
    ends = [(text.index(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    if not ends:
        return text, False
    end, size = min(ends)
    return text[: end + size], True


def test_a_matcher_knows_the_longest_beginning_that_a_text_ends_with():
    for seed in range(300):
        rng = random.Random(seed)
        stop, text = ("".join(rng.choices("ab", k=rng.randint(1, size))) for size in (7, 60))
        matcher = StopMatcher(stop)
        for count in range(1, len(text) + 1):
            beginnings = [size for size in range(len(stop) + 1) if text[:count].endswith(stop[:size])]
            assert matcher.feed(text[count - 1]) == max(beginnings), (stop, text[:count])


def test_a_text_ends_where_a_search_finds_the_first_stop_sequence():
    for seed in range(500):
        rng = random.Random(seed)
        stops = ["".join(rng.choices("aé€", k=rng.randint(1, 5))) for _ in range(rng.randint(1, 4))]
        text = "".join(rng.choices("aé€", k=rng.randint(0, 80)))
        symbols, made = BYTES.encode(text.encode()).symbols, Continuation(BYTES, stops)
        told, at = "", 0
        while at < len(symbols) and not made.stopped:
            size = rng.randint(1, 9)
            told += made.feed(symbols[at : at + size]).text
            at += size
            assert text.startswith(told)  # nothing is taken back
        told += made.finish().text
        assert (told, made.stopped) == ending(text, stops), (stops, text)
        if made.stopped:
            end, _ = min((text.index(stop) + len(stop), -len(stop)) for stop in stops if stop in text)
            assert made.symbols == len(text[:end].encode())


def test_the_fewest_most_likely_symbols_are_drawn_from():
    logits = np.log(np.array([[0.1, 0.4, 0.2, 0.3]], np.float32))
    for top_p, allowed in [(0.3, {1}), (0.4, {1}), (0.5, {1, 3}), (0.71, {1, 2, 3}), (1.0, {0, 1, 2, 3}), (0.0, {1})]:
        u = np.linspace(0, 1, 1000, endpoint=False, dtype=np.float32)
        drawn = nucleus(np.repeat(logits, 1000, 0), u, 1.0, top_p)
        assert set(drawn.tolist()) == allowed, top_p
    shares = np.bincount(nucleus(np.repeat(logits, 1000, 0), u, 1.0, 0.71), minlength=4) / 1000
    assert shares == pytest.approx([0, 4 / 9, 2 / 9, 3 / 9], abs=2e-3)
    assert set(nucleus(np.repeat(logits, 1000, 0), u, 0.0, 1.0).tolist()) == {1}
