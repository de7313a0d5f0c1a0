"""The contract of every training method: its networks, its players, one loss for training and for evaluation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen import registry
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.noise import Key
from seqgen.spec import Facts

Requirement = type[Any] | tuple[type[Any], ...]


class Loss(NamedTuple):
    """Loss of one player on one batch.

    The loop combines the parts of a global batch (micro-batches, processes) as ``Σ weight·total / Σ weight``, so that
    neither accumulation nor the number of processes changes the gradient. A part without elements has weight 0 and a
    finite total.

    Attributes:
        total: scalar, the mean over ``weight`` elements; what is differentiated.
        terms: named scalars for the record, means over the same elements.
        weight: scalar, the number of elements averaged.
        aux: sums over the batch that ``after_update`` needs, by name (counts of a codebook, say); added up over the
            parts of the global batch. None when the method has none.
        directions: for parameters (by full name) whose step does not follow the gradient of ``total``: what takes the
            gradient's place, a mean over the same elements (a natural gradient, say). ``total`` has a gradient by them
            all the same, for several processes wait for it. None when the method has none.
    """

    total: Tensor
    terms: dict[str, Tensor]
    weight: Tensor
    aux: dict[str, Tensor] | None = None
    directions: dict[str, Tensor] | None = None


class Part:
    """One part of a global batch: its rows, the key of what is drawn for it, and what the players share of it.

    No dataclass and no tuple on purpose: Fabric carries it to the objective unopened, where it would refuse frozen
    dataclasses, and round real samples to bfloat16.
    """

    __slots__ = ("batch", "rng", "shared")

    def __init__(self, batch: Any, rng: Key, shared: Any = None) -> None:
        self.batch, self.rng, self.shared = batch, rng, shared


class Measure(NamedTuple):
    """One figure of a trained method on a batch, row by row, for a report with an interval over rows.

    The figure over many rows is ``Σ amounts / Σ weights``; ``amounts`` and ``weights`` are ``[B]``, or ``[1]`` where
    rows see each other and the batch is one example.

    Attributes:
        function: of that mean, where the figure is no mean itself (the square root of one, say). Of several means at
            once the amounts are ``[B, …]``, and so is the array that the function is given.
        cap: the most that the figure can be whatever is there, and ``cap_formula`` why; a report warns of figures near
            it.
    """

    amounts: Tensor
    weights: Tensor
    unit: str = ""
    cap: float = math.inf
    cap_formula: str = ""
    function: Callable[[npt.NDArray[np.float64]], float] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows of a small batch, as examples have them.

    Attributes:
        x: elements ``[B, T]`` or ``[B, T, C]``, or vectors ``[B, D]``. lengths: ``[B]``, of what is no padding.
        cond: what they are conditioned on. y: vectors ``[B, E]`` that belong to x. texts: labels of the rows.
        skip: ``[B]``, elements before what is learnt from. speaker: ``[B]``, numbers of who speaks. index: ``[B]``,
            numbers of the rows in the training set.
    """

    x: Tensor
    lengths: Tensor
    cond: Any = None
    y: Tensor | None = None
    texts: tuple[str, ...] = ()
    skip: Tensor | None = None
    speaker: Tensor | None = None
    index: Tensor | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The rows by their numbers."""
        return tuple(f"row {number}" for number in range(len(self.x)))


def scored(batch: Any, like: Tensor, *, length: int = 0) -> Tensor:
    """1 where an element of ``like [B, T]`` counts, 0 elsewhere: behind a row's end, and in what it only hears.

    Batches have ``lengths [B]``, and may have ``skip [B]``, elements before what is learnt from. A row that is shorter
    than ``length``, which blocks have, counts not at all.

    Example:
        >>> scored(Rows(torch.zeros(2, 3), torch.tensor([3, 1])), torch.zeros(2, 3))
        tensor([[1., 1., 1.],
                [1., 0., 0.]])
    """
    place = torch.arange(like.shape[1], device=like.device)[None]
    real = (place < batch.lengths[:, None]) & (batch.lengths[:, None] >= length)
    skip = getattr(batch, "skip", None)
    return (real if skip is None else real & (place >= skip[:, None])).to(like.dtype)


class ObjectiveExample(NamedTuple):
    """Example of a method over small networks, with a batch to learn from (rows of unequal length show more)."""

    objective: Objective
    batch: Any


class Objective(nn.Module, ABC):
    """A training method: owns its networks and says what each of its players minimises.

    ``loss`` is the only abstract method. It changes nothing: buffers change in ``after_update`` alone, and whatever is
    drawn is keyed by ``rng``. It is called through ``forward``, inside which only the player's own parameters take
    gradients, so a generator's loss may run through the critic without moving it.

    The networks become attributes under the names that the run gives them.

    Attributes:
        players: player -> prefixes of the names of the parameters it may move, asked in this order at each step; a
            prefix is a parameter's or a sub-module's full name, and "" is everything.
        requires: network -> what it must be; trained here, or pretrained by another run.
        optional: the same for networks that the method can do without.
        couples_rows: whether rows of a batch see each other (contrasts, batch statistics). Then micro-batches are
            refused, and each of several processes computes the loss of the whole global batch.
        tracks_motion: whether ``after_update`` is told how far the player's parameters moved.
        evaluation_rows: rows of a batch that :meth:`measure` is given.
        evaluation_context: whether it is given frames of context from before the start of a sequence, as training
            segments have them; without, a sequence begins as a fresh stream does.

    Args:
        config: the method's own options. networks: by name, as the run defines them. facts: what is known of the data.

    Raises:
        SeqgenError: for a network that is missing, unknown, or of the wrong kind.

    Example:
        >>> class Adversarial(Objective):
        ...     players = MappingProxyType({"critic": ("critic",), "generator": ("generator",)})
    """

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"model": ("",)})
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({})
    optional: ClassVar[Mapping[str, Requirement]] = MappingProxyType({})
    couples_rows: bool = False
    tracks_motion: ClassVar[bool] = False
    evaluation_rows: ClassVar[int] = 8
    evaluation_context: ClassVar[bool] = False

    def __init__(self, config: Any, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__()
        require_networks(type(self), networks)
        self.config, self.facts = config, facts
        for name in (*self.requires, *self.optional):
            setattr(self, name, networks.get(name))

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        """Small instances with batches, one for each way that the code can go: what the laws of
        :mod:`seqgen.objectives.verify` are run over. By default, for a method of one density and default options, those
        over the examples of every registered density.

        Raises:
            SeqgenError: for a method of other networks, which has to say.
        """
        if list(cls.requires.values()) != [Density]:
            raise SeqgenError(f"{cls.__name__} gives no examples", remedy="define examples(), small ones with batches")
        for name in registry.DENSITIES:
            for density, x, cond, _ in registry.DENSITIES.load(name).examples():
                if next(density.parameters(), None) is not None:
                    lengths = x.shape[1] - torch.arange(len(x)) * density.symbols_per_sample
                    made = cls(cls.Config(), dict.fromkeys(cls.requires, density), Facts())  # type: ignore[attr-defined]
                    yield ObjectiveExample(made, Rows(x, lengths, cond))

    @property
    def monitor(self) -> str:
        """Name of the value that ranks checkpoints, the smallest being the best; the first player's loss."""
        first = next(iter(self.players))
        return f"{first}/loss" if len(self.players) > 1 else "loss"

    @property
    def settled(self) -> bool:
        """Whether what is validated from now on means the same as what will be validated later; while it does not, a
        validation counts for no best checkpoint. By default it always does."""
        return True

    def begin(self, batch: Any, rng: Key) -> Any:
        """Values players share on this batch, computed once and without gradients (free-running samples, targets)."""
        return None

    @abstractmethod
    def loss(self, batch: Any, player: str, rng: Key, shared: Any) -> Loss:
        """The loss of ``player`` on ``batch`` (layout ``[B, T, C]``), the same in training and evaluation."""

    def frozen(self, player: str) -> bool:
        """Standstill of ``player``, whose next update then moves nothing: its loss is taken, noted and told to
        :meth:`after_update` all the same. Depends on buffers alone, which are equal in all processes; by default no."""
        return False

    def limited(self, player: str, directions: Mapping[str, Tensor], rate: float) -> Mapping[str, Tensor]:
        """Directions of a global batch, by full name, as a step of this rate may follow them; by default as they are.

        A loss gives those of its part alone, which add up; what a step may not exceed is known of their sum.
        """
        return directions

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        """Change buffers after an update of ``player``: moving averages, codebooks, target networks.

        ``aux`` is empty where its loss gave none. ``moved`` says by how much each of the player's parameters changed,
        by full name; it is empty unless ``tracks_motion`` is set.
        """

    def remarks(self, means: Mapping[str, float]) -> list[str]:
        """Remarks on the values of a stretch of training or of an evaluation, a line each; by default nothing.

        ``means`` are those that are logged: losses, terms and norms by name, a player's under its own; or the
        evaluation's figures.
        """
        return []

    def measured_by(self, evidence_samples: int) -> Self:
        """The method with an estimate of the evidence by so many codes in :meth:`measure`; by default it makes none,
        and stays as it is."""
        return self

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """Figures for a report, by name; by default none beside what the task measures.

        ``index`` counts the batches, so that a figure that costs much can be had of the first few only.
        """
        return {}

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, part: Part, player: str) -> Loss:
        """``loss``, with gradients reaching the parameters of ``player`` and no others."""
        with self._only(player):
            return self.loss(part.batch, player, part.rng, part.shared)

    @final
    def owned(self, player: str) -> dict[str, nn.Parameter]:
        """The trainable parameters of ``player`` by name, in the order of ``named_parameters``.

        Raises:
            ValueError: for an unknown player, or a prefix that names nothing.
        """
        if player not in self.players:
            raise ValueError(f"unknown player '{player}'; known: {', '.join(self.players)}")
        parameters = dict(self.named_parameters())
        for prefix in self.players[player]:
            if not any(_under(name, prefix) for name in (*parameters, *dict(self.named_modules()))):
                raise ValueError(f"player '{player}' owns '{prefix}', which names no parameter")
        prefixes = self.players[player]
        return {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.requires_grad and any(_under(name, prefix) for prefix in prefixes)
        }

    @contextmanager
    def _only(self, player: str) -> Iterator[None]:
        mine = {id(parameter) for parameter in self.owned(player).values()}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in mine]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)


def require_networks(kind: type[Objective], networks: Mapping[str, nn.Module]) -> None:
    """Refuse networks that a method cannot train.

    Raises:
        SeqgenError: naming the network and what it must be.
    """
    known = {**kind.requires, **kind.optional}
    for name, network in networks.items():
        if name not in known:
            raise SeqgenError(
                f"{kind.__name__} has no network '{name}'", remedy=f"it takes {', '.join(known) or 'none'}"
            )
        if not isinstance(network, known[name]):
            raise SeqgenError(
                f"{kind.__name__}: network '{name}' is {_an(type(network))}",
                remedy=f"give {_kinds(known[name])}",
            )
    for name in kind.requires:
        if name not in networks:
            raise SeqgenError(f"{kind.__name__} has no network '{name}'", remedy=f"add networks.{name}")


def _kinds(requirement: Requirement) -> str:
    first, *others = requirement if isinstance(requirement, tuple) else (requirement,)
    return " or ".join([_an(first), *(other.__name__ for other in others)])


def _an(kind: type[Any]) -> str:
    """The name of a class with its article."""
    return f"{'an' if kind.__name__[0] in 'AEIO' else 'a'} {kind.__name__}"


def _under(name: str, prefix: str) -> bool:
    return prefix == "" or name == prefix or name.startswith(prefix + ".")
