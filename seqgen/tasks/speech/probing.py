"""Linear probes of encoders of speech: one table of what is read off an encoder's features and off baselines'.

Speaker and digit are told of a whole utterance from the mean of its vectors, a phone from the vector of a frame. Frames
that see zeros from before the start of a recording are left out where there are others.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqgen.analysis.linear_probe import Examples, ProbeConfig, parted, probe
from seqgen.audio import io
from seqgen.data import ctm
from seqgen.data.ctm import Alignment
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.tasks.speech.encoders import Cepstra, Extractor, NetworkFeatures, Opened
from seqgen.tasks.speech.supervision import ROWS, supervised
from seqgen.tasks.table import Figure, Table, ratio

Target = Literal["speaker", "digit", "phone"]
TARGETS: tuple[Target, ...] = ("speaker", "digit", "phone")
_SHOWN = 5  # names in a message


@dataclass(frozen=True)
class Probing:
    """Options of a table of probes.

    Attributes:
        target: what is read off. layer: of the encoders. config: of the probe.
        supervised_steps: of the training of the supervised baseline (0: none).
        baselines: whether there are any. split: share of the training examples where one data directory is parted.
        alignment: phones of utterances.
    """

    target: Target
    layer: str = "context"
    config: ProbeConfig = field(default_factory=ProbeConfig)
    supervised_steps: int = 300
    baselines: bool = True
    split: float = 0.8
    alignment: Alignment = field(default_factory=dict)

    @property
    def per_frame(self) -> bool:
        """Kind of the examples: each frame is one, and not each utterance."""
        return self.target == "phone"


@dataclass(frozen=True)
class _Sides:
    """Utterances for training and for the test."""

    train: Sequence[Utterance]
    test: Sequence[Utterance]


def table(encoders: Sequence[Opened], data: Path, train: Path | None, options: Probing) -> Table:
    """Accuracies of the encoders' features and of the baselines', each with a 95 % interval over test utterances.

    Baselines: ``mfcc``; ``random``, the first encoder's network with fresh weights; ``supervised``, that network
    trained end to end by the labels. All are judged by the same probe.

    Raises:
        SeqgenError: for data of another rate, without labels or utterances, or too short.
    """
    first = encoders[0]
    _require_alike(encoders)
    sides = _sides(DataDir.load(data), None if train is None else DataDir.load(train), first, options)
    figures: dict[str, Figure] = {}
    record: dict[str, Any] = {"target": options.target, "layer": options.layer, "data": str(data),
                              "train": None if train is None else str(train)}  # fmt: skip
    further: dict[str, Any] = {}
    counts = {}
    for name, extractor in _extractors(encoders, sides, options):
        trained, tested = (_examples(side, extractor, options) for side in (sides.train, sides.test))
        found = probe(trained, tested, options.config)
        figures[name] = ratio(100 * found.by_group()[0], found.by_group()[1], "%")
        further[name] = {"channels": trained.x.shape[1], "training": 100 * found.training, "converged": found.converged}
        counts = _counts(trained, tested, options)
        if not found.converged:
            sys.stderr.write(f"{name}: the probe did not converge in {options.config.iterations} iterations\n")
    return Table(_title(counts, sides, options), figures, record | counts, further={"probes": further},
                 lines=_lines(further, options))  # fmt: skip


def _require_alike(encoders: Sequence[Opened]) -> None:
    for one in encoders:
        if one.sample_rate != encoders[0].sample_rate:
            raise SeqgenError(
                f"{one.name} has {one.sample_rate} Hz, {encoders[0].name} {encoders[0].sample_rate} Hz",
                remedy="probe encoders of one rate at a time",
            )


def _sides(data: DataDir, train: DataDir | None, encoder: Opened, options: Probing) -> _Sides:
    usable = [_usable(one, encoder, options) for one in (data, *([] if train is None else [train]))]
    if train is not None:
        return _Sides(usable[1], usable[0])
    labels = [one.speaker if options.per_frame else _label(one, options.target) for one in usable[0]]
    return _Sides(*parted(usable[0], labels, options.split))


def _usable(data: DataDir, encoder: Opened, options: Probing) -> list[Utterance]:
    """Utterances that have a frame, and a label or an alignment.

    Raises:
        SeqgenError: where none has.
    """
    data.require_rate(encoder.sample_rate)
    kept = [one for one in data if one.samples >= encoder.extractor.hop]
    if options.per_frame:
        kept = [one for one in kept if one.id in options.alignment]
    elif options.target == "digit" and not all(one.text for one in kept):
        raise SeqgenError(f"{data.path}: no transcripts", remedy="probe another target, or add the file text")
    left = sorted({one.id for one in data} - {one.id for one in kept})
    if not kept:
        reason = "is aligned" if options.per_frame else f"has {encoder.extractor.hop} samples"
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
        yield "mfcc", Cepstra(first.sample_rate, first.extractor.hop)
        yield "random", NetworkFeatures(first.fresh(seed), options.layer)
    if options.baselines and options.supervised_steps and not options.per_frame:
        labels = [_label(one, options.target) for one in sides.train]
        trained = supervised(first.fresh(seed), sides.train, labels, sample_rate=first.sample_rate,
                             steps=options.supervised_steps, seed=seed)  # fmt: skip
        yield "supervised", NetworkFeatures(trained, options.layer)
    for one in encoders:
        yield one.name, one.extractor


def _examples(utterances: Sequence[Utterance], extractor: Extractor, options: Probing) -> Examples:
    made = _of_frames if options.per_frame else _of_utterance
    vectors, labels, groups = [], [], []
    for number, utterance in enumerate(utterances):
        audio, _ = io.read(utterance.path, start=utterance.start, count=utterance.samples)
        features = extractor.features(audio)
        x, mine = made(utterance, features, extractor, options)
        vectors.append(x)
        labels.append(mine)
        groups.append(np.full(len(x), number))
    return Examples(np.concatenate(vectors), np.concatenate(labels), np.concatenate(groups))


def _of_utterance(utterance: Utterance, features: Any, extractor: Extractor, options: Probing) -> tuple[Any, Any]:
    seen = features[extractor.latency :] if len(features) > extractor.latency else features
    return seen.mean(axis=0, keepdims=True), np.array([_label(utterance, options.target)])


def _of_frames(utterance: Utterance, features: Any, extractor: Extractor, options: Probing) -> tuple[Any, Any]:
    labels = ctm.frame_labels(options.alignment[utterance.id], len(features), extractor.hop / utterance.rate)
    kept = labels != ""
    if len(features) > extractor.latency:
        kept[: extractor.latency] = False
    return features[kept], labels[kept]


def _counts(train: Examples, test: Examples, options: Probing) -> dict[str, Any]:
    known, share = np.unique(train.labels, return_counts=True)
    most = known[share.argmax()]
    return {
        "training_examples": min(len(train.x), options.config.most),
        "test_examples": len(test.x),
        "labels": len(known),
        "untrained": float(100 * np.mean(~np.isin(test.labels, known))),
        "commonest": float(100 * np.mean(test.labels == most)),
    }


def _title(counts: Mapping[str, Any], sides: _Sides, options: Probing) -> str:
    what = "frames" if options.per_frame else "utterances"
    over = f" of {len(sides.train)} and {len(sides.test)} utterances" if options.per_frame else ""
    return (
        f"{options.target} from {options.layer}, {'each frame' if options.per_frame else 'mean over the utterance'}: "
        f"{counts['labels']} labels, {counts['training_examples']} training and {counts['test_examples']} test "
        f"{what}{over}; the commonest label alone gives {counts['commonest']:.1f} %"
    )


def _lines(probes: Mapping[str, Mapping[str, Any]], options: Probing) -> tuple[str, ...]:
    lines = [f"{name}: {one['channels']} channels, {one['training']:.1f} % on the training examples"
             for name, one in probes.items()]  # fmt: skip
    if "supervised" in probes:
        lines.append(
            f"supervised: the encoder trained end to end by these labels, {options.supervised_steps} steps of {ROWS} "
            "stretches, then probed as the others are"
        )
    return tuple(lines)
