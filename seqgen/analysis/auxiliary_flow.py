"""A flow on pairs of latent and auxiliary variables, as a variational family.

    z_0 ~ N(μ, σ²),  v_0 ~ N(0, I)
    v_k = v_{k-1} · sig(a_k(z_{k-1})) + m_k(z_{k-1}),    z_k = z_{k-1} · sig(b_k(v_k)) + n_k(v_k)
    ln q(z, v) = ln q(z_0) + ln q(v_0) - Σ_k Σ_i (ln sig(a_k)_i + ln sig(b_k)_i)

What the auxiliary variable is, given z, is a Gaussian ``r(v|z)`` with a network's mean and variance; the better it is,
the tighter ``ln q(z, v) - ln r(v|z)`` is as a bound of ``ln q(z)``.

Source: Cremer et al., arXiv 1801.03558, section 4.1 and its authors' program; Agakov and Barber, "An auxiliary
variational method", 2004; Dinh et al., "Density estimation using real NVP", arXiv 1605.08803.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import noise
from seqgen.analysis.variational_family import FactorisedGaussian, Samples, VariationalFamily, standard_normal
from seqgen.distributions.normal_quantile import quantile
from seqgen.noise import Key

_GATE = 2.0  # bias of gates: a fresh flow nearly keeps what it is given


class ExamplesPerceptron(nn.Module):
    """Perceptrons with ELU, one of its own for each of B examples: ``[S, B, sizes[0]] → [S, B, sizes[-1]]``.

    Weights are uniform in ``±1/√inputs``, a function of the key, and the same for each example at first; those of the
    last layer start at a hundredth of that.
    """

    def __init__(self, examples: int, sizes: tuple[int, ...], key: Key) -> None:
        super().__init__()
        start, weights = 0, []
        for inner, outer in itertools.pairwise(sizes):
            u = torch.from_numpy(noise.block(key.seed, key.stream, start, inner * outer)).view(inner, outer)
            weights.append((2 * u - 1) * inner**-0.5)
            start += inner * outer
        weights[-1] = 0.01 * weights[-1]
        self.weights = nn.ParameterList(one.repeat(examples, 1, 1) for one in weights)
        self.biases = nn.ParameterList(torch.zeros(examples, outer) for outer in sizes[1:])

    def forward(self, x: Tensor) -> Tensor:
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = F.elu(x) if index else x
            x = torch.einsum("sbi,bij->sbj", x, weight) + bias  # [S, B, outer]
        return x


class Coupling(nn.Module):
    """Affine map of one half of a pair by a network over the other: ``y = x · sig(a(c)) + m(c)``."""

    def __init__(self, examples: int, dim: int, hidden: int, key: Key) -> None:
        super().__init__()
        self.net = ExamplesPerceptron(examples, (dim, hidden, 2 * dim), key)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """``y [S, B, D]`` and ``ln|det ∂y/∂x| [S, B]``."""
        gate, shift = self.net(c).chunk(2, dim=-1)  # [S, B, D] each
        log_gate = F.logsigmoid(gate + _GATE)
        return x * log_gate.exp() + shift, log_gate.sum(dim=-1)


class AuxiliaryFlow(VariationalFamily):
    """Flow on pairs (z, v), all of whose parameters are an example's own.

    Args:
        mean, log_variance: of ``z_0`` at first, ``[B, D]``. key: of the networks' weights at first.
        flows: couplings of v, and then of z. hidden: units of a coupling's layer, and of the two layers of r.
    """

    def __init__(self, mean: Tensor, log_variance: Tensor, key: Key, *, flows: int = 2, hidden: int = 50) -> None:
        super().__init__()
        self.examples, self.latent_dim = mean.shape
        self.num_uniforms = 2 * self.latent_dim
        self.base = FactorisedGaussian(mean, log_variance)
        keys = [Key(key.seed, key.stream + index) for index in range(2 * flows + 1)]
        self.couplings = nn.ModuleList(
            Coupling(self.examples, self.latent_dim, hidden, one) for one in keys[: 2 * flows]
        )
        self.auxiliary = ExamplesPerceptron(
            self.examples, (self.latent_dim, hidden, hidden, 2 * self.latent_dim), keys[-1]
        )
        self.to(mean)

    def sample(self, u: Tensor) -> Samples:
        first, second = u.chunk(2, dim=-1)  # [S, B, D] each
        z, log_q = self.base.sample(first)
        v = quantile(second)
        log_q = log_q + standard_normal(v)
        for index, coupling in enumerate(self.couplings):
            moved, kept = (z, v) if index % 2 else (v, z)
            moved, log_det = coupling(moved, kept)
            z, v = (moved, v) if index % 2 else (z, moved)
            log_q = log_q - log_det
        mean, log_variance = self.auxiliary(z).chunk(2, dim=-1)
        log_r = standard_normal((v - mean) * torch.exp(-0.5 * log_variance)) - 0.5 * log_variance.sum(dim=-1)
        return Samples(z, log_q - log_r)
