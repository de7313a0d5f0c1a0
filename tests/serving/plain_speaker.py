"""A voice that reads without networks: prosody and frames are plain functions of phones, noise and place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from seqgen.runtime.contract import Floats
from seqgen.runtime.speaker import Integers, Reals, Sentence, Speaker, vocoded
from seqgen.text.pronounced.lexicon import Lexicon
from seqgen.text.pronounced.pronouncer import Pronouncer
from serving.streams.vocoder import StreamingVocoder
from tests.serving.fakes import fake_vocoder


class PlainSpeaker(Speaker):
    """Speaker over the fake vocoder, whose samples depend on frames, look-ahead and all noise before them."""

    def __init__(self, vocoder: StreamingVocoder) -> None:
        lexicon = Lexicon.of_lines(["a AH0", "tea T IY1", "yes Y EH1 S", "the DH AH0"])
        super().__init__(vocoder.features, Pronouncer(lexicon), (1, 1))
        self._vocoder = vocoder

    @property
    def look_ahead(self) -> int:
        return self._vocoder.alignment.look_ahead

    def prosody(self, tokens: Integers, u: Floats, temperature: float) -> Reals:
        noise = u.reshape(len(tokens), 3)
        return np.stack([np.log(1 + tokens % 3 + temperature * noise[:, 0]), noise[:, 1], noise[:, 2]], axis=1)

    def numbers(self, sentence: Sentence, u: Floats, temperature: float) -> Iterator[Floats]:
        owner = np.repeat(sentence.tokens, sentence.durations)
        frames = -(owner[:, None] % 7) + temperature * u.reshape(-1, self.spec.bands)
        for start in range(0, len(frames), 5):
            yield frames[start : start + 5].astype(np.float32)

    def sound(self, blocks: Iterable[Floats], seed: int = 0) -> Iterator[Floats]:
        return vocoded(self._vocoder.runtime, blocks, seed)


def plain_voice(name: str = "ann", batch: int = 16) -> StreamingVocoder:
    """A voice that reads; its speaker is reached as ``.reader``."""
    vocoder = fake_vocoder(name=name, batch=batch)
    vocoder.manifest.kind = "voice"
    vocoder.reader = PlainSpeaker(vocoder)
    return vocoder
