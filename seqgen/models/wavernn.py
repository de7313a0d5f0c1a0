"""Dense dual-softmax WaveRNN (Kalchbrenner et al., "Efficient Neural Audio Synthesis", arXiv 1802.08435, section 2).

A 16-bit sample is two bytes, coarse ``c`` and fine ``f``; the model is causal over the interleaved byte sequence
``c_0 f_0 c_1 f_1 …`` and gives 256 logits for each byte. With ``x_t = [c_{t-1}, f_{t-1}, c_t]``, scaled by
:func:`scale` and read through :func:`mixing`:

    r_t, u_t = σ(R_r h_{t-1} + I*_r x_t), σ(R_u h_{t-1} + I*_u x_t)
    e_t      = tanh(r_t ∘ (R_e h_{t-1}) + I*_e x_t)
    h_t      = u_t ∘ h_{t-1} + (1 - u_t) ∘ e_t,           y_c, y_f = split(h_t)
    P(c_t)   = softmax(O2 relu(O1 y_c)),     P(f_t | c_t) = softmax(O4 relu(O3 y_f))

The star masks the column of ``c_t`` in the first half of every gate, so ``c_t`` reaches only ``y_f``. Conditioning
(one vector of ``3·hidden`` per sample) is added to the gates' pre-activations; the paper does not say how it enters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.audio.codec import Bytes16
from seqgen.errors import SeqgenError
from seqgen.nets import quantization
from seqgen.nets.gru import gru_cell, gru_sequence
from seqgen.nets.gru_kernel import Lines
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable
from seqgen.stream.lazy_interpolation import LazyInterpolation

BYTES = 256
SILENCE = Bytes16.silence[0]
# A block of this many samples or more takes the whole-sequence path; below it the cell is faster.
LONG = 4


class WaveRNNState(NamedTuple):
    """State of a WaveRNN. Between two bytes of one sample ``top`` is already that of the new sample, ``bottom`` still
    of the old one.

    Attributes:
        top, bottom: coarse and fine half of h, ``[B, H/2]``.
        inputs, products: input and recurrent part of the fine half's gates (r, u, e), ``[B, 3H/2]``; made with the
            coarse byte, used with the fine one, zero between samples.
        coarse: the last coarse byte, int64 ``[B, 1]``.
        phase: int64 ``[B]``, 0 where a coarse byte is next, 1 where a fine one is.
    """

    top: Tensor
    bottom: Tensor
    inputs: Tensor
    products: Tensor
    coarse: Tensor
    phase: Tensor


def scale(symbols: Tensor, like: Tensor) -> Tensor:
    """Bytes as network inputs: ``byte - 127.5``, the paper's ``2·byte/255 - 1`` in units of one code."""
    return symbols.to(like.dtype) - 127.5


def mixing(unit: float) -> Tensor:
    """``[3, 3]``: what the gates read of the three scaled bytes ``(c_{t-1}, f_{t-1}, c_t)``.

    The sample before, ``(256·c + f) / unit``; its fine byte alone, ``f / 16``; the coarse byte now, ``256·c_t / unit``.
    Two bytes mean little one by one: the fine one wraps around 256 times in the range of the coarse one, and a sum that
    gives the sample again needs weights 256 apart, which an optimiser that moves every weight by its learning rate does
    not find. The paper's input weights are the stored ones times this invertible matrix, over 127.5: the same family
    of models, learned sooner.
    """
    return torch.tensor([[256 / unit, 1 / unit, 0], [0, 1 / 16, 0], [0, 0, 256 / unit]])


class WaveRNN(Streamable[WaveRNNState], quantization.FakeQuantizable):
    """The body of a WaveRNN: the previous byte in, logits of the next byte out.

    Shapes: int64 ``[B, T]`` (the byte before each position; teacher forcing is ``Delay(1)`` in front) and, where
    conditioned, ``cond [B, ceil(T/2), 3·hidden]``, one vector per sample → ``[B, T, 256]``. Rows of one batch must
    be in the same phase.

    Raises:
        SeqgenError: for an odd ``hidden``, rows of different phase, or missing conditioning.

    Example:
        >>> body = WaveRNN(WaveRNN.Config(hidden=16, conditioned=False))
        >>> body(torch.zeros(1, 4, dtype=torch.int64)).shape
        torch.Size([1, 4, 256])
    """

    @dataclass(frozen=True)
    class Config:
        """Options of the body.

        Attributes:
            hidden: size of the state.
            conditioned: whether the gates take a conditioning vector.
            unit: PCM steps that are one unit of input (see :func:`mixing`): about a tenth of a loud sample. 256 suits
                waveforms, 16 the excitation that linear prediction leaves.
        """

        hidden: int = 512
        conditioned: bool = True
        unit: float = 256.0

    @classmethod
    def examples(cls) -> Iterable[WaveRNN]:
        return [cls(cls.Config(hidden=8, conditioned=conditioned)) for conditioned in (False, True)]

    def __init__(self, config: Config) -> None:
        super().__init__()
        if config.hidden < 2 or config.hidden % 2:
            raise SeqgenError(f"wavernn: hidden is {config.hidden}", remedy="choose an even number, e.g. 512")
        if not 0 < config.unit < math.inf:
            raise SeqgenError(f"wavernn: unit is {config.unit}", remedy="give a positive number of PCM steps, e.g. 256")
        self.hidden, self.half = config.hidden, config.hidden // 2
        self.spec = StreamSpec(
            in_dim=0,
            out_dim=BYTES,
            cond_dim=3 * config.hidden if config.conditioned else 0,
            context=None,
            cond_every=2,
            vocab_size=BYTES,
        )
        # Rows of all gate matrices: coarse half (r, u, e), then fine half (r, u, e); a half is one contiguous piece.
        self.recurrent = nn.Parameter(torch.empty(3 * self.hidden, self.hidden))
        self.input = nn.Parameter(torch.empty(3 * self.hidden, 3))
        # Each gate is pruned by itself; it is the r, u or e rows of either half.
        halves = torch.arange(3 * self.hidden).reshape(2, 3, self.half)
        self.row_groups = {"recurrent": tuple(halves[:, gate].flatten() for gate in range(3))}
        # A conditioning vector brings its own bias.
        self.bias = None if config.conditioned else nn.Parameter(torch.zeros(3 * self.hidden))
        bound = 1 / math.sqrt(self.hidden)
        nn.init.uniform_(self.recurrent, -bound, bound)
        nn.init.uniform_(self.input, -1 / 16, 1 / 16)
        self.o1, self.o2 = nn.Linear(self.half, self.half), nn.Linear(self.half, BYTES)
        self.o3, self.o4 = nn.Linear(self.half, self.half), nn.Linear(self.half, BYTES)
        mask = torch.ones(3 * self.hidden, 3)
        mask[: 3 * self.half, 2] = 0  # c_t reaches no gate of the coarse half
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("mix", mixing(config.unit), persistent=False)

    mask: Tensor
    mix: Tensor

    def _input(self) -> Tensor:
        """Weights of the scaled bytes, ``[3H, 3]``."""
        return (self.input[:, :, None] * self.mix).sum(dim=1)  # no matmul: autocast would round what is to cancel

    def init_state(self, batch: int, memory: Any = None) -> WaveRNNState:
        half, gates = self.zeros(batch, self.half), self.zeros(batch, 3 * self.half)
        phase = torch.zeros(batch, dtype=torch.int64, device=half.device)
        return WaveRNNState(half, half, gates, gates, phase[:, None] + SILENCE, phase)

    def step(self, x: Tensor, state: WaveRNNState, cond: Conditioning | None = None) -> tuple[Tensor, WaveRNNState]:
        return self._run(x, state, cond, None)

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """Channels of the half of the state that a byte is told from."""
        return (self.half,)

    def observe(
        self, x: Tensor, state: WaveRNNState, cond: Conditioning | None = None
    ) -> tuple[Tensor, WaveRNNState, list[Tensor]]:
        inside = [self.zeros(x.shape[0], 0, self.half)]
        y, after = self._run(x, state, cond, inside)
        return y, after, [torch.cat(inside, dim=1)]

    def _run(
        self, x: Tensor, state: WaveRNNState, cond: Conditioning | None, inside: list[Tensor] | None
    ) -> tuple[Tensor, WaveRNNState]:
        """A step; to ``inside``, where there is such a list, the halves ``[B, n, H/2]`` are added as they are made."""
        if self.spec.cond_dim and cond is None:
            raise SeqgenError("wavernn: got no conditioning", remedy=f"give cond [B, samples, {self.spec.cond_dim}]")
        phase = self._phase(state)
        parts, start, used = [self.zeros(x.shape[0], 0, BYTES)], 0, 0
        while start < x.shape[1]:
            whole = (x.shape[1] - start) // 2
            if phase == 0 and whole >= LONG:
                block = x[:, start : start + 2 * whole]
                block_cond = None if cond is None else cond[:, used : used + whole]
                logits, state, halves = self._samples(block, state, block_cond)
                start, used = start + 2 * whole, used + whole
            else:
                byte = x if x.shape[1] == 1 else x[:, start : start + 1]
                if phase == 0:
                    logits, state = self._coarse(byte, state, None if cond is None else cond[:, used])
                    used += 1
                else:
                    logits, state = self._fine(byte, state)
                start, phase = start + 1, 1 - phase
                logits, halves = logits[:, None], [state.top if phase else state.bottom]
            parts.append(logits)
            if inside is not None:
                inside.append(torch.stack(halves, dim=2).flatten(1, 2) if len(halves) > 1 else halves[0][:, None])
        return (parts[1] if len(parts) == 2 else torch.cat(parts, dim=1)), state

    def _phase(self, state: WaveRNNState) -> int:
        phase = int(state.phase[0]) if state.phase.shape[0] else 0
        if not torch.jit.is_tracing() and bool((state.phase != phase).any()):
            raise SeqgenError(
                "wavernn: rows of one batch are at different bytes of their sample", remedy="step rows of one phase"
            )
        return phase

    def _coarse(self, x: Tensor, state: WaveRNNState, cond: Tensor | None) -> tuple[Tensor, WaveRNNState]:
        """Logits of the coarse byte; ``x [B, 1]`` is the fine byte before. The one recurrent product is made here."""
        known = scale(torch.cat([state.coarse, x], dim=1), self.input)  # [B, 2]
        offset = self.bias if cond is None else cond
        assert offset is not None
        gates = torch.addmm(offset, known, self._input()[:, :2].t())  # [B, 3H]
        inputs, fine_inputs = gates.split(3 * self.half, dim=1)
        before = torch.cat([state.top, state.bottom], dim=1)  # [B, H]
        made = (
            quantization.product(before, self.recurrent, quantization.state)
            if self.fake_quantized
            else F.linear(before, self.recurrent)
        )
        products, fine_products = made.split(3 * self.half, dim=1)
        top = gru_cell(inputs, products, state.top, fake_quantized=self.fake_quantized)  # [B, H/2]
        logits = self._head(top, self.o1, self.o2)
        return logits, WaveRNNState(top, state.bottom, fine_inputs, fine_products, state.coarse, state.phase + 1)

    def _fine(self, x: Tensor, state: WaveRNNState) -> tuple[Tensor, WaveRNNState]:
        """Logits of the fine byte; ``x [B, 1]`` is the coarse byte of the same sample."""
        column = self._input()[3 * self.half :, 2:]  # [3H/2, 1]
        inputs = torch.addmm(state.inputs, scale(x, self.input), column.t())
        bottom = gru_cell(inputs, state.products, state.bottom, fake_quantized=self.fake_quantized)
        logits = self._head(bottom, self.o3, self.o4)
        rest = torch.zeros_like(state.inputs)
        return logits, WaveRNNState(state.top, bottom, rest, rest, x, state.phase - 1)

    def _samples(
        self, x: Tensor, state: WaveRNNState, cond: Conditioning | None
    ) -> tuple[Tensor, WaveRNNState, list[Tensor]]:
        """Whole samples at once, and both halves of the state, ``[B, N, H/2]`` each: all bytes are known, so the
        recurrence is one masked GRU call."""
        fine_before, coarse = x[:, 0::2], x[:, 1::2]
        coarse_before = torch.cat([state.coarse, coarse[:, :-1]], dim=1)
        known = scale(torch.stack([coarse_before, fine_before, coarse], dim=-1), self.input)
        hidden = torch.cat([state.top, state.bottom], dim=1)  # [B, H]
        gates = self._gates(known, self._input() * self.mask, cond)
        states = gru_sequence(gates, hidden, self.recurrent, groups=2, fake_quantized=self.fake_quantized)
        y_coarse, y_fine = states.split(self.half, dim=2)
        heads = [self._head(y_coarse, self.o1, self.o2), self._head(y_fine, self.o3, self.o4)]
        logits = torch.stack(heads, dim=2).flatten(1, 2)
        rest = torch.zeros_like(state.inputs)
        after = WaveRNNState(y_coarse[:, -1], y_fine[:, -1], rest, rest, coarse[:, -1:], state.phase)
        return logits, after, [y_coarse, y_fine]

    def _head(self, y: Tensor, inner: nn.Linear, outer: nn.Linear) -> Tensor:
        return quantization.head(y, inner, outer) if self.fake_quantized else outer(torch.relu(inner(y)))

    def _gates(self, known: Tensor, weight: Tensor, cond: Conditioning | None) -> Tensor | Lines:
        """Input part of all gates of whole samples, ``[B, N, 3] → [B, N, 3H]``, written once, or not at all where the
        conditioning is not either."""
        if cond is None:
            return F.linear(known, weight, self.bias)
        if isinstance(cond, LazyInterpolation):
            return Lines(torch.cat([known, cond.columns()], dim=2), weight.t(), cond.line)
        with torch.autocast(known.device.type, enabled=False):  # a rank-3 product: nothing to gain from rounding it
            return torch.baddbmm(cond.to(weight.dtype), known, weight.t().expand(known.shape[0], -1, -1))
