"""A stack of dilated, gated convolutions of float32 sequences on a CPU through the engine's library, forward and back.

    x, s = i^l + W^l (a^l_{t-(K-1)d}, …, a^l_t)      z^l = tanh(x) ∘ σ(s)      a^{l+1} = a^l + R^l z^l + b^l

Some positions at a time go through all layers, so that what one layer leaves the next is in the nearest cache; neither
lines side by side nor gates are written out, and rows are shared out among torch's threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.nets import training_library
from seqgen.nets.gru_kernel import Lines
from seqgen.nets.training_library import MOST_TAPS, summed_products
from seqgen.runtime.native_library import DilatedCall


class Form(NamedTuple):
    """Run settings of a stack: dilations of its layers, taps, layers with a residual, products in bfloat16 or not, and
    the instruction set by its name in the engine ("" for the best)."""

    dilations: tuple[int, ...]
    taps: int
    residuals: int
    half: bool
    isa: str = ""

    @property
    def kind(self) -> torch.dtype:
        """Type of what enters a product."""
        return torch.bfloat16 if self.half else torch.float32

    @property
    def reaches(self) -> list[int]:
        """Positions before its own that a layer reads."""
        return [(self.taps - 1) * dilation for dilation in self.dilations]

    def padded(self, count: int) -> int:
        """Numbers of a row that enters a product."""
        return training_library.padded(count, half=self.half)


class Stack(NamedTuple):
    """Outputs of a stack of dilated, gated layers.

    Attributes:
        z: gated units of all layers side by side, ``[B, T, L·G]``, in the type of products. left: what the last
            residual leaves, ``[B, T, R]``. ahead: histories of what follows, ``[B, Σ reaches, R]``.
    """

    z: Tensor
    left: Tensor
    ahead: Tensor


class _Stack(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, form: Form, history: Tensor | None, entered: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``tensors`` are weights, outputs and biases, and the gates' input parts or the three parts of
        :class:`~seqgen.nets.gru_kernel.Lines`."""
        entered, weights, outputs, biases, *given = (one.contiguous() for one in (entered, *tensors))
        (rows, steps, width), layers, kind = entered.shape, len(form.dilations), form.kind
        gate = weights.shape[1] // 2
        read = entered.new_empty(layers, rows, steps, form.padded(form.taps * width), dtype=kind)
        passed = entered.new_empty(form.residuals, rows, steps, form.padded(gate), dtype=kind)
        kept = entered.new_empty(layers, rows, steps, 2 * gate, dtype=kind)
        z = entered.new_empty(rows, steps, layers * gate, dtype=kind)
        left, ahead = torch.empty_like(entered), entered.new_empty(rows, sum(form.reaches), width)
        named = dict(zip(Lines._fields if len(given) == 3 else ("inputs",), given, strict=True))
        _run(
            "seqgen_dilated_forward", form, weights, entered=entered, history=history, outputs=outputs, biases=biases,
            read=read, passed=passed, kept=kept, z=z, left=left, ahead=ahead, **named,
        )  # fmt: skip
        ctx.form, ctx.lines = form, [one.shape[-2] for one in given[1:]]
        ctx.save_for_backward(entered, weights, outputs, read, passed, kept, given[0] if ctx.lines else None)
        ctx.set_materialize_grads(False)
        return z, left, ahead

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_z: Tensor | None, grad_left: Tensor | None, grad_ahead: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        entered, weights, outputs, read, passed, kept, coefficients = ctx.saved_tensors
        form: Form = ctx.form
        (rows, steps, width), layers, gates = entered.shape, len(form.dilations), weights.shape[1]
        if grad_z is None:
            grad_z = kept.new_zeros(rows, steps, layers * gates // 2)
        if ctx.lines:
            shared, own = (
                entered.new_empty(pieces, count, layers * gates)
                for pieces, count in zip(((rows + 1) // 2, rows), ctx.lines, strict=True)
            )
            named = {"coefficients": coefficients, "grad_shared": shared, "grad_own": own}
        else:
            named = {"grad_inputs": entered.new_empty(rows, steps, layers * gates)}
        inner = entered.new_empty(layers, rows, steps, form.padded(gates), dtype=form.kind)
        biases = entered.new_empty(rows, form.residuals, width)
        grad_outputs = entered.new_empty(form.residuals, rows, steps, form.padded(width), dtype=form.kind)
        grad_entered = torch.empty_like(entered)
        left, ahead = (None if one is None else one.contiguous() for one in (grad_left, grad_ahead))
        _run(
            "seqgen_dilated_backward", form, weights, entered=entered, outputs=outputs, kept=kept,
            grad_z=grad_z.to(form.kind).contiguous(), grad_left=left, grad_ahead=ahead, grad_entered=grad_entered,
            grad_inner=inner, grad_outputs=grad_outputs, grad_biases=biases, **named,
        )  # fmt: skip
        of_weights, of_outputs = summed_products(inner, read, weights), summed_products(grad_outputs, passed, outputs)
        grads = (None, shared.sum(dim=0), own) if ctx.lines else (named["grad_inputs"],)
        return None, None, grad_entered, of_weights, of_outputs, biases.sum(dim=0), *grads


def _run(function: str, form: Form, weights: Tensor, **arrays: Tensor | None) -> None:
    entered = arrays["entered"]
    assert entered is not None
    dilations = torch.tensor(form.dilations)
    shared, own = (arrays.get(name, arrays.get(f"grad_{name}")) for name in ("shared", "own"))
    sizes = {
        "rows": entered.shape[0],
        "steps": entered.shape[1],
        "layers": len(form.dilations),
        "residuals": form.residuals,
        "taps": form.taps,
        "width": entered.shape[2],
        "gate": weights.shape[1] // 2,
        "shared_lines": 0 if shared is None else shared.shape[-2],
        "own_lines": 0 if own is None else own.shape[-2],
    }
    arrays |= {"weights": weights, "dilations": dilations}
    training_library.run(function, DilatedCall, half=form.half, isa=form.isa, sizes=sizes, arrays=arrays)


def fits(entered: Tensor, history: Tensor, taps: int) -> bool:
    """Test for :func:`dilated_stack` to take these: float32 on a CPU, gradients wanted, none of them of a history."""
    return (
        taps <= MOST_TAPS
        and torch.is_grad_enabled()
        and entered.device.type == "cpu"
        and entered.dtype == torch.float32
        and not history.requires_grad
        and not torch.jit.is_tracing()
        and training_library.available()
    )


def dilated_stack(
    entered: Tensor,
    history: Tensor,
    weights: Sequence[Tensor],
    outputs: Sequence[Tensor],
    biases: Sequence[Tensor],
    inputs: Tensor | Lines,
    *,
    dilations: tuple[int, ...],
    half: bool = False,
    isa: str = "",
) -> Stack:
    """All layers over a block, differentiable once.

    Args:
        history: what each layer read before the block, the layers' side by side, oldest first. outputs, biases: of
            all layers, or of all but the last. inputs: what enters the gates beside the products, of all layers.
        half: whether products, forward and back, are of what is rounded to bfloat16; the rest is float32 anyway.
        isa: instruction set by its name in the engine; "" takes ``$SEQGEN_ISA``, and without it the best here.

    Shapes: float32 ``entered [B, T, R]``, ``history [B, Σ (K-1) d, R]``, weights ``[2G, K·R]`` (rows of tanh first,
    columns of the oldest tap first), outputs ``[R, G]``, biases ``[R]``, ``inputs [B, T, L·2G]``.

    Raises:
        SeqgenError: for an instruction set that is not here.

    Source: van den Oord et al., arXiv 1609.03499, sections 2.1, 2.3 and 2.4.

    Example:
        >>> w, r, b = torch.ones(2, 2), torch.ones(1, 1), torch.zeros(1)
        >>> a, before, inputs = torch.ones(1, 2, 1), torch.zeros(1, 1, 1), torch.zeros(1, 2, 2)
        >>> made = dilated_stack(a, before, [w], [r], [b], inputs, dilations=(1,))
        >>> [round(float(one), 3) for one in made.z.flatten()]  # tanh(1) σ(1), tanh(2) σ(2)
        [0.557, 0.849]
    """
    width = entered.shape[2]
    form = Form(dilations, weights[0].shape[1] // width, len(outputs), half, isa)
    given = inputs if isinstance(inputs, Lines) else (inputs,)
    none = entered.new_empty(0, width, weights[0].shape[0] // 2)
    z, left, ahead = _Stack.apply(
        form,
        history.contiguous() if history.any() else None,
        entered,
        torch.stack(tuple(weights)),
        torch.stack(tuple(outputs)) if outputs else none,
        torch.stack(tuple(biases)) if biases else none[:, :, 0],
        *given,
    )
    return Stack(z, left, ahead)
