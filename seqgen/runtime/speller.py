"""Pronunciations of words by their spelling: a translator of letters into phones, by its graphs alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import SOURCE_TOKENIZER, TOKENIZER
from seqgen.runtime.onnx_session import session
from seqgen.text import tokenizer
from seqgen.text.pronounced.phones import Phones, phones

ENCODER, LOOP, FRESH = "encoder.onnx", "loop.onnx", "initial.safetensors"
FILES = (ENCODER, LOOP, FRESH, SOURCE_TOKENIZER, TOKENIZER)
"""What of a translator's bundle spellings are read with."""
LONGEST = 40
"""Letters of the longest word that is read: English has none that is longer, and its time grows with them."""
_KEPT = 1 << 12  # words whose phones are kept at hand
_VOWELS = frozenset("aeiouy")


class Speller:
    """Speller of one bundle: the likeliest phone at each place, from the first to the one that ends a word.

    Not read are words of one letter, of more than :data:`LONGEST`, without a vowel, or with a character that the
    translator has not learnt, and those for which it finds no end or what is no phone: their phones are empty.

    Each word is read by itself, so that its phones do not depend on others. Threads may share a speller.

    Args:
        bundle: of a translator, or one that has a translator's files. prefix: of their names in it. threads: of
            onnxruntime.

    Raises:
        SeqgenError: where a file is not there, or is no such file.

    Example:
        >>> Speller(Bundle.open(Path("g2p")))(["zorgle"])                                        # doctest: +SKIP
        [('Z', 'AO1', 'R', 'G', 'AH0', 'L')]
    """

    def __init__(self, bundle: Bundle, prefix: str = "", threads: int = 1) -> None:
        self._encoder, self._loop = (session(bundle, prefix + name, threads) for name in (ENCODER, LOOP))
        self._fresh = {f"state.{name}": leaf for name, leaf in bundle.tensors(prefix + FRESH).items()}
        self._source, self._target = (
            tokenizer.read(bundle.path(prefix + one)) for one in (SOURCE_TOKENIZER, TOKENIZER)
        )
        if self._target.stop is None:
            raise SeqgenError(
                f"{bundle.directory}: a translator whose targets do not end", remedy="give one of egs/cmudict/g2p"
            )
        self._kept = functools.lru_cache(_KEPT)(self._read)

    def __call__(self, words: Sequence[str]) -> list[Phones]:
        """Phones of words in lower case, empty for what is not read."""
        return [self._kept(word) if 1 < len(word) <= LONGEST and not _VOWELS.isdisjoint(word) else () for word in words]

    def _read(self, word: str) -> Phones:
        symbols, unknown = self._source.encode(word.encode())
        if unknown or not len(symbols):
            return ()
        feeds = {"source": symbols[None], "lengths": np.array([len(symbols)])}
        (columns,) = self._encoder.run(None, feeds)
        # In the middle of what the likeliest symbol has of the unit interval, as good as all of it at this temperature.
        given = {
            "columns": columns,
            "uniforms": np.full(columns.shape[:2], 0.5, np.float32),
            "temperature": np.zeros((), np.float32),
        }
        drawn = self._loop.run(None, given | self._fresh)[0][0].tolist()
        if self._target.stop not in drawn:
            return ()
        try:
            return phones(self._target.decode(drawn[: drawn.index(self._target.stop)]).decode("utf-8", "replace"))
        except SeqgenError:
            return ()
