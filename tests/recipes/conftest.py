"""Fixtures of the recipes' tests: how a recipe is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest


class Run(Protocol):
    """Run a script of ``egs`` in the checkout: what it said.

    Args:
        script: below ``egs``; a recipe stands for its ``run.sh``. options: words of the command line.
        status: what it has to end with. assigned: variables of its environment.
    """

    def __call__(
        self, script: str, *options: str | Path, status: int = 0, **assigned: str
    ) -> subprocess.CompletedProcess[str]: ...


class Tiny(Protocol):
    """Run the tiny form of a recipe of ``egs``, which must succeed: what it printed."""

    def __call__(self, recipe: str, out: Path, *options: str | Path, **assigned: str) -> str: ...


@pytest.fixture(scope="session")
def run(repository: Path) -> Run:
    """How scripts are run: with this environment's commands and one thread."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(script: str, *options: str | Path, status: int = 0, **assigned: str) -> subprocess.CompletedProcess[str]:
        file = script if script.endswith(".sh") else f"{script}/run.sh"
        command = ["bash", f"egs/{file}", *map(str, options)]
        environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | assigned
        made = subprocess.run(
            command, cwd=repository, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert made.returncode == status, made.stderr[-2000:]
        return made

    return run


@pytest.fixture(scope="session")
def tiny(run: Run) -> Tiny:
    """How tiny forms are run."""

    def tiny(recipe: str, out: Path, *options: str | Path, **assigned: str) -> str:
        return run(recipe, "--conf", f"egs/{recipe}/conf/tiny.yaml", "--out", out, *options, **assigned).stdout

    return tiny
