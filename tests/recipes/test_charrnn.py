"""The recipe of the recurrent character model in its tiny form, on a real text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_a_character_model_is_trained_judged_and_heard(shared_data: Path, repository: Path, tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = ["bash", "egs/shakespeare/charrnn/run.sh", "--corpus", str(shared_data / "text"), "--out", str(tmp_path)]
    command += ["--conf", "egs/shakespeare/charrnn/conf/tiny.yaml"]
    made = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, timeout=200)
    assert made.returncode == 0, made.stderr[-2000:]
    found = json.loads((tmp_path / "eval.json").read_text())
    assert found["unknown"] == 0
    assert 3 < found["bits_per_character"] < 4.5
    assert found["bits_per_byte"] == found["bits_per_character"]  # a text in ASCII
    sample = made.stdout[made.stdout.index("ROMEO:") :]
    assert len(sample) == len("ROMEO:") + 300 + 1
