"""The contract of a task: what a run learns from, and what it is judged by."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, final

from torch import nn

from seqgen import config, registry
from seqgen.bundle import Bundle
from seqgen.config import Component
from seqgen.data.aligned import Aligned
from seqgen.errors import SeqgenError
from seqgen.objectives.contract import Objective
from seqgen.runtime.contract import BundleRuntime
from seqgen.runtime.extractor import Extractor
from seqgen.spec import Facts
from seqgen.tasks.run import RunConfig
from seqgen.tasks.table import Table
from seqgen.train.identity import PLACE, keys
from seqgen.train.report import Report
from seqgen.train.source import Source

Split = Literal["train", "valid", "test"]
_LENGTH = 400  # of a sample for which none is asked


@dataclass(frozen=True)
class System:
    """System of a run: its networks, trained or fresh.

    Attributes:
        networks: by name, as the run defines them. objective: what trains them; of a bundle there is none.
        label: where the weights are from. directory: of the experiment, where there is one.
        runtime: what executes an opened bundle.
        definitions: how networks are built that the run's own configuration does not define.
    """

    networks: Mapping[str, nn.Module]
    objective: Objective | None = None
    label: str = ""
    directory: Path | None = None
    runtime: BundleRuntime | None = None
    definitions: Mapping[str, Component] = field(default_factory=dict)

    def measured_by(self, evidence_samples: int) -> System:
        """The system, whose evidence is estimated by so many codes, where its method estimates any (0: as the run
        says)."""
        if not evidence_samples or self.objective is None:
            return self
        return replace(self, objective=self.objective.measured_by(evidence_samples))


@dataclass(frozen=True)
class Evaluation:
    """Options of an evaluation.

    Attributes:
        data: what to evaluate on (by default the run's own test set). limit: only the first so many examples (0: as the
            run says).
        temperature, seed: of what is sampled. likelihood_only: nothing is sampled.
        texts: file of lines that are to be spoken, in the place of the data's transcripts.
        keep: directory for what was sampled. judges: names of those who judge it (:mod:`seqgen.metrics.judges`).
        beam: sequences that decoding follows side by side (0: as the run says).
        samples, length: sequences to draw and to judge (0: as the run says), and their elements (0: as it is trained).
        oracle: experiment of another model, which says how likely they are.
        evidence_samples: codes by which a latent-variable model's evidence is estimated (0: as the run says).
    """

    data: Path | None = None
    limit: int = 0
    temperature: float = 1.0
    seed: int = 0
    likelihood_only: bool = False
    texts: Path | None = None
    keep: Path | None = None
    judges: tuple[str, ...] = ()
    beam: int = 0
    samples: int = 0
    length: int = 0
    oracle: Path | None = None
    evidence_samples: int = 0


@dataclass(frozen=True)
class Sampling:
    """Options of sampling.

    Attributes:
        given: file that is to be continued or vocoded. out: file to write (standard output where it may be).
        speaker: whose voice. prompt: text to go on from.
        length: elements to make (0: 400), or pictures (0: 64). temperature, seed: of the noise.
        runtime: what executes a voice (by default the fastest there is).
        beam: sequences that decoding follows side by side (0: what is made is drawn).
    """

    given: Path | None = None
    out: Path | None = None
    speaker: str = ""
    prompt: str = ""
    length: int = 0
    temperature: float = 1.0
    seed: int = 0
    runtime: str = ""
    beam: int = 0

    @property
    def elements(self) -> int:
        """Elements to make, as many as usual where no length is given."""
        return self.length or _LENGTH


@dataclass(frozen=True)
class Translating:
    """Options of translating.

    Attributes:
        beam: sequences that decoding follows side by side (0: as the run says). normalization: how far a target's
            length is allowed for in its score (``None``: as the run says). longest: symbols of the longest target (0:
            as the run says).
        temperature, seed: of what is drawn (temperature 0: nothing is).
    """

    beam: int = 0
    normalization: float | None = None
    longest: int = 0
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Exporting:
    """Options of an export.

    Attributes:
        precision: weights of the native engine. engine_only: nothing but what that engine reads.
        notes: added to the bundle's provenance.
    """

    precision: Literal["float32", "bf16", "int8"] = "float32"
    engine_only: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)


class TaskExample(NamedTuple):
    """Example of a task over small data.

    Attributes:
        rows: how many examples the whole of a split has. networks: those that an evaluation needs, by name.
        extracting: networks that the task makes features of recordings by, by name.
    """

    task: Task
    rows: Mapping[Split, int]
    networks: Mapping[str, nn.Module] = {}
    extracting: Mapping[str, nn.Module] = {}


class Task(ABC):
    """Task of a run: what it learns from and is judged by. It owns nothing that is trained.

    Args:
        run: the run. config: the task's own part of it. facts: what was known when the run was trained; by default they
            are read from the training data.

    Attributes:
        Config: frozen dataclass of the task's part of the YAML.
        bundle_kind: what an exported bundle of this task calls itself; "" where there is none.
        evaluation_options, sampling_options: fields of :class:`Evaluation` and :class:`Sampling` that the task heeds.
            Others are refused where they are given. (That nothing is sampled can be asked of any evaluation.)
    """

    Config: ClassVar[type[Any]]
    bundle_kind: ClassVar[str] = ""
    evaluation_options: ClassVar[frozenset[str]] = frozenset()
    sampling_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, run: RunConfig, config: Any, facts: Facts | None = None) -> None:
        self.run, self.config = run, config
        self.facts = facts if facts is not None else self.read_facts()

    @classmethod
    def examples(cls, directory: Path) -> Iterable[TaskExample]:
        """Tasks over small data, one for each way that the code can go: what the laws of :mod:`seqgen.tasks.verify` are
        run over. Files that a task reads are written into ``directory``. A registered class has to say.

        Raises:
            SeqgenError: where it does not.
        """
        raise SeqgenError(f"{cls.__name__} gives no examples", remedy="define examples(directory), over small data")

    @classmethod
    @final
    def example(
        cls,
        options: Mapping[str, Any],
        rows: Mapping[Split, int],
        networks: Mapping[str, nn.Module] | None = None,
        extracting: Mapping[str, nn.Module] | None = None,
    ) -> TaskExample:
        """An example of the task under these options of its YAML, with batches of four rows."""
        component = {"name": registry.TASKS.name_of(cls), **options}
        plain = {"name": "example", "task": component, "networks": {}, "train": {"steps": 4, "batch_size": 4}}
        run = config.from_plain(plain, RunConfig, source="example")
        task = cls(run, config.options(run.task, registry.TASKS, source="example"))
        return TaskExample(task, rows, networks or {}, extracting or {})

    @abstractmethod
    def read_facts(self) -> Facts:
        """Facts that the training data tell before any network is built."""

    @abstractmethod
    def source(self, split: Split, networks: Mapping[str, nn.Module]) -> Source:
        """Batches of a split, with the context that these networks need."""

    @abstractmethod
    def evaluate(self, system: System, options: Evaluation) -> Table:
        """Table that ``seqgen eval`` prints and writes of an experiment, or of an opened bundle."""

    def require_fit(self, networks: Mapping[str, nn.Module]) -> None:
        """Refuse networks that do not fit the data; by default none.

        Raises:
            SeqgenError: saying what does not fit.
        """

    def adopt(self, network: nn.Module, facts: Facts, where: str) -> None:
        """Refuse a network of another run that was trained on other data than this run can use; by default none.

        Raises:
            SeqgenError: naming the network's place and what differs.
        """

    def require_sensible(self) -> None:
        """Refuse, before a training begins, data that make no sense with the run's settings; by default nothing."""

    def warnings(self, networks: Mapping[str, nn.Module]) -> list[str]:
        """Likely mistakes in how these networks are trained, a line each; by default none."""
        return []

    @final
    def data(self) -> dict[str, str]:
        """Digests of the data that the run learns from, by the key that names their place.

        Raises:
            SeqgenError: where they cannot be read.
        """
        given = {name: getattr(self.config, name) for name in keys(self.Config, PLACE)}
        return {f"task.{name}": self.digest(name) for name, place in given.items() if place}

    def digest(self, name: str) -> str:
        """Digest of the data that one option names, a file's bytes unless a task knows better."""
        place = Path(getattr(self.config, name))
        try:
            with place.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()[:16]
        except OSError as error:
            raise SeqgenError(f"{place}: {error.strerror}", remedy=f"check task.{name}") from None

    def describe(self) -> str:
        """The training data in a few words, for the line that a training begins with."""
        return f"{self.facts.examples:,} examples"

    def previews(self, system: System, report: Report, step: int) -> None:
        """Put samples into the record of a training, at each validation; by default none."""

    def open_bundle(self, bundle: Bundle, runtime: str) -> System:
        """The system of a bundle, executed by a runtime.

        Raises:
            SeqgenError: where the task has no bundles.
        """
        raise self._cannot("has no bundles")

    def sample(self, system: System, options: Sampling) -> str:
        """Make something on request; returns a line that says what was made.

        Raises:
            SeqgenError: where the task has nothing to sample.
        """
        raise self._cannot("has nothing to sample")

    def translate(
        self, system: System, given: Iterable[bytes], say: Callable[[str], object], options: Translating
    ) -> str:
        """Translate lines, and pass on what is made as it is made; returns a line that says what was done.

        Raises:
            SeqgenError: where the task translates nothing, and at the end for lines that could not be translated.
        """
        raise self._cannot("translates nothing")

    def align(self, system: System, data: Path) -> Iterator[Aligned]:
        """Recordings of a data directory with the times of their words and phones, as they are found.

        Raises:
            SeqgenError: where the task aligns nothing, and for data that it cannot align.
        """
        raise self._cannot("aligns nothing")

    def export(self, system: System, out: Path, options: Exporting) -> Bundle:
        """Write a bundle.

        Raises:
            SeqgenError: where the task has none, or the networks cannot be exported.
        """
        raise self._cannot("cannot be exported")

    def extractor(self, network: nn.Module, layer: str = "") -> Extractor:
        """Features of recordings that one of the run's networks makes, of one of its layers ("": of its main one),
        after the task's own preparation of recordings.

        Raises:
            SeqgenError: where the task reads no recordings, or the network makes no vectors of them.
        """
        raise self._cannot("makes no features of recordings")

    @final
    def require_heeded(self, options: Evaluation | Sampling) -> None:
        """Refuse options that the task would not heed.

        Raises:
            SeqgenError: naming the first one.
        """
        evaluating = isinstance(options, Evaluation)
        heeded = self.evaluation_options | {"likelihood_only"} if evaluating else self.sampling_options
        if not heeded:
            return  # the task cannot do it at all, and says so
        for one in fields(options):
            if one.name not in heeded and getattr(options, one.name) != one.default:
                known = ", ".join(_called(two.name) for two in fields(options) if two.name in heeded)
                raise SeqgenError(
                    f"{_called(one.name)} {getattr(options, one.name)}: of no use to the task '{self.run.task.name}'",
                    remedy=f"leave it out; it heeds {known}",
                )

    def _cannot(self, what: str) -> SeqgenError:
        return SeqgenError(f"the task '{self.run.task.name}' {what}", remedy="see `seqgen info`, which lists the tasks")


def _called(name: str) -> str:
    """A field of the options as the command line spells it."""
    return {"given": "the file to read", "limit": "--examples"}.get(name, f"--{name.replace('_', '-')}")
