"""The laws of posteriors and priors as library code, to be run over every registered one, in float64."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor

from seqgen import noise
from seqgen.latents.contract import GaussianMarginals, Posterior, Prior, Setting
from seqgen.noise import Key

_ROWS, _POSITIONS, _DRAWS = 2, 3, 4000
_ERRORS = 4.5  # standard errors that a mean may be away
_FLOOR = 1e-9


def verify_posterior(posterior: Posterior, prior: Prior) -> None:
    """Every law of a family of posteriors, with a prior over its codes.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    posterior, prior = (copy.deepcopy(part).double().eval() for part in (posterior, prior))
    positions = prior.positions or _POSITIONS
    params = _normals(_ROWS, positions, posterior.num_params)
    setting = Setting(prior, None, torch.ones(_ROWS, positions, dtype=torch.bool))
    setting = setting._replace(inferred=posterior.infer(params, setting))
    setting = setting._replace(given=prior.given(posterior.code(params, setting), None, None))
    u = _uniforms(3, _ROWS, positions, posterior.num_uniforms)
    check_draws(posterior, params, u, setting)
    with torch.no_grad():
        check_costs(posterior, params, setting)
    if posterior.scored:
        check_stopped(posterior, params, u, setting)


def check_draws(posterior: Posterior, params: Tensor, u: Tensor, setting: Setting) -> None:
    """Law of draws: codes of the family's shape, functions of their uniforms, and the decoder reads what these codes
    are read as; the shares of a row's samples add up to 1."""
    one, again = (posterior.draw(params, u, setting) for _ in range(2))
    shape = (*one.log_shares.shape, params.shape[1], posterior.dim)
    assert one.z.shape == shape, f"codes are {list(one.z.shape)}, expected {list(shape)}"
    assert torch.equal(one.z, again.z), "the same uniforms give another code"
    other = posterior.draw(params, 1 - u, setting)
    assert not u.numel() or not torch.equal(other.z, one.z), "other uniforms give the same codes"
    count = len(u) * posterior.samples_per_draw
    assert len(one.z) == count, f"{len(u)} sets of uniforms give {len(one.z)} samples, expected {count}"
    total = one.log_shares.exp().sum(dim=0)
    assert torch.allclose(total, torch.ones_like(total)), f"the shares of a row add up to {total.tolist()}"
    alike = posterior.draw(params, u, setting, exact=True).log_shares
    assert torch.allclose(alike, torch.full_like(alike, -math.log(len(u)))), "exact samples do not count alike"
    code = posterior.code(params, setting)
    assert code.shape == shape[1:], f"the code that stands for x is {list(code.shape)}"
    frames = posterior.frames(one.z)
    assert frames.shape == (*shape[:-1], posterior.channels), f"the decoder reads {list(frames.shape)}"
    assert one.frames is None or torch.equal(one.frames, frames), "the decoder reads another code than is scored"


def check_costs(posterior: Posterior, params: Tensor, setting: Setting) -> None:
    """Law of costs: the closed form of the rate, and the entropy, are the means over exact samples; no rate is below
    the committed one."""
    committed, rate = posterior.committed_rate(setting), posterior.kl(params, setting)
    if committed is not None and rate is not None:
        apart = float((committed - rate.sum(dim=-1)).max())
        assert apart <= _FLOOR, f"a rate is {apart:.3g} nats below the committed one"
    if not posterior.scored:
        assert posterior.kl(params, setting) is not None, "neither samples nor the whole have a rate"
        return
    u = _uniforms(_DRAWS, *params.shape[:2], posterior.num_uniforms)
    draw = posterior.draw(params, u, setting, exact=True)
    shares = draw.log_shares.exp() * len(draw.z)  # [S, B], 1 in the mean
    log_q = (posterior.log_prob(params, draw.z).sum(dim=-1)) * shares
    log_p = setting.prior.log_prob(draw.z, setting.given).sum(dim=-1) * shares
    for what, closed, drawn in (
        ("the rate", posterior.kl(params, setting), log_q - log_p),
        ("the entropy", posterior.entropy(params), -log_q),
    ):
        if closed is not None:
            error = _ERRORS * drawn.std(dim=0) / len(drawn) ** 0.5 + _FLOOR
            apart = (drawn.mean(dim=0) - closed.sum(dim=-1)).abs()
            assert bool((apart <= error).all()), f"{what} in closed form is {apart.max():.3g} away from its samples'"


def check_stopped(posterior: Posterior, params: Tensor, u: Tensor, setting: Setting) -> None:
    """Law of stopped probabilities: of the same value, and with a gradient by the sample alone."""
    params = params.clone().requires_grad_()
    z = posterior.draw(params, u, setting, exact=True).z.detach().requires_grad_(not posterior.discrete)
    stopped, live = posterior.stopped_log_prob(params, z), posterior.log_prob(params, z)
    assert torch.allclose(stopped, live), "stopped probabilities are other ones"
    if not posterior.discrete:
        own = [parameter for parameter in posterior.parameters() if parameter.requires_grad]
        by_z, *rest = torch.autograd.grad(stopped.sum(), [z, params, *own], allow_unused=True)
        assert by_z is not None, "stopped probabilities have no gradient by the sample"
        assert all(one is None or not one.any() for one in rest), "stopped probabilities move what they are of"


def verify_prior(prior: Prior) -> None:
    """Every law of a prior.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    prior = copy.deepcopy(prior).double().eval()
    code, index = _normals(_ROWS, prior.positions or _POSITIONS, prior.dim), torch.arange(_ROWS)
    check_memory(prior, code, index)
    check_probabilities(prior, code, None)
    given = prior.given(code, index, Key(0, 0))
    if given is not None:
        check_probabilities(prior, code, given)


def check_probabilities(prior: Prior, code: Tensor, given: Any) -> None:
    """Law of probabilities: codes are a function of the uniforms, a position has a score, and the cross-entropy in
    closed form is the mean over samples of a normal distribution."""
    u = _uniforms(*code.shape[:2], prior.num_uniforms)
    z = prior.sample(u, given)
    assert z.shape == code.shape, f"codes are {list(z.shape)}"
    assert torch.equal(z, prior.sample(u, given)), "the same uniforms give another code"
    assert prior.log_prob(z[None], given).shape == (1, *z.shape[:2]), "scores are not one for each position"
    q = GaussianMarginals(z, torch.full_like(z, 0.7))
    with torch.no_grad():
        closed = prior.cross_entropy(q, given)
        if closed is not None:
            drawn = prior.log_prob(z + 0.7 * _normals(_DRAWS, *z.shape), given).sum(dim=-1)
            error = _ERRORS * drawn.std(dim=0) / len(drawn) ** 0.5 + _FLOOR
            apart = (drawn.mean(dim=0) + closed.sum(dim=-1)).abs()
            assert bool((apart <= error).all()), f"the cross-entropy is {apart.max():.3g} away from its samples'"
    if not _symbols(z):
        check_samples(prior, given, z.shape[1])


def check_memory(prior: Prior, code: Tensor, index: Tensor) -> None:
    """Law of memories: what is given does not depend on torch's generator, moves nothing, and changes by updates
    alone."""
    before = {name: value.clone() for name, value in prior.named_buffers()}
    first, second = (prior.noted(code, index, prior.given(code, index, Key(0, 0))) for _ in range(2))
    assert all(torch.equal(second[name], value) for name, value in first.items()), "the same key gives another choice"
    moved = [name for name, value in prior.named_buffers() if not torch.equal(value, before[name])]
    assert not moved, f"what is given changed {moved}; only after_update may"
    assert not any(value.requires_grad for value in first.values()), "what is noted has gradients"


def check_samples(prior: Prior, given: Any, positions: int) -> None:
    """Law of samples: codes are drawn as often as they are scored, by what Stein's identity says of every density:

    E ∂/∂z_d ln p(z) = 0,    E z_d ∂/∂z_d ln p(z) = -1
    """
    rows = _DRAWS // _ROWS
    u = _uniforms(rows, _ROWS, positions, prior.num_uniforms)
    if given is None:
        z = prior.sample(u.flatten(0, 1)).unflatten(0, u.shape[:2])  # all at once
    else:
        z = torch.stack([prior.sample(one, given) for one in u])
    z = z.detach().requires_grad_()  # [S, B, N, D]
    (score,) = torch.autograd.grad(prior.log_prob(z, given).sum(), z)
    for what, values, expected in (("score", score, 0.0), ("product of code and score", z.detach() * score, -1.0)):
        error = _ERRORS * values.std(dim=0) / rows**0.5 + _FLOOR
        apart = (values.mean(dim=0) - expected).abs()
        assert bool((apart <= error).all()), f"the mean {what} of samples is {apart.max():.3g} away from {expected:g}"


def _symbols(z: Tensor) -> bool:
    return bool(((z == 0) | (z == 1)).all())


def _uniforms(*shape: int) -> Tensor:
    count = int(torch.tensor(shape).prod())
    return torch.from_numpy(noise.block(0, 1, 0, count)).double().view(shape)


def _normals(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
