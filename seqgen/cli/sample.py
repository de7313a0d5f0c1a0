"""``seqgen sample``: audio from a trained experiment or a bundle."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_HELP = """\
Vocode recordings: their features in, the voice's audio out. The same seed gives the same samples.

  seqgen sample exp/fsdd in.wav -o out.wav --speaker theo
  seqgen sample voice/ in.wav -o out.wav --seed 3 --temperature 0.8
  seqgen sample voice/ in.wav -o out.wav --runtime torch

Streaming, without torch: `seqgen-serve vocode`.
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "sample", help="make audio", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_argument("voice", type=Path, help="experiment or bundle")
    command.add_argument("audio", type=Path, help="recording (wav, flac, ogg; any rate)")
    command.add_argument("-o", "--out", type=Path, required=True, help="file to write (wav, flac, ogg)")
    command.add_argument("--speaker", default="", help="whose voice, where there are several")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--temperature", type=float, default=1.0, help="below 1: less noise, less life")
    command.add_argument("--runtime", default="", help="native, onnx or torch (default: the fastest there is)")
    command.set_defaults(run=run_sample)


def run_sample(given: argparse.Namespace) -> int:
    """Vocode one recording."""
    from seqgen.audio import io
    from seqgen.audio.features import log_mel
    from seqgen.audio.resample import resample
    from seqgen.errors import SeqgenError
    from seqgen.runtime import open_runtime
    from seqgen.train.evaluation import vocode

    if not 0 <= given.temperature <= 2:
        raise SeqgenError(f"--temperature {given.temperature}", remedy="give a number from 0 to 2")
    audio, rate = io.read(given.audio)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = _bundle(given.voice, Path(scratch) / "voice")
        manifest = bundle.manifest
        speaker = given.speaker or (manifest.speakers[0] if len(manifest.speakers) == 1 else "")
        if speaker not in manifest.speakers:
            got = f"no speaker '{speaker}'" if speaker else "several speakers"
            raise SeqgenError(f"{given.voice}: {got}", remedy=f"give --speaker, one of {', '.join(manifest.speakers)}")
        features = log_mel(resample(audio, rate, manifest.sample_rate), manifest.features)
        began = time.perf_counter()
        runtime = open_runtime(bundle, given.runtime)
        (made,) = vocode(runtime, [features], [speaker], [0], seed=given.seed, temperature=given.temperature)
    seconds = time.perf_counter() - began
    io.write(given.out, made, manifest.sample_rate)
    length = len(made) / manifest.sample_rate
    sys.stderr.write(f"{given.out}: {length:.2f} s of audio in {seconds:.2f} s ({given.runtime})\n")
    return 0


def _bundle(path: Path, scratch: Path) -> Any:
    """The bundle at ``path``, or one made of the experiment there."""
    from seqgen.bundle import MANIFEST, Bundle
    from seqgen.export import voice
    from seqgen.train.experiment import CONFIG, Experiment

    if (path / MANIFEST).is_file() or not (path / CONFIG).is_file():
        return Bundle.open(path)
    experiment = Experiment.open(path)
    return voice.write(experiment.voice()[0], experiment, scratch, {})
