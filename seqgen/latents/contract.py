"""The contracts of latent variables: families of approximate posteriors, and priors over what is encoded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple, Self, final

import torch
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.noise import Key


class GaussianMarginals(NamedTuple):
    """Independent normal distributions of a code's numbers: ``mean`` and ``scale``, both ``[B, N, D]``."""

    mean: Tensor
    scale: Tensor


class CategoricalMarginals(NamedTuple):
    """Independent categorical distributions of a code's symbols: ``log_probs [B, N, G, K]``, G groups of K classes."""

    log_probs: Tensor


Marginals = GaussianMarginals | CategoricalMarginals


class Setting(NamedTuple):
    """Setting that a posterior is looked at in.

    Attributes:
        prior: of the same model. given: what the prior goes by beside it (:meth:`Prior.given`).
        inside: bool ``[B, N]``, positions that lie within their rows.
        inferred: what the posterior makes of its outputs and the prior together (:meth:`Posterior.infer`), for these
            outputs alone.
    """

    prior: Prior
    given: Any
    inside: Tensor
    inferred: Any = None


class Draw(NamedTuple):
    """Samples of an approximate posterior.

    Attributes:
        z: codes as priors score them, ``[S, B, N, dim]``.
        log_shares: ``[S, B]``, logarithms of how much each sample counts; they add up to 1 for each row. ``-ln S``
            for samples of one distribution; of a mixture that is drawn component by component, its weights.
        frames: what the decoder reads, ``[S, B, N, channels]``, where gradients reach the family by it and not by z;
            of the value of :meth:`Posterior.frames`. ``None``: it is that.
    """

    z: Tensor
    log_shares: Tensor
    frames: Tensor | None = None


class Posterior(nn.Module, ABC):
    """A family of approximate posteriors ``q(z | x)`` over codes of N positions, given a network's outputs for each.

    All randomness comes in as uniforms. What a sample costs in nats is told by :meth:`log_prob`, or in closed form by
    :meth:`kl`; a family has one of the two at least.

    Attributes:
        num_params: network outputs for a position. dim: numbers of a position of a code, as priors score it.
        num_uniforms: uniforms that one position takes; 0 where nothing is drawn.
        discrete: whether codes are symbols, as one-hots, which no gradient passes through as they are.
        differentiable: whether what training draws passes a gradient on to ``params`` all the same.
        conjugate: whether inference is the prior's own, which then has to be conjugate.
        groups, classes: symbols of a position, and how many each may be, where codes are symbols.
        samples_per_draw: samples that training makes of one set of uniforms, each with a share of its own; 1 for a
            family that is drawn as it is.

    Laws, checked by :func:`seqgen.latents.verify.verify_posterior` for every registered one.
    """

    num_params: int
    dim: int
    num_uniforms: int
    discrete: bool = False
    differentiable: bool = True
    conjugate: ClassVar[bool] = False
    groups: int = 0
    classes: int = 0
    samples_per_draw: int = 1

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]  # type: ignore[attr-defined,call-arg]  # registered classes take their Config

    @property
    def channels(self) -> int:
        """Numbers of a position that the decoder reads; by default those of the code."""
        return self.dim

    def frames(self, z: Tensor) -> Tensor:
        """Codes as the decoder reads them, ``[..., N, dim] → [..., N, channels]``; by default as they are."""
        return z

    def infer(self, params: Tensor, setting: Setting) -> Any:
        """What the outputs ``[B, N, num_params]`` and the prior tell together, once for all that is asked of them; by
        default nothing."""
        return None

    @abstractmethod
    def draw(self, params: Tensor, u: Tensor, setting: Setting, *, exact: bool = False) -> Draw:
        """Samples, as differentiable in ``params`` as the family allows.

        Args:
            params: ``[B, N, num_params]``. u: ``[S, B, N, num_uniforms]``.
            exact: samples of the family itself, one for each set of uniforms and of equal shares, where what is
                trained with are relaxations of them, or the components of a mixture side by side.
        """

    def log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        """``ln q(z_n | x)`` in nats: ``[B, N, num_params]``, ``[S, B, N, dim] → [S, B, N]``.

        Raises:
            SeqgenError: for a family whose samples have no density of their own.
        """
        raise SeqgenError(
            f"samples of {type(self).__name__} have no probabilities one by one", remedy="take the closed form"
        )

    @property
    def scored(self) -> bool:
        """Whether samples have probabilities, one by one."""
        return type(self).log_prob is not Posterior.log_prob

    def marginals(self, params: Tensor) -> Marginals | None:
        """Distributions of the positions where these are independent, which a prior's expectations are taken over."""
        return None

    def entropy(self, params: Tensor) -> Tensor | None:
        """``-E ln q(z_n | x)`` in nats, ``[B, N, num_params] → [B, N]``; ``None`` where there is no closed form."""
        return None

    def kl(self, params: Tensor, setting: Setting) -> Tensor | None:
        """``KL(q ‖ p)`` in nats, in shares of the positions ``[B, N]``; ``None`` where there is no closed form."""
        marginals, entropy = self.marginals(params), self.entropy(params)
        if marginals is None or entropy is None:
            return None
        cross = setting.prior.cross_entropy(marginals, setting.given)
        return None if cross is None else cross - entropy

    def committed_rate(self, setting: Setting) -> Tensor | None:
        """Rate in nats that no member of the family gets below, whatever x is, ``[B]``; ``None`` where none is known to
        be above 0."""
        return None

    @abstractmethod
    def code(self, params: Tensor, setting: Setting) -> Tensor:
        """The code that stands for x when nothing is drawn, ``[B, N, num_params] → [B, N, dim]``: a mean, or the
        nearest symbol."""

    def usage(self, params: Tensor, setting: Setting) -> Tensor | None:
        """How often each symbol is expected in the codes of a batch, ``[B, G, K]`` for G groups of K classes; ``None``
        where codes are no symbols."""
        marginals = self.marginals(params)
        if not isinstance(marginals, CategoricalMarginals):
            return None
        return (marginals.log_probs.exp() * setting.inside[..., None, None]).sum(dim=1)

    def terms(self, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        """Scalars for the record, means over the rows."""
        return {}

    def penalty(self, params: Tensor, setting: Setting) -> Tensor | None:
        """What training adds to the bound, ``[B]`` nats, where a family is learnt by more than the bound tells."""
        return None

    def noted(self, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        """Sums over the batch that :meth:`after_update` is told."""
        return {}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        """Change buffers after an update: temperatures, codebooks."""

    @final  # type: ignore[misc]  # nn.Module declares forward as a field
    def forward(self, params: Tensor, z: Tensor) -> Tensor:
        """:meth:`log_prob`, called as torch's modules are."""
        return self.log_prob(params, z)

    @final
    def stopped_log_prob(self, params: Tensor, z: Tensor) -> Tensor:
        """:meth:`log_prob` whose gradient passes through z alone: neither through ``params`` nor to the family's own
        parameters."""
        still = {name: parameter.detach() for name, parameter in self.named_parameters()}
        scored: Tensor = torch.func.functional_call(self, still, (params.detach(), z))
        return scored


class Prior(nn.Module, ABC):
    """A distribution ``p(z)`` of codes of N positions, perhaps given more.

    Attributes:
        dim: numbers of a position. num_uniforms: uniforms that one position takes.
        positions: that every code has; 0: any number.
        couples_rows: whether rows of a batch see each other in what they are given.
        conjugate: whether it infers the codes itself and has a distribution of its parameters, which move apart from
            those of the networks.

    Laws, checked by :func:`seqgen.latents.verify.verify_prior` for every registered one.
    """

    dim: int
    num_uniforms: int
    positions: ClassVar[int] = 0
    couples_rows: bool = False
    conjugate: ClassVar[bool] = False

    @classmethod
    def examples(cls) -> Iterable[Self]:
        """Small instances that the laws are run over; by default one of default options."""
        return [cls(cls.Config())]  # type: ignore[attr-defined,call-arg]  # registered classes take their Config

    @classmethod
    def options_for(cls, posterior: Posterior) -> Iterable[Any]:
        """Small options of this prior over the codes of a posterior, for examples; by default, of a prior of numbers
        that has one option, their number."""
        return [] if posterior.discrete else [cls.Config(dim=posterior.dim)]  # type: ignore[attr-defined]

    @classmethod
    def build(cls, options: Any, *, dim: int, examples: int) -> Self:
        """Construct the prior of codes that have ``dim`` numbers at a position, of so many training examples (0:
        drawn without end).

        Raises:
            SeqgenError: where the options do not fit.
        """
        made = cls(options)  # type: ignore[call-arg]  # registered classes take their Config
        if made.dim != dim:
            raise SeqgenError(
                f"a prior of {made.dim} numbers, the posterior's codes have {dim}", remedy=f"set prior.dim to {dim}"
            )
        return made

    def given(self, code: Tensor, index: Tensor | None, rng: Key | None) -> Any:
        """What the probabilities of a batch's codes go by beside this prior; by default nothing, ``None``.

        Args:
            code: codes that stand for the rows, ``[B, N, dim]``, without gradients.
            index: numbers of the rows in the training set ``[B]``, -1 of one that is held out; ``None``: not known.
            rng: key of what is drawn while training; ``None``: nothing is.
        """
        return None

    @abstractmethod
    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        """``ln p(z_n | z_<n, given)`` in nats, ``[S, B, N, dim] → [S, B, N]``; the sum over N is that of the code.
        Without what is given, where there is such a thing, it is the probability of the code by itself."""

    def cross_entropy(self, q: Marginals, given: Any = None) -> Tensor | None:
        """``-E_q ln p(z_n | z_<n)`` in nats ``[B, N]``; ``None`` where there is no closed form."""
        return None

    def committed_rate(self, positions: Tensor, largest_scale: float = math.inf) -> Tensor | None:
        """``KL(q ‖ p)`` in nats that no independent normal distributions of so many positions ``[B]``, of scales up to
        ``largest_scale``, get below; ``None`` where none is known to be above 0."""
        return None

    @abstractmethod
    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        """Codes, a function of the uniforms: ``[B, N, num_uniforms] → [B, N, dim]``."""

    def regulariser(self) -> Tensor | None:
        """What the prior itself costs, in nats of the whole training set, where its parameters have a distribution."""
        return None

    def directions(self, posterior: Posterior, params: Tensor, setting: Setting) -> dict[str, Tensor]:
        """Directions of parameters that do not follow the gradient of the bound, by their names in this prior."""
        return {}

    def limited(self, directions: Mapping[str, Tensor], rate: float) -> Mapping[str, Tensor]:
        """Directions in the mean over a global batch as a step of this rate may follow them; by default as they
        are."""
        return directions

    def noted(self, code: Tensor, index: Tensor | None, given: Any) -> dict[str, Tensor]:
        """Sums over the batch that :meth:`after_update` is told, from codes without gradients, the rows' numbers and
        what the prior was given."""
        return {}

    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        """Change buffers after an update: memories of codes."""


def equal_shares(z: Tensor) -> Tensor:
    """Logarithms of equal shares of samples, ``[S, B, …] → [S, B]``."""
    return z.new_zeros(z.shape[:2]) - torch.tensor(float(len(z)), dtype=z.dtype).log()
