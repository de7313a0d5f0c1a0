"""``seqgen gaps``: why the bound of a latent-variable model is below the evidence of its data."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgen.tasks.gaps import Measuring

_HELP = """\
Gaps of inference of a latent-variable model of continuous codes, in nats of an example:

  inference gap  =  ln p(x) - L[q]   =  approximation gap  +  amortisation gap
                    ln p(x) - L[q*]  ,  L[q*] - L[q]

q is what the encoder says, q* the best of its own family for each example alone, found by gradients. The evidence
ln p(x) is the tightest of annealed importance sampling and of importance-weighted bounds. Best members of further
families tell what a better family would be worth with this decoder. Examples that the model draws itself have known
codes; annealing from both sides says how wrong it can be.

  seqgen gaps exp/vae --examples 100 --split train test
  seqgen gaps exp/vae --temperatures 10000 --chains 100 --families gaussian,full --report exp/vae/gaps.json
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("gaps", help="gaps of inference", description=_HELP, formatter_class=raw)
    command.add_argument("experiment", type=Path, metavar="EXP", help="of a latent-variable model")
    command.add_argument("--split", nargs="+", default=["test"], choices=["train", "valid", "test"])
    command.add_argument("--examples", type=int, default=100, metavar="N", help="the first N of each split (100)")
    command.add_argument("--samples", type=int, default=5000, metavar="K", help="of each bound (5000)")
    command.add_argument("--temperatures", type=int, default=1000, metavar="T", help="of the annealing (1000)")
    command.add_argument("--chains", type=int, default=16, metavar="C", help="annealed side by side (16)")
    command.add_argument("--leapfrog", type=int, default=10, metavar="STEPS", help="of each transition (10)")
    command.add_argument("--step-size", type=float, default=0.1, metavar="E", help="of a chain at first (0.1)")
    command.add_argument("--families", default="gaussian,full,flow", help="beside the encoder's own, or 'none'")
    command.add_argument("--search-rate", type=float, default=0.01, metavar="R", help="learning rate of Adam (0.01)")
    command.add_argument("--search-samples", type=int, default=16, metavar="S", help="of each example a step (16)")
    command.add_argument("--search-steps", type=int, default=5000, metavar="N", help="at most (5000)")
    command.add_argument("--network", default="", help="the model's name, where a run trains several")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the tables")
    command.set_defaults(run=run_gaps)


def run_gaps(given: argparse.Namespace) -> int:
    """Measure the gaps of each split, check the annealing, and print tables."""
    from seqgen.files.outputs import require_writable, write_text
    from seqgen.tasks import gaps
    from seqgen.tasks.experiment import Experiment

    began = time.perf_counter()
    options = _options(given)
    if given.report is not None:
        require_writable(given.report)
    found = Experiment.open(given.experiment)
    task, system = found.task(), found.exported()
    tables = {split: gaps.table(task, system, split, options) for split in given.split}
    tables["simulated"] = gaps.check(task, system, given.split[0], options)
    result: dict[str, Any] = {name: one.plain() for name, one in tables.items()}
    result |= {"experiment": str(given.experiment), "seconds": time.perf_counter() - began}
    plain = json.dumps(result, indent=1, allow_nan=False) + "\n"
    sys.stdout.write(plain if given.json else "\n".join(one.text() for one in tables.values()))
    if given.report is not None:
        write_text(given.report, plain)
    return 0


def _options(given: argparse.Namespace) -> Measuring:
    """Settings of the measurement that the command line asks for.

    Raises:
        SeqgenError: for an unknown family, and counts that are not positive.
    """
    from seqgen.analysis.hamiltonian import Hamiltonian
    from seqgen.analysis.inference_gaps import Effort
    from seqgen.analysis.local_inference import LocalOptimisation
    from seqgen.errors import SeqgenError
    from seqgen.tasks.gaps import FAMILIES, Measuring

    for name in ("examples", "samples", "temperatures", "chains"):
        if getattr(given, name) < 1:
            raise SeqgenError(f"--{name} {getattr(given, name)}", remedy="give 1 or more")
    families = [] if given.families == "none" else given.families.split(",")
    for name in families:
        if name not in FAMILIES:
            raise SeqgenError(f"--families: unknown family '{name}'", remedy=f"known: {', '.join(FAMILIES)}")
    local = LocalOptimisation(given.search_rate, given.search_samples, max_steps=given.search_steps)
    moves = Hamiltonian(given.leapfrog, given.step_size)
    effort = Effort(given.samples, given.temperatures, moves, local)
    return Measuring(given.examples, given.chains, tuple(families), effort, given.seed, given.network)
