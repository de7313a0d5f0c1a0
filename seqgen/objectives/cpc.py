"""Contrastive predictive coding: an encoder learns what tells its later latents from others."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from seqgen import noise, registry
from seqgen.errors import SeqgenError
from seqgen.estimators.infonce import contrast
from seqgen.models.context_encoder import ContextEncoder
from seqgen.noise import Key
from seqgen.objectives import negatives
from seqgen.objectives.contract import Loss, Measure, Objective, ObjectiveExample, Requirement, Rows
from seqgen.objectives.lipschitz import LipschitzPenalty
from seqgen.objectives.negatives import Kind
from seqgen.spec import Facts

_SLOPES = noise.name_to_stream("seqgen.cpc.slopes")


class Choices(NamedTuple):
    """Choices that a batch asks for: A anchors in each row, K steps ahead of each, N candidates for each step.

    Attributes:
        bound: ``ln N - L`` of each choice, ``[B, A, K]`` nats. right: 1 where the right candidate scores best, ``[B, A,
            K]``; a tie counts its share. asked: 1 where an anchor and all that it predicts count, ``[B, A]``.
    """

    bound: Tensor
    right: Tensor
    asked: Tensor


class ContrastivePrediction(Objective):
    """InfoNCE over latents: from the context c_t the latent z_{t+k} is to be told from N - 1 others, for k = 1 … K.

        f_k(z, c) = exp(zᵀ W_k c)
        L_k = -E ln f_k(z_{t+k}, c_t) / Σ_{z in X} f_k(z, c_t)        X: z_{t+k} and N - 1 negatives
        L = mean_k L_k,        I(z_{t+k}; c_t) ≥ ln N - L_k

    The mean is over all anchors t of all rows whose K later latents lie in the row. Latents that see zeros from before
    the start of a row are neither contexts, nor predicted, nor negatives: padding would tell their place. Negatives are
    drawn for each row and step (:mod:`seqgen.objectives.negatives`), by kind from every row of the batch, from rows of
    the same speaker, from either without the row itself, or from the row alone. The bound holds where negatives are
    drawn as what is predicted is; of other kinds it says how well the choice among those is made, no more.

    With a Lipschitz penalty P it is Wasserstein predictive coding, ``L + weight · P``: the slope of f_k is by the rows
    themselves, the one that makes the context and the one that makes the latent, each as a whole. An encoder that may
    not be steep has less reason to leave out what is there.

    Terms: ``information``, the mean of ``ln N - L_k``, and ``cap``, the ``ln N`` that it cannot pass, whatever there is
    to be known; ``accuracy_k``, how often the right one scores best; with a penalty ``penalty`` and ``slope``, the mean
    norm of the score's gradient. Batches have ``x`` and ``lengths``, and ``speaker`` where negatives are the speaker's.

    Raises:
        SeqgenError: for sizes that ask nothing, for negatives of the same speaker where there is one alone, for a
            penalty on an encoder of symbols; with a batch for rows too short for K steps, and for fewer candidates
            than N.

    Source: van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", arXiv
    1807.03748, sections 2.2 and 2.3; kinds of negatives: table 2. The penalty: Ozair et al., "Wasserstein dependency
    measure for representation learning", arXiv 1903.11780. That edges are left out is ours.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            steps: K, latents predicted from each context. candidates: N, the right one and its negatives.
            negatives: where these come from.
            lipschitz: constraint of the scores, if there is one. sloped: rows of a batch whose slopes are measured, at
                an anchor and a step by lot.
        """

        steps: int = 12
        candidates: int = 128
        negatives: Kind = "mixed"
        lipschitz: LipschitzPenalty | None = None
        sloped: int = 8

        def __post_init__(self) -> None:
            if self.steps < 1 or self.candidates < 2 or self.sloped < 2:
                raise SeqgenError(
                    f"cpc: {self.steps} steps, {self.candidates} candidates and slopes of {self.sloped} rows",
                    remedy="give 1 step or more, and 2 candidates and rows or more",
                )

    requires: ClassVar[Mapping[str, Requirement]] = {"encoder": ContextEncoder}
    couples_rows = True
    config: Config
    encoder: ContextEncoder

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        voices = Facts(speakers=("ann", "bo"))
        for name in registry.MODELS:
            model = registry.MODELS.load(name)
            for encoder in model.examples() if issubclass(model, ContextEncoder) else ():
                batch = _windows(encoder)
                for kind in typing.get_args(Kind):
                    yield ObjectiveExample(cls(cls.Config(2, 4, kind), {"encoder": encoder}, voices), batch)
                if not encoder.spec.vocab_size:
                    penalised = cls.Config(2, 4, lipschitz=LipschitzPenalty(0.1, target=0.01))
                    yield ObjectiveExample(_steep(cls(penalised, {"encoder": encoder}, voices)), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts)
        if negatives.needs_speakers(config.negatives) and not facts.num_speakers:
            raise SeqgenError(
                f"cpc: negatives of kind '{config.negatives}', but the data have no two speakers",
                remedy="take objective.negatives mixed, or data whose speakers are named",
            )
        if config.lipschitz is not None and self.encoder.spec.vocab_size:
            raise SeqgenError(
                "cpc: a Lipschitz penalty, and an encoder of symbols, which have no distance",
                remedy="leave objective.lipschitz out, or take an encoder of real numbers",
            )
        (latents,), contexts = self.encoder.observed_dims, self.encoder.spec.out_dim
        # W_k. At random they would score noise, and the nearest way to a lower loss is then that all latents be alike,
        # where the gradient ends. From zero the loss is ln N, and the first thing learnt is what latents there are.
        self.predictors = nn.Parameter(torch.zeros(config.steps, latents, contexts))

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        made = self.choices(batch, rng)
        weight = made.asked.sum()
        bound, right = (_mean(values, made.asked) for values in (made.bound, made.right))  # [K]
        information, cap = bound.mean(), math.log(self.config.candidates)
        terms = {"information": information.detach(), "cap": information.new_tensor(cap)}
        terms |= {f"accuracy_{k}": value.detach() for k, value in enumerate(right, 1)}
        loss = cap - information
        if self.config.lipschitz is not None:
            slopes = self._slopes(self.config.lipschitz, batch, rng)
            penalty = self.config.lipschitz.penalty(slopes)
            loss = loss + self.config.lipschitz.weight * penalty
            terms |= {"penalty": penalty.detach(), "slope": slopes.detach().mean()}
        return Loss(loss, terms, weight)

    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        """The bound and the accuracy of a batch, of all steps and of each."""
        made = self.choices(batch, rng)
        bound, right = (_mean(values, made.asked) for values in (made.bound, made.right))  # [K]
        weight, count = made.asked.sum()[None], self.config.candidates
        cap, words = math.log(count), f"ln N, N = {count} candidates of each choice"
        found = {"loss": Measure((cap - bound.mean()) * weight, weight, "nats")}
        every = {"": (bound.mean(), right.mean())}
        every |= {f"_{k}": pair for k, pair in enumerate(zip(bound, right, strict=True), 1)}
        if self.config.lipschitz is not None:
            slopes = self._slopes(self.config.lipschitz, batch, rng)
            found["slope"] = Measure(slopes.mean()[None], weight.new_ones(1))
        found |= {
            f"information{k}": Measure(value * weight, weight, "nats", cap, words) for k, (value, _) in every.items()
        }
        return found | {f"accuracy{k}": Measure(value * weight, weight) for k, (_, value) in every.items()}

    def choices(self, batch: Any, rng: Key) -> Choices:
        """Every choice that the batch asks for."""
        c, z = self._encoded(batch)  # [B, F, hidden], [B, F, D]
        real = self._real(batch, z)  # [B, F]
        steps, frames, first = self.config.steps, z.shape[1], self.encoder.spec.latency
        anchors = frames - first - steps
        if anchors < 1:
            raise SeqgenError(
                f"cpc: rows of {frames} frames, of which {first} see padding, for {steps} steps ahead",
                remedy=f"give rows of {first + steps + 1} frames or more, or lower objective.steps",
            )
        kind = self.config.negatives
        given = negatives.draw(kind, real, getattr(batch, "speaker", None), self.config.candidates, rng)  # [B, N]
        scored = z.flatten(0, 1)[given]  # [B, N, D]
        predicted = torch.einsum("bah,kdh->bakd", c[:, first : first + anchors], self.predictors)  # [B, A, K, D]
        places = first + torch.arange(anchors, device=z.device)[:, None] + torch.arange(1, steps + 1, device=z.device)
        chosen = (predicted * z[:, places]).sum(dim=-1)  # [B, A, K]
        others = predicted.flatten(1, 2) @ scored.transpose(1, 2)  # [B, A·K, N]
        right = places + frames * torch.arange(len(z), device=z.device)[:, None, None]  # [B, A, K], place in the batch
        # The right candidate takes its own place among those drawn or, where it was not drawn, that of the last.
        at = right[..., None] == given[:, None, None]  # [B, A, K, N]
        at = torch.cat([at[..., :-1], ~at[..., :-1].any(dim=-1, keepdim=True)], dim=-1)
        scores = torch.where(at, chosen[..., None], others.reshape(at.shape))
        counted = real[:, places].all(dim=2).to(z.dtype)
        return Choices(contrast(chosen, scores), _best(chosen, scores), counted)

    def _slopes(self, lipschitz: LipschitzPenalty, batch: Any, rng: Key) -> Tensor:
        """Slopes of the scores of some rows' contexts with some rows' latents, ``[kinds · R]``; zeros where fewer than
        two rows are long enough."""
        down, first, steps = self.encoder.spec.down, self.encoder.spec.latency, self.config.steps
        anchors = batch.lengths // down - first - steps  # [B]
        chosen = torch.nonzero(anchors > 0)[: self.config.sloped, 0]
        if len(chosen) < 2:
            return batch.x.new_zeros(1)
        own, rows = Key(rng.seed, rng.stream + _SLOPES), len(chosen)
        anchor, step = noise.uniforms(own.seed, own.stream, torch.arange(2 * rows).view(2, rows)).to(batch.x.device)
        at = first + (anchor * anchors[chosen].min()).long()
        scores = _WindowScores(self.encoder, self.predictors, batch.x.shape[1:], at, (step * steps).long())
        x = batch.x[chosen].flatten(1)
        return lipschitz.slopes(scores, x, x, Key(own.seed, own.stream + 1))

    def _encoded(self, batch: Any) -> tuple[Tensor, Tensor]:
        c, _, (z,) = self.encoder.observe(batch.x, self.encoder.init_state(len(batch.x)))
        return c, z

    def _real(self, batch: Any, z: Tensor) -> Tensor:
        """Frames that lie in their row and see no padding before it, ``[B, F]``."""
        frame = torch.arange(z.shape[1], device=z.device)
        inside = (frame + 1)[None] * self.encoder.spec.down <= batch.lengths[:, None]
        return inside & (frame >= self.encoder.spec.latency)


@dataclass(frozen=True)
class _WindowScores:
    """Scores of pairs of rows, the context of the first with the latent of the second.

    Attributes:
        predictors: W_k. shape: of a row. at: R anchors. ahead: k - 1 of each; both come again for every R pairs.
    """

    encoder: ContextEncoder
    predictors: Tensor
    shape: torch.Size
    at: Tensor
    ahead: Tensor

    def paired(self, x: Tensor, y: Tensor) -> Tensor:
        """Score of each pair of rows, flat, ``[R·n, ·], [R·n, ·] → [R·n]``."""
        pair, again = torch.arange(len(x), device=x.device), len(x) // len(self.at)
        at, ahead = self.at.repeat(again), self.ahead.repeat(again)
        (c, _, _), (_, _, (z,)) = (self._observed(rows) for rows in (x, y))
        predicted = torch.einsum("ndh,nh->nd", self.predictors[ahead], c[pair, at])
        return (predicted * z[pair, at + ahead + 1]).sum(dim=-1)

    def _observed(self, rows: Tensor) -> tuple[Tensor, Any, list[Tensor]]:
        return self.encoder.observe(rows.unflatten(1, self.shape), self.encoder.init_state(len(rows)))


def _steep(objective: ContrastivePrediction) -> ContrastivePrediction:
    """The objective with predictors that are not zero, so that slopes are."""
    with torch.no_grad():
        objective.predictors.copy_(torch.linspace(-1, 1, objective.predictors.numel()).view_as(objective.predictors))
    return objective


def _windows(encoder: ContextEncoder) -> Rows:
    """Four small rows of two speakers, some of them shorter than the others."""
    spec, generator = encoder.spec, torch.Generator().manual_seed(0)
    count = 8 * spec.down
    symbols = torch.randint(max(1, spec.vocab_size), (4, count), generator=generator)
    x = torch.randn(4, count, spec.in_dim, generator=generator) if spec.in_dim else symbols
    lengths = count - torch.tensor([0, 1, 1, 0]) * spec.down
    return Rows(x, lengths, speaker=torch.tensor([0, 1, 0, 1]))


def _mean(values: Tensor, asked: Tensor) -> Tensor:
    """Mean over the anchors that are asked, ``[B, A, K] → [K]``."""
    return (values * asked[..., None]).sum(dim=(0, 1)) / asked.sum().clamp_min(1)


def _best(chosen: Tensor, scores: Tensor) -> Tensor:
    """1 where no candidate scores above the right one, shared among those that score the same."""
    ties: Tensor = (scores == chosen[..., None]).sum(dim=-1)
    best: Tensor = (scores <= chosen[..., None]).all(dim=-1)
    return best / ties.to(scores.dtype)
