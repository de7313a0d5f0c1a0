"""The recipe's tables: what a codec's symbols tell of speaker and word, and what is left of both when voices change.

``python -m egs.fsdd.vq_vae.conversion CODEC --train DIR --test DIR`` lets a linear probe tell speaker and word from how
often each symbol occurs in a recording, beside cepstra. Then test recordings are decoded in every speaker's voice, and
listeners (logistic regressions over the means and deviations of cepstra) say who speaks and which word it is. They
learn from training recordings as they are, or as the codec makes them of the recording's own speaker. With
``--embeddings`` a model of others listens too (``seqgen eval --judges speaker``): the voice is that speaker's whose
recordings have the embeddings most like the sound's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.analysis.linear_probe import Examples, ProbeConfig, probe
from seqgen.audio import io
from seqgen.audio.resample import resample
from seqgen.bundle import Bundle
from seqgen.data.directory import DataDir, Utterance
from seqgen.metrics.judges import RATE, SpeakerSimilarity
from seqgen.runtime import open_speech_codec
from seqgen.runtime.speech_codec import SpeechCodec
from seqgen.tasks.speech.encoders import Cepstra
from seqgen.tasks.table import Figure, ratio

Floats = npt.NDArray[np.float32]
_EMBEDDED = 120  # recordings whose embeddings are averaged, all speakers together
_MOST_WORDS = 100  # different transcripts that are words to be told; of more they are sentences


def audio_of(one: Utterance) -> Floats:
    """Samples of an utterance."""
    return io.read(one.path, start=one.start, count=one.samples)[0]


def symbols_of(codec: SpeechCodec, audio: Floats) -> npt.NDArray[np.int64]:
    """Symbols of a recording, ``[F, G]``."""
    return np.concatenate(list(codec.encode([audio])))


def spoken_by(codec: SpeechCodec, symbols: npt.NDArray[np.int64], speaker: str, seed: int, samples: int) -> Floats:
    """Symbols decoded in a voice."""
    return np.concatenate(list(codec.decode([symbols], speaker=speaker, seed=seed)))[:samples]


def usage(codec: SpeechCodec, audio: Floats) -> Floats:
    """Shares of each symbol in a recording, ``[G·K]``."""
    hot = np.eye(codec.manifest.classes, dtype=np.float32)[symbols_of(codec, audio)]  # [F, G, K]
    return hot.mean(axis=0).reshape(-1)


@dataclass
class Listener:
    """Logistic regression that tells labels of sounds from their cepstra."""

    cepstra: Cepstra
    labels: npt.NDArray[np.str_] = field(init=False)

    def vector(self, audio: Floats) -> Floats:
        """Means and deviations of the cepstra, ``[C]``."""
        found = self.cepstra.features(np.pad(audio, (0, max(0, 12 * self.cepstra.hop - len(audio)))))
        return np.concatenate([found.mean(axis=0), found.std(axis=0)])

    def learn(self, sounds: Iterable[Floats], labels: Sequence[str]) -> Listener:
        """Learn from sounds with their labels."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self.model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        self.model.fit(np.stack([self.vector(one) for one in sounds]), np.array(labels))
        self.labels = self.model.classes_
        return self

    def heard(self, audio: Floats) -> dict[str, float]:
        """Probabilities of the labels."""
        return dict(zip(self.labels, self.model.predict_proba(self.vector(audio)[None])[0], strict=True))


class Embeddings:
    """Embeddings of voices: how like each speaker's a sound is."""

    def __init__(self, rate: int) -> None:
        self.rate, self.judge = rate, SpeakerSimilarity()

    def vector(self, audio: Floats) -> Floats:
        """Embedding of a sound, ``[C]``."""
        return self.judge.embedding(resample(audio, self.rate, RATE))

    def learn(self, sounds: Iterable[Floats], labels: Sequence[str]) -> Embeddings:
        """The mean embedding of each label's sounds."""
        vectors = np.stack([self.vector(one) for one in sounds])
        self.means = {label: vectors[np.array(labels) == label].mean(axis=0) for label in sorted(set(labels))}
        return self

    def heard(self, audio: Floats) -> dict[str, float]:
        """Cosines with the labels."""
        vector = self.vector(audio)
        return {label: float(vector @ mean / np.linalg.norm(mean)) for label, mean in self.means.items()}


@dataclass(frozen=True)
class Heard:
    """Judgement of one sound by listeners: the voice it has and is to have, and how probable each speaker and word is,
    or how like it."""

    number: int
    source: str
    voice: str
    word: str
    speakers: dict[str, float]
    words: dict[str, float]


def shares(heard: Sequence[Heard]) -> dict[str, Figure]:
    """Percent of sounds that are given to their voice, to the source's, nearer to the voice than to the source's, and
    whose word is told, with intervals over the recordings that they are of."""
    rights = {
        "voice": [max(one.speakers, key=one.speakers.__getitem__) == one.voice for one in heard],
        "source": [max(one.speakers, key=one.speakers.__getitem__) == one.source for one in heard],
        "nearer": [one.speakers[one.voice] > one.speakers[one.source] for one in heard],
    }
    if heard and heard[0].words:
        rights["word"] = [max(one.words, key=one.words.__getitem__) == one.word for one in heard]
    numbers = np.array([one.number for one in heard])
    each = np.bincount(numbers).astype(float)
    kept = each > 0
    return {name: ratio(100 * np.bincount(numbers, right)[kept], each[kept], "%") for name, right in rights.items()}


def probes(codec: SpeechCodec, train: Sequence[Utterance], test: Sequence[Utterance], cepstra: Cepstra,
           targets: Sequence[str]) -> dict[str, dict[str, Figure]]:  # fmt: skip
    """Accuracy of linear probes of the symbols' shares and of mean cepstra, by target."""
    found: dict[str, dict[str, Figure]] = {}
    vectors = {
        "symbols": lambda audio: usage(codec, audio),
        "cepstra": lambda audio: cepstra.features(audio).mean(axis=0),
    }
    for name, vector in vectors.items():
        sides = [np.stack([vector(audio_of(one)) for one in side]) for side in (train, test)]
        for target in targets:
            given, held = (
                Examples(x, np.array([_label(one, target) for one in side]), np.arange(len(x)))
                for x, side in zip(sides, (train, test), strict=True)
            )
            right, count = probe(given, held, ProbeConfig()).by_group()
            found.setdefault(target, {})[name] = ratio(100 * right, count, "%")
    return found


def _label(one: Utterance, target: str) -> str:
    return one.speaker if target == "speaker" else one.text


def _cell(figures: dict[str, Figure], name: str) -> str:
    return f"{figures[name].value:.1f} ± {figures[name].half_width:.1f} %" if name in figures else "–"


def exchanged(codec: SpeechCodec, train: Sequence[Utterance], test: Sequence[Utterance], cepstra: Cepstra,
              targets: Sequence[str], *, matched: int, embeddings: Embeddings | None = None,
              ) -> dict[str, dict[str, dict[str, Figure]]]:  # fmt: skip
    """Shares by what the listeners learnt from and what they hear."""
    every = [one for one in train if one.samples >= codec.manifest.hop]
    some = thinned(every, matched) if matched else []
    own = [_resounded(codec, one, one.speaker, number) for number, one in enumerate(some)]
    sounds = {"recordings": ((audio_of(one) for one in every), every), "decoded recordings": (own, some)}
    made = [
        (number, one, voice, _resounded(codec, one, voice, 7 * number + 1))
        for number, one in enumerate(test)
        for voice in codec.manifest.speakers
    ]
    plain = [(number, one, one.speaker, audio_of(one)) for number, one in enumerate(test)]
    groups = {
        "recordings": plain,
        "own voice": [row for row in made if row[2] == row[1].speaker],
        "another voice": [row for row in made if row[2] != row[1].speaker],
    }
    found: dict[str, dict[str, dict[str, Figure]]] = {}

    def judged(name: str, listeners: Mapping[str, Listener | Embeddings]) -> None:
        found[name] = {group: shares([_heard(listeners, *row) for row in rows]) for group, rows in groups.items()}

    for learnt, (heard, of) in sounds.items():
        if of:
            kept = list(heard)
            judged(learnt, {t: Listener(cepstra).learn(kept, [_label(one, t) for one in of]) for t in targets})
    if embeddings is not None:
        few = thinned(every, _EMBEDDED)
        judged("embeddings", {"speaker": embeddings.learn(map(audio_of, few), [one.speaker for one in few])})
    return found


def _resounded(codec: SpeechCodec, one: Utterance, voice: str, seed: int) -> Floats:
    audio = audio_of(one)
    return spoken_by(codec, symbols_of(codec, audio), voice, seed, len(audio))


def _heard(
    listeners: Mapping[str, Listener | Embeddings], number: int, one: Utterance, voice: str, audio: Floats
) -> Heard:
    words = listeners["word"].heard(audio) if "word" in listeners else {}
    return Heard(number, one.speaker, voice, one.text, listeners["speaker"].heard(audio), words)


def thinned(utterances: list[Utterance], most: int) -> list[Utterance]:
    """About so many of the utterances, evenly; all for 0."""
    return utterances[:: max(1, len(utterances) // most)] if most else utterances


def words(utterances: Iterable[Utterance]) -> bool:
    """True where transcripts are words that can be told apart: a few that come again."""
    return 1 < len({one.text for one in utterances}) <= _MOST_WORDS


def chosen(data: Sequence[Utterance], each: int) -> list[Utterance]:
    """So many recordings of every speaker and transcript, or speaker where transcripts are sentences."""
    told = words(data)
    taken: dict[tuple[str, str], int] = {}
    kept = []
    for one in data:
        key = (one.speaker, one.text if told else "")
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= each:
            kept.append(one)
    return kept


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables, and write all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec", type=Path)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument(
        "--each", type=int, default=1, help="test recordings of every speaker and word that are decoded"
    )
    parser.add_argument("--matched", type=int, default=600, help="training recordings that are decoded (0: none)")
    parser.add_argument("--learnt", type=int, default=0, help="training recordings that are learnt from (0: all)")
    parser.add_argument("--held", type=int, default=0, help="test recordings (0: all)")
    parser.add_argument("--embeddings", action="store_true", help="let resemblyzer listen too (extra `speakers`)")
    parser.add_argument("--report", type=Path)
    given = parser.parse_args(arguments)
    codec = open_speech_codec(Bundle.open(given.codec))
    train, test = DataDir.load(given.train), DataDir.load(given.test)
    hop = codec.manifest.hop
    learnt, held = ([one for one in side if one.samples >= 2 * hop] for side in (train, test))
    learnt, held = thinned(learnt, given.learnt), thinned(held, given.held)
    targets = ["speaker", *(["word"] if words(train) else [])]
    cepstra = Cepstra(codec.manifest.sample_rate, hop)
    embeddings = Embeddings(codec.manifest.sample_rate) if given.embeddings else None
    told = probes(codec, learnt, held, cepstra, targets)
    lines = ["| linear probe of | " + " | ".join(targets) + " |", "|---" * (1 + len(targets)) + "|"]
    for name in ("symbols", "cepstra"):
        lines.append(f"| {name} | " + " | ".join(_cell(told[target], name) for target in targets) + " |")
    few = chosen(held, given.each)
    found = exchanged(codec, learnt, few, cepstra, targets, matched=given.matched, embeddings=embeddings)
    heads = ("listeners learnt from", "they hear", "the voice", "the source's", "nearer to the voice", "the word")
    lines += ["", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for source, groups in found.items():
        for name, figures in groups.items():
            cells = [_cell(figures, one) for one in ("voice", "source", "nearer", "word")]
            cells[2] = cells[2] if name == "another voice" else "–"
            lines.append(f"| {source} | {name} | " + " | ".join(cells) + " |")
    sys.stdout.write("\n".join(lines) + "\n")
    if given.report is not None:
        plain = {"probes": _plain(told), "listeners": {source: _plain(groups) for source, groups in found.items()}}
        given.report.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def _plain(figures: dict[str, dict[str, Figure]]) -> dict[str, dict[str, list[float]]]:
    return {
        name: {one: [figure.value, figure.half_width] for one, figure in inner.items()}
        for name, inner in figures.items()
    }


if __name__ == "__main__":
    main()
