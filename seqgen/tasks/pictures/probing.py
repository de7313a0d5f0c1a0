"""Linear probes of pictures: one table of how well classes are read off codes, contexts of encoders, and baselines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen.analysis.linear_probe import Examples, ProbeConfig, probe, thinned
from seqgen.analysis.vector_files import VectorFiles
from seqgen.errors import SeqgenError
from seqgen.latents.variable import LatentVariable
from seqgen.models.context_encoder import ContextEncoder
from seqgen.pictures.directory import PictureData, PictureFacts, PictureSet, Pixels
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.pictures.batches import StoredPictures
from seqgen.tasks.pictures.task import Pictures
from seqgen.tasks.table import Figure, Table, ratio

Floats = npt.NDArray[np.float32]
Coder = LatentVariable | ContextEncoder
BASELINES = PIXELS, RANDOM, SUPERVISED = "pixels", "random", "supervised"
"""Names of the rows that stand beside those of the models."""
_ROWS, _WIDTHS, _SIDE = 100, (256, 256), 4


@dataclass(frozen=True)
class OpenedModel:
    """Model with latent variables, or encoder, that was opened from an experiment on pictures.

    Attributes:
        name: its path. model: its best checkpoint's. fresh: the same with fresh weights that a seed decides.
        real: whether it reads pixels as real numbers. facts: of the pictures that it learnt from.
    """

    name: str
    model: Coder
    fresh: Callable[[int], Coder]
    real: bool
    facts: Facts

    @classmethod
    def of(cls, path: Path) -> OpenedModel:
        """The model of an experiment.

        Raises:
            SeqgenError: for an experiment on anything else than pictures, or without a network that makes vectors.
        """
        experiment = Experiment.open(path)
        task = experiment.task()
        for name in experiment.trained if isinstance(task, Pictures) else ():
            model, _ = experiment.network(name)
            if isinstance(model, Coder):
                return cls(str(path), model, partial(_fresh, experiment, name), task.config.real, experiment.facts)
        raise SeqgenError(
            f"{path}: no network that makes vectors of pictures", remedy="give such experiments, or recordings"
        )


def _fresh(experiment: Experiment, name: str, seed: int) -> Coder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = networks.network(experiment.definitions[name], experiment.facts, source=experiment.source)
    assert isinstance(made, Coder)
    return made.eval()


def table(
    models: Sequence[OpenedModel],
    data: Path,
    train: Path,
    config: ProbeConfig,
    *,
    supervised_steps: int = 300,
    baselines: bool = True,
    vectors: Path | None = None,
) -> Table:
    """Accuracies in percent with which the class of a picture is told from what models make of it, with 95 % intervals.

    Baselines: ``pixels``; ``random``, the first model with fresh weights; ``supervised``, the last hidden layer of a
    perceptron of the pixels, 256 and 256 units, that has learnt the classes in so many steps of 100 pictures. All are
    judged by the same probe on the same pictures, of which ``config.most`` are learnt from. What was probed goes into
    the folder ``vectors`` (:class:`~seqgen.analysis.vector_files.VectorFiles`), where one is given.

    Raises:
        SeqgenError: for pictures of another size than the models', and without classes.
    """
    (given, about), (held, _) = (_set(place, models) for place in (train, data))
    given = given.rows(thinned(len(given), config.most, config.seed))
    files = None if vectors is None else VectorFiles(vectors, [*BASELINES, *(one.name for one in models)])
    figures: dict[str, Figure] = {}
    further: dict[str, Any] = {}
    for name, encode in _rows(models, given, about.levels, config.seed, supervised_steps if baselines else -1):
        trained, tested = (_examples(encode(one), one) for one in (given, held))
        found = probe(trained, tested, config)
        if files is not None:
            files.write(name, trained, tested)
        figures[name] = ratio(100 * found.right, np.ones(len(found.right)), "%")
        further[name] = {"channels": trained.x.shape[1], "training": 100 * found.training, "converged": found.converged}
        if not found.converged:
            sys.stderr.write(f"{name}: the probe did not converge in {config.iterations} iterations\n")
    if files is not None:
        labels = np.concatenate([trained.labels, tested.labels])
        files.write_known(labels, np.concatenate([summary(one.x) for one in (given, held)]))
    counts = {"training_examples": len(given), "test_examples": len(held), "labels": len(np.unique(tested.labels))}
    title = f"class from codes: {counts['labels']} labels, {len(given):,} training and {len(held):,} test pictures"
    lines = tuple(f"{name}: {one['channels']} channels, {one['training']:.1f} % on the training examples"
                  for name, one in further.items())  # fmt: skip
    record = {"target": "class", "data": str(data), "train": str(train)} | counts
    return Table(title, figures, record, further={"probes": further}, lines=lines)


def _set(place: Path, models: Sequence[OpenedModel]) -> tuple[PictureSet, PictureFacts]:
    pictures, about = PictureData.split_at(place)
    for one in models:
        levels = one.facts.vocab_size or about.levels
        if (one.facts.shape, levels) != (about.shape, about.levels):
            raise SeqgenError(
                f"{place}: pictures of shape {list(about.shape)} with {about.levels} levels, those of {one.name} have "
                f"{list(one.facts.shape)} and {levels}",
                remedy="prepare them alike",
            )
    if pictures.y is None:
        raise SeqgenError(f"{place}: no classes", remedy="give pictures whose classes are known")
    return pictures, about


def _examples(x: Floats, pictures: PictureSet) -> Examples:
    assert pictures.y is not None
    return Examples(x, pictures.y.astype(str), np.arange(len(x)))


def _rows(
    models: Sequence[OpenedModel], given: PictureSet, levels: int, seed: int, steps: int
) -> Iterator[tuple[str, Callable[[PictureSet], Floats]]]:
    """Names of all rows, baselines first (none for steps below 0), and what makes vectors of pictures."""
    if steps >= 0:
        yield PIXELS, lambda pictures: _flat(pictures.x)
        yield RANDOM, _codes(models[0], models[0].fresh(seed), levels)
    if steps > 0:
        yield SUPERVISED, _hidden(given, steps, seed)
    for one in models:
        yield one.name, _codes(one, one.model, levels)


def _flat(x: Pixels) -> Floats:
    return x.reshape(len(x), -1).astype(np.float32)


def _codes(opened: OpenedModel, model: Coder, levels: int) -> Callable[[PictureSet], Floats]:
    """Codes, all positions side by side; of an encoder the mean of its contexts."""

    @torch.no_grad()
    def encode(pictures: PictureSet) -> Floats:
        source = StoredPictures(pictures, levels, rows=_ROWS, seed=0, real=opened.real)
        return np.concatenate([vectors(batch).float().numpy() for batch in source.whole()])

    def vectors(batch: Any) -> Tensor:
        return model.code(batch).flatten(1) if isinstance(model, LatentVariable) else model(batch.x).mean(dim=1)

    return encode


def _hidden(given: PictureSet, steps: int, seed: int) -> Callable[[PictureSet], Floats]:
    """The last hidden layer of a perceptron that learns the classes."""
    from sklearn.neural_network import MLPClassifier

    assert given.y is not None
    network, x = MLPClassifier(_WIDTHS, random_state=seed), _flat(given.x) / given.x.max()
    order = np.random.Generator(np.random.Philox(seed))
    for _ in range(steps):
        chosen = order.choice(len(x), min(_ROWS, len(x)), replace=False)
        network.partial_fit(x[chosen], given.y[chosen], classes=np.unique(given.y))

    def encode(pictures: PictureSet) -> Floats:
        hidden = _flat(pictures.x) / given.x.max()
        for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
            hidden = np.maximum(hidden @ weights + bias, 0)
        made: Floats = hidden.astype(np.float32)
        return made

    return encode


def summary(x: Pixels) -> Floats:
    """Pictures in short: the mean of each of ``C · 4 · 4`` parts, ``[N, C, H, W] → [N, C·16]``. As it is a function of
    the picture, what codes tell of it is at most what they tell of the picture."""
    rows, columns = (np.array_split(np.arange(size), min(_SIDE, size)) for size in x.shape[2:])
    parts = [x[:, :, row][..., column].mean(axis=(2, 3)) for row in rows for column in columns]
    return np.concatenate(parts, axis=1).astype(np.float32)
