"""The mutual information gap: how much more one number of a code tells of a known factor than the next best number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqgen import noise
from seqgen.distributions.normal_quantile import quantile
from seqgen.errors import SeqgenError
from seqgen.latents.gaussian import normal_log_prob

_CHUNK = 256  # codes that are scored under all posteriors at once
_STREAM = noise.name_to_stream("seqgen.information_gap")


class InformationGap(NamedTuple):
    """Mutual information gap of a code and known factors.

    Attributes:
        gap: the mean over factors of ``(I_1 - I_2) / H(v)``, between 0 and 1.
        information: ``I(z_j; v_k)`` in nats, ``[D, F]``. entropies: ``H(v_k)``, ``[F]``.
    """

    gap: float
    information: Tensor
    entropies: Tensor


def information_gap(
    mean: Tensor, scale: Tensor, factors: Tensor, *, codes: int = 10_000, seed: int = 0
) -> InformationGap:
    """Gap of normal posteriors of all N examples, from codes that are drawn of them:

        I(z_j; v_k) = H(z_j) - Σ_c p(v_k = c) H(z_j | v_k = c),    q(z_j | …) = mean of q(z_j | x_n) over such n
        MIG = 1/F Σ_k (I(z_{j(k)}; v_k) - max_{j ≠ j(k)} I(z_j; v_k)) / H(v_k)

    Information is held at 0 or more. Other estimates, of binned means, give other numbers.

    Shapes: ``mean, scale [N, D]``, int64 ``factors [N, F]``; at most ``codes`` codes are drawn, one an example.

    Raises:
        SeqgenError: for codes of one number, and for a factor that has one value only.

    Source: Chen et al., "Isolating sources of disentanglement in variational autoencoders", arXiv 1802.04942,
    section 4.

    Example:
        >>> v = torch.arange(4)
        >>> z = torch.stack([v, 0 * v], dim=1).float()
        >>> information_gap(10 * z, torch.full_like(z, 0.1), v[:, None]).gap
        1.0
    """
    count, numbers = mean.shape
    if numbers < 2:
        raise SeqgenError("a code of one number has no gap", remedy="give codes of two numbers or more")
    values = [column.unique(return_inverse=True, return_counts=True) for column in factors.T]
    for index, (found, _, _) in enumerate(values):
        if len(found) < 2:
            raise SeqgenError(f"factor {index} has one value only", remedy="leave it out, or give more examples")
    drawn = torch.from_numpy(noise.block(seed, _STREAM, 0, count * numbers)).view(count, numbers)
    z = (mean + scale * quantile(drawn).to(mean))[:codes]  # [C, D]
    own = [inverse[: len(z)] for _, inverse, _ in values]
    total, parts = torch.zeros(numbers), torch.zeros(numbers, len(values))
    for start in range(0, len(z), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        scores = normal_log_prob(z[chunk, None], mean[None], scale[None])  # [c, N, D]
        total -= (torch.logsumexp(scores, dim=1) - torch.tensor(float(count)).log()).sum(dim=0)
        for k, (_, inverse, counts) in enumerate(values):
            mine = own[k][chunk]
            apart = (inverse[None] != mine[:, None])[..., None]  # [c, N, 1]
            inside = torch.logsumexp(scores.masked_fill(apart, -torch.inf), dim=1)  # [c, D]
            parts[:, k] -= (inside - counts[mine].to(inside).log()[:, None]).sum(dim=0)
    # The mean over codes weighs a factor's values as the codes have them.
    information = ((total[:, None] - parts) / len(z)).clamp_min(0)  # [D, F]
    shares = [counts.double() / count for _, _, counts in values]
    entropies = torch.stack([-(share * share.log()).sum() for share in shares]).to(information)
    first, second = information.topk(2, dim=0).values
    return InformationGap(float(((first - second) / entropies).mean()), information, entropies)
