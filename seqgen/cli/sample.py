"""``seqgen sample``: something made by a trained experiment or a bundle."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from seqgen import completion
from seqgen.registry import RUNTIMES

_HELP = """\
Sample: a voice vocodes a recording from its features, a language model goes on from a prompt, a generator of pictures
draws a contact sheet of them. The same seed gives the same samples.

  seqgen sample exp/fsdd in.wav -o out.wav --speaker theo
  seqgen sample voice/ in.wav -o out.wav --seed 3 --temperature 0.8
  seqgen sample voice/ in.wav -o out.wav --runtime torch
  seqgen sample exp/text --prompt "Once" --length 400
  seqgen sample lm/ --prompt "Once" --runtime onnx
  seqgen sample exp/digits -o drawn.png --length 100

Streaming, without torch: `seqgen-serve vocode`.
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "sample",
        help="make audio, text or pictures",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("path", type=Path, help="experiment or bundle")
    command.add_argument("given", type=Path, nargs="?", help="recording to vocode (wav, flac, ogg, mp3, …; any rate)")
    command.add_argument("-o", "--out", type=Path, help="file to write (audio: wav, flac, ogg; pictures: png)")
    command.add_argument("--speaker", default="", help="whose voice, where there are several")
    command.add_argument("--prompt", default="", help="text to go on from")
    command.add_argument(
        "--length", type=int, default=0, help="characters, symbols or samples to make (default: 400), or pictures (64)"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--temperature", type=float, default=1.0, help="below 1: less noise, less life")
    command.add_argument("--beam", type=int, default=0, help="of a translation's search; nothing is drawn then")
    runtime = command.add_argument(
        "--runtime", default="", help="of a bundle: native, onnx or torch (default: the fastest)"
    )
    completion.offer(runtime, RUNTIMES)
    command.set_defaults(run=run_sample)


def run_sample(given: argparse.Namespace) -> int:
    """Sample once."""
    from seqgen.cli.opened import opened
    from seqgen.errors import SeqgenError
    from seqgen.tasks.contract import Sampling

    if not 0 <= given.temperature <= 2 or min(given.length, given.beam) < 0:
        raise SeqgenError(
            f"--temperature {given.temperature:g}, --length {given.length}, --beam {given.beam}",
            remedy="give a temperature from 0 to 2, a length and a beam that are not negative",
        )
    task, system = opened(given.path, given.runtime, objective=False)
    began = time.perf_counter()
    options = Sampling(
        given=given.given,
        out=given.out,
        speaker=given.speaker,
        prompt=given.prompt,
        length=given.length,
        temperature=given.temperature,
        seed=given.seed,
        runtime=given.runtime,
        beam=given.beam,
    )
    task.require_heeded(options)
    said = task.sample(system, options)
    sys.stderr.write(f"{said} in {time.perf_counter() - began:.2f} s\n")
    return 0
