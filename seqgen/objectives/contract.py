"""The contract of every training method: its networks, its players, one loss for training and for evaluation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, final

from torch import Tensor, nn

from seqgen.noise import Key


class Loss(NamedTuple):
    """What one player minimises on one batch.

    The loop combines the parts of a global batch (micro-batches, processes) as ``Σ weight·total / Σ weight``, so that
    neither accumulation nor the number of processes changes the gradient. A part without elements has weight 0 and a
    finite total.

    Attributes:
        total: scalar, the mean over ``weight`` elements; what is differentiated.
        terms: named scalars for the record, means over the same elements.
        weight: scalar, the number of elements averaged.
        aux: sums over the batch that ``after_update`` needs, by name (counts of a codebook, say); added up over the
            parts of the global batch. None when the method has none.
    """

    total: Tensor
    terms: dict[str, Tensor]
    weight: Tensor
    aux: dict[str, Tensor] | None = None


class Objective(nn.Module, ABC):
    """A training method: owns its networks and says what each of its players minimises.

    ``loss`` is the only abstract method. It changes nothing: buffers change in ``after_update`` alone, and whatever is
    drawn is keyed by ``rng``. It is called through ``forward``, inside which only the player's own parameters take
    gradients, so a generator's loss may run through the critic without moving it.

    Attributes:
        players: player -> prefixes of the names of the parameters it may move, asked in this order at each step; a
            prefix is a parameter's or a sub-module's full name, and "" is everything. The first player's loss is the
            one that validation ranks checkpoints by.
        trains: what a registered objective is given to train: kinds of generators, or a bare Streamable.
        others: frozen networks of other runs that it needs: name of the option that holds the run's directory, and
            what that run must have trained. They are handed over under the same names.

    Example:
        >>> class Adversarial(Objective):
        ...     players = MappingProxyType({"critic": ("critic",), "generator": ("generator",)})
    """

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"model": ("",)})
    trains: ClassVar[type[nn.Module] | tuple[type[nn.Module], ...]] = nn.Module
    others: ClassVar[Mapping[str, Literal["voice", "classifier"]]] = MappingProxyType({})

    @abstractmethod
    def loss(self, batch: Any, player: str, rng: Key) -> Loss:
        """The loss of ``player`` on ``batch`` (layout ``[B, T, C]``), the same in training and evaluation."""

    def after_update(self, aux: dict[str, Tensor]) -> None:
        """Change buffers after one player's update; ``aux`` is empty where its loss gave none."""

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, batch: Any, player: str, rng: Key) -> Loss:
        """``loss``, with gradients reaching the parameters of ``player`` and no others."""
        with self._only(player):
            return self.loss(batch, player, rng)

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
            if not any(_under(name, prefix) for name in parameters):
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


def _under(name: str, prefix: str) -> bool:
    return prefix == "" or name == prefix or name.startswith(prefix + ".")
