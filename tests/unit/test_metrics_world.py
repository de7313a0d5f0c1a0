"""WORLD's copy synthesis says the same whatever lies in memory, also at rates below what its analysis looks at."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys
import numpy as np
from seqgen.metrics.world import copy_synthesis
digest = hashlib.sha256()
for number in range(4):
    rate = int(sys.argv[1])
    time = np.arange(rate // 4) / rate
    pulses = np.sin(2 * np.pi * (90 + 40 * number) * time) ** 31
    audio = (0.3 * pulses + 0.05 * np.random.default_rng(number).standard_normal(len(time))).astype(np.float32)
    made = copy_synthesis(audio, rate)
    assert len(made) == len(audio) and np.isfinite(made).all()
    digest.update(made.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills new memory as it is told")
@pytest.mark.parametrize("rate", [8000, 16000])
def test_what_nobody_wrote_is_not_heard(rate: int) -> None:
    said = set()
    for filled in ("0", "85", "165", "254"):
        environment = {**os.environ, "MALLOC_PERTURB_": filled, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PROGRAM, str(rate)]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=200)
        said.add(made.stdout)
    assert len(said) == 1
