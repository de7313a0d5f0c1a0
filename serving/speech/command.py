"""``seqgen-serve say``: a text as sound, without a server."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.files.outputs import is_stream, passing_on
from seqgen.runtime import open_runtime
from seqgen.runtime.embedded import embedded
from seqgen.runtime.speech import Moment
from seqgen.runtime.voice import Voice
from seqgen.text.pronounced.lexicon import Lexicon
from serving.speech.output import Stopwatch, as_wished, sound_options, tell, write

EXAMPLES = """\
examples:
  seqgen-serve say "Any sentence, 3.5 km long, by Dr. Smith." -o out.wav
  seqgen-serve say '<speak>Wait<break time="500ms"/> for it.</speak>' -o - --voice exp/voice | aplay
  llm "Tell me a story" | seqgen-serve say - -o - --voice exp/voice | aplay
  seqgen-serve say - --lines -o - --voice exp/voice | aplay
  seqgen-serve say "Any sentence." -o out.wav --ctm out.ctm --voice exp/voice"""

_READ = 1 << 16
Hear = Callable[[Moment], object]


def options(say: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve say``."""
    say.add_argument(
        "--voice", metavar="BUNDLE", help="of the kind voice, made by `seqgen export` (default: the package's own)"
    )
    say.add_argument(
        "text", metavar="TEXT",
        help="plain, or SSML; - reads standard input: each sentence is said once it is certain, however the text comes",
    )  # fmt: skip
    say.add_argument("--lines", action="store_true", help="each line of standard input is a text, said when it ends")
    say.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    say.add_argument(
        "--temperature", type=float, default=0.0,
        help="of prosody and frames, 0 to 2: 0 is the likeliest, 1 as varied as the reader (default: %(default)s)",
    )  # fmt: skip
    say.add_argument("--own", type=Path, metavar="FILE", help="pronunciations of one's own, word PH ON EMES on a line")
    say.add_argument("--ctm", metavar="FILE", help="to write: when each word is said, in seconds, as Kaldi's CTM")
    say.add_argument("--phone-ctm", metavar="FILE", help="the same of phones and silences")
    sound_options(say)
    say.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Say a text; tells how fast it went."""
    if not 0 <= options.temperature <= 2:
        raise SeqgenError(f"--temperature {options.temperature:g}", remedy="give 0 to 2")
    if options.lines and options.text != "-":
        raise SeqgenError("--lines with a text that is given", remedy="give - to read standard input")
    began = time.perf_counter()
    own = None if options.own is None else Lexicon.open(options.own)
    bundle = embedded() if options.voice is None else Bundle.open(Path(options.voice))
    voice = Voice(open_runtime(bundle, threads=1), own=own)
    loaded = time.perf_counter() - began
    clock = Stopwatch(voice.spec.sample_rate)
    with _times(options) as hear:
        sound = as_wished(_said(voice, options, hear), voice.spec.sample_rate, options, reads=True)
        write(options.output, options.raw, clock.watch(sound), voice.spec.sample_rate)
    tell(clock, loaded, options)
    return 0


def _said(voice: Voice, options: argparse.Namespace, hear: Hear) -> Iterator[npt.NDArray[np.float32]]:
    """The sound of one text, of standard input as it comes, or of each of its lines."""
    if not options.lines:
        source: Any = sys.stdin.buffer  # as much as has come, without waiting for more
        text = iter(lambda: source.read1(_READ), b"") if options.text == "-" else options.text
        yield from voice.speak(text, options.temperature, options.seed, hear)
        return
    samples = 0
    for line in sys.stdin.buffer:
        if not line.strip():
            continue
        later = partial(_hear_later, hear, samples / voice.spec.sample_rate)
        for audio in voice.speak([line], options.temperature, options.seed, later):
            samples += len(audio)
            yield audio


def _hear_later(hear: Hear, seconds: float, moment: Moment) -> None:
    hear(moment._replace(start=seconds + moment.start))


@contextmanager
def _times(options: argparse.Namespace) -> Iterator[Hear]:
    """A function that writes the times it hears into the files that were asked for, as they come."""
    name = "say" if is_stream(options.output) or options.output == "-" else Path(options.output).stem
    with ExitStack() as files:
        asked = {"word": options.ctm, "phone": options.phone_ctm}
        writes = {kind: files.enter_context(passing_on(path)) for kind, path in asked.items() if path is not None}

        def hear(moment: Moment) -> None:
            if moment.kind in writes:
                writes[moment.kind](f"{name} 1 {moment.start:.3f} {moment.duration:.3f} {moment.text}\n")

        yield hear
