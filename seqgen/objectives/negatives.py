"""Negatives of a contrastive loss: which latents of a batch a prediction has to be told from, drawn by a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.noise import Key

Kind = Literal["mixed", "same-speaker", "mixed-excluding", "same-speaker-excluding", "sequence"]

_REMEDIES: dict[Kind, str] = {
    "mixed": "lower objective.candidates, or give more rows or longer ones",
    "same-speaker": "lower objective.candidates, or give more rows of a speaker or longer ones",
    "mixed-excluding": "lower objective.candidates, or give more rows or longer ones",
    "same-speaker-excluding": "lower objective.candidates, or give two rows or more of every speaker",
    "sequence": "lower objective.candidates, or give longer rows",
}
_POOLS: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "mixed": lambda own, same: torch.ones_like(own),
    "same-speaker": lambda own, same: same,
    "mixed-excluding": lambda own, same: ~own,
    "same-speaker-excluding": lambda own, same: same & ~own,
    "sequence": lambda own, same: own,
}
"""Rows that may serve each row, ``[B, B]``, of its own and those of its speaker."""


def needs_speakers(kind: Kind) -> bool:
    """Need of rows that say who speaks."""
    return kind.startswith("same-speaker")


def pool(kind: Kind, real: Tensor, speaker: Tensor | None) -> Tensor:
    """Latents that may serve each row: ``[B, F]`` (those that count), speakers ``[B] → [B, B·F]``."""
    rows = len(real)
    own = torch.eye(rows, dtype=torch.bool, device=real.device)
    same = own if speaker is None else speaker[:, None] == speaker[None]
    served = _POOLS[kind](own, same)  # [B, B]
    return (served[:, :, None] & real[None]).flatten(1)


def draw(kind: Kind, real: Tensor, speaker: Tensor | None, count: int, key: Key) -> Tensor:
    """Candidates of each row, ``[B, count]``: different latents of its pool, by their places ``row·F + frame``.

    They are uniform without replacement, in random order. Where the right answer to a question is among them, the
    others are its negatives; where not, all but the last are: in both cases ``count - 1`` latents, uniform without
    replacement from the pool without the right one, which never is its own negative.

    Args:
        kind: the pool: ``mixed``, every row; ``same-speaker``, rows of the same speaker; ``…-excluding``, these
            without the row itself; ``sequence``, the row alone.
        real: bool ``[B, F]``, latents that count. speaker: numbers ``[B]``. key: of what is drawn.

    Raises:
        SeqgenError: for a row whose pool is too small, and for rows of nobody where speakers matter.
    """
    if needs_speakers(kind) and speaker is None:
        raise SeqgenError(f"candidates of kind '{kind}' for rows that name no speaker", remedy="take kind mixed")
    allowed = pool(kind, real, speaker)  # [B, B·F]
    sizes = allowed.sum(dim=1)
    # A row without a question needs no candidates: it may have too few, padding included.
    few = ((sizes < count) & real.any(dim=1)).nonzero()
    if len(few):
        row = int(few[0])
        raise SeqgenError(
            f"{count} candidates of kind '{kind}', but for row {row} of the batch there are {int(sizes[row])}",
            remedy=_REMEDIES[kind],
        )
    drawn = torch.from_numpy(noise.block(key.seed, key.stream, 0, allowed.numel())).view(allowed.shape).to(real.device)
    order = torch.where(allowed, drawn, 2.0)  # uniforms are below 1
    return order.topk(min(count, order.shape[1]), dim=1, largest=False).indices
