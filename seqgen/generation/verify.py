"""The laws of densities as library code, to be run over every registered one, in float64."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seqgen import noise
from seqgen.distributions.verify import evenly, real_line
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density, DensityExample, Generator
from seqgen.models.frames import with_speaker
from seqgen.stream.conditioning import Frames
from seqgen.stream.state import leaves

_TOLERANCE = 1e-9
_MASS, _FOLLOWS = 1e-5, 0.015
_DRAWS = 1 << 10
_MOST = 2000  # sequences that are gone through one by one
_BLOCK = 8  # samples, where a law cuts
_BLOCKS = 400  # draws for each block that there is


def verify(example: DensityExample) -> None:
    """Every law of a density, on a copy in float64.

    Raises:
        AssertionError: naming the law that does not hold.
    """
    example = _double(example)
    check_gradients(example)
    with torch.no_grad():
        check_rows(example)
        check_sampling(example)
        if example.density.length:
            check_blocks(example)
        else:
            check_mass(example)
            check_follows(example)
        if isinstance(example.density, Generator):
            check_stream(example)
            check_steps(example)


def check_gradients(example: DensityExample) -> None:
    """Law of one path: a score is the same with and without gradients, however it is cut into blocks."""
    density, x, cond = _cut(example.density), example.x, example.cond
    scored = density.log_prob(x, cond)
    with torch.no_grad():
        plain = density.log_prob(x, cond)
    trained = any(parameter.requires_grad for parameter in density.parameters())
    assert scored.requires_grad == trained, "with gradients a score has none"
    assert scored.shape == x.shape[:2], f"x {list(x.shape)} has scores {list(scored.shape)}"
    assert bool(scored.isfinite().all()), "a score is not finite"
    _require_close("without gradients a score is another one", plain, scored.detach())


def check_rows(example: DensityExample) -> None:
    """Law of rows: each is scored as if it were alone, twice the same; nothing that is given changes."""
    density, x, cond = example.density, example.x, example.cond
    kept, whole = x.clone(), density.log_prob(x, cond)
    assert torch.equal(density.log_prob(x, cond), whole), "the same sequences have other scores"
    for row in range(len(x)):
        alone = density.log_prob(x[row : row + 1], _taken(cond, [row]))
        _require_close(f"row {row} has another score where it is alone", alone, whole[row : row + 1])
    assert torch.equal(x, kept), "the sequences were changed"


def check_mass(example: DensityExample) -> None:
    """Law of mass: given all before an element, the probabilities of its values add up to 1; those of all sequences,
    where they are few, too. Of a density over real numbers its integral is 1."""
    density, per = example.density, example.density.symbols_per_sample
    points, weights = _values(example)
    x = example.x[:1, : 3 * per]
    for place in range(x.shape[1]):
        each = x.repeat(len(points), *[1] * (x.dim() - 1))
        each[:, place] = points.view(-1, *each.shape[2:])
        scores = density.log_prob(each, _taken(example.cond, [0] * len(points)))[:, place]
        mass = float((scores.exp() * weights).sum())
        assert abs(mass - 1) <= _MASS, f"the mass of element {place}'s values is {mass}"
    if example.values is not None and len(example.values) ** (2 * per) <= _MOST:
        every = torch.tensor(list(itertools.product(example.values.tolist(), repeat=2 * per)))
        every = every.to(example.x.dtype).view(-1, 2 * per, *example.x.shape[2:])
        mass = float(density.log_prob(every, _taken(example.cond, [0] * len(every))).sum(dim=1).exp().sum())
        assert abs(mass - 1) <= _MASS, f"the mass of all sequences of {2 * per} elements is {mass}"


def check_sampling(example: DensityExample) -> None:
    """Law of sampling: a sequence is a function of its uniforms, whatever torch's generator says and whoever stands
    beside it; other uniforms give another."""
    density, cond = example.density, example.cond
    u = _uniforms(density, len(example.x), example.x.shape[1])
    made = density.sample(u, cond)
    assert made.shape == example.x.shape[:2], f"sequences {list(made.shape)}, expected {list(example.x.shape[:2])}"
    same = made.is_floating_point() == example.x.is_floating_point()
    assert same, f"sequences are {made.dtype}, not {example.x.dtype}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        assert torch.equal(density.sample(u, cond), made), "the same uniforms give another sequence"
    for row in range(len(u)):
        alone = density.sample(u[row : row + 1], _taken(cond, [row]))
        _require_close(f"row {row} is another sequence where it is alone", alone, made[row : row + 1])
    assert not torch.equal(density.sample(1 - u, cond), made), "other uniforms give the same sequences"


def check_follows(example: DensityExample) -> None:
    """Law of what is drawn: the values of the first element are drawn as often as they are scored. Largest distance of
    the two distribution functions, over evenly spread uniforms; of real numbers inside [-1, 1], where samples are
    held."""
    density, per = example.density, example.density.symbols_per_sample
    u = _uniforms(density, 1, per).repeat(_DRAWS, 1, 1)
    u[:, 0] = evenly(_DRAWS, density.num_uniforms)
    drawn = density.sample(u, _taken(example.cond, [0] * _DRAWS))[:, 0].double().sort().values
    points, weights = _values(example)
    each = example.x[:1, :per].repeat(len(points), *[1] * (example.x.dim() - 1))
    each[:, 0] = points.view(-1, *each.shape[2:])
    mass = density.log_prob(each, _taken(example.cond, [0] * len(points)))[:, 0].exp() * weights
    below = mass.cumsum(dim=0) - (mass / 2 if example.values is None else 0)
    inside = points.abs() < 1 if example.values is None else torch.ones(len(points), dtype=torch.bool)
    found = torch.searchsorted(drawn, points.double() + 1e-9, right=True) / _DRAWS
    worst = float((found - below)[inside].abs().max())
    assert worst <= _FOLLOWS, f"what is drawn first is {worst:.4f} away from what is scored"


def check_blocks(example: DensityExample) -> None:
    """Law of blocks: the probabilities of all blocks add up to 1, and each is drawn as often as it is scored, by the
    total variation ``½ Σ |n/N - p|``; a block of another length is refused."""
    density, length = example.density, example.density.length
    assert example.values is not None, "blocks of real numbers cannot be gone through"
    every = torch.tensor(list(itertools.product(example.values.tolist(), repeat=length)))
    assert len(every) <= _MOST, f"{len(every)} blocks are too many to go through"
    p = density.log_prob(every, _taken(example.cond, [0] * len(every))).sum(dim=1).exp()
    assert abs(float(p.sum()) - 1) <= _MASS, f"the mass of all blocks is {float(p.sum())}"
    count = _BLOCKS * len(every)
    drawn = density.sample(_uniforms(density, count, length), _taken(example.cond, [0] * count))
    numbers = drawn @ len(example.values) ** torch.arange(length - 1, -1, -1)
    found = torch.bincount(numbers, minlength=len(every)) / count
    # The mean of |n/N - p| is at most √(p / N), and their sum at most √(blocks / N).
    apart = 0.5 * float((found - p).abs().sum())
    assert apart <= 0.5 / math.sqrt(_BLOCKS), f"what is drawn is {apart:.4f} away from what is scored"
    for other in (length - 1, length + 1):
        try:
            density.log_prob(every[:, :1].repeat(1, other))
        except SeqgenError:
            continue
        raise AssertionError(f"{other} elements are scored as a block of {length}")


def check_stream(example: DensityExample) -> None:
    """Law of streaming: chunks make the samples and the state that the whole makes, however a stream is cut."""
    generator = example.density
    assert isinstance(generator, Generator)
    u = _uniforms(generator, len(example.x), example.x.shape[1])
    given, features, _ = generator.aligned(u, example.cond)
    state = generator.init_state(len(u))
    whole, after = generator.generate(given, state, features)
    for cuts in ([1], [2, 3], list(range(1, 6))):
        pieces, current = [], generator.init_state(len(u))
        for frames, samples in _pieces(generator, features, given, cuts):
            part, current = generator.generate(samples, current, frames)
            pieces.append(part)
        _require_close(f"cut at {cuts} the samples are others", torch.cat(pieces, dim=1), whole)
        for (name, one), (_, other) in zip(leaves(current), leaves(after), strict=True):
            _require_close(f"cut at {cuts} the state {name} is another", one, other)


def check_steps(example: DensityExample) -> None:
    """Law of steps: read again, what was drawn has the distributions that it was drawn from: those of the whole in
    chunks too, and where they are judged in nats those that :meth:`log_prob` scores."""
    generator, per = example.density, example.density.symbols_per_sample
    assert isinstance(generator, Generator)
    ahead, rows = generator.ahead, len(example.x)
    u = _uniforms(generator, rows, example.x.shape[1] + ahead * per)
    drawn = generator.sample(u, example.cond)  # as many samples as are ahead beyond those that are read
    elements = generator.elements(u[:, : drawn.shape[1]], drawn)
    features = _features(generator, example.cond, drawn.shape[1] // per - ahead)
    params, _ = generator.step(elements, generator.init_state(rows), features)
    pieces, current = [], generator.init_state(rows)
    for frames, part in _pieces(generator, features, elements, [2, 3]):
        made, current = generator.step(part, current, frames)
        pieces.append(made)
    _require_close("in chunks the distributions are others", torch.cat(pieces, dim=1), params)
    judged = generator.judge(params, params, elements[:, : params.shape[1]])
    assert all(amount.shape == params.shape[:2] for amount in judged.values()), "a judgement is not one of each element"
    if "divergence" in judged:
        nothing = torch.zeros_like(params[..., 0])
        _require_close("distributions are apart from themselves", judged["divergence"], nothing)
    if "nats" in judged:
        scores = generator.log_prob(drawn[..., None] if drawn.is_floating_point() else drawn, example.cond)
        _require_close("steps and scores are not the same", -judged["nats"], scores[:, : params.shape[1]])


def _features(generator: Generator, cond: Frames | None, samples: int) -> Tensor | None:
    """The frames from which a fresh stream makes just so many samples."""
    if cond is None:
        return None
    assert generator.alignment.first_samples(generator.alignment.frames(samples)) == samples, "an odd example"
    frames = with_speaker(cond.features, cond.speaker, generator.speakers)
    return frames[:, : generator.alignment.frames(samples)]


def _pieces(
    generator: Generator, features: Tensor | None, given: Tensor, cuts: Sequence[int]
) -> list[tuple[Tensor | None, Tensor]]:
    """Frames and uniforms (or elements) of successive calls; cuts are at frames, without frames at samples."""
    per, ahead = generator.symbols_per_sample, generator.ahead
    if features is None:
        bounds = [0, *cuts, given.shape[1] // per - ahead]
        frames: list[Tensor | None] = [None] * (len(bounds) - 1)
    else:
        places = [0, *cuts, features.shape[1]]
        bounds = [generator.alignment.first_samples(place) for place in places]
        frames = [features[:, first:last] for first, last in itertools.pairwise(places)]
    parts = [given[:, first * per : (last + ahead) * per] for first, last in itertools.pairwise(bounds)]
    return list(zip(frames, parts, strict=True))


def _values(example: DensityExample) -> tuple[Tensor, Tensor]:
    """Values of an element, and their weights in a sum over all of them."""
    return real_line(16_001) if example.values is None else (example.values, torch.ones(len(example.values)))


def _uniforms(density: Density, rows: int, elements: int) -> Tensor:
    """Noise for so many elements, ``[rows, elements + those ahead, num_uniforms]`` float64."""
    ahead = density.ahead * density.symbols_per_sample if isinstance(density, Generator) else 0
    width = (elements + ahead) * density.num_uniforms
    u = torch.from_numpy(noise.block(1, 0, 0, rows * width)).double()
    return u.view(rows, elements + ahead, density.num_uniforms)


def _cut(density: Density) -> Density:
    """The density with blocks of a few samples, where it has blocks."""
    cut = copy.copy(density)
    if isinstance(cut, Generator):
        cut.block = _BLOCK
    return cut


def _double(example: DensityExample) -> DensityExample:
    def wide(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    density = copy.deepcopy(example.density).double().eval()
    return DensityExample(density, wide(example.x), _mapped(example.cond, wide), wide(example.values))


def _taken(cond: Any, rows: list[int]) -> Any:
    """The conditioning of these rows."""
    return _mapped(cond, lambda value: value[rows] if isinstance(value, Tensor) else value)


def _mapped(cond: Any, function: Any) -> Any:
    """A dataclass with a function applied to its fields; ``None`` stays."""
    if cond is None:
        return None
    changes = {field.name: function(getattr(cond, field.name)) for field in dataclasses.fields(cond)}
    return dataclasses.replace(cond, **changes)


def _require_close(law: str, got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape, f"{law}: shape {list(got.shape)}, expected {list(expected.shape)}"
    if got.numel():
        worst = float((got.double() - expected.double()).abs().max()) / max(1.0, float(expected.double().abs().max()))
        assert worst <= _TOLERANCE, f"{law}, by {worst:.2g}"
