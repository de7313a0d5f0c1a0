"""A voice tells nobody anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
from seqgen.bundle import Bundle
from seqgen.runtime import open_runtime
open_runtime(Bundle.open(Path(sys.argv[1])))
"""


def test_onnxruntime_is_loaded_without_its_telemetry(tiny_bundle: Path, tmp_path: Path, repository: Path) -> None:
    """It keeps a device number and a queue of events under the user's cache directory."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"} | home
    command = [sys.executable, "-c", _PROGRAM, str(tiny_bundle)]
    made = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=100)
    assert made.returncode == 0, made.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
