"""Gaps of inference of a trained latent-variable model: over examples of a task, and a check by simulated ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seqgen import config as configs
from seqgen.analysis.auxiliary_flow import AuxiliaryFlow
from seqgen.analysis.inference_gaps import Effort, Gaps, joined, measure, sandwich
from seqgen.analysis.latent_posterior import EncodedFamily, LatentPosterior, require_continuous
from seqgen.analysis.unnormalised_posterior import uniforms
from seqgen.analysis.variational_family import FactorisedGaussian, FullGaussian, VariationalFamily
from seqgen.errors import SeqgenError
from seqgen.latents.variable import LatentVariable
from seqgen.noise import Key
from seqgen.tasks.contract import Split, System, Task
from seqgen.tasks.table import Figure, Table, ratio
from seqgen.train.batch import mapped

FAMILIES: Mapping[str, Callable[[Tensor, Tensor, Key], VariationalFamily]] = {
    "gaussian": lambda mean, log_variance, key: FactorisedGaussian(mean, log_variance),
    "full": lambda mean, log_variance, key: FullGaussian(mean, log_variance),
    "flow": lambda mean, log_variance, key: AuxiliaryFlow(mean, log_variance, key),
}
"""Families that best members are searched in, beside the encoder's own: from a mean, a log-variance and a key."""
OWN = "own"
_STREAMS, _PRIOR = 16, 12  # of a batch; the last of them are the prior's
_WEIGHTS, _SIMULATED = 1 << 32, 1 << 40


@dataclass(frozen=True)
class Measuring:
    """Options of a measurement.

    Attributes:
        examples: of each split. chains: of the annealing. families: searched beside the encoder's own.
        effort: how thoroughly. seed: of all noise. network: name of the latent-variable model ("": the only one).
    """

    examples: int = 100
    chains: int = 16
    families: tuple[str, ...] = tuple(FAMILIES)
    effort: Effort = dataclasses.field(default_factory=Effort)
    seed: int = 0
    network: str = ""


class _Examples(NamedTuple):
    """Some examples as a target of inference, what the encoder says of them, and their ids."""

    target: LatentPosterior
    encoder: EncodedFamily
    ids: tuple[str, ...]


def latent_model(system: System, name: str = "") -> LatentVariable:
    """The latent-variable model of a run, in evaluation mode.

    Raises:
        SeqgenError: where there is none of that name, several and none is named, or one of codes whose gaps cannot be
            measured.
    """
    found = {key: one for key, one in system.networks.items() if isinstance(one, LatentVariable)}
    if name not in found and (name or len(found) != 1):
        wrong = f"no latent-variable model '{name}'" if name else f"{len(found)} latent-variable models"
        known = f"--network {' or '.join(found)}" if found else "the run of one"
        raise SeqgenError(f"{system.directory or 'the run'}: {wrong}", remedy=f"name {known}")
    model = found[name] if name else next(iter(found.values()))
    require_continuous(model.posterior)
    return model.eval().requires_grad_(False)


def table(task: Task, system: System, split: Split, options: Measuring) -> Table:
    """Table of the gaps over the first examples of a split."""
    model, parts, ids = latent_model(system, options.network), [], []
    for index, some in enumerate(_examples(task, model, split, options)):
        stream = index * _STREAMS
        families = _families(some, options, stream)
        prior = some.target.prior(Key(options.seed, stream + _PRIOR), options.chains)
        key = Key(options.seed, stream)
        parts.append(measure(some.target, some.encoder, families, prior, key, options.effort))
        ids.extend(some.ids)
    gaps = joined(parts)
    values = _values(gaps)
    acceptance = float(gaps.annealed.acceptance.mean())
    return Table(
        title=f"{len(ids):,} examples of {split}, checkpoint {system.label}",
        figures={name: _figure(one) for name, one in values.items()},
        record={"config_digest": configs.digest(task.run), "checkpoint": system.label, "split": split},
        examples={name: dict(zip(ids, ((v, 1.0) for v in one.tolist()), strict=True)) for name, one in values.items()},
        further={"log_evidence_by": gaps.source, "acceptance": acceptance, "searches": _searches(parts)},
        lines=(f"log evidence by {_described(gaps.source, options)}; annealing took {acceptance:.0%} of its steps",),
    )


def check(task: Task, system: System, split: Split, options: Measuring) -> Table:
    """Table of what annealing finds on both sides of the evidence of examples that the model draws itself, as long as
    the first of a split."""
    model = latent_model(system, options.network)
    some = next(_examples(task, model, split, options))
    target, key = some.target, Key(options.seed, _SIMULATED)
    z = target.prior(Key(key.seed, key.stream + _PRIOR), 1 + options.chains)
    simulated = LatentPosterior(model, _drawn(target, z[0], key), target.setting)
    both = sandwich(simulated, z[0], z[1:], key, options.effort)
    return Table(
        title=f"{len(some.ids):,} examples drawn from the model, annealed from both sides",
        figures={
            "lower_bound": _figure(both.lower),
            "upper_bound": _figure(both.upper),
            "error_at_most": _figure(both.upper - both.lower),
        },
    )


def _examples(task: Task, model: LatentVariable, split: Split, options: Measuring) -> Iterator[_Examples]:
    left = options.examples
    for batch in task.source(split, {"model": model}).whole():
        batch = mapped(batch, lambda field: field[:left])  # noqa: B023  # called at once
        with torch.no_grad():
            params, setting = model.encoded(batch)
        encoder = EncodedFamily(model.posterior, params, setting)
        yield _Examples(LatentPosterior(model, batch, setting), encoder, batch.ids)
        left -= len(batch.ids)
        if left <= 0:
            return


def _families(some: _Examples, options: Measuring, stream: int) -> dict[str, VariationalFamily]:
    """Where the searches start: the encoder's own family at what it says, others at a standard normal distribution."""
    zeros = torch.zeros(some.target.shape).to(some.encoder.params)
    key = Key(options.seed, _WEIGHTS + stream)
    others = {name: FAMILIES[name](zeros, zeros, key) for name in options.families}
    return {OWN: some.encoder, **others}


@torch.no_grad()
def _drawn(target: LatentPosterior, z: Tensor, key: Key) -> Any:
    """The batch of a target, its elements being drawn given z ``[B, D]``."""
    batch, model = target.batch, target.model
    shape = (len(z), batch.x.shape[1], model.decoder.num_uniforms)
    u = uniforms(key, 0, shape, z)
    x = model.decoded(z.unflatten(-1, (-1, model.posterior.dim)), u, getattr(batch, "speaker", None))
    return dataclasses.replace(batch, x=x.view(batch.x.shape).to(batch.x))


def _values(gaps: Gaps) -> dict[str, Tensor]:
    """Every figure by example, in nats."""
    bounds = {f"evidence_by_{name}": one.bound for name, one in gaps.evidence.items()}
    best = {f"best_{name}_bound": one for name, one in gaps.optimal.items()}
    approximation = {f"approximation_gap_{name}": gaps.approximation(name) for name in gaps.optimal if name != OWN}
    return {
        "log_evidence": gaps.log_evidence,
        "encoder_bound": gaps.amortised,
        **best,
        "approximation_gap": gaps.approximation(OWN),
        "amortisation_gap": gaps.amortisation(OWN),
        "inference_gap": gaps.log_evidence - gaps.amortised,
        **approximation,
        **bounds,
    }


def _figure(values: Tensor) -> Figure:
    amounts = values.detach().double().numpy()
    return ratio(amounts, np.ones(len(amounts)), "nats")


def _searches(parts: list[Gaps]) -> dict[str, Any]:
    return {
        name: {
            "steps": [one.searches[name].steps for one in parts],
            "stopped": all(one.searches[name].stopped for one in parts),
        }
        for name in parts[0].searches
    }


def _described(source: str, options: Measuring) -> str:
    if source == "annealed":
        return f"annealing, {options.effort.temperatures:,} temperatures and {options.chains} chains"
    whose = "what the encoder says" if source == "encoder" else f"the best of the family '{source}'"
    return f"{options.effort.samples:,} weighted samples of {whose}"
