"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """A run in the background of a shell ignores Ctrl-C, and so would the commands that tests start and interrupt."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Recordings and texts that are not part of the repository; tests that need them are skipped without."""
    path = Path(os.environ.get("SEQGEN_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not path.is_dir():
        pytest.skip(f"no shared data at {path} (set SEQGEN_SHARED to the folder that holds data/)")
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported 8 kHz voice of one nameless speaker, with random weights; read it, never change it."""
    from tests.runtime.voices import export_tiny, tiny_run

    return export_tiny(tmp_path_factory.mktemp("voices") / "tiny", tiny_run()).directory
