"""The figures of `seqgen-serve bench` beside those of a load generator that shares no code with it, of one server.

    python tools/check_load.py --preset NAME --threads 2 --streams 8 --seconds 20 --turns 2

Compiles tools/load_server.c (needs a C compiler), starts the server once and lets the two listen in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from serving.client import bench

SOURCE = Path(__file__).with_name("load_server.c")


def compiled(folder: Path) -> Path:
    """The load generator, compiled in a folder."""
    program = folder / "load_server"
    strict = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic")
    subprocess.run(["cc", *strict, "-o", str(program), str(SOURCE), "-lm"], check=True)
    return program


def other(program: Path, url: str, streams: int, seconds: float) -> dict[str, Any]:
    """What the compiled listeners heard."""
    place = urlsplit(url)
    command = [str(program), str(place.hostname), str(place.port), str(streams), str(seconds)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    report: dict[str, Any] = json.loads(told)
    return report


def main(arguments: list[str]) -> None:
    """Measure and print a line of JSON for each turn of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    voice = parser.add_mutually_exclusive_group(required=True)
    voice.add_argument("--voice", help="a bundle")
    voice.add_argument("--preset", help="random weights")
    for name, default in (("--threads", 2), ("--streams", 8), ("--seconds", 20), ("--turns", 1)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args(arguments)
    which = ("--voice", given.voice) if given.voice else ("--preset", given.preset)
    with tempfile.TemporaryDirectory() as folder:
        program = compiled(Path(folder))
        with bench.server(*which, "--threads", str(given.threads)) as (_, url):
            target = bench.BenchTarget.of(url)
            bench.run_listeners(target, 1, 1.0)  # what is set up lazily is neither's business
            for _ in range(given.turns):
                ours = bench.report(bench.run_listeners(target, given.streams, given.seconds))
                theirs = other(program, url, given.streams, given.seconds)
                sys.stdout.write(json.dumps({"by": "seqgen-serve bench"} | ours) + "\n")
                sys.stdout.write(json.dumps({"by": "load_server.c"} | theirs) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
