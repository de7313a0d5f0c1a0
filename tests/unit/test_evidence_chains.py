"""Recursive evidence chains: what must hold exactly, against the recursion as it is defined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from seqgen.errors import SeqgenError
from seqgen.models.evidence_chains import EvidenceChains, EvidenceChainsConfig
from seqgen.models.evidence_chains_layers import layers
from seqgen.models.matrix_factorisation import MatrixFactorisation
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.noise import Key
from seqgen.objectives.completion import Completion
from seqgen.objectives.contract import Part
from seqgen.spec import Facts
from seqgen.tasks.ratings.batches import Batch
from tests.unit.evidence_chains_recursion import Recursion

USERS, ITEMS = SHAPE = 20, 15
UNRATED = 7  # a user without any rating
KEY = Key(3, 5)
SMALL = EvidenceChainsConfig(dim=4, prototypes=(4, 3), evidence=(0,), hidden=8, scorer_layers=1, thinning=0.0)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def chains(**options: Any) -> EvidenceChains:
    """A small network in double precision, with vectors of those without evidence that are not zero."""
    network = EvidenceChains(replace(SMALL, **options)).double().eval()
    for mean in (network.mean_user, network.mean_item):
        torch.nn.init.normal_(mean)
    return network


def entries(users: int = USERS, items: int = ITEMS) -> tuple[Tensor, Tensor, Tensor]:
    """About a third of a matrix, as triples."""
    generator = torch.Generator().manual_seed(1)
    seen = torch.rand(users, items, generator=generator) < 0.35
    seen[UNRATED] = False
    user, item = seen.nonzero(as_tuple=True)
    return user, item, torch.randn(len(user), generator=generator, dtype=torch.float64)


def matrix(shape: tuple[int, int] = SHAPE) -> ObservedMatrix:
    return ObservedMatrix.of(*entries(*shape), shape)


def everything(shape: tuple[int, int] = SHAPE) -> tuple[Tensor, Tensor]:
    place = torch.arange(shape[0] * shape[1])
    return place // shape[1], place % shape[1]


@torch.no_grad()
def predicted(network: EvidenceChains, observed: ObservedMatrix, user: Tensor, item: Tensor) -> Tensor:
    return network(user, item, observed, KEY)


EVIDENCE = [(depth, (0,)) for depth in (0, 1, 2, 3)] + [(2, (5, 3, 2)), (3, (4, 3, 2, 1)), (2, (1,))]


@pytest.mark.parametrize(("depth", "evidence"), EVIDENCE)
def test_the_layers_are_the_recursion(depth: int, evidence: tuple[int, ...]) -> None:
    """Computed once for all that need it, a vector is what the definition computes anew each time."""
    network = chains(depth=depth, evidence=evidence, count=depth % 2 == 1, product=depth != 1)
    user, item = (side[:: 43 if depth == 3 else 11] for side in everything())
    ratings = {(int(i), int(j)): float(rating) for i, j, rating in zip(*entries(), strict=True)}
    recursion = Recursion(network, ratings, KEY)
    with torch.no_grad():
        expected = torch.stack([recursion.predict(int(i), int(j)) for i, j in zip(user, item, strict=True)])
    torch.testing.assert_close(predicted(network, matrix(), user, item), expected, rtol=0, atol=1e-6)
    assert recursion.deepest == depth + 2  # the vectors of depths D … 0, and prototypes


@pytest.mark.parametrize(("depth", "evidence"), EVIDENCE)
def test_no_link_of_a_chain_sees_the_rating_that_is_predicted(depth: int, evidence: tuple[int, ...]) -> None:
    """To the bit; and other ratings do matter. Among them are prototypes, through which a rating would come back."""
    network, (user, item, rating) = chains(depth=depth, evidence=evidence), entries()
    ours = predicted(network, matrix(), user, item)
    moved = 0
    for one in range(0, len(user), 6):
        other = rating.clone()
        other[one] += 100
        theirs = predicted(network, ObservedMatrix.of(user, item, other, SHAPE), user, item)
        assert theirs[one] == ours[one]
        moved += int((theirs != ours).sum())
    assert moved > len(user) // 6


def test_only_ratings_on_the_chain_matter() -> None:
    """Of three users and items the last know nothing of the first."""
    user, item = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 2])
    network = chains(depth=2, prototypes=(1, 1))
    asked = torch.tensor([1]), torch.tensor([1])
    ours, far, near = (
        predicted(network, ObservedMatrix.of(user, item, torch.tensor(rating).double(), (3, 3)), *asked)
        for rating in ([1.0, 2, 3, 4], [1.0, 2, 3, 9], [1.0, 7, 3, 4])
    )
    assert torch.equal(far, ours)
    assert not torch.equal(near, ours)


def test_parameters_do_not_grow_with_the_matrix() -> None:
    network = EvidenceChains(SMALL).double().eval()
    size = sum(parameter.numel() for parameter in network.parameters())
    d, h, users, items = 4, 8, *SMALL.prototypes
    phi, psi = (d + 1) * h + h + h * h + h + h * d + d + d * d, 2 * d * h + h + h + 1
    assert size == (users + items + 2) * d + 2 * phi + psi
    larger = 10 * USERS, ITEMS
    user, item = everything(larger)
    assert predicted(network, matrix(larger), user, item).isfinite().all()
    factors = [MatrixFactorisation(MatrixFactorisation.Config(users, ITEMS)) for users in (USERS, 10 * USERS)]
    sizes = [sum(parameter.numel() for parameter in one.parameters()) for one in factors]
    assert sizes[1] - sizes[0] == 9 * USERS * 11


@pytest.mark.parametrize("depth", [1, 2])
def test_the_order_of_evidence_does_not_matter(depth: int) -> None:
    """Neither that of the triples nor that of users and items, prototypes aside."""
    network, (user, item, rating), asked = chains(depth=depth), entries(), everything()
    ours = predicted(network, matrix(), *asked)
    generator = torch.Generator().manual_seed(2)
    order = torch.randperm(len(user), generator=generator)
    again = ObservedMatrix.of(user[order], item[order], rating[order], SHAPE)
    assert torch.equal(predicted(network, again, *asked), ours)
    names = [
        torch.cat([torch.arange(first), first + torch.randperm(count - first, generator=generator)])
        for first, count in zip(SMALL.prototypes, SHAPE, strict=True)
    ]
    renamed = ObservedMatrix.of(names[0][user], names[1][item], rating, SHAPE)
    theirs = predicted(network, renamed, names[0][asked[0]], names[1][asked[1]])
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)


def test_evidence_that_comes_twice_counts_once() -> None:
    network, (user, item, rating), asked = chains(), entries(), everything()
    twice = ObservedMatrix.of(user.repeat(2), item.repeat(2), rating.repeat(2), SHAPE)
    ours, theirs = (predicted(network, observed, *asked) for observed in (matrix(), twice))
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    counted = chains(count=True)
    assert not torch.allclose(predicted(counted, twice, *asked), predicted(counted, matrix(), *asked), atol=1e-6)


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_prototypes_have_their_own_vectors_at_every_depth(depth: int) -> None:
    network = chains(depth=depth, scorer_layers=0)
    users, items = SMALL.prototypes
    user, item = everything((users, items))
    expected = (network.users.detach() @ network.items.detach().T).view(-1)
    torch.testing.assert_close(predicted(network, matrix(), user, item), expected)


def test_prototypes_alone_are_matrix_factorisation() -> None:
    """The same loss and the same gradients as equal factors without biases have."""
    ours = chains(depth=0, prototypes=SHAPE, scorer_layers=0)
    factors = MatrixFactorisation(MatrixFactorisation.Config(USERS, ITEMS, factors=4, biases=False)).double()
    factors.load_state_dict({"users": ours.users.detach(), "items": ours.items.detach()})
    user, item, rating = entries()
    batch = Batch(user, item, rating, matrix(), tuple(map(str, range(len(user)))), 1.0)
    losses, gradients = [], []
    for network in (ours, factors):
        objective = Completion(Completion.Config(), {"network": network}, Facts(examples=len(user)))
        loss = objective(Part(batch, KEY), "network")
        loss.total.backward()
        losses.append(loss.total.detach())
        gradients.append([network.users.grad, network.items.grad])
    torch.testing.assert_close(losses[0], losses[1])
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_a_user_without_ratings_has_the_mean_vector() -> None:
    network = chains(scorer_layers=0)
    user, item = torch.full((3,), UNRATED), torch.arange(3)  # items that are prototypes
    expected = network.items.detach()[:3] @ network.mean_user.detach()
    torch.testing.assert_close(predicted(network, matrix(), user, item), expected)
    nobody = ObservedMatrix.of(*(torch.zeros(0, dtype=torch.int64),) * 2, torch.zeros(0).double(), SHAPE)
    assert predicted(network, nobody, *everything()).isfinite().all()


def test_all_items_prototypes_are_the_rowless_model() -> None:
    """A user is the mean over what it has rated, of whatever depth; the entry itself left out."""
    network, (user, item, rating) = chains(depth=1, prototypes=(1, ITEMS), scorer_layers=0), entries()
    expected = []
    for one in range(len(user)):
        others = (user == user[one]) & (item != item[one])
        said = network.phi_user(network.items[item[others]], rating[others, None])
        u = said.mean(dim=0) if user[one] > 0 else network.users[0]
        expected.append(u @ network.items[item[one]])
    torch.testing.assert_close(predicted(network, matrix(), user, item), torch.stack(expected).detach())


def test_gradients_through_two_levels() -> None:
    """Finite differences of the loss by the prototypes of both sides."""
    network = chains(dim=2, hidden=3)
    user, item, rating = entries()

    def loss(users: Tensor, items: Tensor) -> Tensor:
        named = {"users": users, "items": items}
        scores: Tensor = torch.func.functional_call(network, named, (user, item, matrix(), KEY))
        return ((scores - rating) ** 2).mean()

    given = [one.detach().clone().requires_grad_() for one in (network.users, network.items)]
    assert torch.autograd.gradcheck(loss, given)


def test_a_vector_is_computed_once_for_all_entries() -> None:
    """Where nothing is banned there is one of each user and item at each depth; else those banned beside."""
    network, observed = chains(evidence=(5, 3, 2)), matrix()
    rules = network._rules(network.config.evidence, KEY)
    user, item = everything()
    unseen = ~observed.contains(user, item)
    for of_users, of_items in layers(observed, user[unseen], item[unseen], rules).depths:
        assert len(of_users.rows) == len(of_users.rows.unique())
        assert len(of_items.rows) == len(of_items.rows.unique())
    seen = layers(observed, user[~unseen], item[~unseen], rules).depths
    assert len(seen[-1][0].rows) == int((~unseen).sum())
    assert len(seen[0][0].rows) < USERS + int((~unseen).sum()) // 3


def test_evidence_beyond_the_limit_is_by_lot() -> None:
    network, observed, asked = chains(evidence=(2,)), matrix(), everything()
    with torch.no_grad():
        one, again, other = (network(*asked, observed, key) for key in (KEY, KEY, Key(3, 6)))
        draws = [network._scores(layers(observed, *asked, network._rules((2,), KEY, draw=draw))) for draw in range(5)]
        estimate = network.estimates(*asked, observed, KEY)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(draws[0], one)
    torch.testing.assert_close(estimate, torch.stack(draws).mean(dim=0))
    alike = chains(evidence=(2,), estimate_evidence=(0,))
    alike.load_state_dict(network.state_dict())
    whole = chains()
    whole.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(alike.estimates(*asked, observed, KEY), predicted(whole, observed, *asked))


def test_training_leaves_evidence_out() -> None:
    network, observed, asked = chains(dropout=0.5), matrix(), everything()
    evaluated = predicted(network, observed, *asked)
    trained = predicted(network.train(), observed, *asked)
    assert not torch.equal(trained, evaluated)
    kept = tuple(torch.rand(len(observed.by_user.values)) < 0.5 for _ in range(2))
    unseen = ~observed.contains(*asked)
    made = layers(
        observed, asked[0][unseen], asked[1][unseen], network._rules((0,), KEY)._replace(kept=(kept[0], kept[1]))
    )
    last = made.depths[-1][0]
    left = torch.bincount(observed.by_user.owners[kept[0]], minlength=USERS)
    left[: SMALL.prototypes[0]] = 0
    assert torch.equal(last.counts, left[last.rows])


def test_training_thins_what_the_entries_themselves_have() -> None:
    """At the last depth alone; half of the rows keep everything, and those that do not lose a share of their own."""
    observed = matrix((400, 60))
    network = chains(thinning=1.0)
    kept = network._thinned(observed.by_user)
    shares = torch.bincount(observed.by_user.owners[kept], minlength=400) / observed.by_user.starts.diff()
    assert 0.4 < (shares == 1).double().mean() < 0.6
    assert shares[shares < 1].mean() == pytest.approx(0.5, abs=0.05)
    rules = network._rules((0,), KEY)
    none = tuple(torch.zeros(len(observed.by_user.values), dtype=torch.bool) for _ in range(2))
    asked = torch.arange(400), torch.zeros(400, dtype=torch.int64)
    for user, item in (layers(observed, *asked, rules._replace(kept_last=(none[0], none[1]))).depths[-1],):
        assert not user.counts.any()
        assert not item.counts.any()
    shown = layers(observed, *asked, rules._replace(kept_last=(~none[0], none[1]))).depths
    assert shown[-1][0].counts[5:].any()
    assert shown[-2][1].counts.any()  # of items one depth below


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dim": 0}, "0 dimensions of 4 and 3 prototypes; give 1 or more of each"),
        ({"prototypes": (4, 0)}, "4 dimensions of 4 and 0 prototypes"),
        ({"depth": -1}, "'depth' is -1; give 0 or more"),
        ({"evidence": ()}, r"'evidence' is \[\] at depth 2; give 3 limits of 0 or more, from depth 2 to depth 0"),
        ({"evidence": (5, 3)}, r"'evidence' is \[5, 3\] at depth 2; give 3 limits"),
        ({"evidence": (-1,)}, r"'evidence' is \[-1\]"),
        ({"estimate_evidence": (1, 2)}, r"'estimate_evidence' is \[1, 2\]"),
        ({"dropout": 1.0}, "'dropout' is 1.0, 'thinning' 0.0; give a dropout from 0, below 1, and a thinn"),
        ({"thinning": 1.1}, "'dropout' is 0.0, 'thinning' 1.1"),
        ({"draws": 0}, "'draws' is 0, 'scorer_layers' 1; give 1 draw or more"),
    ],
)
def test_options_that_make_no_chain(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SeqgenError, match=said):
        replace(SMALL, **options)


def test_more_prototypes_than_there_are_users() -> None:
    network = chains(prototypes=(20, 3))
    with pytest.raises(SeqgenError, match=r"20 user prototypes, but 19 users have a training rating; give 19 proto"):
        network.require_fit(matrix())
    with pytest.raises(SeqgenError, match=r"16 item prototypes, but 15 items have"):
        chains(prototypes=(4, 16)).require_fit(matrix())
    chains(prototypes=(19, 15)).require_fit(matrix())


def test_a_warning_of_rows_that_no_prototype_reaches() -> None:
    observed = ObservedMatrix.of(torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 1, 0, 1, 1]), torch.zeros(5), (5, 2))
    (said,) = chains(depth=0, prototypes=(1, 1)).warnings(observed)
    assert said.startswith("at depth 0 the 3 users without a rating by item prototypes share one vector; raise depth")
    assert chains(depth=1, prototypes=(1, 1)).warnings(observed) == []
