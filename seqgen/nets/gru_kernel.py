"""The gated recurrence of float32 sequences on a CPU through the engine's library, forward and back.

What one step is says :mod:`seqgen.nets.gru`. The whole sequence is one call in which rows are shared out among torch's
threads: nothing of Python stands between two steps, and no thread waits for another before the end.
"""

from __future__ import annotations

import ctypes
import warnings
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.runtime.native_library import BF16, FLOAT32, GRUCall, call, library_path, load_library


class Form(NamedTuple):
    """What a recurrence is run with: pieces of its state, products in bfloat16 or not, what backward needs kept or
    not, and the instruction set by its name in the engine ("" for the best)."""

    groups: int
    half: bool
    keep: bool
    isa: str = ""


@cache
def _library() -> ctypes.CDLL | None:
    try:
        return load_library(library_path())
    except SeqgenError as error:
        warnings.warn(f"recurrences are trained through torch alone, which is slower: {error}", stacklevel=2)
        return None


def available() -> bool:
    """Test for the library to be there; the first time without it a warning says what to do."""
    return _library() is not None


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, hidden: Tensor, weight: Tensor, form: Form) -> Tensor:
        inputs, hidden, weight = inputs.contiguous(), hidden.contiguous(), weight.contiguous()
        (rows, steps, _), state = inputs.shape, hidden.shape[1]
        states = inputs.new_empty(rows, steps, state)
        kept = inputs.new_empty(rows, steps, 4 * state) if form.keep else None
        _run("seqgen_gru_forward", form, inputs=inputs, hidden=hidden, weight=weight, states=states, kept=kept)
        ctx.form = form
        ctx.save_for_backward(hidden, weight, states, kept)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        hidden, weight, states, kept = ctx.saved_tensors
        rows, steps, state = states.shape
        kind = torch.bfloat16 if ctx.form.half else torch.float32
        grad_inputs = states.new_empty(rows, steps, 3 * state)
        grad_products = states.new_empty(rows, steps, 3 * state, dtype=kind)
        entered = states.new_empty(rows, steps, state, dtype=kind)
        grad_hidden = torch.empty_like(hidden)
        _run(
            "seqgen_gru_backward", ctx.form, hidden=hidden, weight=weight, states=states, kept=kept,
            grad=grad.contiguous(), grad_inputs=grad_inputs, grad_products=grad_products, entered=entered,
            grad_hidden=grad_hidden,
        )  # fmt: skip
        grad_weight = torch.mm(grad_products.flatten(0, 1).t(), entered.flatten(0, 1)).to(weight.dtype)
        return grad_inputs, grad_hidden, grad_weight, None


def _run(function: str, form: Form, **arrays: Tensor | None) -> None:
    library = _library()
    assert library is not None
    states = arrays["states"]
    assert states is not None
    given = GRUCall(
        struct_size=ctypes.sizeof(GRUCall),
        isa=form.isa.encode() or None,
        format=BF16 if form.half else FLOAT32,
        threads=torch.get_num_threads(),
        rows=states.shape[0], steps=states.shape[1], groups=form.groups, width=states.shape[2] // form.groups,
        **{name: array.data_ptr() for name, array in arrays.items() if array is not None},
    )  # fmt: skip
    call(library, function, ctypes.byref(given), remedy="name an instruction set that is here, or none")


def gru_sequence(
    inputs: Tensor, hidden: Tensor, weight: Tensor, groups: int = 1, *, half: bool = False, isa: str = ""
) -> Tensor:
    """All states of a block, differentiable once.

    Args:
        half: whether products, forward and back, are of what is rounded to bfloat16; the rest is float32 anyway.
        isa: instruction set by its name in the engine; "" takes ``$SEQGEN_ISA``, and without it the best here.

    Shapes: float32 ``inputs [B, T, 3H]``, ``hidden [B, H]``, ``weight R [3H, H] → [B, T, H]``.

    Raises:
        SeqgenError: for an instruction set that is not here.

    Source: Cho et al., arXiv 1406.1078; Kalchbrenner et al., arXiv 1802.08435, section 2 (reset after the product).

    Example:
        >>> gru_sequence(torch.zeros(2, 5, 12), torch.ones(2, 4), torch.zeros(12, 4))[0, :3, 0].tolist()
        [0.5, 0.25, 0.125]
    """
    keep = torch.is_grad_enabled() and any(one.requires_grad for one in (inputs, hidden, weight))
    states: Tensor = _Sequence.apply(inputs, hidden, weight, Form(groups, half, keep, isa))
    return states
