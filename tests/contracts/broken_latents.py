"""Posteriors and priors that are broken on purpose, each in one place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seqgen.latents.categorical import CategoricalPosterior
from seqgen.latents.contract import Draw, Setting
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.gaussian_mixture import GaussianMixturePosterior
from seqgen.latents.standard_normal import StandardNormal
from seqgen.noise import Key


class Frugal(GaussianPosterior):
    """A posterior whose entropy is too large."""

    def entropy(self, params: Tensor) -> Tensor:
        return super().entropy(params) + 0.5


class Generous(GaussianPosterior):
    """A posterior whose samples count too much."""

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        made = super().draw(params, u, setting, exact=exact)
        return made._replace(log_shares=made.log_shares + 0.1)


class Unmixed(GaussianMixturePosterior):
    """A mixture whose exact samples are its components side by side."""

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        return super().draw(params, u, setting)


class Mistaken(CategoricalPosterior):
    """A posterior whose decoder reads another code than is scored."""

    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        made = super().draw(params, u, setting, exact=exact)
        return made._replace(frames=made.z.flip(-1))


class Scattered(StandardNormal):
    """A prior whose samples lie too far apart."""

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        return 1.2 * super().sample(u, given)


class Dear(StandardNormal):
    """A prior whose cross-entropy is too large."""

    def cross_entropy(self, q: Any, given: Any = None) -> Tensor | None:
        value = super().cross_entropy(q, given)
        return None if value is None else value + 0.5


class Restless(StandardNormal):
    """A prior that changes its memory when it is asked what a code is like."""

    def __init__(self, config: StandardNormal.Config) -> None:
        super().__init__(config)
        self.register_buffer("last", torch.zeros(()))

    def given(self, code: Tensor, index: Tensor | None, rng: Key | None) -> Any:
        self.last.copy_(code.mean())
        return super().given(code, index, rng)


class Overcommitted(GaussianPosterior):
    """A posterior that promises a rate which it gets below."""

    def committed_rate(self, setting: Setting) -> Tensor | None:
        return 10.0 * setting.inside.sum(dim=1)
