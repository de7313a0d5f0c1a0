"""The laws of models as library code, to be run over every registered one: those of the contract that it keeps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqgen.models.aligner import Aligner
from seqgen.models.conditional_density import ConditionalDensity
from seqgen.models.critic import Critic
from seqgen.models.discriminator import SequenceDiscriminator
from seqgen.models.encoder import Encoder
from seqgen.models.matrix_completion import EXAMPLE_SHAPE, MatrixCompletion
from seqgen.models.observed_matrix import ObservedMatrix
from seqgen.noise import Key
from seqgen.stream import verify as streams
from seqgen.stream.contract import Streamable

_TOLERANCE = 1e-5


def verify(model: nn.Module) -> None:
    """Every law of a model.

    Raises:
        AssertionError: naming the law that does not hold, or for a model that keeps no contract.
    """
    if isinstance(model, Streamable):
        streams.verify(model, length=30)
        return
    if isinstance(model, Encoder):
        check_columns(model)
        return
    if isinstance(model, SequenceDiscriminator):
        check_logits(model)
        return
    if isinstance(model, MatrixCompletion):
        check_entries(model)
        return
    if isinstance(model, Aligner):
        check_scores_of_tokens(model)
        return
    known = "neither a Streamable, an Encoder, an Aligner, a SequenceDiscriminator, a MatrixCompletion nor a Critic"
    assert isinstance(model, Critic), f"{type(model).__name__} is {known}"
    check_scores(model)
    if isinstance(model, ConditionalDensity):
        check_mass(model)


def check_columns(encoder: Encoder) -> None:
    """Law of columns: a row's are those that it has alone, whatever its padding; behind its end they are zeros; and its
    symbols matter."""
    generator, down = torch.Generator().manual_seed(0), encoder.down
    if encoder.vocab_size:
        symbols = torch.randint(encoder.vocab_size, (3, 12), generator=generator)
        other = (symbols + 1) % encoder.vocab_size
    else:
        symbols = torch.randn(3, 12, 1, generator=generator)
        other = symbols + 1
    lengths = torch.tensor([12, 1, 7])
    with torch.no_grad():
        columns, count = encoder(symbols, lengths), -(-12 // down)
        shape = (3, count, encoder.out_dim)
        assert columns.shape == shape, f"12 elements of 3 rows have columns {list(columns.shape)}, not {list(shape)}"
        for row, length in enumerate(lengths.tolist()):
            last = -(-length // down)
            assert not columns[row, last:].any(), f"row {row} has columns behind its end"
            alone = encoder(symbols[row : row + 1, :length], lengths[row : row + 1])[0]
            near = torch.allclose(alone, columns[row, :last], rtol=_TOLERANCE, atol=_TOLERANCE)
            assert near, f"row {row} has other columns where it is alone, without padding"
        within = (torch.arange(12)[None] < lengths[:, None]).view(3, 12, *[1] * (symbols.dim() - 2))
        padded = torch.where(within, symbols, other)
        assert torch.equal(encoder(padded, lengths), columns), "columns depend on what the padding holds"
        assert not torch.allclose(encoder(other, lengths), columns), "columns do not depend on the symbols"


def check_scores_of_tokens(aligner: Aligner) -> None:
    """Law of rows: scores of a row's frames and tokens are finite, and those that it has alone, whatever its padding;
    and frames and tokens matter."""
    generator, dtype = torch.Generator().manual_seed(0), next(aligner.parameters()).dtype
    frames = torch.randn(3, 12, aligner.in_dim, generator=generator, dtype=dtype)
    tokens = torch.randint(aligner.vocab_size, (3, 6), generator=generator)
    lengths, counts = torch.tensor([12, 2, 7]), torch.tensor([6, 1, 4])
    others = frames.flip(-1), (tokens + 1) % aligner.vocab_size
    with torch.no_grad():
        scores = aligner(frames, lengths, tokens, counts)
        assert scores.shape == (3, 12, 6), f"scores of 12 frames and 6 tokens are {list(scores.shape)}, not [3, 12, 6]"
        for row, (length, count) in enumerate(zip(lengths.tolist(), counts.tolist(), strict=True)):
            own, one = scores[row, :length, :count], slice(row, row + 1)
            assert bool(own.isfinite().all()), f"row {row}: a score is not finite"
            alone = aligner(frames[one, :length], lengths[one], tokens[one, :count], counts[one])[0]
            near = torch.allclose(alone, own, rtol=_TOLERANCE, atol=_TOLERANCE)
            assert near, f"row {row} has other scores where it is alone, without padding"
        within = torch.arange(12)[None] < lengths[:, None], torch.arange(6)[None] < counts[:, None]
        padded = torch.where(within[0][..., None], frames, others[0]), torch.where(within[1], tokens, others[1])
        again, kept = aligner(padded[0], lengths, padded[1], counts), within[0][:, :, None] & within[1][:, None]
        assert torch.equal(again[kept], scores[kept]), "scores depend on what the padding holds"
        for given, name in ((aligner(others[0], lengths, tokens, counts), "frames"),
                            (aligner(frames, lengths, others[1], counts), "tokens")):  # fmt: skip
            assert not torch.allclose(given[kept], scores[kept]), f"scores do not depend on the {name}"


def check_logits(discriminator: SequenceDiscriminator) -> None:
    """Law of sequences: a row's logit is the one that it has alone, whatever its padding; and all of it matters."""
    generator, dtype = torch.Generator().manual_seed(0), next(discriminator.parameters()).dtype
    x = torch.randn(3, 12, discriminator.in_dim, generator=generator, dtype=dtype)
    lengths = torch.tensor([12, 1, 7])
    with torch.no_grad():
        logits = discriminator(x, lengths)
        assert logits.shape == (3,), f"3 rows have logits {list(logits.shape)}, expected [3]"
        for row, length in enumerate(lengths.tolist()):
            alone = discriminator(x[row : row + 1, :length], lengths[row : row + 1])
            near = torch.allclose(alone, logits[row : row + 1], rtol=_TOLERANCE, atol=_TOLERANCE)
            assert near, f"row {row} has another logit where it is alone, without padding"
            for place in range(length):
                other = x.clone()
                other[row, place] += 1
                moved = discriminator(other, lengths)[row] != logits[row]
                assert moved, f"element {place} of row {row} does not matter"
        padded = torch.where(torch.arange(12)[None, :, None] < lengths[:, None, None], x, x + 1)
        assert torch.equal(discriminator(padded, lengths), logits), "logits depend on what the padding holds"


def check_scores(critic: Critic) -> None:
    """Law of pairings: ``F[i, j]`` is the score of x_j with y_i as if there were no others; a row for each y, a column
    for each x; both matter; and pairs alone score what they score among others."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, critic.x_dim, generator=generator), torch.randn(4, critic.y_dim, generator=generator)
    with torch.no_grad():
        scores = critic(x, y)
        assert scores.shape == (4, 3), f"4 y and 3 x give scores {list(scores.shape)}, expected [4, 3]"
        for i in range(4):
            for j in range(3):
                alone = critic(x[j : j + 1], y[i : i + 1])[0, 0]
                near = torch.allclose(alone, scores[i, j], rtol=_TOLERANCE, atol=_TOLERANCE)
                assert near, f"F[{i}, {j}] is {float(scores[i, j])}, of the pair alone {float(alone)}"
        alone, among = critic.paired(x, y[:3]), scores[:3].diagonal()
        near = alone.shape == among.shape and torch.allclose(alone, among, rtol=_TOLERANCE, atol=_TOLERANCE)
        assert near, f"pairs alone score {alone.tolist()}, among others {among.tolist()}"
    assert float(scores.std(dim=0).min()) > 0, "the scores do not depend on y"
    assert float(scores.std(dim=1).min()) > 0, "the scores do not depend on x"


def check_mass(density: ConditionalDensity) -> None:
    """Law of mass: given any x, the density of y has the mass 1, by a sum over a grid of two dimensions; and what is
    known has nothing to learn."""
    assert density.y_dim == 2, f"examples of densities have 2 dimensions of y, not {density.y_dim}"
    x = torch.randn(3, density.x_dim, generator=torch.Generator().manual_seed(0))
    edge, step = 20.0, 0.1
    line = torch.arange(-edge, edge, step)
    with torch.no_grad():
        mass = density(x, torch.cartesian_prod(line, line)).double().exp().sum(dim=0) * step**2  # [J]
    assert torch.allclose(mass, torch.ones_like(mass), atol=1e-3), f"the mass of y is {mass.tolist()}, given each x"
    learnt = any(parameter.requires_grad for parameter in density.parameters())
    assert not (density.known and learnt), "a known density has weights to learn"


def check_entries(model: MatrixCompletion) -> None:
    """Law of entries: each is predicted as if alone, and to the bit the same whatever is observed of itself; its user
    and its item matter; and of a new user what it has rated, if it has."""
    (users, items), key = EXAMPLE_SHAPE, Key(0, 0)
    place = torch.arange(users * items)
    user, item = place // items, place % items
    value = torch.randn(len(place), generator=torch.Generator().manual_seed(0))
    few = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 3])

    def matrix(values: Tensor, new: Tensor) -> ObservedMatrix:
        seen = place % 7 != 3
        observed = ObservedMatrix.of(user[seen], item[seen], values[seen], EXAMPLE_SHAPE)
        return observed.with_users(*few, new, count=2)

    observed = matrix(value, torch.ones(3))
    model.eval()
    with torch.no_grad():
        for predict in (model.predictions, model.estimates):
            together = predict(user, item, observed, key)
            assert together.shape == place.shape, f"{len(place)} entries have predictions {list(together.shape)}"
            for one in range(0, len(place), 7):
                alone = predict(user[one : one + 1], item[one : one + 1], observed, key)
                near = torch.allclose(alone, together[one : one + 1], rtol=_TOLERANCE, atol=_TOLERANCE)
                assert near, f"entry {one} is {float(together[one])}, of the entry alone {float(alone)}"
                other = matrix(torch.where(place == one, value + 1, value), torch.ones(3))
                same = torch.equal(predict(user, item, other, key)[one], together[one])
                assert same, f"the prediction of entry {one} depends on what is observed of it"
            spread = together.view(users, items)
            assert float(spread.std(dim=0).max()) > 0, "predictions do not depend on the user"
            assert float(spread.std(dim=1).max()) > 0, "predictions do not depend on the item"
            fresh, asked = torch.full((items,), users), torch.arange(items)
            rated, unrated = (predict(fresh + number, asked, observed, key) for number in (0, 1))
            assert bool(unrated.isfinite().all()), f"a new user without ratings has predictions {unrated.tolist()}"
            moved = predict(fresh, asked, matrix(value, -torch.ones(3)), key)
            assert not torch.allclose(moved, rated), "what a new user has rated does not matter"
