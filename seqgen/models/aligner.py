"""The contract of an aligner: how likely each frame of a recording is under each token that was spoken in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self, final

import torch
from torch import Tensor, nn

from seqgen.distributions.contract import full


class Aligner(nn.Module, ABC):
    """A network that reads frames and tokens, and scores each pair of them in nats.

    Rows have lengths of their own, of frames and of tokens: what stands behind a row's end changes nothing of it.

    Args:
        in_dim: numbers of a frame. vocab_size: of the tokens.

    Laws, checked by :func:`seqgen.models.verify.verify` for every registered one: shape, rows, padding.
    """

    def __init__(self, *, in_dim: int, vocab_size: int) -> None:
        super().__init__()
        self.in_dim, self.vocab_size = in_dim, vocab_size

    @classmethod
    @abstractmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over, of frames of four numbers and five tokens."""

    @abstractmethod
    def scores(self, frames: Tensor, lengths: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        """Logarithms of likelihoods: ``[B, T, in_dim]``, ``[B]``, int64 ``[B, N]`` and ``[B]`` → ``[B, T, N]``; any
        number behind a row's end."""

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, frames: Tensor, lengths: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        """:meth:`scores`, with -∞ behind the last token of a row."""
        scores = full(self.scores(frames, lengths, tokens, counts))
        place = torch.arange(tokens.shape[1], device=tokens.device)
        return scores.masked_fill((place >= counts[:, None])[:, None], -torch.inf)
