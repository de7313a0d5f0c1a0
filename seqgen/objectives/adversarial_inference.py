"""Adversarially learned inference: encoder and decoder agree on pairs of data and code, before a discriminator.

Source: Dumoulin et al., "Adversarially learned inference", arXiv 1606.00704.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import noise
from seqgen.distributions.gaussian import Gaussian
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.generation.examples import SmallEncoder
from seqgen.latents.gaussian import GaussianPosterior
from seqgen.latents.standard_normal import StandardNormal
from seqgen.latents.variable import LatentVariable
from seqgen.models.critic import Critic
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, ObjectiveExample, Requirement, Rows, scored
from seqgen.objectives.latent_objective import LatentObjective
from seqgen.spec import Facts
from seqgen.stream.conditioning import Frames


class Pairs(NamedTuple):
    """Pairs of data and code: ``x [B, T]``, zeros behind the ends of rows, and ``z [B, N·dim]``, likewise."""

    x: Tensor
    z: Tensor


class AdversarialInference(LatentObjective):
    """Adversarial game over pairs: of data and the encoder's code of them, and of the decoder's data and the code that
    they are of.

        l_q = D(x, z),   x a row, z ~ q(z | x);        l_p = D(x̃, z̃),   z̃ ~ p(z), x̃ ~ p(x | z̃)

        discriminator  E softplus(-l_q) + E softplus(l_p)         D is the logit of "the encoder's"
        model          E softplus(l_q) + E softplus(-l_p)         the same fixed points, and no vanishing gradient

    At the optimum of both the two joint distributions are one, so that q(z | x) is the posterior of the model; no pixel
    is compared with its reconstruction, and no density is evaluated. Players move one after the other, the
    discriminator first, on the same draws. Gradients reach the encoder through its code and the decoder through its
    data, which have to be real numbers.

    The discriminator is any critic over a row's numbers and those of its code. Shorter rows end in zeros, in both kinds
    of pairs.

    Terms: ``accuracy`` of the discriminator, both kinds weighing alike; ``reconstruction``, the mean squared distance
    of a number from its mean given the code that stands for its row, which ranks checkpoints: nothing in the game does.
    An evaluation tells that too, beside what that of every :class:`LatentObjective` does.

    Raises:
        SeqgenError: for symbols, for codes or priors that gradients do not pass through or that are learnt, and for a
            critic of other sizes.

    Source: Dumoulin et al., arXiv 1606.00704, equation 1 and algorithm 1, where both players move at once.
    """

    @dataclass(frozen=True)
    class Config:
        """``evaluation_samples`` of the importance-weighted bound in an evaluation; 0 for none."""

        evaluation_samples: int = 0

    players: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {"discriminator": ("discriminator",), "model": ("model",)}
    )
    requires: ClassVar[Mapping[str, Requirement]] = MappingProxyType({"model": LatentVariable, "discriminator": Critic})
    config: Config
    discriminator: Critic

    @classmethod
    def examples(cls) -> Iterable[ObjectiveExample]:
        for scale in (0.0, 0.5):
            posterior = GaussianPosterior(GaussianPosterior.Config(dim=2, scale=scale))
            encoder, prior = SmallEncoder(vocab_size=0, out_dim=4, down=2), StandardNormal(StandardNormal.Config(dim=2))
            model = LatentVariable(encoder, posterior, prior, _SmallDecoder())
            judge = _SmallCritic(6, 6)
            generator = torch.Generator().manual_seed(0)
            batch = Rows(0.5 * torch.randn(3, 6, 1, generator=generator), torch.tensor([6, 3, 1]))
            yield ObjectiveExample(cls(cls.Config(), {"model": model, "discriminator": judge}, Facts()), batch)

    def __init__(self, config: Config, networks: Mapping[str, nn.Module], facts: Facts) -> None:
        super().__init__(config, networks, facts, 1, config.evaluation_samples)
        model = self.model
        if model.decoder.vocab_size or model.encoder.vocab_size:
            raise SeqgenError(
                "adversarial inference of symbols: no gradient passes through what a decoder draws",
                remedy="give data, encoder and decoder of real numbers",
            )
        if model.posterior.discrete or model.posterior.conjugate or not model.posterior.differentiable:
            raise SeqgenError(
                f"adversarial inference: no gradient passes through codes of {type(model.posterior).__name__}",
                remedy="choose a posterior of real numbers, e.g. gaussian",
            )
        if next(model.prior.parameters(), None) is not None or model.prior.couples_rows:
            raise SeqgenError(
                f"adversarial inference: {type(model.prior).__name__} is learnt, or goes by other rows",
                remedy="choose a prior that stands still, e.g. standard-normal",
            )

    @property
    def monitor(self) -> str:
        return "model/reconstruction"

    def loss(self, batch: Any, player: str, rng: Key, shared: None) -> Loss:
        with torch.set_grad_enabled(player == "model" and torch.is_grad_enabled()):
            inferred, made = self.pairs(batch, rng)
        of_inferred, of_made = self._logits(inferred), self._logits(made)
        if player == "discriminator":
            right = (of_inferred > 0).float().mean() + (of_made < 0).float().mean()
            total, terms = discriminator_loss(of_inferred, of_made), {"accuracy": (right / 2).detach()}
        else:
            total, terms = model_loss(of_inferred, of_made), {"reconstruction": self._distance(batch).mean()}
        return Loss(total.mean(), terms, total.new_tensor(len(batch.x)))

    def pairs(self, batch: Any, rng: Key) -> tuple[Pairs, Pairs]:
        """Pairs of a batch's rows with the encoder's codes, and as many that begin with a code of the prior."""
        params, setting = self.model.encoded(batch)
        code = self.model.posterior.draw(params, self.uniforms(params, rng, 1), setting, exact=True).z[0]  # [B, N, dim]
        drawn = self.model.prior.sample(self._uniforms("code", rng, *params.shape[:2], self.model.prior.num_uniforms))
        u = self._uniforms("data", rng, *batch.x.shape[:2], self.model.decoder.num_uniforms)
        made = self.model.decoded(drawn, u, getattr(batch, "speaker", None))  # [B, T]
        real = scored(batch, made)
        inside = setting.inside[..., None]
        return (
            Pairs(batch.x[..., 0] * real, (code * inside).flatten(1)),
            Pairs(made * real, (drawn * inside).flatten(1)),
        )

    @torch.no_grad()
    def measure(self, batch: Any, rng: Key, index: int) -> dict[str, Measure]:
        elements = scored(batch, batch.x[..., 0]).sum(dim=1)
        found = {"reconstruction": Measure(self._distance(batch) * elements, elements, "mean square")}
        return found | super().measure(batch, rng, index)

    def _logits(self, pairs: Pairs) -> Tensor:
        """Logits of pairs, ``[B]``."""
        judge = self.discriminator
        sizes = (pairs.x.shape[1], pairs.z.shape[1])
        if sizes[0] > judge.x_dim or sizes[1] > judge.y_dim:
            raise SeqgenError(
                f"a row of {sizes[0]} numbers and a code of {sizes[1]}, the discriminator reads {judge.x_dim} and "
                f"{judge.y_dim}",
                remedy=f"set networks.discriminator's x_dim to {sizes[0]} and its y_dim to {sizes[1]}",
            )
        x, z = (F.pad(one, (0, dim - one.shape[1])) for one, dim in zip(pairs, (judge.x_dim, judge.y_dim), strict=True))
        return judge.paired(x, z)

    @torch.no_grad()
    def _distance(self, batch: Any) -> Tensor:
        """Mean squared distance of each row's numbers from what is expected given its code, ``[B]``."""
        half = batch.x.new_full((*batch.x.shape[:2], self.model.decoder.num_uniforms), 0.5)
        real = scored(batch, batch.x[..., 0])
        squares = (self.model.reconstruct(batch, half) - batch.x[..., 0]).square() * real
        return squares.sum(dim=1) / real.sum(dim=1).clamp_min(1)

    def _uniforms(self, name: str, rng: Key, *shape: int) -> Tensor:
        """Uniforms under a name of their own."""
        stream = rng.stream + noise.name_to_stream(f"seqgen.adversarial.{name}")
        like = next(self.model.parameters())
        drawn = torch.from_numpy(noise.block(rng.seed, stream, 0, math.prod(shape)))
        return drawn.view(shape).to(like.device, like.dtype)


class _SmallDecoder(Density):
    """A small density of two normal numbers for a frame of two, by a linear map."""

    num_uniforms = 1

    def __init__(self) -> None:
        super().__init__()
        self.out, self.distribution = nn.Linear(2, 4), Gaussian(Gaussian.Config(limit=math.inf))

    def log_prob(self, x: Tensor, cond: Frames | None = None) -> Tensor:
        return self.distribution.log_prob(self._params(cond)[:, : x.shape[1]], x[..., 0])

    def sample(self, u: Tensor, cond: Frames | None = None, temperature: Tensor | float = 1.0) -> Tensor:
        return self.distribution.sample(self._params(cond)[:, : u.shape[1]], u, temperature)

    def _params(self, cond: Frames | None) -> Tensor:
        assert cond is not None
        made: Tensor = self.out(cond.features)  # [B, F, 4]
        return made.unflatten(-1, (2, 2)).flatten(1, 2)  # [B, 2 F, 2]


class _SmallCritic(Critic):
    """A small critic of one hidden layer over both vectors."""

    def __init__(self, x_dim: int, y_dim: int) -> None:
        super().__init__(x_dim, y_dim)
        self.of_x, self.of_y, self.out = nn.Linear(x_dim, 4), nn.Linear(y_dim, 4, bias=False), nn.Linear(4, 1)

    def scores(self, x: Tensor, y: Tensor) -> Tensor:
        hidden = torch.tanh(self.of_x(x)[None] + self.of_y(y)[:, None])  # [I, J, 4]
        scores: Tensor = self.out(hidden)[..., 0]
        return scores


def discriminator_loss(inferred: Tensor, made: Tensor) -> Tensor:
    """Loss of the discriminator, pair by pair: ``-ln σ(l_q) - ln (1 - σ(l_p))`` of the logits ``[B]``.

    Example:
        >>> discriminator_loss(torch.zeros(1), torch.zeros(1)) / 2  # ln 2
        tensor([0.6931])
    """
    return F.softplus(-inferred) + F.softplus(made)


def model_loss(inferred: Tensor, made: Tensor) -> Tensor:
    """Loss of encoder and decoder, pair by pair: that of the discriminator with the two kinds of pairs exchanged,
    ``[B]`` logits of either → ``[B]``."""
    return discriminator_loss(made, inferred)
