"""The Lipschitz constraint of a critic, kept by a penalty on its gradient: scores change no faster than pairs move."""

from __future__ import annotations

import math
import typing
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.nets.gru import twice_differentiable
from seqgen.noise import Key

Kind = Literal["joint", "product", "interpolated"]
KINDS: tuple[Kind, ...] = typing.get_args(Kind)


class Scored(Protocol):
    """Scorer of pairs, a critic or what stands in its place."""

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """Score of each pair, ``[K, x_dim], [K, y_dim] → [K]``."""


@dataclass(frozen=True)
class LipschitzPenalty:
    """Gradient penalty that keeps a critic f nearly Lipschitz, over pairs (u, v) of chosen kinds:

        P = E (‖∇ f(u, v)‖ - target)₊²          one-sided;  without the cut at 0 where it is two-sided

    The gradient is by u and v together, and its norm that of both side by side, so that distances of pairs are
    ``√(‖u - u'‖² + ‖v - v'‖²)``. Of K pairs (x_i, y_i) there are K of each kind,

        joint:         (x_i, y_i)
        product:       (x_i, y_π(i))                             π without a fixed point
        interpolated:  (x_i, ε_i y_i + (1 - ε_i) y_π(i))         ε ~ U(0, 1)

    The supremum of ``E f(x, y) - E f(x, y')`` over functions with a slope of 1 at most is the Wasserstein dependency
    ``W_1(p(x, y), p(x) p(y))``. It is a distance in the units of x and y, and no information in nats: another scale of
    these is another dependency.

    Attributes:
        weight: of the penalty in the loss; 0 has slopes measured, and leaves the critic free.
        points: kinds of the pairs whose slopes count.
        one_sided: whether slopes below the target cost nothing.
        target: slope that the critic is held to, in scores for a unit of distance.

    Raises:
        SeqgenError: for a negative weight, a target that is not above 0, and for no kind of pairs or one named twice.

    Source: Ozair et al., "Wasserstein dependency measure for representation learning", arXiv 1903.11780; the penalty is
    that of Gulrajani et al., "Improved training of Wasserstein GANs", arXiv 1704.00028, section 4. Kinds of pairs, and
    which side is penalised, are options here.

    Example:
        >>> float(LipschitzPenalty(target=1.0).penalty(torch.tensor([0.5, 3.0])))
        2.0
    """

    weight: float = 1.0
    points: tuple[Kind, ...] = KINDS
    one_sided: bool = True
    target: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf or not 0 < self.target < math.inf:
            raise SeqgenError(
                f"a slope of {self.target} is held to with weight {self.weight}",
                remedy="give a target above 0 and a weight of 0 or more",
            )
        if not self.points or len(set(self.points)) < len(self.points):
            raise SeqgenError(f"'points' is {list(self.points)}", remedy=f"give some of {', '.join(KINDS)}, each once")

    def penalty(self, slopes: Tensor) -> Tensor:
        """P of the slopes of pairs, ``[N] → []``."""
        excess = slopes - self.target
        return (excess.clamp_min(0) if self.one_sided else excess).square().mean()

    def slopes(self, critic: Scored, x: Tensor, y: Tensor, rng: Key) -> Tensor:
        """Norms of the critic's gradient at K pairs of each kind: ``[K, x_dim], [K, y_dim] → [kinds · K]``."""
        pairs, position = len(x), torch.arange(len(x), device=x.device)
        others = y[derangement(pairs, rng).to(y.device)]
        share = noise.uniforms(rng.seed, rng.stream, pairs + position).to(y.dtype)[:, None]
        second = {"joint": y, "product": others, "interpolated": share * y + (1 - share) * others}
        return gradient_norms(critic, x.repeat(len(self.points), 1), torch.cat([second[kind] for kind in self.points]))


def gradient_norms(critic: Scored, x: Tensor, y: Tensor) -> Tensor:
    """``‖∇ f(x_k, y_k)‖`` by x and y together: ``[K, x_dim], [K, y_dim] → [K]``; itself differentiable by the critic's
    weights where gradients are wanted."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad(), twice_differentiable():
        ends = [side.detach().requires_grad_(True) for side in (x, y)]
        slopes = torch.autograd.grad(critic.paired(*ends).sum(), ends, create_graph=wanted, materialize_grads=True)
    return torch.linalg.vector_norm(torch.cat(slopes, dim=1), dim=1)


def derangement(count: int, rng: Key) -> Tensor:
    """Permutation of ``count`` numbers that leaves none in its place, int64 ``[count]``: one cycle through all of them,
    in an order by lot.

    Example:
        >>> sorted(derangement(4, Key(0, 0)).tolist())
        [0, 1, 2, 3]
    """
    order = torch.argsort(noise.words(rng.seed, rng.stream, torch.arange(count)), stable=True)
    return torch.empty_like(order).scatter_(0, order, order.roll(-1))
