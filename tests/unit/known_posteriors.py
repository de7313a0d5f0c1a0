"""Latent-variable models without data: the outputs of their encoder and their likelihood are given, so that gradients
of single samples can be held against what is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from seqgen import registry
from seqgen.config import Component
from seqgen.latents.contract import Posterior, Prior, Setting
from seqgen.latents.examples import small
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.spec import Facts

Likelihood = Callable[[Tensor], Tensor]
"""``ln p(x | z)`` of codes ``[S, B, N, dim] → [S, B]``."""


class Known(LatentVariable):
    """A model of B rows that have outputs ``params [B, N, P]`` of a posterior, of which they are copies."""

    params: Tensor
    likelihood: Likelihood

    def encoded(self, batch: Any, rng: Key | None = None) -> tuple[Tensor, Setting]:
        return self.params, Setting(self.prior, None, torch.ones(self.params.shape[:2], dtype=torch.bool))

    def log_likelihood(self, batch: Any, z: Tensor, frames: Tensor | None = None) -> Tensor:
        return self.likelihood(z if frames is None else frames)[..., None]


def known(posterior: Posterior, prior: Prior, output: Tensor, likelihood: Likelihood, rows: int) -> Known:
    """A model in float64 whose rows are copies of one, ``output [N, P]``."""
    model = small(Known, posterior, prior).double()
    model.params = output.double().expand(rows, *output.shape).clone().requires_grad_()
    model.likelihood = likelihood
    return model


def objective_of(model: Known, **options: Any) -> MaximumEvidence:
    """A method with registered parts by their names, or names with options."""
    named = {name: Component(one) if isinstance(one, str) else one for name, one in options.items()}
    return MaximumEvidence(MaximumEvidence.Config(**named), {"model": model}, Facts(vocab_size=2)).double()


def gradients(objective: MaximumEvidence, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The bound of all rows, and each row's gradient of it by the posterior's outputs ``[B, N, P]``."""
    model = objective.model
    assert isinstance(model, Known)
    rows = len(model.params)
    batch = Rows(torch.zeros(rows, 1, dtype=torch.int64), torch.ones(rows, dtype=torch.int64))
    loss = objective.loss(batch, "model", Key(seed, 0), None).total
    (found,) = torch.autograd.grad(loss, model.params)
    return -loss.detach(), -rows * found


def mean_and_error(each: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over rows and its standard error."""
    return each.mean(dim=0), each.std(dim=0) / len(each) ** 0.5


def prior(name: str, **options: Any) -> Prior:
    """A registered prior."""
    kind = registry.PRIORS.load(name)
    made: Prior = kind(kind.Config(**options))
    return made
