"""An aligner by Gaussians: a token says where its frames lie, and how widely they are spread.

    ln p(t, n) = ln N(y_t; m_n, diag s_n²) + ln BetaBinomial(n; N-1, ωt, ω(T-t+1))

y_t are cepstra of frame t and their slopes, with mean 0 and variance 1 over the recording; m_n and s_n are a
convolution of the tokens around n. The second term holds paths near the diagonal while the network knows little. With
each path's product over t this is a hidden Markov model of Gaussians with the neighbours of a phone as its context.

Source: Rabiner, "A tutorial on hidden Markov models", Proceedings of the IEEE 77(2), 1989, sections IV and V; Furui
1986 for slopes of cepstra; the diagonal prior, Badlani et al., "One TTS alignment to rule them all", arXiv 2108.10447,
section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.errors import SeqgenError
from seqgen.models.aligner import Aligner

_FLOOR = 1e-3  # of a cepstrum's deviation over a recording, in nats
_WIDTHS = (-3.0, 3.0)  # of ln s


class GaussianAligner(Aligner):
    """A Gaussian for each token in its context, over cepstra and their slopes.

    Raises:
        SeqgenError: for sizes that make no network.

    Example:
        >>> network = GaussianAligner(GaussianAligner.Config(in_dim=80, vocab_size=139))
        >>> network(frames, lengths, tokens, counts).shape  # doctest: +SKIP
        torch.Size([16, 412, 107])
    """

    @dataclass(frozen=True)
    class Config:
        """Options.

        Attributes:
            in_dim: bands of a frame. vocab_size: of the tokens. channels: of a token's vector.
            context: tokens that a Gaussian depends on, odd. cepstra: how many. slope: frames on either side between
                which slopes are taken.
            prior: ω, how strongly the diagonal holds (0: not at all).
        """

        in_dim: int
        vocab_size: int
        channels: int = 128
        context: int = 3
        cepstra: int = 20
        slope: int = 2
        prior: float = 1.0

        def __post_init__(self) -> None:
            sizes = (self.in_dim, self.vocab_size, self.channels, self.context, self.cepstra, self.slope)
            if min(sizes) < 1 or not self.context % 2 or self.cepstra > self.in_dim or self.prior < 0:
                raise SeqgenError(
                    f"{self.cepstra} cepstra of {self.in_dim} bands, a context of {self.context}, {self.channels} "
                    f"channels, slopes over {self.slope}, a prior of {self.prior}",
                    remedy="give sizes of 1 or more, an odd context, no more cepstra than bands, a prior of 0 or more",
                )

    @classmethod
    def examples(cls) -> Iterable[GaussianAligner]:
        for prior in (0.0, 1.0):
            yield cls(cls.Config(in_dim=4, vocab_size=5, channels=6, cepstra=3, prior=prior))

    cosines: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(in_dim=config.in_dim, vocab_size=config.vocab_size)
        self.slope, self.prior, width = config.slope, config.prior, config.channels
        self.register_buffer("cosines", _cosines(config.in_dim, config.cepstra), persistent=False)
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.around = nn.Conv1d(width, width, config.context, padding=config.context // 2)
        self.gaussians = nn.Linear(width, 4 * config.cepstra)
        nn.init.normal_(self.gaussians.weight, std=0.01)  # near the whole recording's mean and variance at first
        nn.init.zeros_(self.gaussians.bias)

    def scores(self, frames: Tensor, lengths: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
        y = self._observed(frames, lengths)  # [B, T, D]
        inside = _inside(tokens.shape[1], counts)  # [B, N, 1]
        h = self.embedding(tokens) * inside
        h = h + self.around(h.mT).mT  # [B, N, channels]
        mean, width = self.gaussians(h.relu()).chunk(2, dim=-1)  # [B, N, D] both
        width = width.clamp(*_WIDTHS)
        precise = (-2 * width).exp()
        distance = y**2 @ precise.mT - 2 * y @ (mean * precise).mT + (mean**2 * precise).sum(dim=-1)[:, None]
        scale = width.sum(dim=-1)[:, None] + 0.5 * math.log(2 * math.pi) * y.shape[-1]
        scores: Tensor = -0.5 * distance - scale  # [B, T, N]
        return scores + _diagonal(lengths, counts, scores, self.prior) if self.prior else scores

    def _observed(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Cepstra and slopes of each row, mean 0 and variance 1 over its frames, ``[B, T, 2 cepstra]``."""
        inside = _inside(frames.shape[1], lengths)  # [B, T, 1]
        cepstra = frames @ self.cosines.mT
        last = cepstra.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, cepstra.shape[2]))
        held = torch.where(inside > 0, cepstra, last)  # behind the end as at the end
        padded = F.pad(held.mT, (self.slope, self.slope), mode="replicate").mT
        y = torch.cat([cepstra, padded[:, 2 * self.slope :] - padded[:, : -2 * self.slope]], dim=-1)
        count = lengths[:, None, None].to(y.dtype)
        y = y - (y * inside).sum(dim=1, keepdim=True) / count
        deviation = ((y**2 * inside).sum(dim=1, keepdim=True) / count).sqrt().clamp_min(_FLOOR)
        normalised: Tensor = y / deviation
        return normalised


def _inside(places: int, lengths: Tensor) -> Tensor:
    """1 within a row, 0 behind its end, ``[B, places, 1]``."""
    return (torch.arange(places, device=lengths.device) < lengths[:, None])[..., None].float()


def _cosines(bands: int, cepstra: int) -> Tensor:
    """The first rows of the orthonormal cosine transform, ``[cepstra, bands]``."""
    band, number = np.arange(bands), np.arange(cepstra)[:, None]
    rows = np.sqrt(2 / bands) * np.cos(np.pi / bands * (band + 0.5) * number)
    rows[0] /= np.sqrt(2)
    return torch.from_numpy(rows).float()


def _diagonal(lengths: Tensor, counts: Tensor, like: Tensor, strength: float) -> Tensor:
    """``ln BetaBinomial(n; N-1, ωt, ω(T-t+1))`` of frames t = 1 … T and tokens n = 0 … N-1, ``[B, T, N]``."""
    frames, last = lengths[:, None, None].to(like.dtype), (counts - 1)[:, None, None].to(like.dtype)
    t = torch.arange(1, like.shape[1] + 1, dtype=like.dtype, device=like.device)[None, :, None].minimum(frames)
    n = torch.arange(like.shape[2], dtype=like.dtype, device=like.device)[None, None].minimum(last)
    a, b = strength * t, strength * (frames - t + 1)
    choices = torch.lgamma(last + 1) - torch.lgamma(n + 1) - torch.lgamma(last - n + 1)
    return choices + _log_beta(n + a, last - n + b) - _log_beta(a, b)


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
