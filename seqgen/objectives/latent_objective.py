"""What methods of training latent-variable models have in common: samples' evidence, and what an evaluation tells."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.latents.contract import Draw, Setting
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.objectives.contract import Measure, Objective, Requirement, scored
from seqgen.spec import Facts
from seqgen.variational.contract import Evidence, GradientEstimator

_PRIOR = "model.prior."  # what the names of all parameters begin with that have directions
_CHUNK = 50  # samples of an evaluation that are looked at side by side at most,
_NUMBERS = 1 << 18  # and scores of all their elements' values: what a decoder makes of more leaves the caches


class LatentObjective(Objective):
    """A training method of a latent-variable model, the network ``model``.

    In evaluation codes are drawn from the family itself, never from a relaxation, and further samples give the
    importance-weighted bound, ``evidence``. Of codes of symbols the ``perplexity`` of their
    use over all that is evaluated says how many are in use. Rate and distortion are told a row, an element, a position
    of the code, and a second where data have a sample rate. Where the prior is given more than a row itself
    ``marginal_rate`` and ``marginal_elbo`` say what the row costs by itself.

    Args:
        samples: of a posterior. evaluation_samples: of the importance-weighted bound; 0 for none.

    Raises:
        SeqgenError: for numbers of samples that are none.
    """

    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"model": LatentVariable})
    evaluation_rows: ClassVar[int] = 50
    model: LatentVariable

    def __init__(
        self, config: Any, networks: Mapping[str, nn.Module], facts: Facts, samples: int, evaluation_samples: int
    ) -> None:
        super().__init__(config, networks, facts)
        if samples < 1 or evaluation_samples < 0:
            raise SeqgenError(
                f"objective: {samples} samples, {evaluation_samples} in evaluation",
                remedy="give 1 or more, and 0 or more",
            )
        self.samples, self.evaluation_samples = samples, evaluation_samples

    def measured_by(self, evidence_samples: int) -> Self:
        made = copy.copy(self)
        made.evaluation_samples = evidence_samples
        return made

    def limited(self, player: str, directions: Mapping[str, Tensor], rate: float) -> Mapping[str, Tensor]:
        own = {name.removeprefix(_PRIOR): direction for name, direction in directions.items()}
        return {_PRIOR + name: one for name, one in self.model.prior.limited(own, rate).items()} if own else {}

    @torch.no_grad()
    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """Rate, distortion and their bound of each row, and the importance-weighted bound of more samples."""
        params, setting = self.model.encoded(batch)
        evidence = self.evidence(batch, params, setting, rng, self.samples, closed=True, exact=True)
        rate, distortion = evidence.rate, evidence.distortion
        rows, elements = torch.ones_like(rate), self.elements(batch)
        figures = {"elbo": -(rate + distortion), "rate": rate, "distortion": distortion}
        committed = self.model.posterior.committed_rate(setting)
        if committed is not None:
            figures["committed_rate"] = committed
        if setting.given is not None and self.model.posterior.scored:
            figures["marginal_rate"] = _marginal_rate(evidence)
            figures["marginal_elbo"] = -(figures["marginal_rate"] + distortion)
        found = {name: Measure(value, rows, "nats") for name, value in figures.items()}
        unit, positions = self.facts.unit, setting.inside.sum(dim=1)
        found |= {f"{name}_per_{unit}": Measure(figures[name], elements, "nats") for name in figures}
        found["rate_per_position"] = Measure(rate, positions, "nats")
        second = self._sample_rate()
        if second:
            found |= {f"{n}_per_second": Measure(figures[n], elements / second, "nats") for n in ("rate", "distortion")}
        usage = self.model.posterior.usage(params, setting)
        if usage is not None:
            found["perplexity"] = Measure(usage, positions, function=perplexity)
        if self.evaluation_samples and self.model.posterior.scored:
            evidences = figures["elbo"]  # where nothing is drawn, all codes of a row are the same
            if self.model.posterior.num_uniforms:
                evidences = self._importance_weighted(batch, params, setting, rng, self.evaluation_samples)
            found["evidence"] = Measure(evidences, rows, f"nats, by {self.evaluation_samples} samples")
            found["evidence_bits_per_" + unit] = Measure(-evidences / math.log(2), elements)
        return found | self._information(evidence)

    def _information(self, evidence: Evidence) -> dict[str, Measure]:
        """What codes tell of the row that they are of, bounded from both sides by the other rows of the batch:

            ln q(z_i | x_i) - ln 1/B Σ_j q(z_i | x_j)  ≤  I(x; z)  ≤  ln q(z_i | x_i) - ln 1/(B-1) Σ_{j≠i} q(z_i | x_j)

        in the mean (Poole et al., arXiv 1905.06922, sections 2.1 and 2.3).
        """
        rows, posterior = len(evidence.params), evidence.posterior
        if rows < 2 or not posterior.scored or not posterior.num_uniforms or len(evidence.z) > 1:
            return {}
        each = evidence.z[0][:, None].expand(-1, rows, -1, -1)  # [B, B, N, D], code i for row j
        pairs = (posterior.log_prob(evidence.params, each) * evidence.setting.inside).sum(dim=-1)  # [B, B]
        own, none = pairs.diagonal(), torch.full_like(pairs, -math.inf)
        others = torch.where(torch.eye(rows, dtype=torch.bool, device=pairs.device), none, pairs)
        lower = own - torch.logsumexp(pairs, dim=1) + math.log(rows)
        upper = own - torch.logsumexp(others, dim=1) + math.log(rows - 1)
        one, words = pairs.new_ones(1), f"ln B, B = {rows} rows of a batch"
        return {
            "information_at_least": Measure(lower.mean()[None], one, "nats", math.log(rows), words),
            "information_at_most": Measure(upper.mean()[None], one, "nats"),
        }

    def _importance_weighted(self, batch: Any, params: Tensor, setting: Setting, rng: Key, samples: int) -> Tensor:
        """Importance-weighted bound of so many samples, ``[B]``."""
        parts, done = [], 0
        most = max(1, _NUMBERS // max(1, batch.x.numel() * max(1, self.facts.vocab_size)))
        while done < samples:
            count = min(_CHUNK, most, samples - done)
            key = Key(rng.seed, rng.stream + noise.name_to_stream(f"seqgen.evidence.{done}"))
            one = self.evidence(batch, params, setting, key, count, closed=False, exact=True)
            parts.append(torch.logsumexp(one.log_shares + one.log_weights(), dim=0) + math.log(count))
            done += count
        return torch.logsumexp(torch.stack(parts), dim=0) - math.log(samples)

    def evidence(
        self,
        batch: Any,
        params: Tensor,
        setting: Setting,
        rng: Key,
        samples: int,
        *,
        closed: bool,
        exact: bool = False,
        estimator: GradientEstimator | None = None,
        held: list[Tensor] | None = None,
    ) -> Evidence:
        """What samples tell of a batch; the closed form of the rate is taken where that is asked for and there is one.

        By the time of the backward pass ``held`` has the factor of each sample, where the estimator reweights.
        """
        detaches, stops = estimator is not None and estimator.detaches, estimator is not None and estimator.stops
        posterior, prior = self.model.posterior, self.model.prior
        u = self.uniforms(params, rng, samples)
        draw: Draw = posterior.draw(params, u, setting, exact=exact)
        z, frames = draw.z, draw.frames
        if detaches:
            z, frames = z.detach(), None
        if held is not None and estimator is not None and estimator.reweights:
            for drawn in (z, frames):
                if drawn is not None and drawn.requires_grad:
                    drawn.register_hook(lambda gradient: gradient * held[0][..., None, None])
        scores = self.model.log_likelihood(batch, z, frames)  # [S, B, T]
        likelihood = (scores * scored(batch, scores[0], length=self.model.decoder.length)).sum(dim=-1)
        kl = posterior.kl(params, setting) if closed else None
        log_prior = log_posterior = None
        if kl is None or detaches:
            score = posterior.stopped_log_prob if stops else posterior.log_prob
            log_prior = prior.log_prob(z, setting.given) * setting.inside
            log_posterior = score(params, z) * setting.inside
        if kl is not None:
            kl = kl * setting.inside
        return Evidence(
            likelihood, log_prior, log_posterior, draw.log_shares, kl, z, params, posterior, setting,
            self.facts.examples,
        )  # fmt: skip

    def uniforms(self, params: Tensor, rng: Key, samples: int) -> Tensor:
        """Uniforms of the samples, ``[S, B, N, num_uniforms]``."""
        shape = (samples, *params.shape[:2], self.model.posterior.num_uniforms)
        drawn = noise.block(rng.seed, rng.stream, 0, math.prod(shape))
        return torch.from_numpy(drawn).view(shape).to(params.device, params.dtype)

    def elements(self, batch: Any) -> Tensor:
        """Samples of each row that count, ``[B]``."""
        return scored(batch, torch.zeros(batch.x.shape[:2])).sum(dim=1) / self.facts.symbols_per_sample

    def _sample_rate(self) -> int:
        return self.facts.features.sample_rate if self.facts.features is not None else self.facts.sample_rate


def _marginal_rate(evidence: Evidence) -> Tensor:
    """``E_q [ln q(z | x) - ln p(z)]`` of each row by the samples, ``[B]``, with the prior of a code by itself."""
    setting = evidence.setting
    log_q, log_p = evidence.posterior.log_prob(evidence.params, evidence.z), setting.prior.log_prob(evidence.z)
    each = ((log_q - log_p) * setting.inside).sum(dim=-1)  # [S, B]
    return (evidence.shares * each).sum(dim=0)


def perplexity(shares: npt.NDArray[np.float64]) -> float:
    """Perplexity of symbols whose shares are known, between 1 and K; of several groups ``[G, K]`` the geometric mean.

    Example:
        >>> round(perplexity(np.array([[0.5, 0.5, 0.0]])), 6)
        2.0
    """
    entropies = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=-1)  # [G]
    return math.exp(entropies.mean())
