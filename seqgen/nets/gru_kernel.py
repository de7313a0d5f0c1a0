"""The gated recurrence of float32 sequences on a CPU through the engine's library, forward and back.

What one step is says :mod:`seqgen.nets.gru`. The whole sequence is one call in which rows are shared out among torch's
threads: nothing of Python stands between two steps, and no thread waits for another before the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.nets import training_library
from seqgen.runtime.native_library import GRUCall


class Form(NamedTuple):
    """What a recurrence is run with: pieces of its state, products in bfloat16 or not, what backward needs kept or
    not, and the instruction set by its name in the engine ("" for the best)."""

    groups: int
    half: bool
    keep: bool
    isa: str = ""


class Lines(NamedTuple):
    """Input parts of gates that are not written out, ``Σ_k coefficients[b, t, k] · line_k``, over lines that all rows
    share and lines of a row's own.

    Conditioning between frames is such a sum, and so are the few columns of the bytes: a gradient as large as all gates
    of all samples is never written either, only that of the lines. None goes to the coefficients.

    Attributes:
        coefficients: ``[B, T, S + F]``. shared: ``[S, 3H]``. own: ``[B, F, 3H]``.
    """

    coefficients: Tensor
    shared: Tensor
    own: Tensor

    def dense(self) -> Tensor:
        """The sums themselves, ``[B, T, 3H]``."""
        shared = self.shared.expand(self.own.shape[0], -1, -1)
        return self.coefficients @ torch.cat([shared, self.own], dim=1)


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, form: Form, hidden: Tensor, weight: Tensor, *given: Tensor) -> Tensor:
        """``given`` are the gates' inputs, or the three parts of :class:`Lines`."""
        hidden, weight, *given = (one.contiguous() for one in (hidden, weight, *given))  # type: ignore[assignment]
        (rows, steps, _), state = given[0].shape, hidden.shape[1]
        states = hidden.new_empty(rows, steps, state)
        kept = hidden.new_empty(rows, steps, 4 * state) if form.keep else None
        named = dict(zip(Lines._fields if len(given) == 3 else ("inputs",), given, strict=True))
        _run("seqgen_gru_forward", form, hidden=hidden, weight=weight, states=states, kept=kept, **named)
        ctx.form, ctx.lines = form, [one.shape[-2] for one in given[1:]]
        ctx.save_for_backward(hidden, weight, states, kept, given[0] if ctx.lines else None)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, states, kept, coefficients = ctx.saved_tensors
        rows, steps, state = states.shape
        kind = torch.bfloat16 if ctx.form.half else torch.float32
        if ctx.lines:
            shared, own = (
                states.new_empty(pieces, count, 3 * state)
                for pieces, count in zip(((rows + 1) // 2, rows), ctx.lines, strict=True)
            )
            named = {"coefficients": coefficients, "grad_shared": shared, "grad_own": own}
        else:
            named = {"grad_inputs": states.new_empty(rows, steps, 3 * state)}
        grad_products = states.new_empty(rows, steps, 3 * state, dtype=kind)
        entered = states.new_empty(rows, steps, state, dtype=kind)
        grad_hidden = torch.empty_like(hidden)
        _run(
            "seqgen_gru_backward", ctx.form, hidden=hidden, weight=weight, states=states, kept=kept,
            grad=grad.contiguous(), grad_products=grad_products, entered=entered, grad_hidden=grad_hidden, **named,
        )  # fmt: skip
        grad_weight = torch.mm(grad_products.flatten(0, 1).t(), entered.flatten(0, 1)).to(weight.dtype)
        grads = (None, shared.sum(dim=0), own) if ctx.lines else (named["grad_inputs"],)
        return None, grad_hidden, grad_weight, *grads


def _run(function: str, form: Form, **arrays: Tensor | None) -> None:
    states = arrays["states"]
    shared, own = (arrays.get(name, arrays.get(f"grad_{name}")) for name in ("shared", "own"))
    assert states is not None
    sizes = {
        "rows": states.shape[0],
        "steps": states.shape[1],
        "groups": form.groups,
        "width": states.shape[2] // form.groups,
        "shared_lines": 0 if shared is None else shared.shape[-2],
        "own_lines": 0 if own is None else own.shape[-2],
    }
    training_library.run(function, GRUCall, half=form.half, isa=form.isa, sizes=sizes, arrays=arrays)


def gru_sequence(
    inputs: Tensor | Lines, hidden: Tensor, weight: Tensor, groups: int = 1, *, half: bool = False, isa: str = ""
) -> Tensor:
    """All states of a block, differentiable once.

    Args:
        half: whether products, forward and back, are of what is rounded to bfloat16; the rest is float32 anyway.
        isa: instruction set by its name in the engine; "" takes ``$SEQGEN_ISA``, and without it the best here.

    Shapes: float32 ``inputs [B, T, 3H]``, or the lines that they are sums of, ``hidden [B, H]``, ``weight R [3H, H] →
    [B, T, H]``.

    Raises:
        SeqgenError: for an instruction set that is not here, and coefficients that are not one for each line.

    Source: Cho et al., arXiv 1406.1078; Kalchbrenner et al., arXiv 1802.08435, section 2 (reset after the product).

    Example:
        >>> gru_sequence(torch.zeros(2, 5, 12), torch.ones(2, 4), torch.zeros(12, 4))[0, :3, 0].tolist()
        [0.5, 0.25, 0.125]
    """
    if isinstance(inputs, Lines) and inputs.coefficients.shape[2] != inputs.shared.shape[0] + inputs.own.shape[1]:
        raise SeqgenError(
            f"{inputs.coefficients.shape[2]} coefficients for {inputs.shared.shape[0]} + {inputs.own.shape[1]} lines",
            remedy="give one for each line",
        )
    given = inputs if isinstance(inputs, Lines) else (inputs,)
    keep = torch.is_grad_enabled() and any(one.requires_grad for one in (hidden, weight, *given))
    states: Tensor = _Sequence.apply(Form(groups, half, keep, isa), hidden, weight, *given)
    return states
