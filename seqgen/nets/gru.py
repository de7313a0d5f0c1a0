"""The gated recurrence with the reset gate after the product: cell, whole-sequence kernel, layer.

    r, z = σ(g_r + R_r h), σ(g_z + R_z h)        n = tanh(g_n + r ∘ (R_n h))        h' = n + z ∘ (h - n)

``g`` are the gates' input parts (inputs, conditioning and biases already multiplied out). The gates are stacked in
``torch.nn.GRU``'s order (r, z, n); with its ``bias_hh`` at zero this is that module's cell.
Source: Cho et al., arXiv 1406.1078 (GRU); Kalchbrenner et al., arXiv 1802.08435, section 2 (reset after the product).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seqgen.nets import gru_kernel, quantization, training_library
from seqgen.nets.gru_kernel import Lines
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable


def gru_cell(inputs: Tensor, recurrent: Tensor, hidden: Tensor, *, fake_quantized: bool = False) -> Tensor:
    """One step from both parts of the gates' pre-activations; ``rounded`` gates are the engine's, read from a table.

    Shapes: ``inputs, recurrent [B, 3H]`` (r, z, n), ``hidden [B, H] → [B, H]``.
    """
    sigmoid, tanh = (quantization.sigmoid, quantization.tanh) if fake_quantized else (torch.sigmoid, torch.tanh)
    width = int(hidden.shape[-1])  # a fixed number in a traced graph too
    inputs_rz, inputs_n = inputs.split([2 * width, width], dim=-1)
    products_rz, products_n = recurrent.split([2 * width, width], dim=-1)
    reset, update = sigmoid(inputs_rz + products_rz).split(width, dim=-1)
    new = tanh(inputs_n + reset * products_n)
    return new + update * (hidden - new)


class _Form(NamedTuple):
    """Form of a recurrence's computation: see :class:`_Recurrence`."""

    groups: int
    half: bool
    fake_quantized: bool


class _Recurrence(torch.autograd.Function):
    """The recurrence over a whole block with a backward pass written out.

    Autograd through a loop would add one ``3H x H`` weight gradient per sample; here the gates' gradients of all
    samples are kept and meet the states in one product at the end. Everything stays batch first, so that what comes
    in and goes out is never copied. ``half`` runs the recurrent products in bfloat16; the states stay as they are.
    ``fake_quantized`` makes them of weights and states in 8 bits, and gates from a table
    (:mod:`seqgen.nets.quantization`).

    A state of H is made of ``groups`` pieces, each with its own (r, z, n) rows in succession.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, hidden: Tensor, weight: Tensor, form: _Form) -> Tensor:
        groups, half, fake_quantized = form
        batch, steps, width = inputs.shape[0], inputs.shape[1], hidden.shape[1] // groups
        states = inputs.new_empty(batch, steps, groups, width)
        gates = inputs.new_empty(batch, steps, groups, 2, width)
        new = inputs.new_empty(batch, steps, groups, width)
        kind = torch.bfloat16 if half else inputs.dtype
        products = inputs.new_empty(batch, steps, groups * 3 * width, dtype=kind)
        split = products.unflatten(2, (groups, 3, width))
        given = inputs.unflatten(2, (groups, 3, width))
        levels = quantization.weights(weight) if fake_quantized else None
        transposed = (weight if levels is None else levels.whole).t().to(kind)
        unit = None if levels is None else (levels.unit / quantization.TOP)[:, 0]
        h = hidden.unflatten(1, (groups, width))
        for h_next, g_rz, g_n, p, p_rz, p_n, rz, r, z, n in zip(
            states.unbind(1),
            given[:, :, :, :2].unbind(1), given[:, :, :, 2].unbind(1),
            products.unbind(1), split[:, :, :, :2].unbind(1), split[:, :, :, 2].unbind(1),
            gates.unbind(1), gates[:, :, :, 0].unbind(1), gates[:, :, :, 1].unbind(1), new.unbind(1),
            strict=True,
        ):  # fmt: skip
            entering = h.flatten(1) if unit is None else quantization.state(h.flatten(1)).whole
            torch.mm(entering.to(kind), transposed, out=p)
            if unit is None:
                torch.add(g_rz, p_rz, out=rz).sigmoid_()
                torch.add(g_n, torch.mul(r, p_n), out=n).tanh_()
            else:
                p.mul_(unit)
                rz.copy_(quantization.sigmoid(g_rz + p_rz))
                n.copy_(quantization.tanh(g_n + r * p_n))
            torch.lerp(n, h, z, out=h_next)
            h = h_next
        output = states.flatten(2)
        ctx.form = form
        used = weight if levels is None else levels.values
        ctx.save_for_backward(hidden, output, gates, new, split[:, :, :, 2], used)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, output, gates, new, product_n, weight = ctx.saved_tensors
        (groups, half, fake_quantized), width = ctx.form, new.shape[3]
        reset, update = gates[:, :, :, 0], gates[:, :, :, 1]
        before = torch.cat([hidden[:, None], output[:, :-1]], dim=1)
        # Factors that turn dL/dh into the gradients of the recurrent products (r, z, n), for all steps at once.
        to_n = (1 - update) * (1 - new * new)
        factors = torch.empty(*new.shape[:3], 3, width, dtype=grad.dtype)
        torch.mul(to_n * product_n, reset * (1 - reset), out=factors[:, :, :, 0])
        torch.mul((before.unflatten(2, (groups, width)) - new) * update, 1 - update, out=factors[:, :, :, 1])
        torch.mul(to_n, reset, out=factors[:, :, :, 2])
        kind = torch.bfloat16 if half else weight.dtype
        matrix = weight.to(kind)
        made = factors  # step by step each factor is replaced by the gradient it leads to
        grad_n = to_n
        carry = torch.zeros_like(new[:, 0])
        for g, f, n, z in zip(
            reversed(grad.unflatten(2, (groups, width)).unbind(1)), reversed(made.unbind(1)),
            reversed(grad_n.unbind(1)), reversed(update.unbind(1)), strict=True,
        ):  # fmt: skip
            dh = g + carry
            f.mul_(dh[:, :, None])
            n.mul_(dh)
            product = torch.mm(f.flatten(1).to(kind), matrix).view_as(dh)
            carry = torch.addcmul(product.to(dh.dtype), dh, z)
        flat = made.flatten(2).flatten(0, 1).to(kind)
        entered = quantization.state(before).values if fake_quantized else before
        grad_weight = torch.mm(flat.t(), entered.flatten(0, 1).to(kind)).to(weight.dtype)
        # The input part of n is not behind the reset gate; the other two parts are those of the products.
        made[:, :, :, 2] = grad_n
        return made.flatten(2), carry.flatten(1), grad_weight, None


def _torch(inputs: Tensor, hidden: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The same recurrence through ``torch.gru`` (cuDNN on a GPU, a loop of plain operations on a CPU), its input
    product being the identity."""

    def by_gate(rows: Tensor, dim: int) -> Tensor:
        return rows.unflatten(dim, (groups, 3, -1)).transpose(dim, dim + 1).flatten(dim, dim + 2)

    inputs = by_gate(inputs, 2)
    identity = torch.eye(inputs.shape[2], device=inputs.device, dtype=inputs.dtype)
    matrix = by_gate(weight.to(inputs.dtype), 0)
    # Gradients are wanted only in training mode; cuDNN refuses to keep what backward needs otherwise.
    training = torch.is_grad_enabled()
    output, _ = torch.gru(
        inputs, hidden.to(inputs.dtype)[None], [identity, matrix], False, 1, 0.0, training, False, True
    )
    return output


_TWICE: ContextVar[bool] = ContextVar("seqgen.gru.twice", default=False)


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Within it networks are run so that gradients of their gradients can be taken, which neither fast paths, whose
    backward passes are written out, nor cuDNN allow."""
    token = _TWICE.set(True)
    try:
        with torch.backends.cudnn.flags(enabled=False), training_library.by_torch():
            yield
    finally:
        _TWICE.reset(token)


def gru_sequence(
    inputs: Tensor | Lines, hidden: Tensor, weight: Tensor, groups: int = 1, *, fake_quantized: bool = False
) -> Tensor:
    """All states of a block: the fast path of every gated recurrence.

    On a CPU float32 sequences go through the engine's library (:mod:`seqgen.nets.gru_kernel`) where it is built. Under
    autocast to bfloat16 on a CPU only the recurrent products are rounded; the states stay in float32.

    Shapes: ``inputs [B, T, 3H]`` or the lines that they are sums of, ``hidden [B, H]``, ``weight R [3H, H] → [B, T,
    H]``. With ``groups`` G > 1 the rows of gates come as G times (r, z, n) of H/G each: halves of a state that must be
    found in one piece. ``rounded`` products and gates are those of :mod:`seqgen.nets.quantization`.
    """
    if (hidden.is_cuda or _TWICE.get()) and not fake_quantized:
        return _torch(_dense(inputs), hidden, weight, groups)
    half = training_library.half_precision()
    with torch.autocast("cpu", enabled=False):
        wide = torch.float32 if half else weight.dtype
        plain = hidden.device.type == "cpu" and wide == torch.float32 and not fake_quantized
        if plain and training_library.available():
            summed = isinstance(inputs, Lines) and not inputs.coefficients.requires_grad
            given = Lines(*(one.float() for one in inputs)) if summed else _dense(inputs).float()
            return gru_kernel.gru_sequence(given, hidden.float(), weight.float(), groups, half=half)
        form = _Form(groups, half, fake_quantized)
        states: Tensor = _Recurrence.apply(_dense(inputs).to(wide), hidden.to(wide), weight, form)
    return states


def _dense(inputs: Tensor | Lines) -> Tensor:
    return inputs.dense() if isinstance(inputs, Lines) else inputs


class GRU(Streamable[Tensor]):
    """A gated recurrent layer: ``[B, T, in_dim] → [B, T, width]``; the state is ``h [B, width]``."""

    def __init__(self, in_dim: int, width: int) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=in_dim, out_dim=width, context=None)
        self.input = nn.Linear(in_dim, 3 * width)
        self.recurrent = nn.Parameter(torch.empty(3 * width, width))
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def init_state(self, batch: int, memory: Any = None) -> Tensor:
        return self.zeros(batch, self.spec.out_dim)

    def step(self, x: Tensor, state: Tensor, cond: Conditioning | None = None) -> tuple[Tensor, Tensor]:
        if x.shape[1] != 1 and torch.onnx.is_in_onnx_export():  # one node of the graph, for blocks of any length
            parts = [self.input.weight, self.recurrent, self.input.bias, torch.zeros_like(self.input.bias)]
            made, last = torch.gru(x, state[None], parts, True, 1, 0.0, False, False, True)
            return made, last[0]
        inputs = self.input(x)  # [B, T, 3·width]
        if x.shape[1] == 1:
            hidden = gru_cell(inputs[:, 0], state @ self.recurrent.t(), state)
            return hidden[:, None], hidden
        states = gru_sequence(inputs, state, self.recurrent)  # [B, T, width]
        return states, (states[:, -1] if x.shape[1] else state)
