"""Monotone alignments of frames to tokens: their sum, what they say of each frame, and the best one.

A path gives every frame a token, from the first token to the last in their order. A token has one frame or more; an
optional one (a silence) may also have none. With scores s[t, n] of token n at frame t

    total = ln Σ_paths exp Σ_t s[t, path_t]

by a forward pass over frames; its gradient by s[t, n] is the share of paths that are at token n, from a backward pass.

Source: Graves et al., "Connectionist temporal classification", ICML 2006, section 4.1, with tokens in the place of
labels between blanks; Viterbi 1967 for the best path.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError


class Tokens(NamedTuple):
    """Tokens of B rows, which frames are aligned to.

    Attributes:
        counts: ``[B]``, tokens of a row. optional: bool ``[B, N]``, which of them may be left out; no two in a row.
        lengths: ``[B]``, frames of a row.
    """

    counts: Tensor
    optional: Tensor
    lengths: Tensor

    def needed(self) -> Tensor:
        """Frames that a row needs, ``[B]``: one for each token that is not optional, and one at least."""
        real = torch.arange(self.optional.shape[1], device=self.counts.device) < self.counts[:, None]
        return (real & ~self.optional).sum(dim=1).clamp_min(1)

    def require_paths(self) -> None:
        """Refuse rows without a path.

        Raises:
            SeqgenError: for two optional tokens next to each other, or fewer frames than tokens.
        """
        if (self.optional[:, 1:] & self.optional[:, :-1]).any():
            raise SeqgenError("two optional tokens next to each other", remedy="join them to one")
        short = (self.needed() > self.lengths).nonzero().flatten().tolist()
        if short:
            row = short[0]
            raise SeqgenError(
                f"row {row} has {int(self.lengths[row])} frames for {int(self.needed()[row])} tokens",
                remedy="give each token a frame: check the transcript, or take a shorter hop",
            )


def total(scores: Tensor, tokens: Tokens) -> Tensor:
    """``ln Σ_paths exp Σ_t s[t, path_t]`` of each row, ``[B, T, N] → [B]``, differentiable by the scores.

    Raises:
        SeqgenError: for a row without a path.

    Example:
        >>> rows = Tokens(torch.tensor([2]), torch.tensor([[False, False]]), torch.tensor([3]))
        >>> total(torch.zeros(1, 3, 2), rows).exp()  # the first token has one frame or two
        tensor([2.])
    """
    tokens.require_paths()
    summed: Tensor = _Total.apply(scores, *tokens)  # type: ignore[no-untyped-call]
    return summed


def best(scores: Tensor, tokens: Tokens) -> Tensor:
    """The token of each frame on the best path, int64 ``[B, T]``; -1 behind the end of a row.

    Raises:
        SeqgenError: for a row without a path.
    """
    tokens.require_paths()
    rows, frames, _ = scores.shape
    scores = scores.detach().double()
    reached = _start(scores, tokens)
    steps = torch.zeros(scores.shape, dtype=torch.int64, device=scores.device)
    kept = [reached]
    for frame in range(1, frames):
        before = torch.stack(_before(reached, tokens.optional))  # [3, B, N]
        value, steps[:, frame] = before.max(dim=0)
        reached = scores[:, frame] + value
        kept.append(reached)
    ends = torch.stack(kept, dim=1)[torch.arange(rows), tokens.lengths - 1]  # [B, N]
    at = (ends + _ends(tokens, ends)).argmax(dim=1)
    path = torch.full((rows, frames), -1, device=scores.device)
    for frame in reversed(range(frames)):
        inside = frame < tokens.lengths
        path[:, frame] = torch.where(inside, at, -1)
        at = at - torch.where(inside, steps[torch.arange(rows), frame, at], 0)
    return path


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, counts: Tensor, optional: Tensor, lengths: Tensor) -> Tensor:
        tokens, exact = Tokens(counts, optional, lengths), scores.double()
        reached = [_start(exact, tokens)]
        for frame in range(1, scores.shape[1]):
            reached.append(exact[:, frame] + _sum(_before(reached[-1], optional)))
        alpha = torch.stack(reached, dim=1)  # [B, T, N]
        last = alpha[torch.arange(len(scores)), lengths - 1]
        summed = torch.logsumexp(last + _ends(tokens, last), dim=1)
        ctx.save_for_backward(exact, counts, optional, lengths, alpha, summed)
        ctx.dtype = scores.dtype
        return summed.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        scores, counts, optional, lengths, alpha, summed = ctx.saved_tensors
        ends = _ends(Tokens(counts, optional, lengths), scores[:, 0])
        beta, left = torch.empty_like(scores), torch.full_like(scores[:, 0], -torch.inf)
        for frame in reversed(range(scores.shape[1])):
            left = torch.where((frame == lengths - 1)[:, None], ends, left)
            beta[:, frame] = left
            left = _sum(_behind(left + scores[:, frame], optional))
        inside = torch.arange(scores.shape[1], device=scores.device)[None] < lengths[:, None]
        shares = (alpha + beta - summed[:, None, None]).exp() * inside[..., None]
        return (shares * grads[0].double()[:, None, None]).to(ctx.dtype), None, None, None


def _start(scores: Tensor, tokens: Tokens) -> Tensor:
    """Scores of paths of one frame: at the first token, or at the second where the first is optional."""
    made = torch.full_like(scores[:, 0], -torch.inf)
    made[:, 0] = scores[:, 0, 0]
    if made.shape[1] > 1:
        made[:, 1] = torch.where(tokens.optional[:, 0], scores[:, 0, 1], -torch.inf)
    return made


def _ends(tokens: Tokens, like: Tensor) -> Tensor:
    """0 at the tokens that a path may end with, -∞ elsewhere."""
    place = torch.arange(like.shape[1], device=like.device)[None]
    last = tokens.counts[:, None] - 1
    skipped = tokens.optional.gather(1, last) & (place == last - 1)
    return torch.zeros_like(like).masked_fill((place != last) & ~skipped, -torch.inf)


def _before(reached: Tensor, optional: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores that each token is reached from: itself, the one before, and the second before if that one is optional."""
    none = torch.full_like(reached[:, :2], -torch.inf)
    one = torch.cat([none[:, :1], reached[:, :-1]], dim=1)
    two = torch.cat([none, reached[:, :-2]], dim=1)[:, : reached.shape[1]]
    passed = torch.cat([torch.zeros_like(optional[:, :1]), optional[:, :-1]], dim=1)
    return reached, one, two.masked_fill(~passed, -torch.inf)


def _behind(left: Tensor, optional: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores that each token leads to: itself, the one behind, and the second behind if that one is optional."""
    none = torch.full_like(left[:, :2], -torch.inf)
    one = torch.cat([left[:, 1:], none[:, :1]], dim=1)
    two = torch.cat([left[:, 2:], none], dim=1)[:, : left.shape[1]]
    passed = torch.cat([optional[:, 1:], torch.zeros_like(optional[:, :1])], dim=1)
    return left, one, two.masked_fill(~passed, -torch.inf)


def _sum(ways: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.logaddexp(torch.logaddexp(ways[0], ways[1]), ways[2])
