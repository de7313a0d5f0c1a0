"""Discrete chains: exact inference in hidden Markov models, whose evidence is a log-potential on each frame and state.

    p(z) ∝ exp( initial(z_1) + Σ_t pair_t(z_t, z_{t+1}) + Σ_t node_t(z_t) )

    forward:   a_1 = initial + node_1,   a_{t+1}(k) = node_{t+1}(k) + logsumexp_j (a_t(j) + pair_t(j, k))
    backward:  b_T = 0,                  b_t(j) = logsumexp_k (pair_t(j, k) + node_{t+1}(k) + b_{t+1}(k))
    log Z = logsumexp_k a_T(k),          p(z_t) = exp(a_t + b_t - log Z)

All of it is in logarithms. Log-potentials are finite: what is forbidden has a large negative one.

Source: Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77 (2), 1989, section III.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class StateMarginals(NamedTuple):
    """Expected statistics of a discrete chain.

    Attributes:
        nodes: ``p(z_t = k)``, ``[B, T, K]``. pairs: ``p(z_t = j, z_{t+1} = k)``, ``[B, T - 1, K, K]``.
    """

    nodes: Tensor
    pairs: Tensor


@dataclass(frozen=True)
class DiscreteChain:
    """Discrete chain: a hidden Markov model over K states together with its evidence.

    Attributes:
        initial: log-potentials of the first state, ``[…, K]`` that broadcasts to ``[B, K]``.
        pairs: log-potentials of transitions, ``[…, K, K]`` from the row's state, broadcast to ``[B, T - 1, K, K]``.
        nodes: log-potentials of each frame's state, ``[B, T, K]``.

    Example:
        >>> DiscreteChain(torch.zeros(2), torch.zeros(2, 2), torch.zeros(1, 3, 2)).log_normaliser().exp()
        tensor([8.])
    """

    initial: Tensor
    pairs: Tensor
    nodes: Tensor

    def log_normaliser(self) -> Tensor:
        """``log Z`` of each sequence, ``[B]``."""
        return torch.logsumexp(self._forward()[:, -1], dim=-1)

    def expected(self) -> StateMarginals:
        """Marginals, which are the gradients of ``log_normaliser`` by the log-potentials."""
        return self.inferred()[0]

    def inferred(self) -> tuple[StateMarginals, Tensor]:
        """Marginals and ``log Z [B]``."""
        forward, backward, pairs = self._forward(), self._backward(), self._pairs()
        total = torch.logsumexp(forward[:, -1], dim=-1)  # [B]
        nodes = (forward + backward - total[:, None, None]).exp()
        arriving = (self.nodes + backward)[:, 1:, None, :]  # [B, T - 1, 1, K]
        joint = forward[:, :-1, :, None] + pairs + arriving - total[:, None, None, None]
        return StateMarginals(nodes, joint.exp()), total

    def predictive(self) -> Tensor:
        """Shares of ``log Z``, ``[B, T]``: ``ln p(node_t | nodes before)`` where initial and pairs are normalised."""
        total = torch.logsumexp(self._forward(), dim=-1)  # [B, T]
        return total.diff(dim=-1, prepend=torch.zeros_like(total[:, :1]))

    def viterbi(self) -> Tensor:
        """Most probable path of each sequence, ``[B, T]`` int64; the lowest state where several are as good."""
        pairs = self._pairs()
        score, sources = self.initial + self.nodes[:, 0], []
        for t in range(pairs.shape[1]):
            best, source = (score[..., :, None] + pairs[:, t]).max(dim=-2)  # from which state, [B, K]
            sources.append(source)
            score = best + self.nodes[:, t + 1]
        path = [score.argmax(dim=-1)]
        for source in reversed(sources):
            path.append(source.gather(-1, path[-1][..., None])[..., 0])
        return torch.stack(path[::-1], dim=-1)

    def sample(self, u: Tensor) -> Tensor:
        """Paths, a function of uniforms ``[…, B, T] → […, B, T]`` int64, drawn backwards from the last frame."""
        forward, pairs = self._forward(), self._pairs()
        path = [inverted(forward[:, -1].expand(*u.shape[:-1], -1), u[..., -1])]
        for t in reversed(range(pairs.shape[1])):
            arriving = pairs[:, t].mT.expand(*u.shape[:-1], -1, -1)  # [..., B, K of t + 1, K of t]
            index = path[-1][..., None, None].expand(*u.shape[:-1], 1, arriving.shape[-1])
            path.append(inverted(forward[:, t] + arriving.gather(-2, index)[..., 0, :], u[..., t]))
        return torch.stack(path[::-1], dim=-1)

    def _pairs(self) -> Tensor:
        batch, frames, states = self.nodes.shape
        return self.pairs.expand(batch, frames - 1, states, states)

    def _forward(self) -> Tensor:
        pairs = self._pairs()
        made = [self.initial + self.nodes[:, 0]]
        for t in range(pairs.shape[1]):
            made.append(self.nodes[:, t + 1] + torch.logsumexp(made[-1][..., None] + pairs[:, t], dim=-2))
        return torch.stack(made, dim=1)  # [B, T, K]

    def _backward(self) -> Tensor:
        pairs = self._pairs()
        made = [torch.zeros_like(self.nodes[:, -1])]
        for t in reversed(range(pairs.shape[1])):
            arriving = (self.nodes[:, t + 1] + made[-1])[..., None, :]
            made.append(torch.logsumexp(pairs[:, t] + arriving, dim=-1))
        return torch.stack(made[::-1], dim=1)  # [B, T, K]


def inverted(logits: Tensor, u: Tensor) -> Tensor:
    """The class that a uniform falls on, ``[…, K]``, ``[…] → […]`` int64; logits need not be normalised."""
    cumulative = logits.softmax(dim=-1).cumsum(dim=-1)[..., :-1]
    return (u[..., None] >= cumulative).sum(dim=-1)
