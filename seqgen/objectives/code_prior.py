"""Priors fitted to the codes of a latent-variable model that stands still."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Setting
from seqgen.latents.examples import ELEMENTS, EXAMPLES, SYMBOLS, fitting, models, small
from seqgen.latents.variable import LatentVariable, numbers
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, ObjectiveExample, Rows
from seqgen.objectives.latent_objective import LatentObjective
from seqgen.spec import Facts


class CodePrior(LatentObjective):
    """``L = -E_q ln p(z)`` in nats of a row: of the evidence lower bound what its prior decides, which alone moves.

    The model is one that another run has trained, with this prior in the place of its own (``replaced: {prior: …}`` of
    a pretrained network). An evaluation tells the bound with it. The expectation is
    taken in closed form where there is one and ``closed`` is set. Term: ``nats_per_position``.

    Raises:
        SeqgenError: for a prior that has nothing to be fitted.

    Source: a prior that is fitted afterwards: van den Oord, Vinyals and Kavukcuoglu, arXiv 1711.00937, section 3.3;
    Razavi et al., "Preventing posterior collapse with delta-VAEs", arXiv 1901.03416, section 2.3.
    """

    @dataclass(frozen=True)
    class Config:
        """``samples`` of the codes, ``closed`` and ``evaluation_samples`` as of the evidence."""

        samples: int = 1
        closed: bool = True
        evaluation_samples: int = 50

    players: Mapping[str, tuple[str, ...]] = MappingProxyType({"prior": ("model.prior",)})
    config: Config

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        generator, facts = torch.Generator().manual_seed(0), Facts(examples=EXAMPLES, vocab_size=SYMBOLS)
        x = torch.randint(SYMBOLS, (3, ELEMENTS), generator=generator)
        batch = Rows(x, torch.tensor([ELEMENTS, 4, 1]), index=torch.arange(3))
        for model in _examples():
            yield ObjectiveExample(cls(cls.Config(samples=2), {"model": model}, facts), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts, config.samples, config.evaluation_samples)
        self.couples_rows = self.model.prior.couples_rows
        self.model.requires_grad_(False)
        self.model.prior.requires_grad_(True)
        if next(self.model.prior.parameters(), None) is None:
            raise SeqgenError(
                f"networks.model has a prior {type(self.model.prior).__name__}, which has nothing to be fitted",
                remedy="replace it: {name: pretrained, experiment: …, frozen: false, replaced: {prior: {name: …}}}",
            )

    def train(self, mode: bool = True) -> CodePrior:
        """Training mode for the prior; the rest stays in evaluation mode."""
        super().train(mode)
        for part in (self.model.encoder, self.model.posterior, self.model.decoder):
            part.eval()
        return self

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        params, setting = self.model.encoded(batch, rng)
        cross = self._cross_entropy(params, setting, rng) * setting.inside  # [B, N]
        total = cross.sum(dim=-1).mean()
        prior, value = self.model.prior, total
        regulariser = prior.regulariser()
        if regulariser is not None:
            value = value + regulariser / max(self.facts.examples, 1)
        directions = prior.directions(self.model.posterior, params, setting)
        each = cross.sum(dim=-1) / setting.inside.sum(dim=-1).clamp_min(1)
        noted = prior.noted(self.model.posterior.code(params, setting), numbers(batch), setting.given)
        return Loss(
            value,
            {"nats_per_position": each.detach().mean()},
            total.new_tensor(len(batch.x)),
            aux={"rows": total.new_tensor(float(len(batch.x))), **noted},
            directions={f"model.prior.{name}": one for name, one in directions.items()} or None,
        )

    def after_update(self, player: str, aux: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> None:
        self.model.prior.after_update(aux)

    def remarks(self, means: Mapping[str, float]) -> list[str]:
        return []

    def _cross_entropy(self, params: Tensor, setting: Setting, rng: Key) -> Tensor:
        """``-E_q ln p(z_n | z_<n)``, ``[B, N]``."""
        posterior, prior = self.model.posterior, self.model.prior
        marginals = posterior.marginals(params) if self.config.closed else None
        closed = prior.cross_entropy(marginals, setting.given) if marginals is not None else None
        if closed is not None:
            return closed
        draw: Draw = posterior.draw(params, self.uniforms(params, rng, self.samples), setting, exact=True)
        scores = prior.log_prob(draw.z, setting.given)  # [S, B, N]
        return -(draw.log_shares.exp()[..., None] * scores).sum(dim=0)


def _examples() -> Iterator[LatentVariable]:
    """A small model for each prior that can be fitted, over codes of a family of posteriors that it knows."""
    seen = set()
    for model in models(LatentVariable):
        for prior in fitting(model.posterior):
            if type(prior) not in seen and next(prior.parameters(), None) is not None:
                seen.add(type(prior))
                yield small(LatentVariable, model.posterior, prior)
