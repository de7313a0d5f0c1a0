"""``seqgen-serve detect``: whether a recording bears the watermark of synthetic speech."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from seqgen.audio.io import read
from seqgen.audio.watermark_detection import FALSE_ALARMS, detect
from seqgen.files import inputs

EXAMPLES = """\
examples:
  seqgen-serve detect in.wav
  seqgen-serve detect call.flac --json
  sox in.mp3 -t wav - | seqgen-serve detect -

The exit status is 0 where the mark is there, else 1."""


def options(command: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve detect``."""
    command.add_argument("input", metavar="FILE", help="WAV, FLAC or OGG of any rate; - reads standard input")
    command.add_argument("--json", action="store_true", help="one JSON object instead of a line")
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Look for the mark and tell."""
    with inputs.regular(options.input) as given:
        audio, rate = read(given)
    found = detect(audio, rate)
    if options.json:
        told = json.dumps(asdict(found) | {"false_alarms": FALSE_ALARMS, "seconds": round(len(audio) / rate, 3)})
    else:
        told = (
            f"{'marked' if found.present else 'no mark found'}: score {found.score:.2f}, threshold "
            f"{found.threshold:.2f} (one false alarm in {1 / FALSE_ALARMS:,.0f} recordings); without the mark such a "
            f"score comes with a probability of at most {found.false_alarm:.2g}; "
            f"highest from {found.start:.1f} to {found.stop:.1f} s of {len(audio) / rate:.1f} s"
        )
    sys.stdout.write(told + "\n")
    return 0 if found.present else 1
