"""Units of speech that models of log-mel frames find by themselves, against phones, words and changes of the sound.

``python -m egs.fsdd.svae.units OUT PHONES EXPERIMENT ...``: the states of conjugate priors in the frames of the test
recordings, beside as many clusters of frames by k-means and as many boundaries at equal distances as the first of the
models has. PHONES is a CTM file of the test recordings (``seqgen data phones``). Printed is a table, written are
OUT.json and OUT.png.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from seqgen.data import ctm
from seqgen.data.directory import DataDir
from seqgen.errors import SeqgenError
from seqgen.metrics.clustering import Labels, boundaries, normalised_mutual_information, purity
from seqgen.spec import FeatureSpec
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.features.batches import frames_of

_NEAR = 1  # frames that a boundary may be off
_USED = 0.01  # share of the frames that makes a state count
_SHOWN = 3  # recordings in the picture
_COLOURS = 20  # more labels than these share them
States = Mapping[str, Labels]
"""The state of every frame of each utterance."""


class Recordings(NamedTuple):
    """Test recordings.

    Attributes:
        frames: log-mel frames, centred, by utterance. words: what is said. phones: of each frame, -1 where none is
            known. spec: of the frames.
    """

    frames: Mapping[str, npt.NDArray[np.float32]]
    words: Mapping[str, str]
    phones: States
    spec: FeatureSpec


def recordings(data: DataDir, spec: FeatureSpec, alignment: ctm.Alignment) -> Recordings:
    """The recordings of a data directory with the phones of their frames, which are those of a frame's middle."""
    frames = {one.id: frames_of(one, spec, centred=True) for one in data}
    names = sorted({stretch.label for one in alignment.values() for stretch in one})
    phones = {}
    for key, found in frames.items():
        middle = (np.arange(len(found)) + 0.5) * spec.hop / spec.sample_rate
        phones[key] = np.full(len(found), -1)
        for stretch in alignment.get(key, ()):
            here = (middle >= stretch.start) & (middle < stretch.start + stretch.duration)
            phones[key][here] = names.index(stretch.label)
    return Recordings(frames, {one.id: one.text for one in data}, phones, spec)


@torch.no_grad()
def states(model: Any, batches: Any) -> dict[str, Labels]:
    """The most probable state of every frame, by utterance; stretches of one come after each other."""
    found: dict[str, list[Labels]] = {}
    for batch in batches:
        _, setting = model.encoded(batch)
        if setting.inferred is None:
            raise SeqgenError("a prior without states", remedy="give runs of a conjugate prior")
        chosen = setting.inferred.responsibilities.argmax(dim=-1).numpy()
        counts = model.positions(batch.lengths).tolist()
        for name, row, count in zip(batch.ids, chosen, counts, strict=True):
            found.setdefault(name.rpartition(":")[0], []).append(row[:count])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def clustered(train: npt.NDArray[np.float32], test: Recordings, count: int) -> dict[str, Labels]:
    """Clusters of frames by k-means, so many."""
    from sklearn.cluster import KMeans

    fitted = KMeans(count, n_init=3, random_state=0).fit(train)
    return {name: fitted.predict(frames).astype(np.int64) for name, frames in test.frames.items()}


def changes(labels: Labels) -> Labels:
    """Frames whose label is another than that of the frame before."""
    return np.flatnonzero(np.diff(labels)) + 1


def jumps(frames: npt.NDArray[np.float32]) -> Labels:
    """Frames at which the spectrum changes most: peaks of the distance of the frames on both sides, above its mean."""
    apart = np.zeros(len(frames))
    apart[1:-1] = np.linalg.norm(frames[2:] - frames[:-2], axis=1)
    peak = (apart[1:-1] >= apart[:-2]) & (apart[1:-1] > apart[2:]) & (apart[1:-1] > apart.mean())
    return np.flatnonzero(peak) + 1


def evenly(found: States) -> dict[str, Labels]:
    """As many boundaries at equal distances."""
    return {name: np.arange(len(labels)) * (len(changes(labels)) + 1) // len(labels) for name, labels in found.items()}


def f1(found: States, known: Mapping[str, Labels]) -> float:
    """Agreement of the boundaries of all recordings, one behind the other."""
    ours, theirs, start = [], [], 0
    for name, labels in found.items():
        ours.append(changes(labels) + start)
        theirs.append(known[name] + start)
        start += len(labels) + 2 * _NEAR + 1  # no boundary is near one of the next recording
    return boundaries(np.concatenate(ours), np.concatenate(theirs), tolerance=_NEAR).f1


def judged(found: States, test: Recordings) -> dict[str, float]:
    """Figures of the states of all test frames."""
    order = list(test.frames)
    labels, phones = (np.concatenate([one[name] for name in order]) for one in (found, test.phones))
    names = sorted(set(test.words.values()))
    words = np.concatenate([np.full(len(found[name]), names.index(test.words[name])) for name in order])
    known = phones >= 0
    moves = {name: changes(row) for name, row in test.phones.items()}
    sounds = {name: jumps(row) for name, row in test.frames.items()}
    _, counts = np.unique(labels, return_counts=True)
    return {
        "states": int((counts > _USED * len(labels)).sum()),
        "nmi_with_phones": normalised_mutual_information(labels[known], phones[known]),
        "purity_of_phones": purity(labels[known], phones[known]),
        "nmi_with_words": normalised_mutual_information(labels, words),
        "boundaries_a_second": sum(len(changes(row)) for row in found.values())
        / (len(labels) * test.spec.hop / test.spec.sample_rate),
        "f1_with_phones": f1(found, moves),
        "f1_with_changes_of_sound": f1(found, sounds),
    }


def picture(found: Mapping[str, States], test: Recordings, place: Path) -> None:
    """Some recordings: frames above, phones and the states of each model as bands of colour below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    firsts = list({word: name for name, word in reversed(test.words.items())}.values())  # one of each word
    names = firsts[:: max(1, len(firsts) // _SHOWN)][:_SHOWN]
    bands = {"phones": test.phones, **found}
    figure, panels = pyplot.subplots(
        1 + len(bands), len(names), figsize=(3.4 * len(names), 2.2 + 0.5 * len(bands)), squeeze=False,
        layout="tight", height_ratios=[4, *[1] * len(bands)],
    )  # fmt: skip
    for column, name in enumerate(names):
        panels[0][column].imshow(test.frames[name].T, origin="lower", aspect="auto")
        panels[0][column].set_title(f"{name}: {test.words[name]}", fontsize=8)
        for panel, (title, one) in zip(panels[1:, column], bands.items(), strict=True):
            panel.imshow(one[name][None] % _COLOURS, aspect="auto", cmap="tab20", vmin=0, vmax=_COLOURS - 1)
            panel.set_title(title, fontsize=7, pad=1)
        for panel in panels[:, column]:
            panel.set_axis_off()
    figure.savefig(place, dpi=110)
    pyplot.close(figure)


def main(words: list[str]) -> None:
    """The table: a row for each experiment, for k-means and for equal distances."""
    out, alignment, found = Path(words[0]), ctm.read(Path(words[1])), {}
    for place in map(Path, words[2:]):
        experiment = Experiment.open(place)
        task, model = experiment.task(), experiment.load().networks["model"].eval()
        found[f"{place.parent.name}/{place.name}"] = states(model, task.source("test", {"model": model}).whole())
    test = recordings(DataDir.load(Path(task.config.test)), task.config.features, alignment)
    train = np.concatenate([frames for _, frames in task.source("train", {}).stretches])
    rows = {name: judged(one, test) for name, one in found.items()}
    first = next(iter(found))
    found["k-means"] = clustered(train, test, int(rows[first]["states"]))
    rows |= {"k-means": judged(found["k-means"], test), "equal distances": judged(evenly(found[first]), test)}
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    picture(found, test, out.with_suffix(".png"))
    heads = [name.replace("_", " ") for name in next(iter(rows.values()))]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name, row in rows.items():
        values = [f"{one:d}" if isinstance(one, int) else f"{one:.3f}" for one in row.values()]
        lines.append(f"| {name} | {' | '.join(values)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
