"""How many threads a training computes with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seqgen.cli.main import main
from seqgen.errors import SeqgenError
from seqgen.train import threads


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stat(*cores: tuple[int, int, int]) -> str:
    """What the system tells of cores that were so many ticks in programs, idle, and waiting for disks."""
    rows = [f"cpu{core} {used} 0 0 {idle} {waiting} 0 0 0 0 0" for core, (used, idle, waiting) in enumerate(cores)]
    return "\n".join(["cpu 9 9 9 9 9 9 9 9 9 9", *rows, "intr 1"])


class Told:
    """A file that says something else each time."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def read_text(self, **_: str) -> str:
        return self.texts.pop(0)


@pytest.mark.parametrize(
    ("used", "expected"),
    [((0, 0, 0, 0), 4), ((100, 0, 0, 0), 3), ((60, 60, 0, 10), 3), ((100, 100, 100, 100), 1), ((20, 0, 5, 0), 4)],
)
def test_what_others_use_is_not_free(used: tuple[int, ...], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    before = stat(*((50, 1000, 7) for _ in used), (0, 0, 0))
    after = stat(*((50 + busy, 1000 + 90 - busy, 17) for busy in used), (500, 0, 0))  # the fifth core is not granted
    assert threads.free(0.0, Told(before, after)) == expected  # type: ignore[arg-type]


def test_where_nothing_is_told_all_are_free(tmp_path: Path) -> None:
    assert threads.free(0.0, tmp_path / "stat") == threads.granted() >= 1


def test_a_number_that_is_given_counts_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads.choose(3) == "3 threads"
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    assert threads.choose(None) == "1 thread (OMP_NUM_THREADS)"
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "granted", lambda: 8)
    monkeypatch.setattr(threads, "free", lambda: 5)
    assert threads.choose(None) == "5 threads: of 8 cores others have the rest"
    assert torch.get_num_threads() == 5
    with pytest.raises(SeqgenError, match="0 threads; give 1 or more"):
        threads.choose(0)


def test_commands_let_idle_threads_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
