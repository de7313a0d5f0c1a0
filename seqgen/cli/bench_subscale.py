"""Samples per second of subscale generation on random weights, e.g. ``wavernn-896-subscale16``, through torch.

A second of audio at 24 kHz is made at a time, its start included, during which not all lanes are under way.
"""

from __future__ import annotations

import dataclasses
import re
import resource
import time
from typing import Any

from seqgen.errors import SeqgenError

PRESET = re.compile(r"(?P<base>wavernn-\d+)-subscale(?P<lanes>\d+)")
HORIZON = 8
HOP = 240  # that of the plain presets, 300, is not whole steps of 8 or 16 lanes


def run(name: str, base: Any, streams: int, threads: int, seconds: float) -> dict[str, Any]:
    """Time whole recordings; ``base`` is the run of the model without lanes.

    Raises:
        SeqgenError: for fewer than two lanes.
    """
    import torch

    from seqgen import noise
    from seqgen.generation.subscale.generator import Subscale, SubscaleConfig
    from seqgen.train.run import build

    found = PRESET.fullmatch(name)
    if found is None or int(found["lanes"]) < 2:
        raise SeqgenError(f"unknown preset '{name}'", remedy="give two lanes or more, e.g. wavernn-896-subscale16")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = SubscaleConfig(lanes=int(found["lanes"]), horizon=HORIZON)
    spec = dataclasses.replace(base.features, hop=HOP)
    data = dataclasses.replace(base.data, segment=HOP)
    system = build(dataclasses.replace(base, data=data, features=spec, subscale=config), ("one",))
    assert isinstance(system.generator, Subscale)
    rate = spec.sample_rate
    features = torch.full((streams, -(-rate // spec.hop) + system.right, spec.n_mels), -4.0)
    numbers = 2 * (rate + system.generator.ahead)
    u = torch.from_numpy(noise.block(0, 0, 0, streams * numbers)).reshape(streams, numbers, 1)
    speaker = torch.zeros(streams, dtype=torch.int64)
    taken: list[float] = []
    while sum(taken) < seconds:
        began = time.perf_counter()
        system.voice.make(u, features, speaker)
        taken.append(time.perf_counter() - began)
    per_second = streams * rate * len(taken) / sum(taken)
    return {
        "preset": name,
        "runtime": "torch",
        "isa": "",
        "format": "float32",
        "streams": streams,
        "threads": threads,
        "samples_per_second": round(per_second),
        "x_real_time": round(per_second / rate, 3),
        "steps_per_second_of_audio": system.generator.steps(rate),
        "resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
