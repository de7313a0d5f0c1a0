"""Recursive evidence chains as they are defined: one vector at a time, each computed anew wherever it is needed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from seqgen import noise
from seqgen.models.evidence_chains import EvidenceChains
from seqgen.noise import Key

Ratings = Mapping[tuple[int, int], float]
Entry = tuple[int, int]


class Recursion:
    """Chains of a network over ratings ``{(user, item): rating}``; ``deepest`` is how many links the longest had."""

    def __init__(self, network: EvidenceChains, ratings: Ratings, key: Key, draw: int = 0) -> None:
        self.network, self.deepest = network, 0
        limits = network.config.evidence
        self.limits = limits * (network.config.depth + 1) if len(limits) == 1 else limits[::-1]
        self.every = [sorted((e[side], e[1 - side], rating) for e, rating in ratings.items()) for side in (0, 1)]
        places = np.arange(len(ratings))
        self.lots = {
            (side, depth): noise.words(*key, places + (draw << 46) + ((2 * depth + side) << 40))
            for side in (0, 1)
            for depth in range(network.config.depth + 1)
        }

    def predict(self, user: int, item: int) -> Tensor:
        depth, ban = self.network.config.depth, (user, item)
        u, v = self.vector(0, user, depth, ban, 1), self.vector(1, item, depth, ban, 1)
        score = u @ v
        return score if self.network.psi is None else score + self.network.psi(torch.cat([u, v]))[0]

    def vector(self, side: int, row: int, depth: int, ban: Entry, links: int) -> Tensor:
        self.deepest = max(self.deepest, links)
        network, prototypes = self.network, self.network.config.prototypes
        if row < prototypes[side]:
            return (network.users, network.items)[side][row]
        evidence = self.evidence(side, row, depth, ban)
        if not evidence:
            return (network.mean_user, network.mean_item)[side]
        phi, messages = (network.phi_user, network.phi_item)[side], []
        for partner, rating in evidence:
            known = [
                self.vector(1 - side, partner, depth - 1, ban, links + 1),
                torch.tensor([rating]).to(network.users),
            ]
            if network.config.count:
                known.append(torch.tensor([float(len(evidence))], dtype=network.users.dtype))
            messages.append(phi(*(one[None] for one in known))[0])
        return torch.stack(messages).mean(dim=0)

    def evidence(self, side: int, row: int, depth: int, ban: Entry) -> list[tuple[int, float]]:
        """Partners and ratings of a row, in the order in which they count, as many as there may be."""
        first = self.network.config.prototypes[1 - side]
        ranked = []
        for (owner, partner, rating), lot in zip(self.every[side], self.lots[side, depth], strict=True):
            entry = (owner, partner) if side == 0 else (partner, owner)
            if owner != row or entry == ban or (depth == 0 and partner >= first):
                continue
            ranked.append((partner >= first, lot, partner, rating))
        limit = self.limits[depth] or len(ranked)
        return [(partner, rating) for _, _, partner, rating in sorted(ranked)[:limit]]
