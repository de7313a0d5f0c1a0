"""``seqgen-serve vocode``: one file, without a server."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from seqgen.bundle import Bundle
from seqgen.files import inputs
from seqgen.runtime import open_runtime
from serving.sound.source import from_path, sniff
from serving.speech.output import Stopwatch, as_wished, sound_options, tell, write
from serving.streams.vocoder import StreamingVocoder, VoiceSettings

EXAMPLES = """\
examples:
  seqgen-serve vocode in.wav -o out.wav --voice exp/voice
  seqgen-serve vocode in.flac -o - --voice exp/voice | aplay
  sox in.mp3 -t wav - | seqgen-serve vocode - -o out.wav --voice exp/voice
  seqgen-serve vocode mel.safetensors -o - --raw --voice exp/voice | aplay -f S16_LE -r 16000"""


def options(vocode: argparse.ArgumentParser) -> None:
    """Options of ``seqgen-serve vocode``."""
    vocode.add_argument("--voice", required=True, metavar="BUNDLE", help="directory made by `seqgen export`")
    vocode.add_argument(
        "input",
        metavar="FILE",
        help="WAV, FLAC or OGG of any rate, or log-mel features (.safetensors); - reads standard input",
    )
    vocode.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: %(default)s)")
    vocode.add_argument("--temperature", type=float, default=1.0, help="0 to 2; 1 is as trained (default: %(default)s)")
    vocode.add_argument("--speaker", help="one of the voice's speakers, where it has several")
    sound_options(vocode)
    vocode.set_defaults(command=run)


def open_vocoder(voice: str) -> StreamingVocoder:
    """Vocoder of the voice in a bundle's directory."""
    bundle = Bundle.open(Path(voice))
    return StreamingVocoder(bundle, open_runtime(bundle, threads=1))


def run(options: argparse.Namespace) -> int:
    """Vocode a file; tells how fast it went."""
    began = time.perf_counter()
    vocoder = open_vocoder(options.voice)
    settings = VoiceSettings(options.seed, options.temperature, options.speaker)
    vocoder.check(settings)
    loaded = time.perf_counter() - began
    clock = Stopwatch(vocoder.sample_rate)
    with inputs.regular(options.input, suffix=_suffix) as given:
        source = from_path(str(given), vocoder.features)
        reads = vocoder.reader is not None
        sound = as_wished(vocoder.run(source, settings), vocoder.sample_rate, options, reads=reads)
        write(options.output, options.raw, clock.watch(sound), vocoder.sample_rate)
    tell(clock, loaded, options)
    return 0


def _suffix(head: bytes) -> str:
    """Ending of the name of what came through a pipe: features are known by theirs."""
    return ".safetensors" if sniff(head[:12]) == "features" else ""
