"""Honest listeners and readers beside hostile clients: nobody is cut, and what the others took is given back."""

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
from serving.completions.load import ReaderReport, run_readers
from serving.voices.directory import VoiceDirectory
from tests.runtime.text_bundles import BODIES, export
from tests.serving.hostile import ATTACKS, Hostile, besiege
from tests.serving.hostile_texts import TEXT_ATTACKS
from tests.serving.live import wait_for


def state(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture(scope="module")
def store(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice and a language model."""
    made = VoiceDirectory(tmp_path_factory.mktemp("store"))
    made.install(repository / "egs" / "demo" / "voice", "speaker")
    made.install(export(tmp_path_factory.mktemp("text") / "tiny", BODIES["rectified"]).directory, "writer")
    return made.directory


def siege(store: Path, *, honest: int, attackers: int, seconds: float, warm: float, hold: float) -> dict[str, Any]:
    """Listeners, a quarter as many readers, and attackers at once; what the honest ones got, and what the server holds
    after as before.

    ``before`` is taken after ``warm`` seconds of the same attacks, for what is set up at the first of a kind stays.
    """
    with bench.server("--voices", str(store), "--threads", "2", "--slots", "48") as (process, url):
        target = bench.BenchTarget.of(url)
        bench.run_listeners(target, 1, 1.0)
        text = completion(url)
        host, port = url.removeprefix("http://").rsplit(":", 1)

        def attacked(length: float, seed: int) -> dict[str, int]:
            end = time.monotonic() + length
            one = Hostile(host, int(port), random.Random(seed), target.voice, "writer", hold)
            return asyncio.run(besiege(one, ATTACKS + TEXT_ATTACKS, attackers, lambda: time.monotonic() >= end))

        def settled() -> tuple[int, int]:
            wait_for(lambda: state(url)["busy"] == 0, 60)
            time.sleep(1)
            return descriptors(process.pid), sum(bench.ProcessUsage.of(process.pid).proportional)

        attacked(warm, 0)
        files, memory = settled()

        async def all_of_them() -> tuple[bench.ListenerReport, ReaderReport, dict[str, int]]:
            listening = asyncio.create_task(asyncio.to_thread(bench.run_listeners, target, honest, seconds))
            reading = asyncio.create_task(asyncio.to_thread(run_readers, url, "writer", -(-honest // 4), seconds))
            await asyncio.sleep(1.5)  # honest clients come first, and keep their places
            made = await asyncio.to_thread(attacked, seconds - 3, 1)
            return await listening, await reading, made

        heard, read, made = asyncio.run(all_of_them())
        files_after, memory_after = settled()
        assert process.poll() is None
        assert completion(url) == text
        return {
            "heard": bench.report(heard),
            "read": read.figures() | {"told": read.failed},
            "attacks": made,
            "files": files_after - files,
            "memory": memory_after - memory,
            "state": state(url),
        }


def completion(url: str) -> str:
    """A text that is the same each time."""
    asked = json.dumps({"model": "writer", "prompt": "cafe", "max_tokens": 500, "seed": 5}).encode()
    with urllib.request.urlopen(f"{url}/v1/completions", asked, timeout=30) as answer:
        made: str = json.load(answer)["choices"][0]["text"]
    return made


def test_hostile_clients_cut_no_honest_one_and_keep_nothing(store: Path) -> None:
    found = siege(store, honest=2, attackers=18, seconds=6.0, warm=0.0, hold=0.5)
    assert min(found["attacks"].values()) >= 1
    assert len(found["attacks"]) == len(ATTACKS) + len(TEXT_ATTACKS)
    assert found["heard"]["failed"] == found["heard"]["refused"] == 0, found
    assert found["read"]["failed"] == 0, found
    assert found["read"]["tokens"] > 0, found
    assert found["state"]["status"] == "ready"
    assert found["state"]["busy"] == 0
    assert abs(found["files"]) <= 1  # one that is just being closed


@pytest.mark.soak
def test_ten_minutes_of_hostile_clients_beside_sixteen_listeners_and_four_readers(store: Path) -> None:
    found = siege(store, honest=16, attackers=24, seconds=600.0, warm=120.0, hold=3.0)
    print(json.dumps(found))
    assert found["heard"]["failed"] == found["heard"]["refused"] == 0, found
    assert found["heard"]["underruns"] == 0, found
    assert found["read"]["failed"] == 0, found
    assert found["memory"] <= 10 << 20, found
    assert abs(found["files"]) <= 1, found
    assert sum(found["attacks"].values()) > 1000
