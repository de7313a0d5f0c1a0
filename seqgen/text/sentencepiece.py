"""Subwords as symbols: a unigram model learnt from the training text, with a symbol for every byte besides.

Source: Kudo, "Subword regularization", ACL 2018 (the unigram model); Kudo and Richardson, "SentencePiece", EMNLP 2018.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.text import utf8
from seqgen.text.tokenizer import REPLACEMENT, Encoded, Symbols, Tokenizer

_LONGEST = 1 << 16  # bytes of a line that are encoded at once
_SENTENCE = 1 << 12  # bytes of a sentence that is learnt from
_SENTENCES = 1_000_000  # of them, at most
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what the model writes for a space
# What has no place in a model of lines, and the bytes that are no characters: these are symbols byte by byte.
_APART = re.compile(f"([\n\0{_SPACE}\udc80-\udcff]+)")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_BYTES = 256


@dataclass(frozen=True)
class SentencePieceConfig:
    """Options of subwords as symbols.

    Attributes:
        model: the learnt model's file in base64. stop: whether the last symbol ends a sequence.
    """

    model: str
    stop: bool = False


class SentencePiece(Tokenizer):
    """Tokenizer of subwords; each line is encoded by itself (a very long one in stretches).

    Text is taken as it is, without normalisation. Symbol 0, which the model has for what is unknown, never comes: there
    is a symbol for every byte.

    Raises:
        SeqgenError: for a model that cannot be read, or normalises, or does not have every byte.
    """

    Config = SentencePieceConfig
    config: SentencePieceConfig
    unit = "subword"
    unknown = 0

    def __init__(self, options: SentencePieceConfig) -> None:
        super().__init__(options)
        self._model = _opened(options.model)
        count = int(self._model.get_piece_size())
        names = [str(self._model.id_to_piece(index)) for index in range(count)]
        self._bytes = {
            int(found[1], 16): index
            for index, name in enumerate(names)
            if self._model.is_byte(index) and (found := _BYTE.fullmatch(name))
        }
        if len(self._bytes) < _BYTES or self._model.unk_id() != 0 or self._model.bos_id() >= 0:
            raise SeqgenError("the model is not one of ours", remedy="have `seqgen data prepare text` learn it")
        self._table = [name.replace(_SPACE, " ").encode() for name in names]
        for value, index in self._bytes.items():
            self._table[index] = bytes([value])
        self.stop = count if options.stop else None
        self.vocab_size = count + options.stop

    @classmethod
    def examples(cls) -> Iterable[Tokenizer]:
        text = b"the quick brown fox jumps over the lazy dog\n" * 20
        for stop in (False, True):
            yield cls.learn(lambda: [text], vocabulary=320, stop=stop)

    @classmethod
    def learn(cls, text: Callable[[], Iterable[bytes]], *, vocabulary: int = 0, stop: bool = False) -> SentencePiece:
        """The tokenizer of a text: ``vocabulary`` symbols, or as many as there are subwords to find (0: 1,000)."""
        import sentencepiece

        file = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_sentences(text()),
                model_writer=file,
                vocab_size=(vocabulary or 1000) - stop,
                hard_vocab_limit=False,
                model_type="unigram",
                normalization_rule_name="identity",
                add_dummy_prefix=False,
                remove_extra_whitespaces=False,
                byte_fallback=True,
                unk_id=0,
                bos_id=-1,
                eos_id=-1,
                pad_id=-1,
                max_sentence_length=2 * _SENTENCE,
                num_threads=1,
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            reason = str(error).strip().rpartition("] ")[2]
            raise SeqgenError(
                f"no {vocabulary or 1000} subwords can be learnt from this text ({reason})",
                remedy="choose another vocabulary (256 bytes, every character, and the subwords), or more text",
            ) from None
        return cls(SentencePieceConfig(base64.b64encode(file.getvalue()).decode(), stop))

    def encode(self, data: bytes) -> Encoded:
        made: list[int] = []
        start = 0
        for stop in _stretches(data):
            for index, run in enumerate(_APART.split(data[start:stop].decode("utf-8", "surrogateescape"))):
                if index % 2:
                    made += [self._bytes[value] for value in run.encode("utf-8", "surrogateescape")]
                elif run:
                    made += self._model.encode(run)
            start = stop
        return Encoded(np.array(made, np.int64))

    def settled(self, data: bytes) -> int:
        stops = _stretches(data)
        last = next(reversed(stops), 0)
        if last and data[last - 1 : last] == b"\n":
            return last
        return stops[-2] if len(stops) > 1 else 0

    def pieces(self, symbols: Symbols, literals: Iterator[bytes], *, first: bool) -> bytes:
        return b"".join(
            next(literals, REPLACEMENT) if symbol == 0 else self._table[symbol]
            for symbol in symbols.tolist()
            if symbol != self.stop
        )

    def sizes(self, encoded: Encoded) -> Symbols:
        lengths = np.array([len(piece) for piece in self._table], np.int64)
        return lengths[encoded.symbols]


def _stretches(data: bytes) -> list[int]:
    """Ends of the stretches that are encoded at once: behind a line feed, or inside a line that is too long."""
    stops, start = [], 0
    while start < len(data):
        stop = data.find(b"\n", start, start + _LONGEST) + 1 or min(start + _LONGEST, len(data))
        if stop < len(data) and data[stop - 1 : stop] != b"\n":
            stop -= utf8.unfinished(data[start:stop])
        stops.append(stop)
        start = stop
    return stops


def _sentences(blocks: Iterable[bytes]) -> Iterator[str]:
    """Sentences that a model is learnt from: lines, long ones in pieces; bytes that are no text are left out."""
    count, pending = 0, b""
    for block in utf8.whole(blocks):
        *lines, pending = (pending + block).split(b"\n")
        if len(pending) > _LONGEST:
            lines, pending = [*lines, pending], b""
        for line in lines:
            for sentence in _pieces(line):
                if count == _SENTENCES:
                    return
                count += 1
                yield sentence
    yield from _pieces(pending)


def _pieces(line: bytes) -> Iterator[str]:
    text = line.decode("utf-8", "ignore").replace("\0", "").replace(_SPACE, "")
    yield from (text[start : start + _SENTENCE // 4] for start in range(0, len(text), _SENTENCE // 4))


def _opened(model: str) -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise SeqgenError("this needs the package sentencepiece", remedy="pip install sentencepiece") from None
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=base64.b64decode(model, validate=True))
    except (binascii.Error, RuntimeError, ValueError) as error:
        raise SeqgenError(f"the subword model cannot be read ({error})", remedy="prepare the data again") from None
