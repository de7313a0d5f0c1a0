"""Causal self-attention with a window: every position attends to itself and to the positions shortly before it.

    y_t = W_o Σ_j softmax_j( ⟨ρ(t) q_t, ρ(j) k_j⟩ / √d ) v_j,    t - window < j <= t

``ρ`` turns pairs of channels by angles in proportion to the position, so that scores depend on ``t - j`` alone and a
stream may be of any length. What a step needs of the past is the keys and values of ``window - 1`` positions.

Source: Vaswani et al., arXiv 1706.03762, section 3.2; window: Beltagy et al., arXiv 2004.05150, section 3.1; rotary
positions: Su et al., arXiv 2104.09864, section 3.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.nets.dilated import product
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

_SLOWEST = 10_000.0  # positions in which the slowest pair of channels turns by one radian, as in the source


class AttentionState(NamedTuple):
    """State of an attention with a window.

    Attributes:
        keys, values: of the last ``window - 1`` positions, ``[B, window - 1, dim]``, the oldest first, keys not turned.
        held: int64 ``[B]``, how many of them there are; places before them are not attended to.
    """

    keys: Tensor
    values: Tensor
    held: Tensor


class WindowedAttention(Streamable[AttentionState]):
    """Multi-head self-attention over the last ``window`` positions: ``[B, T, dim] → [B, T, dim]``.

    A long block is cut into pieces of ``window`` queries with the ``2·window - 1`` keys that these see, so that time
    and memory grow with T, not with its square.

    Args:
        dim: channels, a multiple of twice the heads. heads: attentions side by side. window: positions, 1 or more.
    """

    def __init__(self, dim: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.spec = StreamSpec(in_dim=dim, out_dim=dim, context=window)
        self.entering = nn.Linear(dim, 3 * dim, bias=False)
        self.leaving = nn.Linear(dim, dim, bias=False)
        frequency = _SLOWEST ** -(torch.arange(0, dim // heads, 2, dtype=torch.float64) * heads / dim)
        self.register_buffer("frequency", frequency, persistent=False)

    frequency: Tensor

    def init_state(self, batch: int, memory: Any = None) -> AttentionState:
        keys = self.zeros(batch, self.window - 1, self.spec.in_dim)
        return AttentionState(keys, keys, torch.zeros(batch, dtype=torch.int64, device=keys.device))

    def step(self, x: Tensor, state: AttentionState, cond: Conditioning | None = None) -> tuple[Tensor, AttentionState]:
        length, past = int(x.shape[1]), self.window - 1  # a fixed number in a traced graph too
        if length == 0:
            return x, state
        q, k, v = product(x, self.entering.weight).chunk(3, dim=-1)  # [B, T, dim] each
        keys = torch.cat([state.keys.to(k.dtype), k], dim=1)  # [B, past + T, dim]
        values = torch.cat([state.values.to(v.dtype), v], dim=1)
        place = torch.arange(past + length, device=x.device)
        real = place >= past - state.held[:, None]  # [B, past + T]
        y = self._attended(self._turned(q, place[past:]), self._turned(keys, place), values, real)
        after = AttentionState(
            keys[:, length:].to(state.keys.dtype),
            values[:, length:].to(state.values.dtype),
            (state.held + length).clamp(max=past),
        )
        return product(y, self.leaving.weight), after

    def _turned(self, x: Tensor, place: Tensor) -> Tensor:
        """Channels turned by their position: ``[B, T, dim], [T] → [B, T, heads, dim / heads]``.

        Positions count from the start of the state; only differences matter. Angles are float64, as in float32 those
        of a long block would be off.
        """
        angle = place[:, None] * self.frequency.double()  # [T, dim / heads / 2]
        cos, sin = angle.cos().to(x.dtype)[:, None], angle.sin().to(x.dtype)[:, None]
        first, second = x.unflatten(-1, (self.heads, -1)).chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, real: Tensor) -> Tensor:
        """Values weighed by scores: ``q [B, T, H, d], k [B, past + T, H, d], v [B, past + T, dim] → [B, T, dim]``."""
        length, past = int(q.shape[1]), self.window - 1
        size = min(length, self.window)
        pieces = -(-length // size)
        more = pieces * size - length
        queries, keys = q.flatten(2), k.flatten(2)
        if more:
            queries, keys, v = (F.pad(part, (0, 0, 0, more)) for part in (queries, keys, v))
            real = F.pad(real, (0, more), value=True)
        queries = queries.unflatten(1, (pieces, size))  # [B, N, size, dim]
        if pieces == 1:
            keys, values, known = keys[:, None], v[:, None], real[:, None]
        else:
            keys, values = (part.unfold(1, size + past, size).mT for part in (keys, v))  # [B, N, size + past, dim]
            known = real.unfold(1, size + past, size)  # [B, N, size + past]
        ahead = torch.arange(size + past, device=q.device) - torch.arange(size, device=q.device)[:, None]
        seen = (ahead >= 0) & (ahead <= past) & known[:, :, None]  # [B, N, size, size + past]
        y = F.scaled_dot_product_attention(
            self._by_head(queries),
            self._by_head(keys),
            self._by_head(values),
            attn_mask=seen.flatten(0, 1)[:, None],
        )  # [B·N, H, size, d]
        return y.transpose(1, 2).flatten(2).unflatten(0, (-1, pieces)).flatten(1, 2)[:, :length]

    def _by_head(self, x: Tensor) -> Tensor:
        """``[B, N, S, dim] → [B·N, H, S, dim / H]``."""
        return x.flatten(0, 1).unflatten(-1, (self.heads, -1)).transpose(1, 2)
