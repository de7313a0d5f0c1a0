"""``seqgen information``: what two files of vectors tell of each other, by a critic that is trained on part of them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import completion, registry

if TYPE_CHECKING:  # torch is imported when a command runs, so that help and refusals come at once
    from seqgen.estimators.contract import Estimator
    from seqgen.tasks.contract import System
    from seqgen.tasks.run import RunConfig
    from seqgen.tasks.table import Table

_HELP = """\
Mutual information of vectors whose rows belong together, in nats: a critic is trained on half of the pairs, and on
35 % that it never saw a bound is taken, with its 95 % interval over batches. The other 15 % choose the checkpoint.
Pairs must be independent of each other (frames of one recording are not).

  seqgen information x.npy y.npy                                   # the interpolated bound with alpha 0.01
  seqgen information x.npy y.npy --bound infonce --batch 256       # steady, at most ln 256 = 5.5 nats
  seqgen information x.npy y.npy --bound alpha:0.1                 # the same as interpolated:alpha=0.1
  seqgen information x.npy y.npy --bound leave-one-out --plain --critic NAME:gain=0.8,noise=0.6
  seqgen information x.npy y.npy --out exp/mine --set players.critic.learning_rate=1e-4

A bound or a critic is NAME, or NAME:OPTION=VALUE,OPTION=VALUE; of a bound with one option NAME:VALUE. `seqgen info`
lists them. What the critic leaves out of account is missing from a lower bound; the longer it is trained, and the more
pairs there are, the nearer it comes. Numbers are decided by --seed on one machine.
"""
_ALPHA = "alpha"  # the interpolated bound by the letter of its option
_SOURCE = Path(__file__).parents[1] / "tasks" / "pairs" / "information.yaml"
_KINDS = {
    "lower bound": "a lower bound in the mean over batches: there is as much, or more",
    "upper bound": "an upper bound in the mean over batches: there is as much, or less",
    "neither": "no bound: there may be more or less, and the fewer pairs a batch has the less is known",
}


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("information", help="mutual information", description=_HELP, formatter_class=raw)
    command.add_argument("x", type=Path, help=".npy or .npz file of vectors [rows, dimensions]")
    command.add_argument("y", type=Path, help="the same, whose rows belong to those of x")
    bound = command.add_argument("--bound", default=f"{_ALPHA}:0.01", metavar="NAME[:…]", help="(alpha:0.01)")
    completion.offer(bound, registry.ESTIMATORS)
    command.add_argument("--critic", default="", metavar="NAME[:…]", help="(two perceptrons and a scalar product)")
    command.add_argument("--steps", type=int, default=2000, help="of training (2000)")
    command.add_argument("--batch", type=int, default=64, metavar="K", help="pairs of a batch (64)")
    command.add_argument("--plain", action="store_true", help="vectors as they are (default: standardised)")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="as of `train`")
    command.add_argument("--out", type=Path, metavar="DIR", help="keep the experiment")
    command.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_information)


def run_information(given: argparse.Namespace) -> int:
    """Train a critic and print what it finds; 130 when interrupted."""
    from seqgen.cli.train import trained
    from seqgen.files.outputs import require_writable, write_text
    from seqgen.tasks import experiment
    from seqgen.tasks.contract import Evaluation

    began = time.perf_counter()
    if given.report is not None:
        require_writable(given.report)
    config = _run(given)
    task = experiment.task_of(config, source="seqgen information")
    system = experiment.build(task, source="seqgen information")
    bound = _bound(system, given.plain)
    with ExitStack() as stack:
        if _learns(system):
            out = given.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seqgen-information-")))
            outcome = trained(config, out, source="seqgen information", device=given.device)
            if outcome.status == "interrupted":
                return 130
            system = experiment.Experiment.open(out).load()
        table = _told(task.evaluate(system, Evaluation(seed=given.seed)), bound)
    result = {"x": str(given.x), "y": str(given.y), "bound": given.bound, **table.plain()}
    result |= {"seconds": time.perf_counter() - began}
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n" if given.json else table.text())
    if given.report is not None:
        write_text(given.report, json.dumps(result, indent=1, allow_nan=False) + "\n")
    return 0


def _run(given: argparse.Namespace) -> RunConfig:
    """The run that the command line asks for."""
    from seqgen.tasks import run
    from seqgen.tasks.pairs.arrays import read

    pairs = read(given.x, given.y)
    dimensions = {"x_dim": pairs.x.shape[1], "y_dim": pairs.y.shape[1]}
    settings = [
        f"task.x={json.dumps(str(given.x))}",
        f"task.y={json.dumps(str(given.y))}",
        f"task.standardise={json.dumps(not given.plain)}",
        f"objective.bound={_component(_in_full(given.bound))}",
        f"train.steps={given.steps}",
        f"train.batch_size={given.batch}",
        f"train.seed={given.seed}",
        *([f"networks.critic={_component(given.critic)}"] if given.critic else []),
        *(f"networks.critic.{name}={value}" for name, value in dimensions.items()),
        *given.set,
    ]
    config = run.load(_SOURCE, settings)
    _require_batches(config, len(pairs.x))
    return config


def _in_full(bound: str) -> str:
    """A bound with the name of its option, where it has one alone: ``alpha:0.1`` is ``interpolated:alpha=0.1``."""
    name, _, options = bound.partition(":")
    if name == _ALPHA:
        name = "interpolated"
    if options and "=" not in options and name in registry.ESTIMATORS:
        fields = dataclasses.fields(registry.ESTIMATORS.load(name).Config)
        if len(fields) == 1:
            options = f"{fields[0].name}={options}"
    return f"{name}:{options}" if options else name


def _component(text: str) -> str:
    """``NAME:OPTION=VALUE,…`` as the section of a YAML file.

    Raises:
        SeqgenError: for options without a name or a value.
    """
    from seqgen.errors import SeqgenError

    name, _, options = text.partition(":")
    pairs = [one.partition("=") for one in options.split(",")] if options else []
    if not name or not all(key and value for key, _, value in pairs):
        raise SeqgenError(f"cannot read '{text}'", remedy="write NAME, or NAME:OPTION=VALUE,OPTION=VALUE")
    return "{" + ", ".join([f"name: {json.dumps(name)}", *(f"{key}: {value}" for key, _, value in pairs)]) + "}"


def _require_batches(config: RunConfig, count: int) -> None:
    """Refuse a batch that the held-out pairs cannot fill."""
    from seqgen.errors import SeqgenError

    size, (valid, test) = config.train.batch_size, config.task.options["split"]
    if size < 2:
        raise SeqgenError(f"--batch {size}", remedy="give 2 or more: pairs are told from each other")
    least = int(count * min(valid, test, 1 - valid - test))
    if size > least:
        remedy = f"give --batch {least} or less, or more pairs" if least > 1 else "give more pairs"
        raise SeqgenError(
            f"--batch {size} with {count:,} pairs, of which {least:,} choose the checkpoint", remedy=remedy
        )


def _bound(system: System, plain: bool) -> Estimator:
    """The estimator that a run trains by.

    Raises:
        SeqgenError: for one that is told of densities, where vectors are not as they were told.
    """
    from seqgen.errors import SeqgenError

    bound: Estimator = system.objective.bound  # type: ignore[union-attr,assignment]  # of the run's own YAML file
    if bound.takes != "any" and not plain:
        raise SeqgenError(
            f"the bound takes a {bound.takes} of y, and standardised vectors have another",
            remedy="give --plain, which leaves them as they are",
        )
    return bound


def _learns(system: System) -> bool:
    """Test for a system to have anything to train: a density that is known has nothing."""
    return any(one.requires_grad for network in system.networks.values() for one in network.parameters())


def _told(table: Table, bound: Estimator) -> Table:
    """The table with what kind of number it holds."""
    lines = [_KINDS[bound.kind]]
    if bound.kind != "upper bound" and table.figures["information"].value < 0:
        lines.append("warning: below 0, where no information is: the critic knows nothing of pairs that it never saw")
    return dataclasses.replace(table, lines=(*table.lines, *lines), further={**table.further, "kind": bound.kind})
