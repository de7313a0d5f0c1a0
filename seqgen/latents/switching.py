"""The switching prior: codes move by linear dynamics that a hidden chain of states chooses, all of it inferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.graphical.dirichlet import DirichletFactor
from seqgen.graphical.exponential_family import Statistics
from seqgen.graphical.gaussian import GaussianFactor
from seqgen.graphical.hidden_markov import DiscreteChain, inverted
from seqgen.graphical.matrix_normal_inverse_wishart import MatrixNormalInverseWishart
from seqgen.graphical.normal_inverse_wishart import NormalInverseWishart
from seqgen.graphical.switching import SwitchingPosterior, SwitchingSystem
from seqgen.latents.conjugate import TRUST, Belief, ConjugatePrior, Inferred
from seqgen.latents.conjugate_mixture import standard_belief
from seqgen.latents.linear_dynamical import normal_log_density, shared_out, transition_belief


class SwitchingDynamical(ConjugatePrior):
    """Switching linear dynamical system of K states over a code, its parameters conjugate:

        s_1 ~ π_0,  s_{n+1} ~ π_{s_n};    z_1 ~ N(µ_{s_1}, Σ_{s_1}),    z_{n+1} = A_{s_{n+1}} z_n + N(0, Q_{s_{n+1}})
        π_0 ~ Dirichlet(concentration),   π_k ~ Dirichlet(concentration + stickiness at k)
        µ_k, Σ_k ~ NIW(ν = D + strength, S = ν I, m = 0, κ = strength)
        A_k, Q_k ~ MNIW(ν = D + strength, S = ν I, M = persistence · I, K = strength · I)

    Local inference is block mean field (:class:`~seqgen.graphical.switching.SwitchingSystem`). Where the prior is
    looked at without any x, its parameters are those of the means.

    Shapes: z ``[S, B, N, D]``, u ``[B, N, 1 + D]``.

    Raises:
        SeqgenError: for states of no numbers, or a prior that is improper.

    Source: Johnson et al., arXiv 1603.06277, sections 4.3 and 5; numbers of the prior as in the released code.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            dim: D. states: K. concentration: of each row of the transitions. stickiness: added for staying in a state.
            strength: of the prior over dynamics, in points. persistence: what is expected of A_k, times the identity.
            spread: deviation of what is added to the first A_k and means, so that no two states are alike.
            natural: whether q(θ) moves along natural gradients.
            trust: nats by which a step of these may change what the codes of a row cost.
            sweeps: of local inference at most. tolerance: change of the batch's bound in nats that ends it.
        """

        dim: int = 2
        states: int = 20
        concentration: float = 5.0
        stickiness: float = 10.0
        strength: float = 10.0
        persistence: float = 0.9
        spread: float = 0.3
        natural: bool = True
        trust: float = TRUST
        sweeps: int = 100
        tolerance: float = 1e-2

    @classmethod
    def small(cls, dim: int) -> Config:
        return cls.Config(dim=dim, states=2, strength=1.0, sweeps=20, tolerance=0.0)

    @classmethod
    def examples(cls) -> Iterable[SwitchingDynamical]:
        return [cls(cls.small(2))]

    def __init__(self, config: Config) -> None:
        if min(config.dim, config.states) < 1 or min(config.concentration, config.strength) <= 0:
            raise SeqgenError(f"a switching prior of {config}", remedy="give a number, a state, and positive weights")
        super().__init__()
        self.config, self.dim = config, config.dim
        self.natural, self.trust = config.natural, config.trust
        self.num_uniforms = 1 + config.dim
        k, n = config.states, config.dim
        start = DirichletFactor.of_standard(torch.full((k,), config.concentration))
        moves = DirichletFactor.of_standard(config.concentration + config.stickiness * torch.eye(k))
        means = (torch.zeros(k, n), config.spread * torch.randn(k, n))
        matrices = (torch.zeros(k, n, n), config.spread * torch.randn(k, n, n))
        first = [standard_belief(k, n, config.strength, mean) for mean in means]
        pairs = [
            transition_belief(k, n, config.strength, 1.0, config.persistence * torch.eye(n) + one, config.strength)
            for one in matrices
        ]
        members = {"starts": (start, start), "moves": (moves, moves), "initial": first, "dynamics": pairs}
        self.beliefs = nn.ModuleDict(
            {name: Belief(prior, fresh, natural=config.natural) for name, (prior, fresh) in members.items()}
        )

    def infer(self, potentials: GaussianFactor, inside: Tensor) -> InferredSwitching:
        (log_initial,), (log_transition,) = (self._member(name).expected() for name in ("starts", "moves"))
        initial: NormalInverseWishart = self._member("initial")
        dynamics: MatrixNormalInverseWishart = self._member("dynamics")
        system = SwitchingSystem(log_initial, log_transition, initial.expected_factor(), dynamics.expected_factor())
        even = inside[..., None].expand(*inside.shape, self.config.states) / self.config.states
        found = system.fit(
            potentials, even.double(), inside, tolerance=self.config.tolerance, sweeps=self.config.sweeps
        )
        return InferredSwitching(found, inside)

    def log_prob(self, z: Tensor, given: Any = None) -> Tensor:
        starts, moves, (mean, covariance), (matrix, noise) = self._plugged_in()
        x = z.double().flatten(0, 1)  # [R, N, D]
        first = normal_log_density(x[:, :1, None] - mean, covariance)  # [R, 1, K]
        after = (matrix @ x[:, :-1, None, :, None])[..., 0]  # [R, N - 1, K, D]
        later = normal_log_density(x[:, 1:, None] - after, noise)  # [R, N - 1, K]
        nodes = torch.cat([first, later], dim=1)
        shares = DiscreteChain(starts.log(), moves.log(), nodes).predictive()  # [R, N]
        return shares.unflatten(0, z.shape[:2]).to(z.dtype)

    def sample(self, u: Tensor, given: Any = None) -> Tensor:
        starts, moves, (mean, covariance), (matrix, noise) = self._plugged_in()
        choice, fresh = u[..., 0].double(), quantile(u[..., 1:].double())
        roots = torch.linalg.cholesky(covariance), torch.linalg.cholesky(noise)
        state = inverted(starts.log().expand(len(u), -1), choice[:, 0])  # [B]
        codes = [mean[state] + (roots[0][state] @ fresh[:, 0, :, None])[..., 0]]
        for t in range(1, u.shape[1]):
            state = inverted(moves.log()[state], choice[:, t])
            moved = matrix[state] @ codes[-1][..., None] + roots[1][state] @ fresh[:, t, :, None]
            codes.append(moved[..., 0])
        return torch.stack(codes, dim=1).to(u.dtype)

    def _plugged_in(self) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Probabilities of first states and of transitions, means and covariances, A and Q, of each state."""
        starts, moves = (self._member(name).standard() for name in ("starts", "moves"))
        first, mean, _, degrees = self._member("initial").standard()
        scatter, matrix, _, freedom = self._member("dynamics").standard()
        return (
            starts / starts.sum(),
            moves / moves.sum(dim=-1, keepdim=True),
            (mean, first / degrees[:, None, None]),
            (matrix, scatter / freedom[:, None, None]),
        )


class InferredSwitching(Inferred):
    """Local posterior of a batch of paths through dynamics that switch."""

    def __init__(self, found: SwitchingPosterior, inside: Tensor) -> None:
        self._found = found
        self.moments = found.moments.nodes
        self.rates = shared_out(found.kl(), inside)
        self.responsibilities = found.marginals.nodes

    def sample(self, normals: Tensor) -> Tensor:
        return self._found.path.sample(normals)

    def statistics(self) -> Mapping[str, Statistics]:
        found = self._found.statistics()
        return {
            "starts": (found.starts,),
            "moves": (found.moves,),
            "initial": NormalInverseWishart.sufficient(found.initial),
            "dynamics": found.pairs,
        }
