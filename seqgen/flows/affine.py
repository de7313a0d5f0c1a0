"""Inverse autoregressive flows that are affine in each element: all elements at once one way, one by one the other.

    x_t = z_t · s_t + μ_t,        (μ_t, s_t) a causal function of z_<t

The Jacobian is triangular with s_t on its diagonal, so ``ln|det ∂x/∂z| = Σ_t ln s_t``. With logistic noise z every x_t
is logistic given the past: ``p(x_t | z_<t) = Logistic(μ_t, s_t)``, with an entropy of ``ln s_t + 2`` nats.

Source: Kingma et al., arXiv 1606.04934, section 3 (inverse autoregressive flow); van den Oord et al., arXiv 1711.10433,
section 3 (logistic base, composition).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple, TypeVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.flows.contract import Bijector
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning
from seqgen.stream.contract import Streamable

S = TypeVar("S")
# Uniforms nearer to 0 or 1 count as this: of 50,000 samples one would be a click further out than 11.5 scales.
TRUNCATION = 1e-5


def logistic(u: Tensor) -> Tensor:
    """Standard logistic noise from uniforms: ``z = ln u - ln(1 - u)``, with u held in [1e-5, 1 - 1e-5].

    Example:
        >>> logistic(torch.tensor([0.5, 0.75])).exp()
        tensor([1., 3.])
    """
    u = u.clamp(TRUNCATION, 1 - TRUNCATION)
    return torch.log(u) - torch.log1p(-u)


def logistic_log_density(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """``ln [e^{-y} / (s (1 + e^{-y})²)]`` with ``y = (x - mean) / s``, in nats; broadcasts."""
    y = (x - mean) * torch.exp(-log_scale)
    return F.logsigmoid(y) + F.logsigmoid(-y) - log_scale


class Affine(NamedTuple):
    """Affine map ``x = z · exp(log_scale) + mean`` of each element; both ``[B, T, 1]``."""

    mean: Tensor
    log_scale: Tensor

    def of(self, z: Tensor) -> Tensor:
        """The map of ``z``."""
        return z * torch.exp(self.log_scale) + self.mean


class AffineStream(Streamable[S], Bijector):
    """Streamable flow: a causal map that is affine in the newest element. ``affine`` is the only abstract method; all
    else follows."""

    @abstractmethod
    def affine(self, z: Tensor, state: S, cond: Conditioning | None = None) -> tuple[Affine, S]:
        """Mean and log-scale of every element of a block, each from the ``z`` before it, and the state after."""

    @final
    def step(self, z: Tensor, state: S, cond: Conditioning | None = None) -> tuple[Tensor, S]:
        made, after = self.affine(z, state, cond)
        return made.of(z), after

    @final
    def forward_and_log_det(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One pass over all elements."""
        made, _ = self.affine(z, self.init_state(z.shape[0]), cond)
        return made.of(z), made.log_scale[..., 0]

    @final
    def inverse_and_log_det(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Element by element: the map of ``z_t`` is known once all ``z`` before it are."""
        state, found, scales = self.init_state(x.shape[0]), [x[:, :0]], [x[:, :0]]
        for t in range(x.shape[1]):
            now = None if cond is None else cond[:, t : t + 1]
            # What stands in for z_t moves neither mean nor scale of t itself.
            made, _ = self.affine(torch.zeros_like(x[:, :1]), state, now)
            z = (x[:, t : t + 1] - made.mean) * torch.exp(-made.log_scale)
            _, state = self.affine(z, state, now)
            found.append(z)
            scales.append(made.log_scale)
        return torch.cat(found, dim=1), -torch.cat(scales, dim=1)[..., 0]


class AffineAutoregressive(AffineStream[Any]):
    """Inverse autoregressive flow whose means and scales come from a network over the elements before.

    ``(μ_t, r_t) = net(z_{t-1}, z_{t-2}, …)``,  ``s_t = floor + softplus(r_t + b)`` with b such that ``r = 0`` gives
    ``scale``. A product of several scales explodes unless they start below one, and collapses without a floor.

    Args:
        net: ``[B, T, 1] → [B, T, 2]``; its newest input must be the element before the one it answers (``Delay(1)``).
        scale: of a fresh network. floor: smallest scale.

    Raises:
        SeqgenError: for a network of other dimensions or rate, or a scale that is not above its floor.
    """

    def __init__(self, net: Streamable[Any], *, scale: float = 0.5, floor: float = 1e-3) -> None:
        super().__init__()
        spec = net.spec
        if (spec.in_dim, spec.out_dim, spec.up, spec.down, spec.latency, spec.cond_every) != (1, 2, 1, 1, 0, 1):
            raise SeqgenError(f"a flow over a network of {spec}", remedy="give one input, two outputs, rate 1, no wait")
        if not 0 < floor < scale < math.inf:
            raise SeqgenError(f"a flow's scale is {scale}, its floor {floor}", remedy="choose 0 < floor < scale")
        self.net, self.floor = net, floor
        self.bias = math.log(math.expm1(scale - floor))
        self.spec = StreamSpec(in_dim=1, out_dim=1, cond_dim=spec.cond_dim, context=spec.context)

    def init_state(self, batch: int, memory: Any = None) -> Any:
        return self.net.init_state(batch, memory)

    def affine(self, z: Tensor, state: Any, cond: Conditioning | None = None) -> tuple[Affine, Any]:
        made, after = self.net.step(z, state, cond)  # [B, T, 2]
        mean, raw = made.to(z.dtype).split(1, dim=-1)
        return Affine(mean, torch.log(self.floor + F.softplus(raw + self.bias))), after


class Composed(AffineStream[tuple[Any, ...]]):
    """Composition of flows, one after the other, as one affine map of the first noise: ``x = z · s_tot + μ_tot`` with

        s_tot = Π_i s^i,        μ_tot = Σ_i μ^i · Π_{j>i} s^j.

    Conditioning vectors hold those of each flow side by side.

    Source: arXiv 1711.10433, section 3.
    """

    def __init__(self, flows: list[AffineStream[Any]]) -> None:
        super().__init__()
        self.flows = torch.nn.ModuleList(flows)
        self.widths = [flow.spec.cond_dim for flow in flows]
        reach = [flow.spec.context for flow in flows]
        known = [context for context in reach if context is not None]
        self.spec = StreamSpec(
            in_dim=1,
            out_dim=1,
            cond_dim=sum(self.widths),
            context=1 + sum(known) - len(known) if len(known) == len(reach) else None,
        )

    def init_state(self, batch: int, memory: Any = None) -> tuple[Any, ...]:
        return tuple(flow.init_state(batch, memory) for flow in self._parts())

    def affine(
        self, z: Tensor, state: tuple[Any, ...], cond: Conditioning | None = None
    ) -> tuple[Affine, tuple[Any, ...]]:
        total, after = Affine(torch.zeros_like(z), torch.zeros_like(z)), []
        parts: list[Any] = [None] * len(state) if cond is None else list(cond.split(self.widths, dim=-1))
        for flow, inner, part in zip(self._parts(), state, parts, strict=True):
            made, inner = flow.affine(total.of(z), inner, part)
            total = Affine(total.mean * torch.exp(made.log_scale) + made.mean, total.log_scale + made.log_scale)
            after.append(inner)
        return total, tuple(after)

    def _parts(self) -> list[AffineStream[Any]]:
        return list(self.flows)  # type: ignore[arg-type]
