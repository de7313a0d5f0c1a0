"""Tokenizers: the laws on any bytes, tables that are learnt, what they refuse, and how fast characters are."""

from __future__ import annotations

import json
import time
from functools import cache
from itertools import islice, permutations
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.spec import Facts
from seqgen.text import tokenizer, utf8, verify
from seqgen.text.bytes import Bytes
from seqgen.text.characters import Characters, CharactersConfig
from seqgen.text.phonemes import Phonemes, PhonemesConfig
from seqgen.text.sentencepiece import SentencePiece

NAMES = list(registry.TOKENIZERS)
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog,", "naïve"]
TEXT = "".join(" ".join(order) + "\n" for order in islice(permutations(WORDS), 0, 100_000, 999))


@cache
def learnt(name: str, *, stop: bool = False) -> tokenizer.Tokenizer:
    vocabulary = 400 if name == "sentencepiece" else 0
    kind = registry.TOKENIZERS.load(name)
    made: tokenizer.Tokenizer = kind.learn(lambda: [TEXT.encode()], vocabulary=vocabulary, stop=stop)
    return made


@pytest.mark.parametrize("name", NAMES)
@given(data=st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
                      st.sampled_from(verify.TEXTS[:-1])), cut=st.integers(0, 40))  # fmt: skip
def test_any_bytes_come_back(name: str, data: bytes, cut: int) -> None:
    one = learnt(name)
    symbols, literals = one.encode(data)
    assert one.decode(symbols, literals) == data
    parts = list(one.encode_blocks([data[:cut], data[cut:]]))
    assert [symbol for part in parts for symbol in part.symbols.tolist()] == symbols.tolist()
    assert tuple(literal for part in parts for literal in part.literals) == literals
    decoder = one.decoder()
    made = "".join(decoder.feed([symbol]) for symbol in symbols.tolist()) + decoder.finish()
    assert made == one.decode(symbols).decode("utf-8", "replace")


def test_the_unknown_and_their_bytes() -> None:
    one = Characters(CharactersConfig("abc"))
    encoded = one.encode(b"a\xffb\xe2\x82" + "€\N{REPLACEMENT CHARACTER}".encode())
    assert encoded.symbols.tolist() == [1, 0, 2, 0, 0, 0, 0]
    assert encoded.literals == (b"\xff", b"\xe2", b"\x82", "€".encode(), "\N{REPLACEMENT CHARACTER}".encode())
    assert one.decode(encoded.symbols, encoded.literals[:1]) == b"a\xffb" + "\N{REPLACEMENT CHARACTER}".encode() * 4


def test_characters_are_learnt_across_blocks_and_the_rare_left_out() -> None:
    blocks = [b"aab", "é".encode()[:1], "é".encode()[1:] + b"\xff", "z\N{REPLACEMENT CHARACTER}".encode()]
    assert Characters.learn(lambda: blocks).config.characters == "abzé"
    assert Characters.learn(lambda: blocks, vocabulary=3).config.characters == "ab"
    assert Characters.learn(lambda: blocks, vocabulary=4, stop=True).config == CharactersConfig("ab", stop=True)


def test_a_decoder_gives_whole_characters_only() -> None:
    decoder = Bytes().decoder()
    assert [decoder.feed([byte]) for byte in "é😀".encode()] == ["", "é", "", "", "", "😀"]
    assert decoder.feed(list("€".encode()[:2])) == ""
    assert decoder.finish() == "\N{REPLACEMENT CHARACTER}"


def test_subwords_are_fewer_than_characters_and_spaces_are_kept() -> None:
    one = learnt("sentencepiece")
    symbols = one.encode(TEXT.encode()).symbols
    assert len(symbols) < len(TEXT) / 2
    assert 0 not in symbols
    assert one.decode(one.encode("  a \u2581 b ".encode()).symbols) == "  a \u2581 b ".encode()


def test_subwords_of_a_long_line_do_not_depend_on_blocks() -> None:
    data = ("é" * 70_000 + "\n" + "x" * 70_000).encode()
    one = learnt("sentencepiece")
    parts = one.encode_blocks(data[start : start + 9999] for start in range(0, len(data), 9999))
    assert [symbol for part in parts for symbol in part.symbols.tolist()] == one.encode(data).symbols.tolist()


def test_names_between_spaces() -> None:
    one = Phonemes(PhonemesConfig(("AH0", "HH")))
    assert one.encode(b"HH AH0  ZH").symbols.tolist() == [3, 2, 0, 0]
    assert one.encode(b"HH AH0  ZH").literals == (b"", b"ZH")
    assert one.decode([3, 2, 1]) == b"HH AH0"
    assert Phonemes.learn(lambda: [b"HH AH", b"0 L\nHH"]).config.names == ("AH0", "HH", "L")


@pytest.mark.parametrize("name", NAMES)
def test_facts_carry_a_tokenizer_through_yaml(name: str) -> None:
    """Also one of control characters, which YAML cannot write as they are."""
    one = Characters(CharactersConfig("\0\a\t\n\x85\ufeff\u2028é😀")) if name == "characters" else learnt(name)
    facts = Facts(tokenizer=one.plain())
    again = config.from_plain(yaml.safe_load(config.dump(facts)), Facts, source="here")
    assert again == facts
    assert again.tokenizer is not None
    assert tokenizer.tokenizer(again.tokenizer).signature == one.signature


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer.written(learnt(name)))
    assert tokenizer.read(tmp_path / "tokenizer.json").signature == learnt(name).signature


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no JSON"),
        ("[1]", "no tokenizer's name"),
        ('{"name": "byte"}', "unknown tokenizer 'byte'; did you mean 'bytes'"),
        ('{"name": "characters", "characters": "aba"}', r"U\+0061 twice"),
        ('{"name": "characters", "characters": "a\\ud800"}', r"U\+D800 which is no character"),
        ('{"name": "phonemes", "names": ["A", "A B"]}', "'A B'; give words"),
        ('{"name": "sentencepiece", "model": "AAAA"}', "cannot be read|not one of ours"),
        ('{"name": "sentencepiece", "model": "?"}', "cannot be read"),
    ],
)
def test_files_that_hold_none_are_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(SeqgenError, match=said):
        tokenizer.read(tmp_path / "tokenizer.json")


def test_numbers_that_are_no_symbols_are_refused() -> None:
    for wrong in ([256], [-1, 3]):
        with pytest.raises(SeqgenError, match="the table has 256; give symbols from 0 to 255"):
            Bytes().decode(wrong)


def test_a_vocabulary_that_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(SeqgenError, match=r"no 40 subwords can be learnt .*; choose another vocabulary"):
        SentencePiece.learn(lambda: [TEXT.encode()], vocabulary=40)
    with pytest.raises(SeqgenError, match="has room for no character"):
        Characters.learn(lambda: [TEXT.encode()], vocabulary=1)


def test_ten_megabytes_of_characters_take_no_loop_over_them() -> None:
    data = (TEXT * 2000).encode()
    one = learnt("characters")
    began = time.perf_counter()
    symbols = one.encode(data).symbols
    assert time.perf_counter() - began < 5  # some 0.3 s; a loop in Python takes more than ten times as long
    assert len(symbols) == 2000 * len(TEXT)


def test_signatures_tell_options_apart() -> None:
    made = [learnt(name, stop=stop) for name in ("bytes", "characters", "sentencepiece") for stop in (False, True)]
    assert len({one.signature for one in made}) == 6
    assert json.loads(tokenizer.written(made[0])) == {"name": "bytes", "stop": False}
    assert made[0].plain() == Component("bytes", {"stop": False})


def test_characters_and_bytes_that_are_none_are_counted() -> None:
    assert utf8.count("é€".encode() + b"\xff\xe2\x82") == (5, 3)
    assert [utf8.unfinished("a😀".encode()[:n]) for n in range(6)] == [0, 0, 1, 2, 3, 0]
