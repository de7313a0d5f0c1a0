"""The contract of a critic: how well each x goes with each y."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, final

from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.nets.spectral_norm import SpectralLinear


class Critic(nn.Module, ABC):
    """A network that scores every pairing of vectors x and y, whether they were drawn together or not.

        F[i, j] = f(x_j, y_i):  a row for each y, a column for each x

    Args:
        x_dim, y_dim: dimensions of the two.
    """

    def __init__(self, x_dim: int, y_dim: int) -> None:
        super().__init__()
        self.x_dim, self.y_dim = x_dim, y_dim

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one of three and two dimensions."""
        return [cls(cls.Config(x_dim=3, y_dim=2))]  # type: ignore[attr-defined,call-arg]  # classes take their Config

    @abstractmethod
    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        """``x [J, x_dim], y [I, y_dim] → F [I, J]``."""

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores of K pairs alone, the diagonal of :meth:`scores`: ``[K, x_dim], [K, y_dim] → [K]``."""
        return self.scores(x, y).diagonal()

    def represented(self, x: Tensor) -> Tensor:
        """Representation of x that the scores are made of, ``[J, x_dim] → [J, dimensions]``.

        Raises:
            SeqgenError: where there is none.
        """
        raise SeqgenError(f"{type(self).__name__} has no encoder of x alone", remedy="take a critic that has one")

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """:meth:`scores`, called as torch's modules are."""
        return self.scores(x, y)


@dataclass(frozen=True)
class PerceptronSizes:
    """Sizes of a perceptron over pairs: ``x_dim, y_dim``, dimensions of x and y. ``hidden``: width of a hidden layer.
    ``layers``: hidden layers."""

    x_dim: int
    y_dim: int
    hidden: int = 256
    layers: int = 2


@dataclass(frozen=True)
class CriticPerceptron(PerceptronSizes):
    """Sizes of a critic's perceptrons. ``spectral_norm``: whether no layer stretches a vector, so that a perceptron's
    slope is 1 at most (that of a product of two grows with the values of both)."""

    spectral_norm: bool = False


def perceptron(inputs: int, outputs: int, *, hidden: int, layers: int, spectral_norm: bool = False) -> nn.Sequential:
    """Linear layers with rectifiers between them: ``layers`` hidden ones of width ``hidden``, and the last; with a
    spectral norm of 1 each where that is asked for.

    Raises:
        SeqgenError: for sizes that make no network.
    """
    if min(inputs, outputs, hidden) < 1 or layers < 0:
        raise SeqgenError(
            f"a perceptron from {inputs} to {outputs} numbers with {layers} layers of {hidden}",
            remedy="give 1 or more of everything, of hidden layers 0 or more",
        )
    linear = SpectralLinear if spectral_norm else nn.Linear
    made: list[nn.Module] = []
    for _ in range(layers):
        made += [linear(inputs, hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*made, linear(inputs, outputs))
