"""Spectra of what goes on from held-out recordings, against the distance from where it begins.

``python -m egs.yesno.professor_forcing.spectra DATA OUT PLACES MULTIPLES EXPERIMENT ...`` takes PLACES stretches of
DATA by chance. A network hears the start of each, as long as its training rows are heard, and goes on for MULTIPLES
times a training row. Printed is a table, written are OUT.json and OUT.png.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from seqgen import noise, registry
from seqgen.audio import io
from seqgen.audio.features import log_mel
from seqgen.data.directory import DataDir
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.spec import FeatureSpec
from seqgen.tasks.experiment import Experiment

Reals = npt.NDArray[np.float64]
_BANDS, _DECIBELS = 20, 20 / np.log(10)
_STREAM = noise.name_to_stream("egs.yesno.professor_forcing")


def stretches(directory: Path, count: int, length: int, seed: int) -> Reals:
    """Stretches of recordings by chance, ``[count, length]``, each place as likely as any other."""
    data = DataDir.load(directory)
    sound = [io.read(one.path, start=one.start, count=one.samples)[0] for one in data]
    places = np.cumsum([max(0, len(one) - length + 1) for one in sound])
    chosen = (noise.uniforms(seed, _STREAM, np.arange(count)) * places[-1]).astype(np.int64)
    rows = np.searchsorted(places, chosen, side="right")
    starts = chosen - np.concatenate([[0], places])[rows]
    return np.stack([sound[row][start : start + length] for row, start in zip(rows, starts, strict=True)])


@torch.no_grad()
def continued(experiment: Path, given: Reals, heard: int) -> Reals:
    """Continuations by a network of stretches, behind the samples that it hears, at temperature 1, ``[N, length]``."""
    run = Experiment.open(experiment)
    network, _ = run.network("generator")
    assert isinstance(network, AutoRegressive)
    codec = registry.CODECS.load(run.run.task.options["codec"])()
    x = torch.from_numpy(codec.encode(given))
    u = torch.from_numpy(noise.block(0, _STREAM, 0, x.numel() * network.num_uniforms)).view(*x.shape, -1)
    made = network.fill(x, (torch.arange(x.shape[1]) < heard).expand_as(x), u)
    return np.asarray(codec.decode(made.numpy()), np.float64)


def bands(sound: Reals, rate: int, window: int) -> Reals:
    """Energies in mel bands, dB, of windows side by side: ``[N, length] → [N, windows, bands]``."""
    spec = FeatureSpec(sample_rate=rate, n_fft=512, window=window, hop=window, n_mels=_BANDS)
    return np.stack([log_mel(row.astype(np.float32), spec) for row in sound]) * _DECIBELS


def distance(made: Reals, other: Reals) -> Reals:
    """Distance between the bands of two sets at each position, dB, ``[N, windows, bands] → [windows]``:

        √( mean over bands of (μ - μ')² + (σ - σ')² )

    which is the Fréchet distance of normal distributions without correlations.
    """
    gap = (made.mean(axis=0) - other.mean(axis=0)) ** 2 + (made.std(axis=0) - other.std(axis=0)) ** 2
    return np.asarray(np.sqrt(gap.mean(axis=-1)))


def picture(found: dict[str, list[float]], segment: int, rate: int, place: Path) -> None:
    """Distances against the position."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, values in found.items():
        axes.plot(np.arange(1, len(values) + 1) * 1000 * segment / rate, values, marker="o", markersize=3, label=name)
    axes.axvline(1000 * segment / rate, color="grey", linewidth=0.5)
    axes.set_xlabel("ms behind the last sample heard (grey: a training row)")
    axes.set_ylabel("distance of spectra, dB")
    axes.legend(fontsize=7)
    figure.savefig(place, dpi=120)
    pyplot.close(figure)


def main(words: list[str]) -> None:
    """The table: a row for each experiment, a column for each length of a training row."""
    directory, out, (count, multiples) = Path(words[0]), Path(words[1]), map(int, words[2:4])
    experiments = [Path(one) for one in words[4:]]
    options = Experiment.open(experiments[0]).run.task.options
    segment, heard, rate = options["segment"], options["context"], options["features"]["sample_rate"]
    sets = [stretches(directory, count, heard + multiples * segment, seed) for seed in (0, 1)]
    known, others = (bands(one[:, heard:], rate, segment) for one in sets)
    found = {"other stretches of the recordings": distance(others, known).tolist()}
    for one in experiments:
        made = continued(one, sets[0], heard)[:, heard:]
        found[f"{one.parent.name}/{one.name}"] = distance(bands(made, rate, segment), known).tolist()
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    picture(found, segment, rate, out.with_suffix(".png"))
    heads = ["dB", *(f"to {1000 * segment * (1 + index) // rate} ms" for index in range(multiples))]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [f"| {' | '.join([name, *(f'{one:.2f}' for one in values)])} |" for name, values in found.items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
