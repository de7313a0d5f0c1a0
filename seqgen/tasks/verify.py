"""The laws of tasks as library code, to be run over every registered one."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor, nn

from seqgen import config, registry
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective
from seqgen.spec import Facts
from seqgen.tasks.contract import Evaluation, Sampling, Split, System, Task, TaskExample
from seqgen.tasks.run import RunConfig
from seqgen.train.batch import rows, shared_by_rows, to_device
from seqgen.train.source import Source

_SEEN = "seen"


class Probe(Objective):
    """A method that learns nothing; its figure counts the examples that an evaluation looks at."""

    players: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})

    def loss(self, batch: Any, player: str, rng: Key, shared: Any) -> Loss:
        return Loss(torch.zeros(()), {}, torch.ones(()))

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        ones = torch.ones(len(batch.ids))
        return {_SEEN: Measure(ones, ones)}


def verify(example: TaskExample, directory: Path) -> None:
    """Every law of a task; what it makes on request goes into ``directory``.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    check_config(example.task)
    check_facts(example.task)
    check_extraction(example)
    check_batches(example.task, example.networks)
    check_whole(example)
    check_evaluation(example)
    check_sampling(example, directory)


def check_config(task: Task) -> None:
    """Law of the configuration: a run written down is the same run, and its part for the task the same options."""
    again = config.from_plain(json.loads(json.dumps(config.plain(task.run))), RunConfig, source="the law")
    assert again == task.run, "written down and read again the run is another one"
    options = config.options(task.run.task, registry.TASKS, source="the law")
    assert isinstance(task, registry.TASKS.load(task.run.task.name)), "the run names another task"
    assert options == task.config, f"of the run's options the task knows {task.config}, not {options}"


def check_facts(task: Task) -> None:
    """Law of facts: read again they are the same, and written down too; and there are words for the data."""
    assert task.read_facts() == task.facts, f"read again the facts are {task.read_facts()}, not {task.facts}"
    written = config.from_plain(json.loads(json.dumps(config.plain(task.facts))), Facts, source="the law")
    assert written == task.facts, f"written down the facts are {written}, not {task.facts}"
    words = task.describe()
    assert words, "there are no words for the data"
    assert "\n" not in words, f"the data are described in several lines: {words!r}"


def check_batches(task: Task, networks: Mapping[str, nn.Module]) -> None:
    """Law of batches: those of a source are functions of their number (and of its state, where it has one), processes
    get rows of the same batches, and rows can be cut and moved."""
    source = task.source("train", networks)
    whole = list(itertools.islice(source.batches(0, 4, 0, 1), 5))
    assert len(whole) == 4, f"asked for batches 0 to 3 there are {len(whole)}"
    for batch in whole:
        _require_rows(batch)
    second = _resumed(task, networks, source, whole)
    _require_same("batches 2 and 3, asked for by their numbers, are others", second, whole[2:])
    if not source.state():
        for rank in range(2):
            part = list(task.source("train", networks).batches(0, 2, rank, 2))
            _require_same(f"process {rank} of 2 has other rows", part, [rows(batch, rank, 2) for batch in whole[:2]])
    moved = [to_device(batch, torch.device("cpu"), torch.float32) for batch in whole]
    _require_same("moved to another device a batch is another one", moved, whole)


def check_whole(example: TaskExample) -> None:
    """Law of the whole: it has every example of a split once, the same each time."""
    for split in get_args(Split):
        if split == "train":
            continue
        source = example.task.source(split, example.networks)
        once, again = list(source.whole()), list(source.whole())
        _require_same(f"{split}: a second pass has other batches", again, once)
        ids = [name for batch in once for name in batch.ids]
        assert len(set(ids)) == len(ids), f"{split}: an example comes twice"
        assert len(ids) == example.rows[split], f"{split}: {len(ids)} examples of {example.rows[split]}"


def check_evaluation(example: TaskExample) -> None:
    """Law of evaluation: every test example is looked at, a table of finite figures comes out, the same each time."""
    task = example.task
    system = System(example.networks, Probe(None, {}, task.facts), "fresh")
    first, second = (task.evaluate(system, Evaluation(likelihood_only=True)) for _ in range(2))
    assert first.text().strip(), "the table is empty"
    json.dumps(first.plain(), allow_nan=False)
    odd = [name for name, figure in first.figures.items() if not math.isfinite(figure.value)]
    assert not odd, f"the figures {odd} are not finite"
    values = [{name: figure.value for name, figure in table.figures.items()} for table in (first, second)]
    assert values[0] == values[1], f"a second evaluation gives {values[1]}, not {values[0]}"
    if _SEEN in first.examples:
        seen, expected = len(first.examples[_SEEN]), example.rows["test"]
        assert seen == expected, f"{seen} of {expected} test examples are looked at"


def check_sampling(example: TaskExample, directory: Path) -> None:
    """Law of sampling: where there is something to sample, it is a function of the seed."""
    system = System(example.networks, Probe(None, {}, example.task.facts), "fresh")
    made = []
    for turn, seed in enumerate((1, 1, 2)):
        out = directory / f"sample-{turn}"
        try:
            said = example.task.sample(system, Sampling(out=out, length=16, seed=seed))
        except SeqgenError:
            return
        assert said.strip(), "a sample was made without a word"
        made.append(out.read_bytes())
    assert made[0] == made[1], "the same seed gives another sample"
    assert made[0] != made[2], "another seed gives the same sample"


def check_extraction(example: TaskExample) -> None:
    """Law of features: of each whole hop of a recording a vector of finite numbers, the same each time, whatever is
    left behind the last one; and a task that makes none of a network says so."""
    audio = (0.3 * np.sin(0.2 * np.arange(1234))).astype(np.float32)
    moves = not example.extracting
    for name, network in example.extracting.items():
        extractor = example.task.extractor(network)
        made, again = (extractor.features(audio) for _ in range(2))
        whole = len(audio) // extractor.hop
        assert len(made) == whole, f"{name}: {len(made)} vectors of {len(audio)} samples, {whole} whole hops"
        assert made.dtype == np.float32, f"{name}: vectors of {made.dtype}"
        assert np.isfinite(made).all(), f"{name}: a vector is not finite"
        assert (made == again).all(), f"{name}: the same recording has other vectors"
        moves |= bool(made.std(axis=0).any())
        few = extractor.features(audio[: 2 * extractor.hop])
        assert few.shape == (2, made.shape[1]), f"{name}: two hops have vectors {list(few.shape)}"
        assert extractor.sample_rate > 0, f"{name}: no sample rate"
    assert moves, "no network's vectors vary over a recording"
    try:
        example.task.extractor(nn.Identity())
    except SeqgenError:
        return
    raise AssertionError("a network of no vectors is taken for an extractor")


def _resumed(task: Task, networks: Mapping[str, nn.Module], source: Source, whole: list[Any]) -> list[Any]:
    """Batches 2 and 3 of a source that starts there, with the state that the first two left."""
    if not source.state():
        return list(task.source("train", networks).batches(2, 4, 0, 1))
    one, other = (task.source("train", networks) for _ in range(2))
    stream = one.batches(0, 4, 0, 1)
    _require_same("the same batches again are others", [next(stream), next(stream)], whole[:2])
    other.load({name: value.clone() for name, value in one.state().items()})
    return list(other.batches(2, 4, 0, 1))


def _require_rows(batch: Any) -> None:
    """Fields of a batch have one entry for each row, but for what its rows share."""
    assert dataclasses.is_dataclass(batch), f"a batch is a {type(batch).__name__}, not a dataclass"
    count = len(batch.ids)
    for name, value in _leaves(batch, shared=False):
        assert len(value) in (count, 0), f"{count} rows, but {name} has {len(value)} entries"


def _leaves(batch: Any, prefix: str = "", *, shared: bool = True) -> list[tuple[str, Any]]:
    """Tensors and tuples of a batch, nested ones included, by name, and what its rows share."""
    found = []
    for field in dataclasses.fields(batch):
        value = getattr(batch, field.name)
        if shared_by_rows(value) and not shared:
            continue
        if dataclasses.is_dataclass(value):
            found += _leaves(value, f"{prefix}{field.name}.", shared=shared)
        elif isinstance(value, (Tensor, tuple)):
            found.append((prefix + field.name, value))
    return found


def _require_same(law: str, got: list[Any], expected: list[Any]) -> None:
    """The same batches, entry by entry."""
    assert len(got) == len(expected), f"{law}: {len(got)} batches instead of {len(expected)}"
    for one, other in zip(got, expected, strict=True):
        for (name, mine), (_, theirs) in zip(_leaves(one), _leaves(other), strict=True):
            same = torch.equal(mine, theirs) if isinstance(mine, Tensor) else mine == theirs
            assert same, f"{law}: {name} differs"
