"""Fixtures of all tests of the server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def reading_voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle of a small voice that reads text, which nobody changes."""
    from tests.runtime.speaking import speaking  # which loads all that trains

    folder = tmp_path_factory.mktemp("reading")
    speaking(folder)
    return folder / "voice"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command that runs in the tests' process sends its log to a standard error that is closed with the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before and not type(handler).__module__.startswith("_pytest"):
            root.removeHandler(handler)
    root.setLevel(level)
