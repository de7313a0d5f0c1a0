"""The log-probability of symbols under a softmax on a CPU, through the engine's library.

    ln p(k) = x_k - ln Σ_j e^{x_j}          ∂ ln p(k) / ∂x_j = [j = k] - p(j)

Logits in bfloat16 are read as they are and their gradients are written so; sums are in float32. Neither all
log-probabilities nor all gradients in float32 are ever written.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.nets import training_library
from seqgen.runtime.native_library import SoftmaxCall


class _LogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, symbols: Tensor, isa: str) -> Tensor:
        logits, symbols = logits.contiguous(), symbols.contiguous()
        log_probs = torch.empty(symbols.shape, dtype=torch.float32)
        log_sums = torch.empty(*symbols.shape, 2, dtype=torch.float32)
        _run("seqgen_softmax_forward", isa, logits=logits, symbols=symbols, log_probs=log_probs, log_sums=log_sums)
        ctx.isa = isa
        ctx.save_for_backward(logits, symbols, log_sums)
        return log_probs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        logits, symbols, log_sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # a gradient of this gradient is to be taken
            told = torch.nn.functional.one_hot(symbols, logits.shape[-1]) - torch.softmax(logits.float(), dim=-1)
            return (grad[..., None] * told).to(logits.dtype), None, None
        made = torch.empty_like(logits)
        _run(
            "seqgen_softmax_backward", ctx.isa, logits=logits, symbols=symbols, log_sums=log_sums,
            grad=grad.contiguous(), grad_logits=made,
        )  # fmt: skip
        return made, None, None


def _run(function: str, isa: str, **arrays: Tensor) -> None:
    logits = arrays["logits"]
    sizes = {"rows": arrays["symbols"].numel(), "classes": logits.shape[-1]}
    half = logits.dtype == torch.bfloat16
    training_library.run(function, SoftmaxCall, half=half, isa=isa, sizes=sizes, arrays=dict(arrays))


def fits(logits: Tensor, symbols: Tensor) -> bool:
    """Test for :func:`log_prob` to take these: float32 or bfloat16 on a CPU, int64 symbols, gradients wanted."""
    return (
        logits.requires_grad
        and torch.is_grad_enabled()
        and logits.device.type == "cpu"
        and logits.dtype in (torch.float32, torch.bfloat16)
        and symbols.dtype == torch.int64
        and not torch.jit.is_tracing()
        and training_library.available()
    )


def log_prob(logits: Tensor, symbols: Tensor, *, isa: str = "") -> Tensor:
    """``ln p(symbol)`` in nats, differentiable twice.

    Args:
        isa: instruction set by its name in the engine; "" takes ``$SEQGEN_ISA``, and without it the best here.

    Shapes: float32 or bfloat16 logits ``[…, K]``, int64 ``[…]`` → float32 ``[…]``.

    Raises:
        SeqgenError: for a symbol that is none of the K, other symbols than there are rows of logits, and an
            instruction set that is not here.

    Example:
        >>> log_prob(torch.zeros(1, 4), torch.tensor([2])).exp().tolist()
        [0.25]
    """
    if logits.shape[:-1] != symbols.shape:
        raise SeqgenError(
            f"symbols {list(symbols.shape)} for logits {list(logits.shape)}", remedy="give one symbol for each row"
        )
    made: Tensor = _LogProb.apply(logits, symbols, isa)
    return made
