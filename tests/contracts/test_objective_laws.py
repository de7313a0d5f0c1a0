"""The laws of objectives catch what breaks them: one toy for each way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqgen import noise
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Measure, Objective
from seqgen.objectives.verify import check_accumulation, check_evaluation, check_padding, check_players, check_pure
from tests.unit import train_toy as toy

BATCH = next(toy.batches(0, 1, 0, 1))


class Broken(toy.Rivals):
    """A parameter that nobody owns, or that its owner never uses."""

    def __init__(self, players: dict[str, tuple[str, ...]], *, extra: bool = False) -> None:
        super().__init__()
        self.players = players
        if extra:
            self.extra = nn.Linear(1, 1)


def test_an_owner_that_does_not_reach_its_parameter() -> None:
    broken = Broken({"judge": ("judge", "extra"), "forger": ("forger",)}, extra=True)
    with pytest.raises(AssertionError, match=r"'judge': no gradient reaches \['extra.bias', 'extra.weight'\]"):
        check_players(broken, BATCH)


def test_a_parameter_without_an_owner() -> None:
    with pytest.raises(AssertionError, match=r"no player owns \['forger.bias', 'forger.weight'\]"):
        check_players(Broken({"judge": ("judge",)}), BATCH)


class Leaky(toy.Rivals):
    """Switches the gradients of everything on again."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        self.requires_grad_(True)
        return super().loss(batch, player, rng, shared)


def test_a_gradient_that_goes_too_far() -> None:
    with pytest.raises(AssertionError, match=r"'judge' also moves \['forger.bias', 'forger.weight'\]"):
        check_players(Leaky(), BATCH)


class Astray(toy.Natural):
    """Directions that are wrong in some way."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong
        self.other = nn.Parameter(torch.zeros(2))

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        directions = {**(loss.directions or {}), "other": torch.ones(2)}
        total = loss.total + 0 * self.other.sum()
        if self.wrong == "name":
            directions["metric"] = torch.ones(3)
        if self.wrong == "shape":
            directions["other"] = torch.ones(3)
        return loss._replace(total=loss.total if self.wrong == "apart" else total, directions=directions)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("name", r"'model' also moves \['metric'\]"),
        ("shape", r"'model': directions of \['other'\] have other shapes"),
        ("apart", r"'model': the loss has no gradient by \['other'\]"),
    ],
)
def test_directions_that_lead_nowhere(wrong: str, message: str) -> None:
    check_players(Astray(""), BATCH)
    with pytest.raises(AssertionError, match=message):
        check_players(Astray(wrong), BATCH)


class Counting(toy.Regression):
    """Changes a buffer in its loss."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        self.seen += 1
        return super().loss(batch, player, rng, shared)


class CountingInTraining(toy.Regression):
    """The same, in training only."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        self.seen += self.training
        return super().loss(batch, player, rng, shared)


class Pulling(toy.Regression):
    """Moves its own weights."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        with torch.no_grad():
            self.net[0].bias += 1e-3 if self.training else 0.0
        return super().loss(batch, player, rng, shared)


class Drawing(toy.Regression):
    """Draws what no key decides."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(total=loss.total + torch.rand(()))


class DrawingToBegin(toy.Regression):
    """Draws it for all players at once."""

    def begin(self, batch: toy.Batch, rng: Key) -> Tensor:
        return torch.rand(())

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Tensor) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(total=loss.total + shared)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Counting, r"changed the buffers \['seen'\]"),
        (CountingInTraining, r"changed the buffers \['seen'\]"),
        (Pulling, r"changed the parameters \['net.0.bias'\]"),
        (Drawing, "two calls with one key differ"),
        (DrawingToBegin, "two calls with one key differ"),
    ],
)
def test_impurities_are_found(kind: type[Objective], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_pure(kind(), BATCH)


class Padded(toy.Regression):
    """Counts what lies behind the ends in one of its numbers."""

    where: str = "total"

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        error = (self.net(batch.x) ** 2).mean()
        changes = {"total": error, "terms": {"distance": error}, "weight": batch.x.abs().sum()}
        return loss._replace(**{self.where: changes[self.where]}) if self.where in changes else loss

    def measure(self, batch: toy.Batch, rng: Key, index: int) -> dict[str, Measure]:
        each = torch.ones(len(batch.x))
        return {"size": Measure(batch.x.abs().sum(dim=(1, 2)) if self.where == "measure" else each, each)}


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("total", "'model': the loss changes with what lies behind the ends"),
        ("terms", "'model': the term distance changes"),
        ("weight", "'model': the weight changes"),
        ("measure", "the figure size changes"),
    ],
)
def test_padding_that_counts_is_found(where: str, message: str) -> None:
    padded = Padded()
    padded.where = where
    with pytest.raises(AssertionError, match=message):
        check_padding(padded, BATCH)
    padded.where = "nowhere"
    check_padding(padded, BATCH)


class Rowwise(toy.Regression):
    """Means of rows, averaged over rows, with a weight that says elements."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        error = ((self.net(batch.x) - 1) ** 2)[..., 0]
        each = [toy.mean(error[row : row + 1], batch.lengths[row : row + 1])[0] for row in range(len(error))]
        return loss._replace(total=torch.stack(each).mean())


class Unweighted(toy.Regression):
    """Sums of elements with a weight of one."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(weight=torch.ones(()))


class Averaging(toy.Regression):
    """Gives a mean where sums are added up."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(aux={"seen": batch.x.mean()})


class Rooted(toy.Regression):
    """A term that is no mean over elements."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(terms={"root": loss.total.detach().sqrt()})


class SummedDirections(toy.Natural):
    """Directions that grow with the batch."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        assert loss.directions is not None
        return loss._replace(directions={name: one * loss.weight for name, one in loss.directions.items()})


class Coupled(toy.Contrast):
    """Rows that see each other, and nobody is told."""

    couples_rows = False


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Rowwise, "'model': the loss of the parts is not that of the whole"),
        (Unweighted, "'model': the loss of the parts"),
        (Averaging, "'model': aux seen of the parts"),
        (Rooted, "'model': the term root of the parts"),
        (SummedDirections, "'model': the direction of place of the parts"),
        (Coupled, "'model': the loss of the parts"),
    ],
)
def test_losses_that_a_cut_would_change_are_found(kind: type[Objective], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_accumulation(kind(), BATCH, toy.parts(BATCH, 1, 4, 3))


class Biased(toy.Regression):
    """The right loss, and a gradient that depends on how many rows there are."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        slope = self.net[0].weight.sum() * len(batch.x)
        return loss._replace(total=loss.total + slope - slope.detach())


def test_gradients_are_compared_not_only_losses() -> None:
    with pytest.raises(AssertionError, match=r"the gradient of net\.0\.weight of the parts is not that of the whole"):
        check_accumulation(Biased(), BATCH, toy.parts(BATCH, 1, 4, 3))


class Noisy(toy.Regression):
    """Draws by its key, as many numbers as it has rows: parts draw others, which is no fault."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        drawn = noise.uniforms(rng.seed, rng.stream, torch.arange(batch.x.numel()).view_as(batch.x))
        return super().loss(replace(batch, x=batch.x + drawn), player, rng, shared)


def test_methods_that_draw_or_couple_rows_are_exempt_from_being_cut() -> None:
    check_accumulation(Noisy(), BATCH, toy.parts(BATCH, 1, 4, 3))
    check_accumulation(toy.Contrast(), BATCH, toy.parts(BATCH, 1, 4, 3))


class Moody(toy.Regression):
    """Trains on something else than it is judged by."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss._replace(total=loss.total * (0.9 if self.training else 1.0))


class Normalising(toy.Regression):
    """Batch statistics in training, remembered ones in evaluation."""

    def __init__(self) -> None:
        super().__init__(dropout=0.0)
        self.net = nn.Sequential(nn.Flatten(0, 1), nn.BatchNorm1d(toy.WIDTH), nn.Linear(toy.WIDTH, 1))

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        total = (self.net(batch.x) ** 2).mean()
        return Loss(total, {}, total.new_tensor(batch.x.numel()))


class Graded(toy.Regression):
    """A shortcut where nobody asks for gradients; its loss is right, a term of it is not."""

    def loss(self, batch: toy.Batch, player: str, rng: Key, shared: Any) -> Loss:
        loss = super().loss(batch, player, rng, shared)
        return loss if torch.is_grad_enabled() else loss._replace(terms={"distance": loss.total})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Moody, "'model': the loss is another one in evaluation mode"),
        (Normalising, "'model': the loss is another one in evaluation mode"),
        (Graded, "'model': the term distance is another one without gradients"),
    ],
)
def test_evaluations_of_something_else_are_found(kind: type[Objective], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_evaluation(kind(), BATCH)


def test_dropout_is_no_other_loss() -> None:
    check_evaluation(toy.Regression(dropout=0.5), BATCH)
