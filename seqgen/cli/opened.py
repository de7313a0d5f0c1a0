"""The argument of the verbs: an experiment or a bundle, opened with the task of its run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqgen.errors import SeqgenError

if TYPE_CHECKING:  # torch is imported when a command runs, so that help and refusals come at once
    from seqgen.tasks.contract import System, Task


def opened(path: Path, runtime: str = "", *, objective: bool = True) -> tuple[Task, System]:
    """The task and the trained system of an experiment (its best checkpoint), or of a bundle through a runtime.

    Without ``objective`` an experiment is opened as its trained networks alone: those of other runs need not be at
    hand, and a runtime may execute what is exported of it.

    Raises:
        SeqgenError: for a path that is neither, and for a runtime asked of an experiment with its objective.
    """
    from seqgen.bundle import Bundle, is_bundle
    from seqgen.tasks import experiment, run
    from seqgen.tasks.bundles import facts_of

    if is_bundle(path) or not (path / experiment.CONFIG).is_file():
        bundle = Bundle.open(path)
        source = bundle.path(bundle.manifest.settings)
        task = experiment.task_of(run.load(source), facts_of(bundle), source=str(source))
        return task, task.open_bundle(bundle, runtime)
    if runtime and objective:
        raise SeqgenError(
            f"--runtime {runtime} for an experiment, which torch runs", remedy="export it, and give the bundle"
        )
    found = experiment.Experiment.open(path)
    return found.task(), found.load() if objective else found.exported()
