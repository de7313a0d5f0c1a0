"""Voices that speak: a bundle's networks by onnxruntime and its vocoder by any runtime, without torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from seqgen.manifest import VoiceManifest
from seqgen.runtime.contract import Floats, Runtime
from seqgen.runtime.onnx_session import session
from seqgen.runtime.speaker import PROSODY, Integers, Reals, Sentence, Speaker, places, vocoded
from seqgen.runtime.speller import LOOP, Speller
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.pronouncer import Pronouncer

LANGUAGE = "en"
"""Language of the texts that are read, by BCP 47."""
LEXICON = "english.lexicon"
GRAPHS = PROSODY_GRAPH, COLUMNS_GRAPH, FRAMES_GRAPH = "prosody.onnx", "columns.onnx", "frames.onnx"
FRESH = "frames_initial.safetensors"
GOLDEN = "speech_golden.safetensors"
"""Files of the lexicon, of the networks, of the state before a sentence, and of what they make of some phones."""
SPELLING, SPELLING_GOLDEN = "spelling_", "spelling_golden.json"
"""Prefix of a translator's files where the bundle has one of letters into phones, and words with what it makes."""
_FIRST, _TOGETHER = 8, 32  # frames of the first calls, so that sound starts soon, and of the others


class Voice(Speaker):
    """Speaker of one bundle. A word that its lexicon does not have is read by the bundle's translator of spellings,
    where it has one that can, else letter by letter.

    Args:
        runtime: that executes its vocoder. own: pronunciations of a user, which go before its lexicon. threads: of
            onnxruntime.

    Example:
        >>> bundle = Bundle.open(Path("voice"))                                              # doctest: +SKIP
        >>> voice = Voice(open_runtime(bundle))                                              # doctest: +SKIP
        >>> audio = np.concatenate(list(voice.speak("Any sentence, by Dr. Smith.")))         # doctest: +SKIP
    """

    def __init__(self, runtime: Runtime, *, own: Lexicon | None = None, threads: int = 1) -> None:
        bundle = runtime.bundle
        self.manifest = bundle.require(VoiceManifest)
        self.runtime, self.bundle = runtime, bundle
        own = own or Lexicon({})
        lexicon = Lexicon.open(bundle.path(LEXICON))
        spells = any(entry.name == SPELLING + LOOP for entry in self.manifest.files)
        self.speller = Speller(bundle, SPELLING, threads) if spells else None
        pronouncer = Pronouncer(lexicon, {word: own.find(word)[0] for word in own}, self.speller)
        uniforms = (self.manifest.prosody_uniforms, self.manifest.frame_uniforms)
        super().__init__(self.manifest.features, pronouncer, uniforms)
        self._prosody, self._columns, self._frames = (session(bundle, name, threads) for name in GRAPHS)
        self._fresh = bundle.tensors(FRESH)

    @property
    def look_ahead(self) -> int:
        return self.manifest.spec.alignment.look_ahead

    def prosody(self, tokens: Integers, u: Floats, temperature: float) -> Reals:
        feeds = {"tokens": tokens[None], "uniforms": u[None], "temperature": np.asarray(temperature, np.float32)}
        (made,) = self._prosody.run(["numbers"], feeds)
        drawn: Reals = made.reshape(len(tokens), PROSODY).astype(np.float64)
        return drawn

    def numbers(self, sentence: Sentence, u: Floats, temperature: float) -> Iterator[Floats]:
        (columns,) = self._columns.run(["columns"], {"tokens": sentence.tokens[None]})
        owner = np.repeat(np.arange(len(sentence.tokens)), sentence.durations)
        given = np.concatenate([columns[0, owner], places(sentence)], axis=1)  # [F, C + 4]
        late, bands = self.manifest.frames_ahead, self.spec.bands
        given = np.pad(given, ((0, late), (0, 0)))
        # What comes out first belongs to frames before the sentence, and is thrown away with its noise.
        u = np.pad(u, ((late * bands, 0), (0, 0)))
        state = self._fresh
        names = ["numbers", *(f"state.{name}.after" for name in state)]
        edges = [*range(0, min(_TOGETHER, len(given)), _FIRST), *range(_TOGETHER, len(given), _TOGETHER), len(given)]
        for start, stop in itertools.pairwise(edges):
            block = given[start:stop]
            own = u[start * bands : (start + len(block)) * bands]
            feeds = {"given": block[None], "uniforms": own[None], "temperature": np.asarray(temperature, np.float32)}
            made, *after = self._frames.run(names, feeds | {f"state.{name}": leaf for name, leaf in state.items()})
            state = dict(zip(state, after, strict=True))
            yield made.reshape(-1, bands)[max(0, late - start) :]

    def sound(self, blocks: Iterable[Floats], seed: int = 0) -> Iterator[Floats]:
        return vocoded(self.runtime, blocks, seed)
