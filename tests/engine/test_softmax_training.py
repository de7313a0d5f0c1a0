"""The log-probability of symbols in training: every set of kernels against float64."""

from __future__ import annotations

import pytest
import torch

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.nets import softmax_kernel, training_library
from seqgen.nets.softmax_kernel import log_prob

pytestmark = pytest.mark.skipif(not training_library.available(), reason="the native engine is not built")
SHAPES = [(1, 1), (1, 7), (5, 16), (9, 65), (700, 256), (3, 1000)]
"""Rows and classes; the fifth has work for several threads."""


@pytest.fixture(params=("generic", "avx2", "avx512", "neon"))
def isa(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    try:
        log_prob(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), isa=name)
    except SeqgenError as error:
        assert "not here" in str(error)  # noqa: PT017
        pytest.skip(f"this machine has no {name}")
    return name


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_nats_and_gradients_are_those_of_float64(isa: str, shape: tuple[int, int], kind: torch.dtype) -> None:
    make = torch.Generator().manual_seed(sum(shape))
    logits = (20 * torch.randn(shape, generator=make)).to(kind).requires_grad_()
    symbols, grad = torch.randint(shape[1], shape[:1], generator=make), torch.randn(shape[0], generator=make)
    exact = logits.detach().double().requires_grad_()
    wanted = torch.log_softmax(exact, dim=-1).gather(1, symbols[:, None])[:, 0]
    made = log_prob(logits, symbols, isa=isa)
    assert made.dtype == torch.float32
    assert (made - wanted).abs().max() < 1e-5
    (found,) = torch.autograd.grad(made, logits, grad)
    (expected,) = torch.autograd.grad(wanted, exact, grad.double())
    assert found.dtype == kind
    assert (found - expected).abs().max() < (1e-2 if kind == torch.bfloat16 else 1e-6)


def test_threads_change_no_bit(isa: str) -> None:
    logits, symbols = torch.randn(3000, 100, requires_grad=True), torch.randint(100, (3000,))
    threads, made = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            nats = log_prob(logits, symbols, isa=isa)
            made.append([nats.detach(), *torch.autograd.grad(nats.sum(), logits)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, two) for other in made[1:] for one, two in zip(made[0], other, strict=True))


def test_what_is_far_off_or_not_a_number(isa: str) -> None:
    """A class of no probability has no gradient; what is not a number stays none, in its row alone."""
    logits = torch.zeros(3, 20)
    logits[0, 3], logits[1, 7], logits[2, 5] = -torch.inf, torch.nan, 300.0
    logits.requires_grad_()
    nats = log_prob(logits, torch.tensor([0, 1, 5]), isa=isa)
    (grad,) = torch.autograd.grad(nats[[0, 2]].sum(), logits)
    assert nats[0].item() == pytest.approx(-torch.tensor(19.0).log().item())
    assert nats[1].isnan()
    assert nats[2].item() == pytest.approx(0, abs=1e-6)
    assert grad[0, 3] == 0
    assert grad[2].abs().max() < 1e-6


def test_a_gradient_can_be_differentiated() -> None:
    logits, symbols = torch.randn(4, 6, requires_grad=True), torch.tensor([1, 0, 5, 2])

    def second(nats: torch.Tensor) -> torch.Tensor:
        (first,) = torch.autograd.grad(nats.sum(), logits, create_graph=True)
        return torch.autograd.grad(first.square().sum(), logits)[0]

    by_hand = torch.log_softmax(logits, dim=-1).gather(1, symbols[:, None])
    assert torch.allclose(second(log_prob(logits, symbols)), second(by_hand), atol=1e-6)


def test_it_is_what_training_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where gradients of float32 or bfloat16 are wanted; what is only scored, or float64, goes through torch."""
    seen = []
    run = softmax_kernel._run
    monkeypatch.setattr(
        softmax_kernel, "_run", lambda name, *more, **arrays: (seen.append(name), run(name, *more, **arrays))
    )
    choice, symbols = Categorical(Categorical.Config(5)), torch.tensor([[1, 4]])
    logits = torch.randn(1, 2, 5, requires_grad=True)
    scored = choice.log_prob(logits.detach(), symbols)
    assert not seen
    choice.log_prob(logits.double(), symbols).sum().backward()
    assert not seen
    nats = choice.log_prob(logits, symbols)
    assert torch.allclose(nats, scored, atol=1e-6)
    nats.sum().backward()
    assert seen == ["seqgen_softmax_forward", "seqgen_softmax_backward"]


def test_symbols_that_do_not_fit_are_named() -> None:
    with pytest.raises(SeqgenError, match=r"symbols \[3\] for logits \[2, 4\]; give one symbol for each row"):
        log_prob(torch.zeros(2, 4), torch.tensor([0, 1, 2]))
    with pytest.raises(SeqgenError, match="symbol 4 in row 1; give 0 to 3"):
        log_prob(torch.zeros(2, 4), torch.tensor([0, 4]))
