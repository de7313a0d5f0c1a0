"""Comparison of a voice with recordings, beside two that learn nothing: Griffin–Lim, from the same features, and WORLD,
from the recording itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen import noise
from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import Utterance
from seqgen.metrics.griffin_lim import griffin_lim
from seqgen.metrics.judges import Judge, Judgement
from seqgen.metrics.table import UNITS, Summary, evaluate_pair, summarise
from seqgen.metrics.world import copy_synthesis
from seqgen.runtime.contract import Floats
from seqgen.spec import FeatureSpec
from seqgen.tasks.table import Figure, ratio
from seqgen.tasks.vocoder.evaluation import recording

Floats1 = npt.NDArray[np.float32]
Maker = Callable[[Sequence[Floats], Sequence[str], Sequence[int]], list[Floats1]]
RECORDING = "recording"
TITLES = {"voice": "voice", "griffin_lim": "Griffin–Lim", "world": "WORLD"}
_FILES = {RECORDING: "reference", "voice": "vocoded", "griffin_lim": "griffin-lim", "world": "world"}
_ROWS = 16  # utterances that one call of a runtime makes side by side
_NAME, _VALUE = 38, 18  # widths of the table


@dataclass(frozen=True)
class Comparison:
    """Comparison of one held-out utterance.

    Attributes:
        audio: the recording, and what each of ``TITLES`` makes of it.
        scores: of each of ``TITLES``, its distances from the recording.
        judgements: by judge, of the recording and of each of ``TITLES``.
    """

    utterance: Utterance
    audio: Mapping[str, Floats1]
    scores: Mapping[str, Mapping[str, float]]
    judgements: Mapping[str, Mapping[str, Judgement]] = field(default_factory=dict)

    def write(self, folder: Path, rate: int) -> None:
        """Keep the waveforms as WAV files."""
        for kind, audio in self.audio.items():
            io.write(folder / f"{self.utterance.id}.{_FILES[kind]}.wav", audio, rate)


def compare(
    make: Maker,
    spec: FeatureSpec,
    utterances: Sequence[Utterance],
    *,
    judges: Mapping[str, Judge] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterable[Comparison]:
    """Vocode held-out utterances from their own features, and score and judge what comes out."""
    ordered, rate = sorted(utterances, key=lambda one: -one.samples), spec.sample_rate
    for start in range(0, len(ordered), _ROWS):
        group = ordered[start : start + _ROWS]
        references = [recording(one) for one in group]
        features = [log_mel(reference, spec) for reference in references]
        streams = [noise.name_to_stream(one.id) for one in group]
        made = make(features, [one.speaker for one in group], streams)
        for utterance, reference, frames, voiced in zip(group, references, features, made, strict=True):
            audio = {
                RECORDING: reference,
                "voice": voiced[: len(reference)],
                "griffin_lim": griffin_lim(frames, spec, len(reference)),
                "world": copy_synthesis(reference, rate),
            }
            scores = {kind: evaluate_pair(reference, audio[kind], rate) for kind in TITLES}
            judgements = {
                name: {kind: judge.judge(utterance.text, reference, one, rate) for kind, one in audio.items()}
                for name, judge in (judges or {}).items()
            }
            yield Comparison(utterance, audio, scores, judgements)
            progress(1)


@dataclass(frozen=True)
class Compared:
    """Means over a test set: distances by system and name, judgements by judge and system."""

    scores: Mapping[str, Mapping[str, Summary]]
    judgements: Mapping[str, Mapping[str, Figure]]
    units: Mapping[str, str]

    @classmethod
    def of(cls, found: Sequence[Comparison], judges: Mapping[str, Judge]) -> Compared:
        """The means of what was found."""
        scores = {kind: summarise([one.scores[kind] for one in found]) for kind in TITLES}
        judgements = {
            name: {kind: _mean([one.judgements[name][kind] for one in found]) for kind in (RECORDING, *TITLES)}
            for name in judges
        }
        return cls(scores, judgements, {name: judge.unit for name, judge in judges.items()})

    def plain(self) -> dict[str, Any]:
        """Values for the JSON object: ``scores`` are the voice's; beside them ``griffin_lim`` and ``world``."""
        plain: dict[str, Any] = {
            "scores" if kind == "voice" else kind: {name: value._asdict() for name, value in values.items()}
            for kind, values in self.scores.items()
        }
        judged = {
            name: {kind: {"value": one.value, "half_width": one.half_width} for kind, one in figures.items()}
            for name, figures in self.judgements.items()
        }
        return plain | ({"judgements": judged} if judged else {})

    def lines(self) -> list[str]:
        """The table for the eye: distances, then judgements; nothing where nothing was sampled."""
        if not self.scores["voice"]:
            return []
        head = [RECORDING] if self.judgements else []
        blank = [""] * len(head)
        lines = [_row("", [*head, *TITLES.values()])]
        for name, unit in UNITS.items():
            lines.append(_row(f"{name} ({unit})", [*blank, *(str(self.scores[kind][name]) for kind in TITLES)]))
        for name, figures in self.judgements.items():
            lines.append(_row(f"{name} ({self.units[name]})", [str(one) for one in figures.values()]))
        return lines


def _row(name: str, values: Sequence[str]) -> str:
    return f"{name:<{_NAME}}" + "".join(f"{value:>{_VALUE}}" for value in values)


def _mean(found: Sequence[Judgement]) -> Figure:
    defined = [one for one in found if one.weight > 0]
    if not defined:
        return Figure(float("nan"))
    return ratio(np.array([one.amount for one in defined]), np.array([one.weight for one in defined]))
