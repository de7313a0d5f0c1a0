"""Fixtures of the unit tests that several files share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cli_work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings ``in``, directories ``data``, ``run.yaml``, the trained experiment ``exp``, its bundle ``voice``."""
    from tests.unit.cli_workspace import CONFIG, done, record

    root = tmp_path_factory.mktemp("cli")
    record(root / "in")
    words = ("data", "prepare", "folder", "--corpus", root / "in", "--valid", 0.2, "--test", 0.3)
    assert "utterances" in done(*words, "--out", root / "data").out
    (root / "run.yaml").write_text(CONFIG.format(root=root))
    trained = done("train", root / "run.yaml", "--out", root / "exp")
    assert "finished at step 3" in trained.err
    assert trained.out == ""
    exported = done("export", root / "exp", "--out", root / "voice", "--note", "who=me", "why=a test")
    assert "onnx reproduces" in exported.out
    assert "torch reproduces" in exported.out
    return root
