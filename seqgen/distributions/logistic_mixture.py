"""The discretised mixture of logistics over 16-bit (or fewer) samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.distributions.contract import LocationScale, full
from seqgen.flows.affine import logistic_log_density


class LogisticMixture(LocationScale):
    """A mixture of K logistics integrated over equal bins, so that the levels' probabilities sum to one.

    Levels ``v_j = 2j/(L-1) - 1``, half-bin ``δ = 1/(L-1)``:

        P(v_j) = Σ_k π_k [σ((v_j + δ - m_k)/s_k) - σ((v_j - δ - m_k)/s_k)],

    the upper term being 1 at the last level and the lower one 0 at the first. The difference is taken in logs,
    ``σ(a) - σ(b) = σ(a)·σ(-b)·(1 - e^{b-a})``, which is exact for any scale where plain differences cancel.
    Sampling picks a component with the first uniform, inverts its logistic with the second and rounds to a level.

    Shapes: params ``[…, 3K]`` (logits, means, log-scales), value float ``[…]`` (a level), u ``[…, 2]``.
    Source: Salimans et al., PixelCNN++, arXiv 1701.05517, section 2.1; for audio, arXiv 1711.10433, section 2.2.
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            mixtures: K. levels: L, 65536 for 16 bits. min_log_scale: lower bound of the log-scales.
            origin: the log-scale that a network output of 0 stands for. A fresh network's outputs are near 0, and
                training that starts from distributions as wide as the whole range overshoots: -4 suits speech.
        """

        mixtures: int = 10
        levels: int = 65536
        min_log_scale: float = -14.0
        origin: float = 0.0

    def __init__(self, config: Config) -> None:
        self.mixtures, self.levels, self.vocab_size = config.mixtures, config.levels, 0
        self.num_params, self.num_uniforms = 3 * config.mixtures, 2
        self.min_log_scale, self.origin = config.min_log_scale, config.origin

    @classmethod
    def examples(cls) -> Iterable[LogisticMixture]:
        return [cls(cls.Config(*sizes)) for sizes in ((1, 16), (3, 256), (2, 65536))]

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, means, log_scales = params.chunk(3, dim=-1)
        return logits, means, (log_scales + self.origin).clamp_min(self.min_log_scale)

    def log_prob(self, params: Tensor, value: Tensor) -> Tensor:
        logits, means, log_scales = self._split(full(params))
        inverse = torch.exp(-log_scales)
        half_bin = 1 / (self.levels - 1)
        centred = value[..., None] - means
        upper, lower = (centred + half_bin) * inverse, (centred - half_bin) * inverse
        first = (value < -1 + half_bin)[..., None]
        last = (value > 1 - half_bin)[..., None]
        # ln(1 - e^{-w}) of the bin's width w = 2δ/s; expm1 keeps narrow bins (wide scales) exact.
        inside = torch.log(-torch.expm1(-2 * half_bin * inverse))
        between = F.logsigmoid(upper) + F.logsigmoid(-lower) + inside
        edge_or_between = torch.where(first, F.logsigmoid(upper), torch.where(last, F.logsigmoid(-lower), between))
        return torch.logsumexp(F.log_softmax(logits, dim=-1) + edge_or_between, dim=-1)

    def cumulative(self, params: Tensor, index: Tensor) -> Tensor:
        """``Σ_k π_k σ((v_j - δ - m_k)/s_k)`` at the lower edge of level j's bin."""
        logits, means, log_scales = (part[..., None, :] for part in self._split(full(params)))  # […, 1, K]
        edge = (index.to(means.dtype) * 2 - self.levels) / (self.levels - 1)
        parts = torch.sigmoid((edge[..., None] - means) * torch.exp(-log_scales))  # […, E, K]
        below = (torch.softmax(logits, dim=-1) * parts).sum(dim=-1)
        return torch.where(index <= 0, 0.0, torch.where(index >= self.levels, 1.0, below))

    def log_density(self, params: Tensor, value: Tensor) -> Tensor:
        """``ln Σ_k π_k Logistic(value; m_k, s_k)``: no bins, no edges."""
        logits, means, log_scales = self._split(full(params))
        parts = logistic_log_density(value[..., None], means, log_scales)
        return torch.logsumexp(F.log_softmax(logits, dim=-1) + parts, dim=-1)

    def scaled(self, params: Tensor, log_gain: Tensor) -> Tensor:
        logits, means, log_scales = full(params).chunk(3, dim=-1)
        return torch.cat([logits, means * torch.exp(log_gain), log_scales + log_gain], dim=-1)

    def sample(self, params: Tensor, u: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
        logits, means, log_scales = self._split(params)
        cumulative = torch.softmax(logits, dim=-1).cumsum(dim=-1)
        index = (cumulative <= u[..., :1] * cumulative[..., -1:]).to(torch.int64).sum(dim=-1, keepdim=True)
        index = index.clamp(max=self.mixtures - 1)
        mean, log_scale = means.gather(-1, index)[..., 0], log_scales.gather(-1, index)[..., 0]
        position = u[..., 1].clamp_min(2.0**-25)  # u may be 0: half a step inwards keeps the logit finite
        drawn = mean + temperature * torch.exp(log_scale) * (torch.log(position) - torch.log1p(-position))
        top = self.levels - 1
        return torch.round((drawn.clamp(-1, 1) + 1) * (top / 2)) * (2 / top) - 1
