"""``seqgen-serve say``: a text as sound, without a server."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.runtime import open_runtime
from seqgen.runtime.voice import Voice
from seqgen.text.pronounced.lexicon import Lexicon
from serving.speech.output import Stopwatch, as_wished, sound_options, tell, write

EXAMPLES = """\
examples:
  seqgen-serve say "Any sentence, 3.5 km long, by Dr. Smith." -o out.wav --voice exp/voice
  seqgen-serve say '<speak>Wait<break time="500ms"/> for it.</speak>' -o - --voice exp/voice | aplay
  fortune | seqgen-serve say - -o - --voice exp/voice | aplay"""


def options(say: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve say``."""
    say.add_argument("--voice", required=True, metavar="BUNDLE", help="of the kind voice, made by `seqgen export`")
    say.add_argument("text", metavar="TEXT", help="plain, or SSML; - reads standard input, line by line as they come")
    say.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    say.add_argument(
        "--temperature", type=float, default=0.0,
        help="of prosody and frames, 0 to 2: 0 is the likeliest, 1 as varied as the reader (default: %(default)s)",
    )  # fmt: skip
    say.add_argument("--own", type=Path, metavar="FILE", help="pronunciations of one's own, word PH ON EMES on a line")
    sound_options(say)
    say.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Say a text; tells how fast it went."""
    if not 0 <= options.temperature <= 2:
        raise SeqgenError(f"--temperature {options.temperature:g}", remedy="give 0 to 2")
    began = time.perf_counter()
    own = None if options.own is None else Lexicon.open(options.own)
    voice = Voice(open_runtime(Bundle.open(Path(options.voice)), threads=1), own=own)
    loaded = time.perf_counter() - began
    clock = Stopwatch(voice.spec.sample_rate)
    sound = as_wished(_said(voice, options), voice.spec.sample_rate, options, reads=True)
    write(options.output, options.raw, clock.watch(sound), voice.spec.sample_rate)
    tell(clock, loaded, options)
    return 0


def _said(voice: Voice, options: argparse.Namespace) -> Iterator[npt.NDArray[np.float32]]:
    """The sound of one text, or of each line of standard input."""
    if options.text != "-":
        yield from voice.speak(options.text, options.temperature, options.seed)
        return
    for line in sys.stdin:
        if line.strip():
            yield from voice.speak(line, options.temperature, options.seed)
