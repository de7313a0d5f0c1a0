"""Learned permutations of the alphabet, one for each position of a block.

    S⁰ = exp(L / τ),    Sⁱ⁺¹ = columns(rows(Sⁱ)) divided by their sums,    z_d = P_dᵀ x_d,    x_d = P_d z_d

P is the permutation that the doubly stochastic S is rounded to; gradients are those of S.

Source: Mena et al., arXiv 1802.08665, section 3; as a discrete flow, the released code of arXiv 1905.10347.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.flows.contract import Bijector
from seqgen.flows.one_hot import hardened, one_hot


class Sinkhorn(nn.Module, Bijector):
    """Flow of symbols that gives every position an alphabet in another order; of the probabilities of a position it can
    say which symbol has which.

    Shapes: one-hots ``[B, D, K]`` both ways; logits L ``[D, K, K]``.

    Raises:
        SeqgenError: for sizes that make no flow, or a sequence of another length.

    Example:
        >>> Sinkhorn(Sinkhorn.Config(vocab_size=5, length=3)).logits.shape
        torch.Size([3, 5, 5])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the flow.

        Attributes:
            vocab_size: K. length: D, positions of a block. iterations: of the normalisation.
            temperature: τ. identity: what the logits of the identity are raised by.
        """

        vocab_size: int
        length: int
        iterations: int = 20
        temperature: float = 0.1
        identity: float = 0.1

    @classmethod
    def examples(cls) -> Iterable[Sinkhorn]:
        return [cls(cls.Config(vocab_size=5, length=3)), cls(cls.Config(vocab_size=4, length=2, iterations=5))]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if min(config.vocab_size, config.length, config.iterations) < 1 or config.temperature <= 0:
            raise SeqgenError(f"permutations by {config}", remedy="give 1 or more of each, a positive temperature")
        self.vocab_size, self.length = config.vocab_size, config.length
        self.iterations, self.temperature = config.iterations, config.temperature
        self.logits = nn.Parameter(config.identity * torch.eye(config.vocab_size).repeat(config.length, 1, 1))

    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._permuted(z, self.permutations().transpose(1, 2))

    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._permuted(x, self.permutations())

    def permutations(self) -> Tensor:
        """Permutation matrices ``[D, K, K]`` with straight-through gradients: row x has its 1 at z."""
        soft = self.soft_permutations()
        # The assignment with the largest sum: rounding row by row would not give permutations.
        places = [linear_sum_assignment(one, maximize=True)[1] for one in soft.detach().double().cpu().numpy()]
        hard = one_hot(torch.tensor(np.stack(places), device=soft.device), self.vocab_size, soft.dtype)
        return soft + (hard - soft).detach()

    def soft_permutations(self) -> Tensor:
        """Doubly stochastic matrices ``[D, K, K]``, up to the iterations' error."""
        log_s = self.logits / self.temperature
        for _ in range(self.iterations):
            log_s = torch.log_softmax(log_s, dim=2)
            log_s = torch.log_softmax(log_s, dim=1)
        return log_s.exp()

    def _permuted(self, x: Tensor, matrices: Tensor) -> tuple[Tensor, Tensor]:
        self.require_length(x)
        moved = torch.einsum("bdv,dvu->bdu", x, matrices)
        return hardened(moved), moved.new_zeros(moved.shape[:2])
