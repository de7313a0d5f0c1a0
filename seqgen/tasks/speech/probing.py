"""Linear probes of encoders of speech: one table of what is read off an encoder's features and off baselines'.

Speaker and digit are told of a whole utterance from the mean of its vectors, a phone from the vector of a frame, and so
the pitch of a voiced one, by regression. Frames that see zeros from before the start of a recording are left out where
there are others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from seqgen.analysis.linear_probe import Examples, ProbeConfig, parted, probe
from seqgen.analysis.ridge_probe import ridge
from seqgen.analysis.vector_files import VectorFiles
from seqgen.audio import io
from seqgen.audio.pitch import Track, f0, frame_pitch
from seqgen.data import ctm
from seqgen.data.ctm import Alignment
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.runtime.extractor import Extractor, Floats
from seqgen.tasks.extraction import NetworkFeatures
from seqgen.tasks.speech.encoders import Cepstra, Opened
from seqgen.tasks.speech.supervision import ROWS, supervised
from seqgen.tasks.speech.vectors import summary
from seqgen.tasks.table import Figure, Table, ratio

Target = Literal["speaker", "digit", "phone", "pitch"]
TARGETS: tuple[Target, ...] = get_args(Target)
BASELINES = MFCC, RANDOM, SUPERVISED = "mfcc", "random", "supervised"
"""Names of the rows that stand beside those of the encoders."""
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Probing:
    """Options of a table of probes.

    Attributes:
        target: what is read off. layer: of the encoders ("": of each its main one). config: of the probe.
        supervised_steps: of the training of the supervised baseline (0: none).
        baselines: whether there are any. split: share of the training examples where one data directory is parted.
        alignment: phones of utterances.
    """

    target: Target
    layer: str = ""
    config: ProbeConfig = field(default_factory=ProbeConfig)
    supervised_steps: int = 300
    baselines: bool = True
    split: float = 0.8
    alignment: Alignment = field(default_factory=dict)

    @property
    def per_frame(self) -> bool:
        """Kind of the examples: each frame is one, and not each utterance."""
        return self.target in ("phone", "pitch")


@dataclass(frozen=True)
class _Sides:
    """Utterances for training and for the test, and their pitch where it is told."""

    train: Sequence[Utterance]
    test: Sequence[Utterance]
    pitch: Mapping[str, Track] = field(default_factory=dict)


def table(
    encoders: Sequence[Opened], data: Path, train: Path | None, options: Probing, vectors: Path | None = None
) -> Table:
    """Accuracies of the encoders' features and of the baselines', or shares of the variance of pitch that they explain,
    each with a 95 % interval over test utterances.

    Baselines: ``mfcc``; ``random``, the first encoder's network with fresh weights; ``supervised``, that network
    trained end to end by the labels, where it is a stream. All are judged by the same probe. What was probed of whole
    utterances goes into the folder ``vectors`` (:class:`~seqgen.analysis.vector_files.VectorFiles`), where there is
    one.

    Raises:
        SeqgenError: for data of another rate, without labels or utterances, or too short.
    """
    _require_alike(encoders)
    sides = _sides(DataDir.load(data), None if train is None else DataDir.load(train), encoders, options)
    figures: dict[str, Figure] = {}
    record: dict[str, Any] = {"target": options.target, "layer": options.layer, "data": str(data),
                              "train": None if train is None else str(train)}  # fmt: skip
    further: dict[str, Any] = {}
    counts = {}
    judge = ridge if options.target == "pitch" else probe
    files = None if vectors is None else VectorFiles(vectors, [*BASELINES, *(one.name for one in encoders)])
    for name, extractor in _extractors(encoders, sides, options):
        trained, tested = (_examples(side, extractor, options, sides.pitch) for side in (sides.train, sides.test))
        found = judge(trained, tested, options.config)
        if files is not None:
            files.write(name, trained, tested)
        amounts, weights = found.by_group()
        figures[name] = ratio(100 * amounts, weights, "%")
        further[name] = {"channels": trained.x.shape[1], "layer": extractor.layer, "training": 100 * found.training,
                         "test_examples": len(tested.x), "converged": found.converged}  # fmt: skip
        counts = _counts(trained, tested, options)
        if not found.converged:
            sys.stderr.write(f"{name}: the probe did not converge in {options.config.iterations} iterations\n")
    if files is not None:
        labels = np.concatenate([trained.labels, tested.labels])
        files.write_known(labels, np.stack([summary(one) for one in (*sides.train, *sides.test)]))
    layers = " and ".join(dict.fromkeys(one.extractor.layer for one in encoders))
    return Table(_title(counts, sides, options, layers), figures, record | counts, further={"probes": further},
                 lines=_lines(further, options))  # fmt: skip


def _require_alike(encoders: Sequence[Opened]) -> None:
    for one in encoders:
        ours, first = one.extractor.sample_rate, encoders[0].extractor.sample_rate
        if ours != first:
            raise SeqgenError(
                f"{one.name} has {ours} Hz, {encoders[0].name} {first} Hz",
                remedy="probe encoders of one rate at a time",
            )


def _sides(data: DataDir, train: DataDir | None, encoders: Sequence[Opened], options: Probing) -> _Sides:
    usable = [_usable(one, encoders, options) for one in (data, *([] if train is None else [train]))]
    if train is not None:
        sides = usable[1], usable[0]
    else:
        labels = [one.speaker if options.per_frame else _label(one, options.target) for one in usable[0]]
        sides = parted(usable[0], labels, options.split)
    return _Sides(*sides, _pitch([*sides[0], *sides[1]]) if options.target == "pitch" else {})


def _pitch(utterances: Sequence[Utterance]) -> dict[str, Track]:
    """Pitch of each utterance.

    Raises:
        SeqgenError: where all of them are unvoiced.
    """
    found = {one.id: f0(_audio(one), one.rate) for one in utterances}
    if not any(voiced.any() for _, voiced in found.values()):
        raise SeqgenError("no frame of these recordings is voiced", remedy="probe pitch on recordings of speech")
    return found


def _audio(utterance: Utterance) -> Floats:
    return io.read(utterance.path, start=utterance.start, count=utterance.samples)[0]


def _usable(data: DataDir, encoders: Sequence[Opened], options: Probing) -> list[Utterance]:
    """Utterances that have a frame of every encoder, and a label or an alignment.

    Raises:
        SeqgenError: where none has.
    """
    data.require_rate(encoders[0].extractor.sample_rate)
    longest = max(one.extractor.hop for one in encoders)
    kept = [one for one in data if one.samples >= longest]
    if options.target == "phone":
        kept = [one for one in kept if one.id in options.alignment]
    elif options.target == "digit" and not all(one.text for one in kept):
        raise SeqgenError(f"{data.path}: no transcripts", remedy="probe another target, or add the file text")
    left = sorted({one.id for one in data} - {one.id for one in kept})
    if not kept:
        reason = "is aligned" if options.target == "phone" else f"has {longest} samples"
        raise SeqgenError(f"{data.path}: no utterance {reason}", remedy="check the data, and with phones --ctm")
    if left:
        names = ", ".join(left[:_SHOWN]) + (", …" if len(left) > _SHOWN else "")
        sys.stderr.write(f"{data.path}: {len(left)} of {len(data)} utterances are left out: too short, or not aligned "
                         f"({names})\n")  # fmt: skip
    return kept


def _label(utterance: Utterance, target: Target) -> str:
    return utterance.speaker if target == "speaker" else utterance.text


def _extractors(encoders: Sequence[Opened], sides: _Sides, options: Probing) -> Iterator[tuple[str, Extractor]]:
    """Names and extractors of all rows, baselines first."""
    first, seed = encoders[0], options.config.seed
    if options.baselines:
        yield MFCC, Cepstra(first.extractor.sample_rate, first.extractor.hop)
        yield RANDOM, first.fresh(seed)
    if options.baselines and options.supervised_steps and not options.per_frame:
        yield from _supervised(first, sides, options)
    for one in encoders:
        yield one.name, one.extractor


def _supervised(first: Opened, sides: _Sides, options: Probing) -> Iterator[tuple[str, Extractor]]:
    """The first encoder's network trained by the labels, where it is a stream, which is what labels can train."""
    fresh = first.fresh(options.config.seed)
    if fresh.stream is None:
        sys.stderr.write(f"{first.name} has no stream that labels could train: no row '{SUPERVISED}'\n")
        return
    labels = [_label(one, options.target) for one in sides.train]
    trained = supervised(fresh.stream, sides.train, labels, sample_rate=fresh.sample_rate,
                         steps=options.supervised_steps, seed=options.config.seed)  # fmt: skip
    yield SUPERVISED, NetworkFeatures(trained, fresh.layer, fresh.sample_rate)


def _examples(
    utterances: Sequence[Utterance], extractor: Extractor, options: Probing, pitch: Mapping[str, Track]
) -> Examples:
    vectors, labels, groups = [], [], []
    for number, utterance in enumerate(utterances):
        features = extractor.features(_audio(utterance))
        if options.per_frame:
            x, mine = _of_frames(utterance, features, extractor, options, pitch)
        else:
            x, mine = _of_utterance(utterance, features, extractor, options)
        vectors.append(x)
        labels.append(mine)
        groups.append(np.full(len(x), number))
    return Examples(np.concatenate(vectors), np.concatenate(labels), np.concatenate(groups))


def _of_utterance(utterance: Utterance, features: Any, extractor: Extractor, options: Probing) -> tuple[Any, Any]:
    return extractor.heard(features).mean(axis=0, keepdims=True), np.array([_label(utterance, options.target)])


def _of_frames(
    utterance: Utterance, features: Any, extractor: Extractor, options: Probing, pitch: Mapping[str, Track]
) -> tuple[Any, Any]:
    """Vectors of the frames that have a phone, or are voiced, with their phones or pitch."""
    if options.target == "phone":
        seconds = extractor.hop / utterance.rate
        labels: Any = ctm.frame_labels(options.alignment[utterance.id], len(features), seconds)
        kept = labels != ""
    else:
        labels = frame_pitch(pitch[utterance.id], len(features), extractor.hop, utterance.rate)
        kept = np.isfinite(labels)
    if len(features) > extractor.latency:
        kept[: extractor.latency] = False
    return features[kept], labels[kept]


def _counts(train: Examples, test: Examples, options: Probing) -> dict[str, Any]:
    found: dict[str, Any] = {
        "training_examples": min(len(train.x), options.config.most),
        "test_examples": len(test.x),
    }
    if options.target == "pitch":
        return found | {"octaves": float(np.std(test.labels))}
    known, share = np.unique(train.labels, return_counts=True)
    most = known[share.argmax()]
    return found | {
        "labels": len(known),
        "untrained": float(100 * np.mean(~np.isin(test.labels, known))),
        "commonest": float(100 * np.mean(test.labels == most)),
    }


def _title(counts: Mapping[str, Any], sides: _Sides, options: Probing, layers: str) -> str:
    what = "frames" if options.per_frame else "utterances"
    over = f" of {len(sides.train)} and {len(sides.test)} utterances" if options.per_frame else ""
    examples = f"{counts['training_examples']} training and {counts['test_examples']} test {what}{over}"
    if options.target == "pitch":
        return (
            f"pitch from {layers}, each voiced frame: {examples}; its standard deviation is {counts['octaves']:.2f} "
            "octaves, and this is the share of its variance that is explained"
        )
    return (
        f"{options.target} from {layers}, {'each frame' if options.per_frame else 'mean over the utterance'}: "
        f"{counts['labels']} labels, {examples}; the commonest label alone gives {counts['commonest']:.1f} %"
    )


def _lines(probes: Mapping[str, Mapping[str, Any]], options: Probing) -> tuple[str, ...]:
    lines = [f"{name}: {one['channels']} channels, {one['training']:.1f} % on the training examples"
             for name, one in probes.items()]  # fmt: skip
    if SUPERVISED in probes:
        lines.append(
            f"supervised: the encoder trained end to end by these labels, {options.supervised_steps} steps of {ROWS} "
            "stretches, then probed as the others are"
        )
    return tuple(lines)
