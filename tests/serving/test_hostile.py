"""Honest listeners beside hostile clients: nobody is cut, and what the others took is given back."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from serving.client import bench
from tests.serving.hostile import ATTACKS, Hostile, besiege
from tests.serving.live import wait_for


def state(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def siege(voice: Path, *, listeners: int, attackers: int, seconds: float, warm: float, hold: float) -> dict[str, Any]:
    """Listeners and attackers at once; what the listeners heard, and what the server holds after as before.

    ``before`` is taken after ``warm`` seconds of the same attacks, for what is set up at the first of a kind stays.
    """
    with bench.server("--voice", str(voice), "--threads", "2", "--slots", "32") as (process, url):
        target = bench.BenchTarget.of(url)
        bench.run_listeners(target, 1, 1.0)
        host, port = url.removeprefix("http://").rsplit(":", 1)

        def attacked(length: float, seed: int) -> dict[str, int]:
            end = time.monotonic() + length
            one = Hostile(host, int(port), random.Random(seed), target.voice, hold)
            return asyncio.run(besiege(one, attackers, lambda: time.monotonic() >= end))

        def settled() -> tuple[int, int]:
            wait_for(lambda: state(url)["busy"] == 0, 60)
            time.sleep(1)
            return descriptors(process.pid), sum(bench.ProcessUsage.of(process.pid).proportional)

        attacked(warm, 0)
        files, memory = settled()

        async def both() -> tuple[bench.ListenerReport, dict[str, int]]:
            listening = asyncio.create_task(asyncio.to_thread(bench.run_listeners, target, listeners, seconds))
            await asyncio.sleep(1.5)  # honest clients come first, and keep their places
            made = await asyncio.to_thread(attacked, seconds - 3, 1)
            return await listening, made

        heard, made = asyncio.run(both())
        files_after, memory_after = settled()
        assert process.poll() is None
        return {
            "heard": bench.report(heard),
            "attacks": made,
            "files": files_after - files,
            "memory": memory_after - memory,
            "state": state(url),
        }


def test_hostile_clients_cut_no_listener_and_keep_nothing(repository: Path) -> None:
    voice = repository / "egs/demo/voice"
    found = siege(voice, listeners=2, attackers=12, seconds=6.0, warm=0.0, hold=0.5)
    assert min(found["attacks"].values()) >= 1
    assert len(found["attacks"]) == len(ATTACKS)
    assert found["heard"]["failed"] == found["heard"]["refused"] == 0, found
    assert found["state"]["status"] == "ready"
    assert found["state"]["busy"] == 0
    assert abs(found["files"]) <= 1  # one that is just being closed


@pytest.mark.soak
def test_ten_minutes_of_hostile_clients_beside_sixteen_listeners(repository: Path) -> None:
    voice = repository / "egs/demo/voice"
    found = siege(voice, listeners=16, attackers=24, seconds=600.0, warm=120.0, hold=3.0)
    print(json.dumps(found))
    assert found["heard"]["failed"] == found["heard"]["refused"] == 0, found
    assert found["heard"]["underruns"] == 0, found
    assert found["memory"] <= 10 << 20, found
    assert abs(found["files"]) <= 1, found
    assert sum(found["attacks"].values()) > 1000
