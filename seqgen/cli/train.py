"""``seqgen train``: one YAML file, one run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen.cli.evaluate import REPORT, evaluated

if TYPE_CHECKING:  # torch is imported when a command runs, so that help and refusals come at once
    from seqgen.objectives.contract import Objective
    from seqgen.tasks.contract import Task
    from seqgen.tasks.experiment import Experiment
    from seqgen.tasks.run import RunConfig
    from seqgen.train.loop import Outcome

_HELP = """\
Train the run that a YAML file describes.

  seqgen train egs/demo/conf/voice.yaml --out exp/demo
  seqgen train conf.yaml --out exp/a --set train.steps=2000 train.seed=7     # recorded in exp/a/config.yaml
  seqgen train conf.yaml --out exp/a --resume                                    # exactly as if never stopped
  seqgen train conf.yaml --out exp/b --init-from exp/a                           # fine-tune: weights only
  seqgen train conf.yaml --out exp/a --evaluate                                  # then what `seqgen eval exp/a` says

Ctrl-C, SIGTERM or a closed terminal finish the step, write a checkpoint and exit with status 130. Watch with
`tensorboard --logdir exp`.

--resume takes what changes no number: more steps (unless a cosine schedule ends with them), train.patience, keep,
workers, log_every and checkpoint_every, name, licence, the test set, and data that were moved; anything else is refused
by its key and both values. --init-from wants the same networks, symbols and features. A value of --set is taken whole,
also with # and ': ' in it; one that begins with [, {, ' or " is YAML. One process at a time trains in a directory; what
a killed one left behind is noticed, and the next one takes over.
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "train", help="train a run", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("config", type=Path, help="YAML file of the run")
    command.add_argument("--out", type=Path, required=True, help="experiment directory")
    command.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", action="extend", help="override keys of the YAML"
    )
    command.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out")
    command.add_argument(
        "--init-from", type=Path, metavar="PATH", help="start from the weights of this experiment or checkpoint"
    )
    command.add_argument("--evaluate", action="store_true", help="evaluate what was trained, as `seqgen eval` does")
    command.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="to compute with (default: OMP_NUM_THREADS, else as many as cores are free; --resume: as before)",
    )
    command.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    command.set_defaults(run=run_train)


def run_train(given: argparse.Namespace) -> int:
    """Train; 0 when finished, 130 when interrupted with a checkpoint written."""
    from seqgen.tasks import run
    from seqgen.tasks.contract import Evaluation

    config = run.load(given.config, given.set)
    outcome = trained(
        config,
        given.out,
        source=str(given.config),
        resume=given.resume,
        init_from=given.init_from,
        device=given.device,
        threads=given.threads,
    )
    if outcome.status == "interrupted":
        return 130
    if given.evaluate and os.environ.get("RANK", "0") == "0":  # one of the processes that trained is enough
        sys.stdout.write(evaluated(given.out, Evaluation(), given.out / REPORT)[0])
    return 0


def trained(
    config: RunConfig,
    out: Path,
    *,
    source: str,
    resume: bool = False,
    init_from: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Outcome:
    """Train a run in an experiment directory, and say on standard error what is trained and how it went.

    Args:
        config: the run. out: the experiment directory. source: name of the configuration in messages.
        resume, init_from, device: see :func:`seqgen.train.loop.train`. threads: see
            :func:`seqgen.train.threads.choose`.
    """
    from seqgen.tasks import experiment
    from seqgen.train import memory
    from seqgen.train.checkpoint import Checkpoints
    from seqgen.train.loop import Recipe, train
    from seqgen.train.threads import choose

    memory.keep_freed_pages()
    computing = choose(Checkpoints(out).threads() if threads is None and resume else threads)
    task = experiment.task_of(config, source=source)
    task.require_sensible()
    system = experiment.build(task, source=source)  # a wrong option is found before anything is written
    assert system.objective is not None
    learnt_from = task.data() | experiment.pretrained_digests(system, config)
    here = experiment.Experiment(out, config, task.facts, learnt_from)
    if resume:
        _require_same(here)
    training, validation = (task.source(split, system.networks) for split in ("train", "valid"))
    sys.stderr.write(_summary(here, task, system.objective) + f"{computing}\n")
    sys.stderr.write("".join(f"warning: {line}\n" for line in task.warnings(system.networks)))
    outcome = train(
        system.objective,
        Recipe(config.train, config.players, config.sparsity, config.quantization),
        out=out,
        source=training,
        validation=validation,
        identity=here.identity(),
        resume=resume,
        init_from=init_from,
        device=device,
        on_validate=lambda _, report, step: task.previews(system, report, step),
        prepare=lambda: _begin(here, resume),
    )
    best, name = outcome.best, system.objective.monitor
    told = f"; best validation {name} {best.value:.4f} at step {best.step}" if best else ""
    sys.stderr.write(f"{outcome.status} at step {outcome.step}{told}\n")
    return outcome


def _begin(here: Experiment, resume: bool) -> None:
    """Write what the run is; one that goes on is first compared with what is there."""
    from seqgen.tasks.experiment import CONFIG

    if resume and (here.directory / CONFIG).is_file():
        _require_same(here)
        here.record()
    else:
        here.create(here.directory, here.run, here.facts, here.data)


def _require_same(here: Experiment) -> None:
    from seqgen.tasks.experiment import Experiment
    from seqgen.train.identity import require_same_run

    require_same_run(Experiment.open(here.directory).identity(), here.directory, expected=here.identity())


def _summary(experiment: Experiment, task: Task, objective: Objective) -> str:
    from seqgen import config

    parameters = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    features = f", features {experiment.facts.signature}" if experiment.facts.signature else ""
    return (
        f"{experiment.run.name}: {parameters:,} parameters, {task.describe()}, "
        f"config {config.digest(experiment.run)}{features}\n"
    )
