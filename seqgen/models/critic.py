"""The contract of a critic: how well each x goes with each y."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Self, final

from torch import Tensor, nn

from seqgen.errors import SeqgenError


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

    @final
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[misc]  # nn.Module declares forward as a field
        """:meth:`scores`, called as torch's modules are."""
        return self.scores(x, y)


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers from each width to the next, with rectifiers between them.

    Raises:
        SeqgenError: for a width below 1.
    """
    if min(widths) < 1:
        raise SeqgenError(f"a perceptron of widths {list(widths)}", remedy="give 1 or more of everything")
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
