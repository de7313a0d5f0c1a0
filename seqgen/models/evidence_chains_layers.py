"""Computation layers of evidence chains: which vectors a batch needs at each depth, and what each is the mean of.

A vector is computed once for all entries that need it. Those that the ban of an entry's own rating touches, at whatever
depth, are computed for that entry apart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seqgen import noise
from seqgen.models.observed_matrix import EntryLists, ObservedMatrix
from seqgen.noise import Key

_SIDES = (0, 1)  # users, items
_DEPTH, _DRAW = 1 << 40, 1 << 46  # positions of the noise from one depth and one draw to the next


class Rules(NamedTuple):
    """Rules by which evidence is chosen.

    Attributes:
        prototypes: of users and of items, the first of each. limits: most evidence of a vector at depths 0 … D (0: all
            that there is).
        key: of the noise. draw: which of the noise's draws.
        kept: ratings that count, bool ``[N]`` in the order of either side's lists; ``None`` where all do.
        kept_last: those that count at depth D, beside.
    """

    prototypes: tuple[int, int]
    limits: tuple[int, ...]
    key: Key
    draw: int = 0
    kept: tuple[Tensor, Tensor] | None = None
    kept_last: tuple[Tensor, Tensor] | None = None


class Layer(NamedTuple):
    """Vectors of one side at one depth: m of them, with M pieces of evidence in all.

    Attributes:
        rows: int64 ``[m]``, users or items that they are of. counts: ``[m]``, how much evidence each has.
        owner, source, value: ``[M]``: whose evidence a piece is, the vector of the other side's layer one depth below
            (at depth 0: the prototype) that it takes, and the rating.
    """

    rows: Tensor
    counts: Tensor
    owner: Tensor
    source: Tensor
    value: Tensor


class Layers(NamedTuple):
    """Layers of users and of items at depths 0 … D, and where in the last two a batch's users and items stand."""

    depths: list[tuple[Layer, Layer]]
    user: Tensor
    item: Tensor


class _Ranked(NamedTuple):
    """Evidence of rows ``[n]`` in the order in which it counts: partners and values ``[n, W]``, which of them are real,
    and how many count; one more stands behind those, for the place of a banned one."""

    rows: Tensor
    partners: Tensor
    values: Tensor
    real: Tensor
    limit: int

    def places(self, rows: Tensor) -> Tensor:
        """Where rows stand that are among these."""
        return torch.searchsorted(self.rows, rows)

    @property
    def counted(self) -> Tensor:
        """Evidence that counts where nothing is banned, bool ``[n, W]``."""
        return self.real & (torch.arange(self.real.shape[1], device=self.real.device) < self.limit)


class _Targets(NamedTuple):
    """Entries of a batch: both sides' rows ``[B]``, and the numbers of those that are observed, ``[A]``."""

    rows: tuple[Tensor, Tensor]
    observed: Tensor

    @property
    def count(self) -> int:
        return len(self.rows[0])


def layers(observed: ObservedMatrix, user: Tensor, item: Tensor, rules: Rules) -> Layers:
    """Layers of the entries ``user [B]``, ``item [B]``, none of which is evidence of itself."""
    targets = _Targets((user.contiguous(), item.contiguous()), observed.contains(user, item).nonzero()[:, 0])
    ranked = _all_ranked(observed, targets, rules)
    bans = _all_bans(ranked, targets)
    return _assembled(ranked, bans, targets)


def _all_ranked(observed: ObservedMatrix, targets: _Targets, rules: Rules) -> list[tuple[_Ranked, _Ranked]]:
    """Evidence of whatever is needed at depths 0 … D, found from the last one down."""
    lists = (observed.by_user, observed.by_item)
    rows = [side.unique() for side in targets.rows]
    found: list[tuple[_Ranked, _Ranked]] = []
    for depth in reversed(range(len(rules.limits))):
        users, items = (_ranked(lists[side], rows[side], side, depth, rules) for side in _SIDES)
        found.insert(0, (users, items))
        rows = [other.partners[other.real].unique() for other in (items, users)]
    return found


def _ranked(lists: EntryLists, rows: Tensor, side: int, depth: int, rules: Rules) -> _Ranked:
    """Evidence of rows at a depth: prototypes first, then by lot; of prototypes none is asked."""
    owner, entry = lists.gathered(rows)  # [M] both
    prototype = lists.partners[entry] < rules.prototypes[1 - side]
    counts = rows[owner] >= rules.prototypes[side]
    counts = counts if rules.kept is None else counts & rules.kept[side][entry]
    if rules.kept_last is not None and depth == len(rules.limits) - 1:
        counts = counts & rules.kept_last[side][entry]
    counts = counts & prototype if depth == 0 else counts
    owner, entry, prototype = owner[counts], entry[counts], prototype[counts]
    each = torch.bincount(owner, minlength=len(rows))
    most = int(each.max()) if len(each) else 0
    limit = rules.limits[depth] or most
    if most > limit:
        lot = noise.words(*rules.key, entry + rules.draw * _DRAW + (2 * depth + side) * _DEPTH)
        entry = entry[(((2 * owner + ~prototype) << 32) + lot).argsort()]
    place = torch.arange(len(owner), device=owner.device) - (each.cumsum(dim=0) - each)[owner]
    width = min(most, limit + 1)
    near = place < width
    owner, entry, place = owner[near], entry[near], place[near]
    partners = owner.new_zeros(len(rows), width)
    partners[owner, place] = lists.partners[entry]
    values = lists.values.new_zeros(len(rows), width)
    values[owner, place] = lists.values[entry]
    real = torch.arange(width, device=owner.device) < each[:, None]  # [n, W]
    return _Ranked(rows, partners, values, real, limit)


def _all_bans(ranked: list[tuple[_Ranked, _Ranked]], targets: _Targets) -> list[tuple[Tensor, Tensor]]:
    """Vectors at depths 0 … D that the ban of an entry b touches: ``place · B + b`` of each, in order.

    In the last layer these are all that an observed entry is predicted from.
    """
    found: list[tuple[Tensor, Tensor]] = []
    for depth, pair in enumerate(ranked):
        level = []
        for side in _SIDES:
            own = _own(pair[side], side, targets, last=depth == len(ranked) - 1)
            if 0 < depth < len(ranked) - 1:
                own = torch.cat([own, _carried(pair[side], ranked[depth - 1][1 - side], found[-1][1 - side], targets)])
            level.append(own.unique())
        found.append((level[0], level[1]))
    return found


def _own(ranked: _Ranked, side: int, targets: _Targets, *, last: bool) -> Tensor:
    """Bans of rows that have an entry of the batch among their own evidence."""
    numbers = targets.observed
    own, other = targets.rows[side][numbers], targets.rows[1 - side][numbers]
    if not len(ranked.rows):
        return own[:0]
    place = ranked.places(own).clamp_max(len(ranked.rows) - 1)
    if not last:
        among = ((ranked.partners[place] == other[:, None]) & ranked.counted[place]).any(dim=1)
        touched = among & (ranked.rows[place] == own)
        place, numbers = place[touched], numbers[touched]
    return place * targets.count + numbers


def _carried(ranked: _Ranked, below: _Ranked, bans: Tensor, targets: _Targets) -> Tensor:
    """Bans of rows whose evidence is banned one depth below."""
    owner, column = ranked.counted.nonzero(as_tuple=True)
    partner, order = ranked.partners[owner, column].sort()
    rows = below.rows[bans // targets.count]
    first, stop = torch.searchsorted(partner, rows), torch.searchsorted(partner, rows, right=True)
    ban = torch.arange(len(bans), device=bans.device).repeat_interleave(stop - first)
    before = (stop - first).cumsum(dim=0) - (stop - first)
    place = torch.arange(len(ban), device=bans.device) - before[ban] + first[ban]
    return owner[order[place]] * targets.count + (bans % targets.count)[ban]


def _resolved(place: Tensor, number: Tensor, bans: Tensor, targets: _Targets, rows: int) -> Tensor:
    """Vectors of rows at these places, as entries of these numbers see them (-1: none bans anything): below ``rows``
    the vector that all see, from there on one of the banned ones."""
    if not len(bans):
        return place
    asked = place * targets.count + number
    at = torch.searchsorted(bans, asked).clamp_max(len(bans) - 1)
    return torch.where((bans[at] == asked) & (number >= 0), rows + at, place)


def _assembled(ranked: list[tuple[_Ranked, _Ranked]], bans: list[tuple[Tensor, Tensor]], targets: _Targets) -> Layers:
    """Layers of the vectors that are used, found from the last one down."""
    every = torch.arange(targets.count, device=targets.rows[0].device)
    used, heads = [], []
    for side in _SIDES:
        place = ranked[-1][side].places(targets.rows[side])
        each = _resolved(place, every, bans[-1][side], targets, len(ranked[-1][side].rows))
        vectors, head = each.unique(return_inverse=True)
        used.append(vectors)
        heads.append(head)
    depths: list[tuple[Layer, Layer]] = []
    for depth in reversed(range(len(ranked))):
        made, below = [], list(used)
        for side in _SIDES:
            layer, number = _layer(ranked[depth][side], bans[depth][side], used[side], side, targets)
            if depth > 0:
                under, other = ranked[depth - 1][1 - side], bans[depth - 1][1 - side]
                each = _resolved(under.places(layer.source), number, other, targets, len(under.rows))
                below[1 - side], source = each.unique(return_inverse=True)
                layer = layer._replace(source=source)
            made.append(layer)
        depths.insert(0, (made[0], made[1]))
        used = below
    return Layers(depths, heads[0], heads[1])


def _layer(ranked: _Ranked, bans: Tensor, used: Tensor, side: int, targets: _Targets) -> tuple[Layer, Tensor]:
    """The vectors ``used [m]`` with the partners of their evidence as sources; and of each piece the number of the
    entry whose ban its owner is under, -1 where there is none, ``[M]``."""
    banned = used >= len(ranked.rows)
    if len(bans):
        ban = bans[(used - len(ranked.rows)).clamp_min(0)]
        base = torch.where(banned, ban // targets.count, used)
        number = torch.where(banned, ban % targets.count, -1)  # [m]
    else:
        base, number = used, torch.full_like(used, -1)
    partners, real = ranked.partners[base], ranked.real[base]  # [m, W]
    own = banned & (ranked.rows[base] == targets.rows[side][number])
    counted = real & ~(own[:, None] & (partners == targets.rows[1 - side][number][:, None]))
    counted &= counted.cumsum(dim=1) <= ranked.limit
    owner, column = counted.nonzero(as_tuple=True)  # [M] both
    layer = Layer(
        ranked.rows[base], counted.sum(dim=1), owner, partners[owner, column], ranked.values[base][owner, column]
    )
    return layer, number[owner]
