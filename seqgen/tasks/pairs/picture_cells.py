"""Pairs of composed pictures, of known information: a class in each cell, and in the other picture the next class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.noise import Key
from seqgen.pictures.directory import PictureFacts, PictureSet

Layout = Literal["row", "grid", "channels"]
_DRAWN = 3  # of a cell of a pair: its class, and a drawing for each side


@dataclass(frozen=True)
class Cells:
    """Cells of composed pictures.

    Attributes:
        count: cells of a picture. layout: cells side by side in a row, in a square, or as channels on top of each
            other; what is a vector to a network is the same numbers in another order.

    Raises:
        SeqgenError: for no cell, and a square of cells whose number is none.
    """

    count: int = 1
    layout: Layout = "row"

    def __post_init__(self) -> None:
        if self.count < 1 or (self.layout == "grid" and math.isqrt(self.count) ** 2 != self.count):
            raise SeqgenError(
                f"'cells' has a {self.layout} of {self.count}", remedy="give 1 or more, in a grid a square number"
            )

    def composed(self, drawings: Tensor) -> Tensor:
        """Pictures of the drawings in their cells, flat: ``[N, cells, C, H, W] → [N, cells·C·H·W]``, channel by channel
        and row by row."""
        if self.layout == "channels":
            return drawings.flatten(1)
        side = math.isqrt(self.count) if self.layout == "grid" else 1
        placed = drawings.unflatten(1, (side, self.count // side))  # [N, rows, columns, C, H, W]
        return placed.permute(0, 3, 1, 4, 2, 5).flatten(1)


class ComposedPairs(NamedTuple):
    """Composed pairs: ``x, y [N, dimension]`` float32, and ``label [N, cells]``, the place of each cell's class in x
    among its alphabet."""

    x: Tensor
    y: Tensor
    label: Tensor


class NextInCells:
    """Process of pairs of composed pictures. In cell i, of an alphabet of |A_i| classes,

        z_i ~ U{0 … |A_i| - 1},    x_i a drawing of class z_i,    y_i one of class (z_i + 1) mod |A_i|

    each of the drawings of its class alike. x says of y the classes and no more, so that

        I(X; Y) = Σ_i ln |A_i|

    Classes that are named ``alphabet/character`` make alphabets; the largest go to the cells, one to each. Of classes
    without such names there is one alphabet, which all cells have.

    Args:
        pictures: drawings of a split. facts: of all splits. cells: of a picture.
        known: drawings by which every pixel gets mean 0 and deviation 1, cell by cell; by default pixels lie in
            [-1, 1].

    Raises:
        SeqgenError: for drawings without classes, fewer alphabets than cells, and a class without a drawing.

    Source: the construction is that of the spatial and stacked multi-Omniglot pictures of Ozair et al., "Wasserstein
    dependency measure for representation learning", arXiv 1903.11780.
    """

    def __init__(
        self, pictures: PictureSet, facts: PictureFacts, cells: Cells, *, known: PictureSet | None = None
    ) -> None:
        self.cells, self.facts = cells, facts
        self.alphabets = alphabets(facts.classes, cells.count)
        pixels = _scaled(pictures, facts)
        pools, sizes = [], []  # of every class of every cell
        for alphabet in self.alphabets:
            own = [_of_class(pixels, pictures, number, facts) for number in alphabet]
            mean, deviation = (0.0, 1.0) if known is None else _moments(_scaled(known, facts), known, alphabet)
            pools += [(drawings - mean) / deviation for drawings in own]
            sizes += [len(drawings) for drawings in own]
        self.drawings = torch.cat(pools)  # [drawings of all cells, C, H, W]
        self.sizes = np.array(sizes)
        self.starts = self.sizes.cumsum() - self.sizes
        self.classes = np.array([len(alphabet) for alphabet in self.alphabets])  # [cells]
        self.firsts = self.classes.cumsum() - self.classes  # [cells], place of a cell's first class

    @property
    def dimension(self) -> int:
        """Numbers of a composed picture."""
        return self.cells.count * self.facts.pixels

    @property
    def information(self) -> float:
        """I in nats."""
        return sum(math.log(len(alphabet)) for alphabet in self.alphabets)

    def describe(self) -> str:
        """The process in a few words."""
        classes = ", ".join(str(len(alphabet)) for alphabet in self.alphabets)
        return f"pictures of {self.cells.count} cells ({self.cells.layout}) with {classes} classes"

    def draw(self, key: Key, first: int, count: int) -> ComposedPairs:
        """Pairs ``first … first + count - 1`` of an endless row of them."""
        each = _DRAWN * self.cells.count
        u = noise.block(key.seed, key.stream, first * each, count * each).reshape(count, _DRAWN, self.cells.count)
        label = (u[:, 0] * self.classes).astype(np.int64)  # [N, cells]
        x, y = (
            self.cells.composed(self._drawn((label + ahead) % self.classes, u[:, 1 + ahead])) for ahead in (0, 1)
        )  # [N, dimension] each
        return ComposedPairs(x, y, torch.from_numpy(label))

    def _drawn(self, classes: npt.NDArray[np.int64], u: npt.NDArray[np.float32]) -> Tensor:
        """Drawings of classes ``[N, cells]``, those that the uniforms choose, ``[N, cells, C, H, W]``."""
        places = self.firsts + classes
        chosen = self.starts[places] + (u * self.sizes[places]).astype(np.int64)
        return self.drawings[torch.from_numpy(chosen)]


def alphabets(classes: tuple[str, ...], count: int) -> list[list[int]]:
    """Numbers of the classes of each of ``count`` cells.

    Raises:
        SeqgenError: where there are no two classes in one, or fewer alphabets than cells.

    Example:
        >>> alphabets(("b/1", "a/1", "a/2", "a/3", "b/2"), 2)
        [[1, 2, 3], [0, 4]]
    """
    found: dict[str, list[int]] = {}
    for number, name in enumerate(classes):
        found.setdefault(name.rpartition("/")[0], []).append(number)
    largest = sorted(found.values(), key=len, reverse=True)
    chosen = largest * count if len(largest) == 1 else largest[:count]
    if len(chosen) < count or min(map(len, chosen)) < 2:
        raise SeqgenError(
            f"{count} cells, and alphabets of {', '.join(str(len(one)) for one in largest) or 'no'} classes",
            remedy="give pictures with classes, named alphabet/character where each cell has its own, or fewer cells",
        )
    return chosen[:count]


def _scaled(pictures: PictureSet, facts: PictureFacts) -> Tensor:
    """Pixels in [-1, 1], ``[N, C, H, W]``."""
    return torch.from_numpy(pictures.x).float() * (2 / (facts.levels - 1)) - 1


def _of_class(pixels: Tensor, pictures: PictureSet, number: int, facts: PictureFacts) -> Tensor:
    chosen = pixels[torch.from_numpy(_labels(pictures) == number)]
    if not len(chosen):
        raise SeqgenError(
            f"no drawing of the class '{facts.classes[number]}' in a split", remedy="prepare more pictures for it"
        )
    return chosen


def _moments(pixels: Tensor, pictures: PictureSet, alphabet: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every pixel over an alphabet's drawings; what is constant is not scaled."""
    chosen = pixels[torch.from_numpy(np.isin(_labels(pictures), alphabet))].double()
    deviation, mean = torch.std_mean(chosen, dim=0, correction=0)
    return mean.float(), torch.where(deviation > 0, deviation, 1.0).float()


def _labels(pictures: PictureSet) -> npt.NDArray[np.int64]:
    assert pictures.y is not None  # classes that are named are known of every picture
    return pictures.y
