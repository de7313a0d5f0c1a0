"""A workshop for tests of the command line: tiny recordings, a tiny run, and ``seqgen`` called in-process."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqgen.audio import io as audio_io
from seqgen.cli.main import main

CONFIG = """\
name: tiny
task:
  name: vocoder
  train: {root}/data/train
  valid: {root}/data/valid
  test: {root}/data/test
  segment: 160
  features: {{sample_rate: 8000, n_fft: 256, window: 160, hop: 80, n_mels: 16}}
networks:
  generator:
    name: autoregressive
    body: {{name: wavernn, hidden: 16}}
    conditioner: {{name: frames, channels: 8, blocks: 1, look_ahead: 1}}
train:
  steps: 3
  batch_size: 2
  learning_rate: 1e-3
  validate_every: 2
  checkpoint_every: 1
  log_every: 1
"""


class Result(NamedTuple):
    """Exit status and what was printed."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as the one JSON value it must be; NaN and Infinity are no JSON."""
        assert self.out.endswith("\n")
        return json.loads(self.out, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def seqgen(*words: object) -> Result:
    """Run one command in this process; an exception that gets out of ``main`` fails the test as a traceback would."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main([str(word) for word in words])
        except SystemExit as exit_:
            status = exit_.code if isinstance(exit_.code, int) else 1
    return Result(status, out.getvalue(), err.getvalue())


def done(*words: object) -> Result:
    """A command that must succeed."""
    result = seqgen(*words)
    assert result.status == 0, result.err
    return result


def refused(*words: object, named: tuple[str, ...] = (), quiet: bool = True) -> str:
    """The one ``error:`` line of a command that must fail; ``quiet`` commands print nothing before it."""
    result = seqgen(*words)
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert result.status == 1, result
    assert result.out == ""
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], lines
    assert "Traceback" not in result.err
    assert " object at 0x" not in result.err
    if quiet:
        assert len(lines) == 1, lines
    for part in named:
        assert part in lines[-1], lines[-1]
    assert "; " in lines[-1]  # the remedy
    return lines[-1]


def record(root: Path, *, speakers: tuple[str, ...] = ("anna", "ben"), rate: int = 8000) -> Path:
    """Six short tones in noise of each speaker under ``root``."""
    rng = np.random.default_rng(0)
    for voice, speaker in enumerate(speakers):
        (root / speaker).mkdir(parents=True)
        for index in range(6):
            time = np.arange((2400 + 160 * index) * rate // 8000) / rate
            tone = 0.3 * np.sin(2 * np.pi * (110 + 40 * index + 70 * voice) * time)
            noisy = tone + 0.02 * rng.standard_normal(len(time))
            audio_io.write(root / speaker / f"u{index}.wav", noisy.astype(np.float32), rate)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
