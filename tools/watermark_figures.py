"""Figures of the watermark for docs/marking.md: how often it is found, how often where it is not, and what it costs.

    python tools/watermark_figures.py found --clips 20 kathleen/ ljspeech-250/ librispeech-mini/
    python tools/watermark_figures.py false-alarms --keys 30 kathleen/ ljspeech-250/ librispeech-mini/ fsdd/
    python tools/watermark_figures.py quality --clips 20 kathleen/ ljspeech-250/ librispeech-mini/

Each folder is a corpus, its recordings in any folders below. Clips begin with a recording each; those too short for a
length are followed by the next.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile

from seqgen.audio.io import pcm16, read
from seqgen.audio.mulaw import decode, encode
from seqgen.audio.resample import resample
from seqgen.audio.watermark import Watermark, chips, watermarked
from seqgen.audio.watermark_detection import FALSE_ALARMS, detect, judged, scores, stretches

Sound = tuple[np.ndarray, int]
SECONDS = (2, 5, 10)


def whole(audio: np.ndarray) -> np.ndarray:
    """16-bit samples, back as float."""
    return pcm16(audio).astype(np.float32) / 32768


def telephone(audio: np.ndarray, rate: int) -> Sound:
    """300 to 3,400 Hz at 8 kHz, µ-law."""
    narrow = resample(audio, rate, 8000)
    spectrum, frequencies = np.fft.rfft(narrow), np.fft.rfftfreq(len(narrow), 1 / 8000)
    spectrum[(frequencies < 300) | (frequencies > 3400)] = 0
    return decode(encode(np.fft.irfft(spectrum, len(narrow)))), 8000


def opus(audio: np.ndarray, rate: int, kilobits: int) -> Sound:
    """Ogg/Opus of so many kbit/s, by libsndfile, whose level 0 stands for 256 kbit/s and 1 for 6."""
    own = rate if rate in (8000, 12000, 16000, 24000, 48000) else 24000
    file = io.BytesIO()
    level = 1 - (kilobits - 6) / 250
    soundfile.write(file, resample(audio, rate, own), own, format="OGG", subtype="OPUS", compression_level=level)
    file.seek(0)
    return soundfile.read(file, dtype="float32")


def noisy(audio: np.ndarray, decibels: float) -> np.ndarray:
    """With white noise of so many dB below the sound's mean power."""
    drawn = np.random.default_rng(len(audio)).standard_normal(len(audio))
    return audio + drawn * np.sqrt(np.mean(audio**2) / 10 ** (decibels / 10))


CHANGES: dict[str, Callable[[np.ndarray, int], Sound]] = {
    "16-bit samples": lambda audio, rate: (whole(audio), rate),
    "8-bit µ-law": lambda audio, rate: (decode(encode(audio)), rate),
    "telephone: 300–3,400 Hz, 8 kHz µ-law": telephone,
    "Opus, 32 kbit/s": lambda audio, rate: opus(audio, rate, 32),
    "Opus, 24 kbit/s": lambda audio, rate: opus(audio, rate, 24),
    "Opus, 16 kbit/s": lambda audio, rate: opus(audio, rate, 16),
    "a quarter as loud": lambda audio, rate: (whole(audio / 4), rate),
    "three times as loud, clipped": lambda audio, rate: (whole(3 * audio), rate),
    "to 16 kHz and back": lambda audio, rate: (whole(resample(resample(audio, rate, 16000), 16000, rate)), rate),
    "without its first 0.31 s": lambda audio, rate: (whole(audio[int(0.3137 * rate) :]), rate),
    "white noise at 30 dB": lambda audio, rate: (whole(noisy(audio, 30)), rate),
    "white noise at 20 dB": lambda audio, rate: (whole(noisy(audio, 20)), rate),
    "0.2 % faster": lambda audio, rate: (whole(resample(audio, 24048, 24000)), rate),
}


def recordings(corpus: Path) -> Iterator[Sound]:
    """Recordings of a corpus in an order without order."""
    files = sorted(path for path in corpus.rglob("*") if path.suffix in (".flac", ".wav"))
    for number in np.random.default_rng(0).permutation(len(files)):
        yield read(files[number])


def clips(corpus: Path, seconds: float, count: int) -> Iterator[Sound]:
    """Clips of that many seconds."""
    waiting: list[np.ndarray] = []
    for audio, rate in recordings(corpus):
        waiting.append(audio)
        size = round(seconds * rate)
        if count and sum(map(len, waiting)) >= size:
            yield np.concatenate(waiting)[:size], rate
            waiting, count = [], count - 1


def found(corpora: list[Path], count: int) -> None:
    """Table of the share of clips whose mark is found, with the mean and the lowest score."""
    print("| | " + " | ".join(f"{seconds} s" for seconds in SECONDS) + " |\n|---" + "|---" * len(SECONDS) + "|")
    marked = {
        seconds: [(watermarked(*clip), clip[1]) for corpus in corpora for clip in clips(corpus, seconds, count)]
        for seconds in SECONDS
    }
    for name, change in CHANGES.items():
        cells = []
        for seconds in SECONDS:
            results = [detect(*change(*clip)) for clip in marked[seconds]]
            reached, present = [one.score for one in results], sum(one.present for one in results)
            cells.append(f"{present} of {len(results)} ({np.mean(reached):.1f}, {min(reached):.1f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def unmarked() -> Iterator[Sound]:
    """Sound that is no speech: silence, a constant, noises, tones, chords with beats, clicks."""
    rate, rng = 16000, np.random.default_rng(0)
    at = np.arange(10 * rate) / rate
    yield np.zeros(len(at)), rate
    yield np.full(len(at), 0.5), rate
    for _ in range(20):
        white = rng.standard_normal(len(at))
        yield white / 8, rate
        yield np.cumsum(white) / np.abs(np.cumsum(white)).max(), rate
        pitches = 110 * 2 ** (rng.integers(0, 36, (20, 3)) / 12)
        notes = np.repeat(pitches, len(at) // 20, axis=0)  # [T, 3]
        tones = np.sin(2 * np.pi * np.cumsum(notes, axis=0)[..., None] / rate * np.arange(1, 9)) / np.arange(1, 9)
        yield tones.sum(axis=(1, 2)) * np.exp(-3 * (at % 0.5)) / 12, rate
        yield np.sign(np.sin(2 * np.pi * rng.uniform(50, 500) * at)), rate
        yield (rng.random(len(at)) < 0.001).astype(np.float64), rate


def false_alarms(corpora: list[Path], keys: int) -> None:
    """Highest scores of what bears no mark, by the public key and by others, and the tail of all places' scores."""
    edges = np.arange(2.0, 6.5, 0.5)
    above, places, chances = np.zeros(len(edges), np.int64), 0, []
    for name, sounds in [*((corpus.name, recordings(corpus)) for corpus in corpora), ("no speech", unmarked())]:
        public, other = [], []
        for sound in sounds:
            seen = stretches(*sound)
            public.append(judged(seen))
            for key in range(1, keys + 1):
                other.append(judged(seen, key))
                each = scores(seen[-1].folded, chips(key))
                above += (each[..., None] >= edges).sum(axis=(0, 1))
                places += each.size
        chances += [one.false_alarm for one in other]
        top = max(one.score for one in public), max(one.score for one in other)
        wrong = sum(one.present for one in (*public, *other))
        print(f"{name}: {len(public)} recordings, {len(other)} trials of other keys, {wrong} false alarms; "
              f"highest {top[0]:.2f} and {top[1]:.2f}", flush=True)  # fmt: skip
    print("| score | share of places | normal |\n|---|---|---|")
    for edge, number in zip(edges, above, strict=True):
        print(f"| {edge} | {number / places:.2e} ({number}) | {math.erfc(edge / math.sqrt(2)) / 2:.2e} |")
    print(f"{places} places; {len(chances)} recordings and keys, of which told at most")
    for limit in (0.1, 0.01, 1e-3, 1e-4, 1e-5, FALSE_ALARMS):
        print(f"{limit:g}: {sum(chance <= limit for chance in chances) / len(chances):.2e}")


def quality(corpora: list[Path], count: int) -> None:
    """What judges say of sound before and after, and what marking and detecting cost."""
    import pystoi

    from seqgen.metrics.judges import OpinionScore, PerceivedQuality

    opinion, perceived = OpinionScore(), PerceivedQuality()
    rows = []
    for audio, rate in itertools.chain.from_iterable(clips(corpus, 5, count) for corpus in corpora):
        marked = whole(watermarked(audio, rate))
        first, second = (resample(one, rate, 16000) for one in (audio, marked))
        rows.append([
            perceived.heard("", first, second).amount,
            pystoi.stoi(audio, marked, rate, extended=True),
            opinion.heard("", first, first).amount,
            opinion.heard("", first, second).amount,
        ])  # fmt: skip
    means = np.mean(rows, axis=0)
    print("PESQ {:.3f}, ESTOI {:.4f}, DistillMOS {:.3f} before, {:.3f} after".format(*means), f"{len(rows)} clips")
    sound = np.random.default_rng(0).standard_normal(240_000).astype(np.float32) / 8
    for size in (240, 1920):
        mark, began = Watermark(24000), time.thread_time()
        for start in range(0, len(sound), size):
            mark.push(sound[start : start + size])
        print(f"marking by {size} samples: {(time.thread_time() - began) / 10:.5f} of real time at 24 kHz")
    began = time.thread_time()
    detect(sound, 24000)
    print(f"detecting: {(time.thread_time() - began) / 10:.5f} of real time")


def main() -> int:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("found", "false-alarms", "quality"))
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--clips", type=int, default=20, help="of each corpus and length (default: %(default)s)")
    parser.add_argument("--keys", type=int, default=30, help="other keys (default: %(default)s)")
    options = parser.parse_args()
    if options.table == "false-alarms":
        false_alarms(options.corpora, options.keys)
    else:
        {"found": found, "quality": quality}[options.table](options.corpora, options.clips)
    return 0


if __name__ == "__main__":
    sys.exit(main())
