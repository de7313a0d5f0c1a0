"""The laws of tokenizers as library code, to be run over every registered one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import numpy as np

from seqgen import config
from seqgen.config import Component
from seqgen.text.tokenizer import Symbols, Tokenizer, tokenizer

TEXTS: tuple[bytes, ...] = (
    b"",
    b"a",
    b" ",
    b"\n",
    b"the quick brown fox\njumps over\n\n the  lazy dog ",
    "naïve façade, ångström, Ωmega, 日本語, 😀👩‍👩‍👧 e\u0301".encode(),
    "\ufeffa byte order mark\r\nand CRLF\r\n\N{REPLACEMENT CHARACTER} \u2581 \u2028 \u0085".encode(),
    b"\0 nul \0\0",
    b"\xff\xfe \xc3 \xe2\x82 \xf0\x9f\x98 \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 end \xe2",
    bytes(range(256)),
    b"HH AH0 L OW1 ZH  AH0\nL \xc9\x99 ",
    b"<0x41> <unk> <s> </s>",
    b"no line ends here " * 4000,
)
"""Texts that are awkward: characters of every length, what is no UTF-8, what tables of subwords write for something
else, lines without an end."""
_CUTS = 20


def verify(one: Tokenizer) -> None:
    """Every law of a tokenizer.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    check_table(one)
    check_plain(one)
    for data in TEXTS:
        check_text(one, data)
    everything = np.concatenate([np.arange(one.vocab_size), np.arange(one.vocab_size)[::-1]])
    check_decoder(one, everything)


def check_table(one: Tokenizer) -> None:
    """Law of the table: what is unknown and what ends a sequence are two of its symbols, and nothing is written for the
    second."""
    special = [symbol for symbol in (one.unknown, one.stop) if symbol is not None]
    assert all(0 <= symbol < one.vocab_size for symbol in special), f"{special} of {one.vocab_size} symbols"
    assert len(set(special)) == len(special), f"unknown and stop are both {one.unknown}"
    assert one.unit, "a symbol has no name"
    end = b"" if one.stop is None else one.decode([one.stop])
    assert end == b"", f"the end of a sequence is {end!r}"


def check_plain(one: Tokenizer) -> None:
    """Law of the plain form: written down and read again it is the same tokenizer; other options have another
    signature."""
    plain = json.loads(json.dumps(config.plain(one.plain())))
    name = plain.pop("name")
    again = tokenizer(Component(name, plain))
    assert again.plain() == one.plain(), f"written down and read again it is {again.plain()}"
    assert again.signature == one.signature, "written down and read again it has another signature"
    assert len(one.signature) == 16, f"the signature is {one.signature}"
    for other in type(one).examples():
        same = other.plain() == one.plain()
        assert same == (other.signature == one.signature), "two tables have one signature, or one has two"
    assert {field.name for field in dataclasses.fields(one.config)} == set(plain), "options are missing"


def check_text(one: Tokenizer, data: bytes) -> None:
    """Laws of a text: decoded it is what it was; symbols lie in the table; each unknown one has its bytes, and only
    they; the bytes that symbols stand for add up; cut into blocks anywhere it has the same symbols."""
    encoded = one.encode(data)
    symbols, literals = encoded
    assert symbols.dtype == np.int64, f"symbols are {symbols.dtype}"
    assert symbols.ndim == 1, f"symbols are {symbols.shape}"
    assert ((symbols >= 0) & (symbols < one.vocab_size)).all(), "symbols lie outside the table"
    unknown = 0 if one.unknown is None else int(np.count_nonzero(symbols == one.unknown))
    assert len(literals) == unknown, f"{unknown} unknown symbols have {len(literals)} literals"
    assert one.stop is None or one.stop not in symbols, "the end of a sequence comes inside a text"
    made = one.decode(symbols, literals)
    assert made == data, f"{_shown(data)} comes back as {_shown(made)}"
    sizes = one.sizes(encoded)
    assert sizes.shape == symbols.shape, f"{len(symbols)} symbols have {len(sizes)} sizes"
    assert int(sizes.sum()) == len(data), f"{_shown(data)}: the sizes of its symbols add up to {int(sizes.sum())}"
    again = one.encode(data)
    assert np.array_equal(again.symbols, symbols), "encoded again it has other symbols"
    for blocks in _cut(data):
        parts = list(one.encode_blocks(blocks))
        found = [literal for part in parts for literal in part.literals]
        same = np.array_equal(np.concatenate([part.symbols for part in parts]), symbols) and tuple(found) == literals
        assert same, f"{_shown(data)} cut at {len(blocks[0])} of {len(data)} bytes has other symbols"
    check_decoder(one, symbols)


def check_decoder(one: Tokenizer, symbols: Symbols) -> None:
    """Law of the incremental decoder: cut anywhere, it gives the characters of the whole."""
    whole = one.decode(symbols).decode("utf-8", "replace")
    places = sorted({*range(min(len(symbols), _CUTS)), len(symbols)})
    for parts in (*([symbols[:place], symbols[place:]] for place in places), np.split(symbols, places)):
        decoder = one.decoder()
        made = "".join(decoder.feed(part) for part in parts) + decoder.finish()
        assert made == whole, f"decoded in parts it is {made[:80]!r}, as a whole {whole[:80]!r}"


def _cut(data: bytes) -> Iterator[list[bytes]]:
    """A text in two blocks, cut at each of its first places and some later ones; and byte by byte, or in many."""
    places = {*range(min(len(data), _CUTS) + 1), len(data) // 2, len(data) - 1, len(data)}
    yield from ([data[:place], data[place:]] for place in sorted(places) if place >= 0)
    size = max(1, len(data) // 300)
    yield [b"", *(data[start : start + size] for start in range(0, len(data), size))]


def _shown(data: bytes) -> str:
    return repr(data if len(data) <= 80 else data[:80] + b"...")
