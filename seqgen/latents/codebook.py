"""A codebook: vectors that stand for the ones nearest to them, and how they are learnt from these.

With n_i the vectors of a batch that are nearest to entry e_i, and m_i their sum, moving averages of both are kept,

    N_i ← γ_t N_i + (1 - γ_t) n_i,    M_i ← γ_t M_i + (1 - γ_t) m_i,    γ_t = min(γ, (1 + t) / (10 + t))

and by them entries may be learnt, ``e_i = M_i / N_i`` (a step of k-means where γ = 0); an entry that nothing is nearest
to stays where it is. All that is told of a batch are sums, so that the parts of a batch, and processes, add up.

Source: van den Oord, Vinyals and Kavukcuoglu, "Neural discrete representation learning", arXiv 1711.00937, appendix
A.1, where the decay does not grow. The first entries, and the new places of dead ones, are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen import noise
from seqgen.distributions.normal_quantile import quantile

Learning = Literal["gradient", "averages"]
_PLACES, _DIRECTIONS = (noise.name_to_stream(f"seqgen.codebook.{name}") for name in ("places", "directions"))
_FLOOR = 1e-6  # of a number of vectors below which their mean is one of rounding errors
_NOWHERE = 1e-30  # length of a vector below which it has no direction


class Codebook(nn.Module):
    """Codebook of K entries in C dimensions.

    Entries are parameters that a gradient moves, or buffers that are the averages. They begin where the first batch's
    vectors lie: drawn from the normal distribution of their mean and covariance.

    An entry that is worth little moves beside one that stands for too much. Its worth is what the distortion would rise
    by without it, ``Σ (d_2² - d_1²)`` over its vectors, which would fall to the entries next nearest. That of the other
    falls by up to ``Σ ⟨a, z - e⟩²`` where the two stand a standard deviation to either side, along the direction a in
    which its vectors spread most, and share them (as the LBG algorithm splits a codebook). The entry moves where the
    first is less than ``revival`` of the second. Directions are found by the power iteration, ``a_i ← Σ (z - e_i)
    ⟨a_i, z - e_i⟩``, a step an update.

    Args:
        classes: K. dim: C. learning: of the entries. decay: γ. revival: see above; 0 where no entry moves that way.

    Source: Linde, Buzo and Gray, "An algorithm for vector quantizer design", IEEE Trans. Comm. 28(1), 1980 (splitting);
    Fritzke, "The LBG-U method for vector quantization", Neural Processing Letters 5, 1997 (worth).
    """

    entries: Tensor
    counts: Tensor
    sums: Tensor
    spreads: Tensor
    worths: Tensor
    directions: Tensor
    started: Tensor
    updates: Tensor

    def __init__(self, classes: int, dim: int, *, learning: Learning, decay: float, revival: float) -> None:
        super().__init__()
        self.classes, self.dim, self.decay, self.revival = classes, dim, decay, revival
        self.learning = learning
        entries = (2 * torch.rand(classes, dim) - 1) / classes
        if learning == "gradient":
            self.entries = nn.Parameter(entries)
        else:
            self.register_buffer("entries", entries)
        self.register_buffer("counts", torch.zeros(classes))
        self.register_buffer("sums", torch.zeros(classes, dim))
        self.register_buffer("spreads", torch.zeros(classes, dim))
        self.register_buffer("worths", torch.zeros(classes))
        self.register_buffer("directions", F.normalize(self._normals(_DIRECTIONS), dim=-1), persistent=False)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def nearest(self, z: Tensor) -> Tensor:
        """Numbers of the entries nearest to vectors, the first of equals: ``[..., C] → int64 [...]``.

        Distances are ``|z|² - 2⟨z, e⟩ + |e|²`` in float32 at least, of which the first term is left out.
        """
        return self._distances(z).argmin(dim=-1)

    def _distances(self, z: Tensor) -> Tensor:
        """Squared distances from each entry, less ``|z|²``, ``[..., K]``."""
        with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
            entries = self.entries.to(z.dtype)
            return entries.square().sum(dim=-1) - 2 * (z @ entries.T)

    def vectors(self, hot: Tensor) -> Tensor:
        """Entries of one-hots, exactly: ``[..., K] → [..., C]``."""
        with torch.autocast(hot.device.type, enabled=False):
            return hot @ self.entries.to(hot.dtype)

    @property
    def perplexity(self) -> Tensor:
        """Perplexity of the entries' averaged use, between 1 and K."""
        shares = self.counts / self.counts.sum().clamp_min(_FLOOR)
        return torch.exp(-torch.special.xlogy(shares, shares).sum())

    @property
    def mean(self) -> Tensor:
        """Averaged vector, ``[C]``; 0 before the start."""
        return self.sums.sum(dim=0) / self.counts.sum().clamp_min(_FLOOR)

    def noted(self, z: Tensor, symbols: Tensor) -> dict[str, Tensor]:
        """Sums over vectors ``[M, C]`` and the numbers ``[M]`` of their entries, as :meth:`after_update` takes them.

        Before the start they are moments, then for each entry its number of vectors, their sum, the power iteration's
        and its worth.
        """
        if not self.started:
            return {"count": z.new_tensor(float(len(z))), "sum": z.sum(dim=0), "products": z.T @ z}
        hot = F.one_hot(symbols, self.classes).to(z.dtype)  # [M, K]
        apart = z - self.entries.to(z.dtype)[symbols]  # [M, C]
        along = (apart * self._axes.to(z.dtype)[symbols]).sum(dim=-1, keepdim=True)
        first, second = self._distances(z).topk(2, largest=False).values.unbind(dim=-1)  # [M]
        each = {
            "counts": torch.ones_like(along),
            "sums": z,
            "spreads": apart * along,
            "worths": (second - first)[:, None],
        }
        made = {name: hot.T @ one for name, one in each.items()}  # [K, C] or [K, 1]
        return made | {name: made[name][:, 0] for name in ("counts", "worths")}

    @torch.no_grad()
    def after_update(self, noted: Mapping[str, Tensor]) -> None:
        """Begin, or take in a batch: averages, entries that are these, entries of little worth."""
        if not self.started:
            self._start(noted)
            return
        self.updates += 1
        decay = min(self.decay, (1 + int(self.updates)) / (10 + int(self.updates)))
        for name in ("counts", "sums", "spreads", "worths"):
            own: Tensor = getattr(self, name)
            own.lerp_(noted[name].to(own), 1 - decay)
        if self.learning == "averages":
            live = (self.counts > _FLOOR)[:, None]
            self.entries.copy_(torch.where(live, self.sums / self.counts.clamp_min(_FLOOR)[:, None], self.entries))
        if self.revival:
            self._revive()

    def _start(self, noted: Mapping[str, Tensor]) -> None:
        count = noted["count"]
        if count == 0:
            return
        mean = noted["sum"].double() / count
        covariance = noted["products"].double() / count - mean[:, None] * mean
        variances, axes = torch.linalg.eigh(covariance)
        drawn = self._normals(_PLACES).to(mean) * variances.clamp_min(0).sqrt()  # [K, C]
        self.entries.copy_(mean + drawn @ axes.T)
        self.counts.fill_(float(count) / self.classes)
        self.sums.copy_(self.counts[:, None] * self.entries)
        self.worths.fill_(float(covariance.trace() * count) / self.classes)
        self.started.fill_(True)

    def _revive(self) -> None:
        gained, donors = self.spreads.norm(dim=-1).sort(descending=True)
        worth, moving = self.worths.sort()
        # Each entry is once one or the other: those of least worth are paired with those of most distortion.
        pairs = torch.arange(self.classes // 2, device=worth.device)
        pairs = pairs[(worth < self.revival * gained)[: len(pairs)]]
        pairs = pairs[~torch.isin(moving[pairs], donors[pairs])]
        if not len(pairs):
            return
        moving, donors, gained = moving[pairs], donors[pairs], gained[pairs]
        step = self._axes[donors] * (gained / self.counts[donors].clamp_min(_FLOOR)).sqrt()[:, None]
        places, halves, spreads = self.entries[donors], self.counts[donors] / 2, self.spreads[donors] / 8
        for rows, placed in ((moving, places + step), (donors, places - step)):
            self.entries[rows], self.sums[rows] = placed, halves[:, None] * placed
            self.counts[rows], self.worths[rows] = halves, gained
            self.spreads[rows] = spreads  # of half the vectors, a quarter of the variance

    @property
    def _axes(self) -> Tensor:
        """Directions in which the vectors of each entry spread most, of length 1; some where nothing is known."""
        lengths = self.spreads.norm(dim=-1, keepdim=True)
        return torch.where(lengths > _NOWHERE, self.spreads / lengths.clamp_min(_NOWHERE), self.directions)

    def _normals(self, stream: int) -> Tensor:
        """Standard normals ``[K, C]``."""
        drawn = noise.block(0, stream, 0, self.classes * self.dim)
        return quantile(torch.from_numpy(drawn).double()).view(self.classes, self.dim).float()
