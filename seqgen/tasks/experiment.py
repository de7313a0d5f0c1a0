"""An experiment directory: the resolved configuration, what was known of the data, and the trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seqgen import config, registry
from seqgen.errors import SeqgenError
from seqgen.files.outputs import write_text
from seqgen.objectives.contract import require_networks
from seqgen.spec import Facts
from seqgen.tasks import networks
from seqgen.tasks.contract import System, Task
from seqgen.tasks.run import RunConfig, load
from seqgen.train import schedule, weights
from seqgen.train.identity import (
    LENGTH,
    NEUTRAL,
    WEIGHTS,
    CheckpointIdentity,
    defaults,
    keys,
    require_same_run,
)

CONFIG = "config.yaml"
FACTS = "facts.yaml"
NETWORKS = "networks.yaml"
DATA = "data.yaml"
# What is known of the data and decides what weights mean.
_ELEMENTS = frozenset(
    f"facts.{name}"
    for name in (
        "vocab_size",
        "shape",
        "symbols_per_sample",
        "start",
        "alphabet",
        "frames",
        "tokenizer",
        "source_tokenizer",
    )
)


@dataclass(frozen=True)
class _Definitions:
    """Definitions of the networks that a run trains, also of those that another run began to train."""

    networks: Mapping[str, config.Component]


@dataclass(frozen=True)
class _Digests:
    """Digests of the data that a run learns from, by the key that names their place."""

    digests: Mapping[str, str]


@dataclass(frozen=True)
class Experiment:
    """Experiment of a run on disk: its configuration, the facts of the data that it was trained on, and the digests of
    these data and of the networks that others trained, by the key that names their place."""

    directory: Path
    run: RunConfig
    facts: Facts
    data: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def create(directory: Path, run: RunConfig, facts: Facts, data: Mapping[str, str] | None = None) -> Experiment:
        """Write the resolved configuration and what is known of the data beside what training will write."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            made = Experiment(directory, run, facts, data or {})
            made.record()
            write_text(directory / FACTS, config.dump(facts))
            definitions = made._followed()
            if any(definitions[name] != run.networks[name] for name in definitions):
                write_text(directory / NETWORKS, config.dump(_Definitions(definitions)))
            else:
                (directory / NETWORKS).unlink(missing_ok=True)  # of a run that was here before
        except OSError as error:
            raise SeqgenError(
                f"cannot write {directory}: {error.strerror}", remedy="choose a writable place with free space"
            ) from None
        return made

    @staticmethod
    def open(directory: Path) -> Experiment:
        """Read an experiment.

        Raises:
            SeqgenError: where the directory is none.
        """
        for name in (CONFIG, FACTS):
            if not (directory / name).is_file():
                raise SeqgenError(
                    f"{directory}: no experiment here ({name} is missing)", remedy="run `seqgen train` first"
                )
        kept = directory / DATA
        data = config.load(kept, _Digests).digests if kept.is_file() else {}
        return Experiment(directory, load(directory / CONFIG), config.load(directory / FACTS, Facts), data)

    def record(self) -> None:
        """Write what may change when the run is resumed: settings that change no number, and the places of its data."""
        write_text(self.directory / CONFIG, config.dump(self.run))
        write_text(self.directory / DATA, config.dump(_Digests(self.data)))

    @property
    def source(self) -> str:
        """Name of the configuration in messages: its path."""
        return str(self.directory / CONFIG)

    def identity(self) -> CheckpointIdentity:
        """Identity of the run, which its checkpoints must bear."""
        kinds = {
            "task": registry.TASKS.load(self.run.task.name),
            "objective": registry.OBJECTIVES.load(self.run.objective.name),
        }
        neutral = {*keys(RunConfig, NEUTRAL), *keys(kinds["task"].Config, NEUTRAL, "task.")}
        if not schedule.depends_on_length(self.run.train):
            neutral |= {*keys(RunConfig, LENGTH)}
        options = {key: value for part, kind in kinds.items() for key, value in defaults(kind.Config, f"{part}.")}
        facts = config.set_apart(self.facts)
        facts.pop("features")  # which have a signature
        return CheckpointIdentity(
            config.dump(self.run),
            config.digest(self.run),
            self.facts.signature,
            facts,
            self.data,
            neutral=frozenset(neutral),
            weights=frozenset({"networks", *_ELEMENTS, *keys(kinds["task"].Config, WEIGHTS, "task.")}),
            defaults={**dict(defaults(RunConfig)), **options},
        )

    def task(self) -> Task:
        """The run's task, with what was known when it was trained."""
        return task_of(self.run, self.facts, source=self.source)

    def network(self, name: str, replaced: Mapping[str, config.Component] | None = None) -> tuple[nn.Module, Path]:
        """One network with the best checkpoint's (averaged) weights, in evaluation mode, and that checkpoint; parts
        that others take the place of have fresh weights.

        Raises:
            SeqgenError: where the run trains no network of this name, or has no checkpoint, and for parts that such a
                network does not have.
        """
        made = self._fresh(name, replaced or {})
        found = weights.load(self.directory, made, accept=self._accept, prefix=f"{name}.", fresh=replaced or ())
        return made.eval(), found

    @property
    def trained(self) -> list[str]:
        """Names of the networks that the run trains, those that another run has begun to train included."""
        return [
            name
            for name, one in self.run.networks.items()
            if one.name != networks.PRETRAINED or not _options(name, one, self.source).frozen
        ]

    @property
    def definitions(self) -> Mapping[str, config.Component]:
        """Definitions of the networks that the run trains. Where another run began to train one its definition is kept
        here, so that nothing of that run is needed any more."""
        kept = self.directory / NETWORKS
        return config.load(kept, _Definitions).networks if kept.is_file() else self._followed()

    def _followed(self) -> dict[str, config.Component]:
        """Definitions of the trained networks, looked up where their training began."""
        found = {}
        for name in self.trained:
            found[name] = self.run.networks[name]
            if found[name].name == networks.PRETRAINED:
                options = _options(name, found[name], self.source)
                experiment, its_name = options.found()
                found[name] = _with(experiment.definitions[its_name], options.replaced)
        return found

    def _accept(self, found: CheckpointIdentity, path: Path) -> None:
        require_same_run(found, path, expected=self.identity())

    def _fresh(self, name: str, replaced: Mapping[str, config.Component]) -> nn.Module:
        """A network that the run trains, with fresh weights."""
        if name not in self.trained:
            known = " or ".join(self.trained)
            raise SeqgenError(f"{self.directory} trains no network '{name}'", remedy=f"choose {known or 'another run'}")
        return networks.network(_with(self.definitions[name], replaced), self.facts, source=self.source)

    def exported(self) -> System:
        """The trained networks alone, in evaluation mode: what :meth:`load` gives, without the objective and what that
        would need."""
        found = {name: self.network(name) for name in self.trained}
        label = next((path.name for _, path in found.values()), "")
        made = {name: network for name, (network, _) in found.items()}
        return System(made, None, label, self.directory, definitions=self.definitions)

    def load(self) -> System:
        """The whole system with the best checkpoint's (averaged) weights, in evaluation mode."""
        system = build(self.task(), source=self.source, directory=self.directory, definitions=self.definitions)
        assert system.objective is not None
        found = weights.load(self.directory, system.objective, accept=self._accept)
        system.objective.eval()
        return replace(system, label=found.name)


def task_of(run: RunConfig, facts: Facts | None = None, *, source: str) -> Task:
    """The task of a run.

    Raises:
        SeqgenError: for an unknown task or option.
    """
    options = config.options(run.task, registry.TASKS, source=source)
    task: Task = registry.TASKS.load(run.task.name)(run, options, facts)
    return task


def build(
    task: Task,
    *,
    source: str,
    directory: Path | None = None,
    definitions: Mapping[str, config.Component] | None = None,
) -> System:
    """The objective of a run with its networks, those of other runs included.

    Fresh weights are decided by ``train.seed``. Networks of ``definitions`` are fresh, whatever the run says of them.

    Raises:
        SeqgenError: for unknown names or options, for parts that do not fit each other or the data, and where the
            objective cannot train such networks or lacks one.
    """
    run, facts = task.run, task.facts
    kind: Any = registry.OBJECTIVES.load(run.objective.name)
    options = config.options(run.objective, registry.OBJECTIVES, source=source)
    components = {**run.networks, **(definitions or {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.train.seed)
        made = networks.build(components, facts, source=source)
        for name, component in components.items():
            if component.name == networks.PRETRAINED:
                made[name] = _pretrained(name, component, task, source)
        task.require_fit(made)
        try:
            require_networks(kind, made)
        except SeqgenError as error:
            raise _unfit(made, source, error) from None
        return System(made, kind(options, made, facts), "fresh", directory, definitions=definitions or {})


@dataclass(frozen=True)
class Pretrained:
    """Options of a network that another run has trained.

    Attributes:
        experiment: directory of that run. network: its name there (by default the only one that it trains).
        frozen: whether it stays as it is; if not, this run goes on training it.
        replaced: parts that take the place of its own, as its definition names them, with fresh weights.
    """

    experiment: str
    network: str = ""
    frozen: bool = True
    replaced: Mapping[str, config.Component] = field(default_factory=dict)

    def found(self) -> tuple[Experiment, str]:
        """Run of a pretrained network, and the network's name there.

        Raises:
            SeqgenError: where it trains several networks and none is named.
        """
        experiment = Experiment.open(Path(self.experiment))
        if not self.network and len(experiment.trained) != 1:
            raise SeqgenError(
                f"{self.experiment} trains {len(experiment.trained)} networks",
                remedy=f"give network: {' or '.join(experiment.trained) or 'its name'}",
            )
        return experiment, self.network or experiment.trained[0]


def _options(name: str, component: config.Component, source: str) -> Pretrained:
    return config.from_plain(component.options, Pretrained, source=f"{source}: networks.{name}")


def _with(definition: config.Component, replaced: Mapping[str, config.Component]) -> config.Component:
    """A network's definition with other parts in the place of its own."""
    return replace(definition, options={**definition.options, **{k: config.plain(v) for k, v in replaced.items()}})


def pretrained_digests(system: System, run: RunConfig) -> dict[str, str]:
    """Digests of the networks that other runs have trained, as they are when this one begins, by the key that names
    their place."""
    names = [name for name, one in run.networks.items() if one.name == networks.PRETRAINED]
    return {f"networks.{name}.experiment": weights.digest(system.networks[name]) for name in names}


def _pretrained(name: str, component: config.Component, task: Task, source: str) -> nn.Module:
    """A network of another run, in evaluation mode, and frozen unless this run goes on training it."""
    options = _options(name, component, source)
    try:
        experiment, its_name = options.found()
    except SeqgenError as error:
        raise SeqgenError(f"networks.{name} {error.problem}", remedy=error.remedy) from None
    network, _ = experiment.network(its_name, options.replaced)
    task.adopt(network, experiment.facts, f"networks.{name} {options.experiment}")
    return network.requires_grad_(False) if options.frozen else network


def _unfit(made: dict[str, nn.Module], source: str, error: SeqgenError) -> SeqgenError:
    """The refusal of networks that an objective cannot train, with those that could."""
    fitting = []
    for name in registry.OBJECTIVES:
        other = registry.OBJECTIVES.load(name)
        try:
            require_networks(other, made)
        except SeqgenError:
            continue
        fitting.append(name)
    choice = f"; or set objective to {' or '.join(fitting)}" if fitting else ""
    return SeqgenError(f"{source}: {error.problem}", remedy=f"{error.remedy}{choice}")
