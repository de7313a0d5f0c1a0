"""Gain normalisation: bodies that work on samples divided by a gain, which the conditioning network tells from the
features.

Speech spans four orders of magnitude, and what is a good guess of a loud vowel's next sample would be an enormous
error in the silence before it. A network of real-valued samples has to be that precise for all of them at once; most
of its training goes into that. How loud it is at present is in the features: what is divided by it is of one size.

    ℓ_t = 3 c_t - ln 16,       p(x_t | x_<t) = e^{-ℓ_t} p̃(x_t e^{-ℓ_t} | x_<t e^{-ℓ})

with ``c_t`` one more conditioning channel, the last. A change of variables: the likelihood stays exact. Where a vector
conditions a group of M samples, the last M channels are theirs; the sample before a group is divided by the gain that
its own place has in the group.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seqgen.distributions.contract import Distribution, LocationScale
from seqgen.errors import SeqgenError
from seqgen.flows.affine import Affine, AffineStream
from seqgen.spec import StreamSpec
from seqgen.stream.conditioning import Conditioning, written_out
from seqgen.stream.contract import Streamable

# Speech is of about this amplitude, and a fresh network's outputs are near 0; from -3 to 3 they span e^18.
TYPICAL, SPREAD = 1 / 16, 3.0


def log_gain(channel: Conditioning) -> Tensor:
    """ℓ of conditioning vectors' last channel, ``[B, T, 1]``, in nats re full scale."""
    return SPREAD * written_out(channel) + math.log(TYPICAL)


class GainState(NamedTuple):
    """State of a gain-normalized body of groups: the body's, the logarithms of the gains of its group ``[B, M]``, and
    int64 ``[B]`` how many of the group are read."""

    body: Any
    gains: Tensor
    phase: Tensor


class GainNormalized(Streamable[Any]):
    """Gain-normalized body over real samples: it reads ``x_{t-1} e^{-ℓ_t}``, with its distribution made ``e^{ℓ_t}``
    times as wide.

    Shapes: as the body's, with one conditioning channel more for each sample that a vector conditions. The state is
    the body's, of groups of several :class:`GainState`.

    Raises:
        SeqgenError: for a body over symbols, or one that takes no conditioning.

    Example:
        >>> GainNormalized(body, Gaussian(Gaussian.Config())).spec.cond_dim - body.spec.cond_dim  # doctest: +SKIP
        1
    """

    def __init__(self, body: Streamable[Any], distribution: Distribution) -> None:
        super().__init__()
        if not (body.spec.in_dim and body.spec.cond_dim and isinstance(distribution, LocationScale)):
            raise SeqgenError(
                "'gain_normalized' is set for a model of symbols or without conditioning",
                remedy="remove `gain_normalized:`, or set codec to float and the model to conditioned",
            )
        self.body, self.distribution = body, distribution
        self.group = body.spec.cond_every
        self.spec = replace(body.spec, cond_dim=body.spec.cond_dim + self.group)

    def init_state(self, batch: int, memory: Any = None) -> Any:
        fresh = self.body.init_state(batch, memory)
        if self.group == 1:
            return fresh
        gains = self.zeros(batch, self.group)
        return GainState(fresh, gains, torch.zeros(batch, dtype=torch.int64, device=gains.device))

    def step(self, x: Tensor, state: Any, cond: Conditioning | None = None) -> tuple[Tensor, Any]:
        y, after, _ = self.observe(x, state, cond)
        return y, after

    @property
    def observed_dims(self) -> tuple[int, ...]:
        """Channels of the body's inner activations."""
        return self.body.observed_dims

    def observe(self, x: Tensor, state: Any, cond: Conditioning | None = None) -> tuple[Tensor, Any, list[Tensor]]:
        if cond is None:
            raise SeqgenError("gain-normalized: got no conditioning", remedy=f"give cond [B, T, {self.spec.cond_dim}]")
        inner, channels = cond.split([self.spec.cond_dim - self.group, self.group], dim=-1)
        gains = log_gain(channels)  # [B, groups, M]
        if self.group == 1:
            params, state, inside = self.body.observe(x * torch.exp(-gains), state, inner)  # [B, T, num_params]
            return self._wider(params, gains), state, inside
        phase = int(state.phase[0]) if len(state.phase) else 0
        every = torch.cat([state.gains[:, None], gains], dim=1) if phase else gains  # from the running group on
        places = phase + torch.arange(x.shape[1], device=x.device)
        before = places + torch.where(places % self.group == 0, self.group - 1, -1)
        flat = every.flatten(1)[..., None]
        params, after, inside = self.body.observe(x * torch.exp(-flat[:, before]), state.body, inner)
        read = state.phase + x.shape[1]
        following = read - torch.div(read, self.group, rounding_mode="floor") * self.group
        state = GainState(after, every[:, -1] if every.shape[1] else state.gains, following)
        return self._wider(params, flat[:, places]), state, inside

    def _wider(self, params: Tensor, gain: Tensor) -> Tensor:
        if not self.spec.cools:
            return self.distribution.scaled(params, gain)
        return torch.cat([self.distribution.scaled(params[..., :-1], gain), params[..., -1:]], dim=-1)


class GainFlow(AffineStream[tuple[()]]):
    """Gain as a flow, ``x_t = z_t e^{ℓ_t}``: the last one of a composition that works on gain-normalized samples."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = StreamSpec(in_dim=1, out_dim=1, cond_dim=1, context=1)

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def affine(self, z: Tensor, state: Any, cond: Conditioning | None = None) -> tuple[Affine, tuple[()]]:
        if cond is None:
            raise SeqgenError("gain: got no conditioning", remedy="give cond [B, T, 1]")
        return Affine(torch.zeros_like(z), log_gain(cond)), ()
