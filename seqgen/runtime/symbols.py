"""The contract of a runtime of symbols: what a consumer needs to run a bundle that reads and draws them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import SOURCE_TOKENIZER, TOKENIZER, SymbolManifest, TranslatorManifest
from seqgen.runtime.contract import BundleRuntime, Floats, State
from seqgen.text import tokenizer
from seqgen.text.tokenizer import Tokenizer

Symbols = npt.NDArray[np.int64]


def tokenizers(bundle: Bundle) -> tuple[Tokenizer, Tokenizer | None]:
    """Tokenizers of a bundle: that of its symbols, and that of its source's where it is a translator.

    Raises:
        SeqgenError: for others than the manifest was exported with.
    """
    manifest = bundle.require(SymbolManifest)
    made = _tokenizer(bundle, TOKENIZER, manifest.tokenizer_signature, manifest.vocab_size)
    if not isinstance(manifest, TranslatorManifest):
        return made, None
    expected = (manifest.source_tokenizer_signature, manifest.source_vocab_size)
    return made, _tokenizer(bundle, SOURCE_TOKENIZER, *expected)


def _tokenizer(bundle: Bundle, file: str, signature: str, vocab_size: int) -> Tokenizer:
    made = tokenizer.read(bundle.path(file))
    if (made.signature, made.vocab_size) != (signature, vocab_size):
        raise SeqgenError(
            f"{bundle.path(file)}: a tokenizer of {made.vocab_size} symbols with the signature {made.signature}, "
            f"where the manifest says {vocab_size} and {signature}",
            remedy="export the bundle again",
        )
    return made


class SymbolRuntime(BundleRuntime):
    """Runtime of one language model or translator.

    The first leaf of the state is the symbol before, ``[B]`` int64: 0 where a stream is fresh. A stream may be cut into
    calls anywhere.

    Attributes:
        tokenizer: what symbols are made of text by. source_tokenizer: of a translator's source, else ``None``.

    Raises:
        SeqgenError: for a bundle of another kind, or of another tokenizer than its manifest says.

    Example:
        >>> runtime = open_symbols(Bundle.open(Path("lm")))                                      # doctest: +SKIP
        >>> logits, state = runtime.step(np.array([[3, 1, 4]]), runtime.init(1))                 # doctest: +SKIP
        >>> made, state = runtime.sample(noise.block(7, 0, 0, 100)[None], state)                 # doctest: +SKIP
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.manifest: SymbolManifest = bundle.require(SymbolManifest)
        self.tokenizer, self.source_tokenizer = tokenizers(bundle)

    @abstractmethod
    def columns(self, source: Symbols, lengths: npt.NDArray[np.int64]) -> Floats:
        """Columns of a translator's sources, one for each target position: ``[B, S], [B] → [B, L, C]``.

        ``L`` is ``⌈a S + b⌉`` (the manifest's ``unfolding``) of the longest source; beyond a source's own are zeros.

        Raises:
            SeqgenError: for a language model, which has no source, and for what does not fit.
        """

    @abstractmethod
    def step(self, x: Symbols, state: State, cond: Floats | None = None) -> tuple[Floats, State]:
        """Distributions of given symbols: ``x [B, T]``, columns ``[B, T, C]`` of a translator → logits ``[B, T, V]``.

        Logits t are those of ``x_t`` given what was before it; after the call ``x_T`` is the symbol before.
        """

    @abstractmethod
    def sample(
        self, u: Floats, state: State, cond: Floats | None = None, temperature: float = 1.0
    ) -> tuple[Symbols, State]:
        """The next symbols: uniforms ``u [B, T]`` in [0, 1), columns ``[B, T, C]`` of a translator → ``[B, T]``.

        Each is drawn by inversion: the smallest whose cumulative probability exceeds its uniform number. The
        temperature divides the logits and is 1e-3 at least, where only near-ties are left to chance.
        """

    def require_fit(self, given: npt.NDArray[Any], state: State, cond: Floats | None) -> None:
        """Refuse symbols or uniforms ``[B, T]``, states and columns that do not belong together, before they are run.

        Raises:
            SeqgenError: for wrong ranks, channels or batch sizes, symbols outside the alphabet, columns of a language
                model or none of a translator.
        """
        if given.ndim != 2:
            raise SeqgenError(f"symbols or uniforms have shape {given.shape}", remedy="give [batch, positions]")
        if any(leaf.shape[0] != given.shape[0] for leaf in state):
            raise SeqgenError(
                f"{given.shape[0]} row(s) of symbols or uniforms for a state of {state[0].shape[0]}",
                remedy="match the batch",
            )
        if given.dtype.kind in "iu":
            self._require_symbols(given, self.manifest.vocab_size)
        elif not ((given >= 0) & (given < 1)).all():
            raise SeqgenError("uniforms are not all in [0, 1)", remedy="draw them with seqgen.noise")
        wanted = (*given.shape, self.manifest.spec.cond_dim) if self.manifest.spec.cond_dim else None
        got = None if cond is None else cond.shape
        if got != wanted:
            raise SeqgenError(f"columns have shape {got}", remedy=f"give {'none' if wanted is None else list(wanted)}")

    def require_source(self, source: Symbols, lengths: npt.NDArray[np.int64]) -> None:
        """Refuse sources ``[B, S]`` with their lengths ``[B]`` that this runtime cannot encode.

        Raises:
            SeqgenError: where there is no encoder, for wrong ranks or lengths, and symbols outside the alphabet.
        """
        manifest = self.bundle.require(TranslatorManifest)
        if source.ndim != 2 or lengths.shape != source.shape[:1]:
            raise SeqgenError(
                f"sources have shape {source.shape}, their lengths {lengths.shape}",
                remedy="give [batch, S] and [batch]",
            )
        if lengths.size and not (lengths.min() >= 1 and lengths.max() <= source.shape[1]):
            raise SeqgenError(
                f"lengths from {lengths.min()} to {lengths.max()} of sources of {source.shape[1]}",
                remedy="give each source one symbol or more",
            )
        self._require_symbols(source, manifest.source_vocab_size)

    @staticmethod
    def _require_symbols(given: npt.NDArray[Any], size: int) -> None:
        if given.size and not (given.min() >= 0 and given.max() < size):
            raise SeqgenError(
                f"symbols from {given.min()} to {given.max()} for an alphabet of {size}",
                remedy="encode the text with the bundle's tokenizer",
            )
