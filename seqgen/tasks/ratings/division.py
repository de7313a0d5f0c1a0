"""Division of a matrix of ratings: what is learnt from, what is held out, and users who come after training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.tasks.ratings.process import LowRankRatings
from seqgen.tasks.ratings.triples import Integers, NamedTriples, Triples

_SPLIT, _NEW, _SHOWN, _PLACES = (
    noise.name_to_stream(f"seqgen.ratings.{name}") for name in ("split", "new", "shown", "places")
)
_LATER = 1 << 32  # drawn users from this number on come after training


class NewUsers(NamedTuple):
    """Users who came after training, numbered from 0, with all their ratings in the order in which they are given.

    Attributes:
        ratings: of them all. place: of each rating among its user's, from 0, int64 ``[N]``.
        names: of the users.
    """

    ratings: Triples
    place: Integers
    names: tuple[str, ...]

    def given(self, count: int) -> Triples:
        """The first ratings of each."""
        return self.ratings.chosen(self.place < count)

    def held_out(self, most: int) -> Triples:
        """What is to be predicted, the same however many of the first ``most`` are given."""
        return self.ratings.chosen(self.place >= most)


class Division(NamedTuple):
    """Ratings of a run; users and items are numbered in the order of :func:`ordered`.

    Attributes:
        train, valid, test: ratings of the training users. new_valid, new_test: users who came later.
        users, items: names.
    """

    train: Triples
    valid: Triples
    test: Triples
    new_valid: NewUsers
    new_test: NewUsers
    users: tuple[str, ...]
    items: tuple[str, ...]


def drawn(process: LowRankRatings, split: tuple[float, float], new_users: tuple[int, int]) -> Division:
    """Division of a drawn matrix, ``split`` being shares of its entries."""
    numbers = np.arange(process.users)
    ratings, lots = process.ratings(numbers), process.lots(numbers)
    edges = np.cumsum([process.observed, *split])
    if edges[-1] > 1:
        raise SeqgenError(
            f"'observed' is {process.observed}, 'split' {list(split)}", remedy="give shares whose sum is 1 or below"
        )
    parts = np.digitize(lots, edges)
    made = [Triples(*np.nonzero(parts == part), ratings[parts == part]) for part in range(3)]
    valid, test = new_users
    later = [np.arange(_LATER + first, _LATER + first + count) for first, count in ((0, valid), (valid, test))]
    new = [_all_rated(process, users) for users in later]
    users, items = (tuple(map(str, range(count))) for count in (process.users, process.items))
    return Division(made[0], made[1], made[2], new[0], new[1], users, items)


def _all_rated(process: LowRankRatings, numbers: Integers) -> NewUsers:
    """New users who have rated everything, in an order by lot."""
    place = process.lots(numbers).argsort(axis=1).argsort(axis=1)
    user, item = np.divmod(np.arange(place.size), process.items)
    names = tuple(f"new {number - _LATER}" for number in numbers)
    return NewUsers(Triples(user, item, process.ratings(numbers).ravel()), place.ravel(), names)


def stored(found: NamedTriples, split: tuple[float, float], new_users: tuple[int, int], most: int) -> Division:
    """Division by lot of ratings that there are, always the same; new users have more than ``most`` ratings.

    Raises:
        SeqgenError: for too few users with so many ratings, and for a part without any.
    """
    every = found.triples
    counts = np.bincount(every.user, minlength=len(found.users))
    able = np.flatnonzero(counts > most)
    valid, test = new_users
    if valid + test and (valid + test > len(able) or valid + test == len(found.users)):
        raise SeqgenError(
            f"{valid + test} new users are to be held out, but of {len(found.users)} users {len(able)} have more than "
            f"{most} ratings",
            remedy="lower new_users or the largest number of given ratings",
        )
    chosen = able[np.argsort(noise.words(0, _NEW, able), kind="stable")]
    new = [_held_out(found, users) for users in (chosen[:valid], chosen[valid : valid + test])]
    rest = every.chosen(~np.isin(every.user, chosen[: valid + test]))
    order = np.argsort(noise.words(0, _SPLIT, np.arange(len(rest.user))), kind="stable")
    first, second = int(split[0] * len(order)), int(sum(split) * len(order))
    valid_part, test_part, train = (rest.chosen(np.sort(part)) for part in np.split(order, [first, second]))
    for name, part in (("train", train), ("valid", valid_part), ("test", test_part)):
        if not len(part.user):
            raise SeqgenError(
                f"{len(order)} ratings leave none to {name}", remedy="give more ratings, or larger shares"
            )
    keep = np.setdiff1d(np.arange(len(found.users)), chosen[: valid + test])
    renumbered = np.full(len(found.users), -1)
    renumbered[keep] = np.arange(len(keep))
    parts = (part._replace(user=renumbered[part.user]) for part in (train, valid_part, test_part))
    return Division(*parts, new[0], new[1], tuple(found.users[user] for user in keep), found.items)


def _held_out(found: NamedTriples, users: Integers) -> NewUsers:
    """These users with their ratings, numbered anew, in an order by lot."""
    every = found.triples
    number = np.full(len(found.users), -1)
    number[users] = np.arange(len(users))
    mine = np.flatnonzero(number[every.user] >= 0)
    order = np.lexsort((noise.words(0, _SHOWN, mine), number[every.user[mine]]))
    ratings = every.chosen(mine[order])
    user = number[ratings.user]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    return NewUsers(ratings._replace(user=user), place, tuple(found.users[one] for one in users))


def ordered(division: Division, random_share: float) -> Division:
    """The same with users and items numbered by how many training ratings they have, the most first.

    A share of the places goes to rows by lot, so that not the most popular alone come first; those without any rating
    are last.
    """
    users = _order(np.bincount(division.train.user, minlength=len(division.users)), random_share)
    items = _order(np.bincount(division.train.item, minlength=len(division.items)), random_share)
    of_users, of_items = np.argsort(users), np.argsort(items)  # new numbers of the old ones

    def renumbered(part: Triples, *, known: bool = True) -> Triples:
        return Triples(of_users[part.user] if known else part.user, of_items[part.item], part.rating)

    return Division(
        *(renumbered(part) for part in (division.train, division.valid, division.test)),
        *(
            new._replace(ratings=renumbered(new.ratings, known=False))
            for new in (division.new_valid, division.new_test)
        ),
        users=tuple(division.users[user] for user in users),
        items=tuple(division.items[item] for item in items),
    )


def _order(counts: Integers, random_share: float) -> Integers:
    """Rows in their order."""
    popular = np.argsort(-counts, kind="stable")
    rated = popular[: int((counts > 0).sum())]
    by_lot = iter(rated[np.argsort(noise.words(0, _PLACES, rated), kind="stable")].tolist())
    by_count = iter(rated.tolist())
    taken: dict[int, None] = {}
    for place in range(len(rated)):
        lot = int((place + 1) * random_share) > int(place * random_share)
        row = next(one for one in (by_lot if lot else by_count) if one not in taken)
        taken[row] = None
    return np.array([*taken, *popular[len(rated) :].tolist()], np.int64)
