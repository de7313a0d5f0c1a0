"""The laws of every contract over every registered class: a new row of a table is under them without a test of its own.

A class says by ``examples`` what small instances of it are; what holds of them is library code (``verify`` beside each
contract). A member of each kind that is broken on purpose shows that its laws can fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import seqgen.distributions.verify
import seqgen.estimators.verify
import seqgen.flows.verify
import seqgen.generation.verify
import seqgen.latents.verify
import seqgen.models.verify
import seqgen.objectives.verify
import seqgen.optim.verify
import seqgen.tasks.processes.finite_verify
import seqgen.tasks.verify
import seqgen.text.verify
import seqgen.train.verify
from seqgen import registry
from seqgen.flows.affine import AffineStream
from seqgen.latents.examples import fitting
from seqgen.registry import Registry
from seqgen.stream import verify as streams
from seqgen.stream.contract import Streamable
from seqgen.train.batch import rows, to_device
from tests.contracts import broken, broken_latents

Kind = type[Any]


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Fresh weights are the same in every run of a test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def uneven(module: nn.Module) -> nn.Module:
    """The module with weights that are nowhere zero, which would hide what they break."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator).to(parameter))
    return module


def models(kind: Kind, scratch: Path) -> None:
    for dtype in (torch.float32, torch.float64):
        for model in kind.examples():
            seqgen.models.verify.verify(uneven(model.to(dtype) if isinstance(model, Streamable) else model))


def flows(kind: Kind, scratch: Path) -> None:
    for flow in kind.examples():
        seqgen.flows.verify.verify(uneven(flow.double()))  # type: ignore[arg-type]  # a bijector that is a module
    for flow in kind.examples() if issubclass(kind, Streamable) else ():
        streams.verify(uneven(flow), length=30)  # type: ignore[arg-type]


def distributions(kind: Kind, scratch: Path) -> None:
    for distribution in kind.examples():
        seqgen.distributions.verify.verify(distribution)


def densities(kind: Kind, scratch: Path) -> None:
    for example in kind.examples():
        seqgen.generation.verify.verify(example)


def objectives(kind: Kind, scratch: Path) -> None:
    for objective, single in kind.examples():
        batch = to_device(single, torch.device("cpu"), torch.float64)  # where rounding is no excuse
        seqgen.objectives.verify.verify(objective.double(), batch, [rows(batch, part, 2) for part in range(2)])
    objective, batch = next(iter(kind.examples()))
    seqgen.train.verify.check_resume(objective, batch, scratch)


def optimisers(kind: Kind, scratch: Path) -> None:
    for optimiser in kind.examples():
        seqgen.optim.verify.verify(optimiser)


def estimators(kind: Kind, scratch: Path) -> None:
    for estimator in kind.examples():
        seqgen.estimators.verify.verify(estimator)


def tasks(kind: Kind, scratch: Path) -> None:
    for index, example in enumerate(kind.examples(scratch)):
        folder = scratch / f"made-{index}"
        folder.mkdir()
        seqgen.tasks.verify.verify(example, folder)


def tokenizers(kind: Kind, scratch: Path) -> None:
    for tokenizer in kind.examples():
        seqgen.text.verify.verify(tokenizer)


def targets(kind: Kind, scratch: Path) -> None:
    for target in kind.examples():
        seqgen.tasks.processes.finite_verify.verify(target)


def posteriors(kind: Kind, scratch: Path) -> None:
    for posterior in kind.examples():
        for prior in fitting(posterior):
            seqgen.latents.verify.verify_posterior(uneven(posterior), uneven(prior))


def priors(kind: Kind, scratch: Path) -> None:
    for prior in kind.examples():
        seqgen.latents.verify.verify_prior(uneven(prior))


LAWS: Mapping[str, tuple[Registry, Callable[[Kind, Path], None]]] = {
    "model": (registry.MODELS, models),
    "conditioner": (registry.CONDITIONERS, models),
    "flow": (registry.FLOWS, flows),
    "distribution": (registry.DISTRIBUTIONS, distributions),
    "density": (registry.DENSITIES, densities),
    "objective": (registry.OBJECTIVES, objectives),
    "optimiser": (registry.OPTIMISERS, optimisers),
    "estimator": (registry.ESTIMATORS, estimators),
    "posterior": (registry.POSTERIORS, posteriors),
    "prior": (registry.PRIORS, priors),
    "task": (registry.TASKS, tasks),
    "target": (registry.TARGETS, targets),
    "tokenizer": (registry.TOKENIZERS, tokenizers),
}
# Tables whose rows are held to what they do by tests of their own: conversions, downloads, who judges a sound, and what
# a bundle is run by.
OTHERS = {
    "codec",
    "corpus",
    "judge",
    "runtime",
    "symbol runtime",
    "encoder runtime",
    "speech codec runtime",
    "density exporter",
    "symbol exporter",
    "network exporter",
    # of these the task that draws from them gives an example each
    "vector process",
    # of these the objective that trains latent-variable models gives an example each
    "latent model",
    "bound",
    "gradient",
    "rate",
}
ROWS = [(kind, name) for kind, (table, _) in LAWS.items() for name in table]


def test_every_table_is_under_laws() -> None:
    tables = {one.kind for one in vars(registry).values() if isinstance(one, Registry)}
    assert tables == set(LAWS) | OTHERS


@pytest.mark.parametrize(("kind", "name"), ROWS, ids=[f"{kind}-{name}" for kind, name in ROWS])
def test_laws(kind: str, name: str, tmp_path: Path) -> None:
    table, laws = LAWS[kind]
    registered = table.load(name)
    assert table.name_of(registered) == name
    laws(registered, tmp_path)


BROKEN: tuple[tuple[str, Kind, str], ...] = (
    ("model", broken.Foreseeing, "chunking"),
    ("model", broken.Transposed, r"4 y and 3 x give scores \[3, 4\]"),
    ("model", broken.Padded, "row 1 has columns behind its end"),
    ("model", broken.Endless, "row 1 has another logit where it is alone"),
    ("model", broken.Peeping, "the prediction of entry 0 depends on what is observed of it"),
    ("conditioner", broken.Foreseeing, "chunking"),
    ("flow", broken.Swollen, r"ln\|det\| is"),
    ("flow", broken.Astray, "away from z"),
    ("flow", broken.Absorbing, "two sequences become one"),
    ("distribution", broken.Unnormalised, "the mass of all values is"),
    ("distribution", broken.OffByOne, "away from the probabilities"),
    ("distribution", broken.Feverish, r"at temperatures \(0.0, 1.0\) the spread is"),
    ("distribution", broken.Distant, "the divergence is"),
    ("distribution", broken.Loud, "log-densities are"),
    ("density", broken.Shortcut, "without gradients a score is another one"),
    ("density", broken.Overconfident, "the mass of element 0's values is 1.01"),
    ("density", broken.Hot, "what is drawn first is"),
    ("density", broken.Skewed, "what is drawn is"),
    ("density", broken.Forgetful, "the samples are others"),
    ("density", broken.Drawn, "the same uniforms give another sequence"),
    ("objective", broken.Wasteful, r"no gradient reaches \['net.bias'\]"),
    ("objective", broken.Drifting, "resumed, "),
    ("optimiser", broken.Uphill, "the distances are"),
    ("optimiser", broken.Private, r"\['count'\], which are no tensors"),
    ("estimator", broken.Exaggerating, "more than the cap"),
    ("posterior", broken_latents.Frugal, "the rate in closed form is"),
    ("posterior", broken_latents.Overcommitted, "nats below the committed one"),
    ("posterior", broken_latents.Generous, "the shares of a row add up to"),
    ("posterior", broken_latents.Unmixed, "exact samples do not count alike"),
    ("posterior", broken_latents.Mistaken, "the decoder reads another code"),
    ("prior", broken_latents.Scattered, "of samples is"),
    ("prior", broken_latents.Restless, r"what is given changed \['last'\]"),
    ("prior", broken_latents.Dear, "the cross-entropy is"),
    ("tokenizer", broken.Simplified, "comes back as"),
    ("tokenizer", broken.Hurried, "cut at .* has other symbols"),
    ("target", broken.Lopsided, "what is drawn is"),
    ("task", broken.CutTexts, "3 examples|of 3|of 5"),
    ("task", broken.WanderingTexts, "batches 2 and 3, asked for by their numbers, are others"),
    ("task", broken.GreedyTexts, "process 1 of 2 has other rows"),
    ("task", broken.Growing, "read again the facts are"),
    ("task", broken.Hasty, "2 of 5 test examples are looked at"),
    ("task", broken.Moody, "a second evaluation gives"),
    ("task", broken.Varying, "the same recording has other vectors"),
    ("task", broken.Longer, "7 whole hops"),
    ("task", broken.Obliging, "a network of no vectors is taken for an extractor"),
)


@pytest.mark.parametrize(("kind", "member", "said"), BROKEN, ids=[f"{kind}-{one.__name__}" for kind, one, _ in BROKEN])
def test_a_broken_member_is_caught(
    kind: str, member: Kind, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a row of its table it would be."""
    table, laws = LAWS[kind]
    monkeypatch.setattr(table, "_table", {**table._table, "broken": f"{member.__module__}:{member.__name__}"})
    with pytest.raises(AssertionError, match=said):
        laws(table.load("broken"), tmp_path)


@pytest.mark.parametrize("kind", LAWS)
def test_a_member_of_each_kind_is_broken(kind: str) -> None:
    assert any(kind == other for other, _, _ in BROKEN)


def test_what_the_broken_members_are_made_of_keeps_the_laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    densities(broken.Broken, tmp_path)
    flow = next(iter(broken.Swollen.examples()))
    monkeypatch.setattr(broken.Swollen, "forward_and_log_det", AffineStream.forward_and_log_det)
    monkeypatch.setattr(broken.Swollen, "inverse_and_log_det", AffineStream.inverse_and_log_det)
    seqgen.flows.verify.verify(flow.double())
    monkeypatch.setattr(registry.TASKS, "_table", {"texts": f"{broken.__name__}:Texts"})
    tasks(broken.Texts, tmp_path)
