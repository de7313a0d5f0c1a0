"""``seqgen-serve bench``: measure a server under load."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from serving.cli.options import file_path, isolation_option, positive, voice_options
from serving.speech.load import read_texts

EXAMPLES = """\
examples:
  seqgen-serve bench --preset NAME --streams 16 --seconds 60
  seqgen-serve bench --voice exp/voice --streams 4 --seconds 10 --json
  seqgen-serve bench --voice exp/talking --text sentences.txt --streams 8 --seconds 30
  seqgen-serve bench --model exp/lm --streams 16

A server is started in a process of its own. Each listener sends features a second ahead of their time, plays what
comes in real time, beginning 40 ms after the first of it, and counts an under-run whenever it has nothing left in the
middle of an utterance (5 s each). With --text a voice reads to each listener, a line of the file after the other. The
real-time factor is the server's processor time for a second of sound. A text model's readers ask for text after text,
512 symbols each, as fast as it is made."""


def options(bench: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve bench``."""
    voice_options(bench)
    bench.add_argument(
        "--text", type=file_path, metavar="FILE", help="have the voice read the lines of a file, instead of features"
    )
    bench.add_argument("--streams", type=positive, default=16, help="listeners (default: %(default)s)")
    bench.add_argument("--seconds", type=positive, default=10, help="for how long (default: %(default)s)")
    bench.add_argument("--threads", type=positive, default=1, help="workers of the server (default: %(default)s)")
    isolation_option(bench)
    bench.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    bench.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Measure and tell; the exit status says whether every listener that was let in heard sound without a gap."""
    from serving.client import bench

    name = next(name for name in ("preset", "voice", "voices") if getattr(options, name))
    report = bench.run(
        (f"--{name}", getattr(options, name), "--threads", str(options.threads), "--isolation", options.isolation),
        streams=options.streams,
        seconds=options.seconds,
        texts=read_texts(Path(options.text)) if options.text else (),
    )
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        sys.stdout.writelines(f"{key:22} {value}\n" for key, value in report.items())
    return 0
