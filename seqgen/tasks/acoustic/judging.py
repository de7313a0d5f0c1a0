"""Judging of what is spoken: by those who listen to it beside the recordings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seqgen import registry
from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.audio.resample import resample
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.metrics.judges import RATE, Judge, Judgement
from seqgen.runtime.speaker import Speaker
from seqgen.tasks.contract import Evaluation
from seqgen.tasks.features.batches import Frames
from seqgen.tasks.table import Figure, ratio
from seqgen.tasks.vocoder.evaluation import recording


class Spoken(NamedTuple):
    """Text with its sounds by kind: ``spoken``, and where somebody has read it ``recording`` and ``copied``, the sound
    of the recording's own frames."""

    name: str
    text: str
    sounds: Mapping[str, Frames]


def judged(speaker: Speaker, place: Path, options: Evaluation) -> dict[str, Figure]:
    """Figures ``JUDGE_KIND`` of the texts of a data directory's recordings, or of a file's lines; sounds are kept where
    there is a folder.

    Raises:
        SeqgenError: for a judge that compares sample by sample, for nothing to speak, and for what speaking lacks.
    """
    kinds: dict[str, type[Judge]] = {name: registry.JUDGES.load(name) for name in options.judges}
    if "pesq" in kinds:
        raise SeqgenError("pesq compares sample by sample, a text is spoken in its own time", remedy="leave it out")
    judges = {name: kind() for name, kind in kinds.items()}
    found: dict[str, list[Judgement]] = {}
    for one in _spoken(speaker, place, options):
        for kind, sound in one.sounds.items():
            if options.keep is not None:
                io.write(options.keep / f"{one.name}.{kind}.wav", sound, speaker.spec.sample_rate)
            heard = resample(sound, speaker.spec.sample_rate, RATE)
            reference = resample(one.sounds.get("recording", sound), speaker.spec.sample_rate, RATE)
            for name, judge in judges.items():
                found.setdefault(f"{name}_{kind}", []).append(judge.heard(one.text, reference, heard))
    return {name: _mean(judgements, judges[name.split("_")[0]].unit) for name, judgements in found.items()}


def _spoken(speaker: Speaker, place: Path, options: Evaluation) -> Iterator[Spoken]:
    """Texts with their sounds, one after the other."""
    drawn = (options.temperature, options.seed)
    if options.texts is not None:
        for number, line in enumerate(_lines(options.texts)[: options.limit or None], 1):
            yield Spoken(f"{number:04}", line, {"spoken": _whole(speaker.speak(line, *drawn))})
        return
    data = DataDir.load(place)
    data.require_rate(speaker.spec.sample_rate)
    said = [one for one in data if one.text][: options.limit or None]
    if not said:
        raise SeqgenError(f"{place} has no transcripts to speak", remedy="add its file 'text', or give --texts")
    for one in said:
        audio = recording(one)
        copied = _whole(speaker.sound([log_mel(audio, speaker.spec)], options.seed))[: len(audio)]
        spoken = _whole(speaker.speak(one.text, *drawn))
        yield Spoken(one.id, one.text, {"recording": audio, "copied": copied, "spoken": spoken})


def _whole(blocks: Iterable[Frames]) -> Frames:
    return np.concatenate(list(blocks))


def _lines(path: Path) -> list[str]:
    """Lines of a file of texts that are not blank."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise SeqgenError(f"{path}: {error.strerror or 'cannot be read'}", remedy="give a file of texts") from None
    except UnicodeDecodeError:
        raise SeqgenError(f"{path} is not UTF-8", remedy="save it as UTF-8, a text on each line") from None
    if not any(lines):
        raise SeqgenError(f"{path} has no text", remedy="give a text on each line")
    return [line for line in lines if line]


def _mean(found: list[Judgement], unit: str) -> Figure:
    amounts, weights = np.array(found, np.float64).T
    return ratio(amounts, weights, unit) if weights.any() else Figure(float("nan"), unit=unit)
