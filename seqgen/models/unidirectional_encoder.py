"""Unidirectional encoder: a stream run over a whole source from one of its ends, some of its outputs kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from seqgen import config as configs
from seqgen import registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.models.encoder import Encoder, inside
from seqgen.nets.bidirectional import at
from seqgen.stream.contract import Streamable


class UnidirectionalEncoder(Encoder):
    """Encoder that sees one side of each column: an anti-causal one what is from its stretch on, a causal one what is
    up to the end of it.

        anti-causal: column_n = f(x_T, …, x_{n·down}),    causal: column_n = f(x_1, …, x_{(n+1)·down - 1})

    The anti-causal one runs its body over each row turned round within the row's length. Codes made of such columns
    hold what a decoder that reads x_<t and z_≤n cannot know: what is to come.

    Shapes: int64 ``[B, S]``, or reals ``[B, S, 1]``, lengths ``[B]`` → ``[B, ⌈S / down⌉, body's outputs]``.

    Raises:
        SeqgenError: for a body that gives no output for each element by itself.

    Source: Razavi et al., "Preventing posterior collapse with delta-VAEs", arXiv 1901.03416.

    Example:
        >>> body = Component("recurrent", {"vocab_size": 8, "outputs": 32})
        >>> UnidirectionalEncoder(UnidirectionalEncoder.Config(body, down=8)).out_dim
        32
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the encoder.

        Attributes:
            body: registered stream that gives an output for each element. down: elements that a column stands for.
            direction: which side is seen.
        """

        body: Component
        down: int = 1
        direction: Literal["anticausal", "causal"] = "anticausal"

    @classmethod
    def examples(cls) -> Iterable[UnidirectionalEncoder]:
        body = Component("recurrent", {"vocab_size": 5, "outputs": 4, "hidden": 3, "embedding": 3})
        return [cls(cls.Config(body)), *(cls(cls.Config(body, 5, side)) for side in ("anticausal", "causal"))]

    def __init__(self, config: Config) -> None:
        body: Streamable[Any] = configs.construct(config.body, registry.MODELS, source="unidirectional encoder: body")
        spec = getattr(body, "spec", None)
        plain = spec is not None and (spec.up, spec.down, spec.latency, spec.cond_dim, spec.block) == (1, 1, 0, 0, 1)
        if spec is None or not plain or spec.in_dim > 1 or spec.memory_dim:
            raise SeqgenError(
                f"unidirectional encoder: '{config.body.name}' gives no output for each element of what it reads",
                remedy="choose a stream without conditioning, of the rate of its input",
            )
        if config.down < 1:
            raise SeqgenError(f"unidirectional encoder: down is {config.down}", remedy="give 1 or more")
        super().__init__(vocab_size=spec.vocab_size, out_dim=spec.out_dim, down=config.down)
        self.body, self.turned = body, config.direction == "anticausal"

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        length = symbols.shape[1]
        first = torch.arange(0, length, self.down, device=symbols.device)[None]  # [1, N]
        if not self.turned:
            last = torch.minimum(first + self.down, lengths[:, None]) - 1  # [B, N]
            made = at(self.body(symbols), last.clamp_min(0))
        else:
            order = _turned(torch.arange(length, device=symbols.device)[None], lengths)  # [B, S]
            x = symbols.gather(1, order) if symbols.dim() == 2 else at(symbols, order)
            made = at(self.body(x), _turned(first, lengths))
        return made * inside(-(-lengths // self.down), made.shape[1])[..., None]  # [B, N, out_dim]


def _turned(place: Tensor, lengths: Tensor) -> Tensor:
    """Places ``[1, P]`` counted from the ends of the rows, ``[B, P]``; those behind an end stay."""
    return torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place * 0)
