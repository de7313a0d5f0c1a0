"""``seqgen probe``: what a linear classifier reads off an encoder's features, beside baselines."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import completion
from seqgen.registry import ENCODER_RUNTIMES

if TYPE_CHECKING:
    from seqgen.analysis.linear_probe import ProbeConfig
    from seqgen.tasks.table import Table

_HELP = """\
Linear probes: logistic regression on an encoder's frozen features tells the speaker, the digit (the transcript) or the
phone, regression the pitch, and how well they do says what the features hold. In the same table: MFCC with their
differences, the encoder with fresh weights, and the encoder trained by the labels. Models are encoders of audio (layers
context and latent) and models with latent variables of samples or of log-mel frames (layers code and columns).

  seqgen probe exp/speech --train data/train --data data/test --target digit
  seqgen probe exp/speech features/ --data data/test-other --target speaker --split 0.5
  seqgen probe exp/speech --data data/test-other --target phone --ctm phones.ctm
  seqgen probe exp/speech --data data/test --target speaker --layer latent --json
  seqgen probe exp/speech exp/codec --train data/train --data data/test --target pitch
  seqgen probe exp/vae exp/vq --train data/mnist/train --data data/mnist/test --target class

Speaker and digit are told from the mean of an utterance's vectors, phones frame by frame, from an alignment as
`seqgen data phones` writes, and so the pitch of voiced frames, in octaves, of whose variance the explained share is
shown. Without --train, --split parts the utterances of each label (with phones and pitch of each speaker) in a way that
depends on their ids alone. Intervals are over test utterances.

Of pictures, models with latent variables have their codes probed for the class, beside the pixels themselves, a model
with fresh weights, and a perceptron that learnt the classes.

--vectors writes a row for each recording or picture of both sides, as `seqgen information` takes them: NAME.npy, the
mean vectors of each row of the table; label.npy, one-hots; and signal.npy, log-mel frames in the mean over each
quarter, or pixels in the mean over 4 x 4 parts.
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-command."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("probe", help="judge features", description=_HELP, formatter_class=raw)
    command.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="experiments or bundles")
    command.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory to judge on")
    command.add_argument("--target", required=True, choices=["speaker", "digit", "phone", "pitch", "class"])
    command.add_argument("--train", type=Path, metavar="DIR", help="data directory to train on (default: see --split)")
    command.add_argument("--split", type=float, default=0.8, metavar="SHARE", help="of --data for training (0.8)")
    command.add_argument("--ctm", type=Path, nargs="+", default=[], metavar="FILE", help="phones of the utterances")
    command.add_argument("--layer", default="", choices=["context", "latent", "code", "columns"], help="(the main one)")
    command.add_argument(
        "--network",
        default="",
        help="of an experiment (default: encoder, the only one trained, or the only one with codes)",
    )
    runtime = command.add_argument("--runtime", default="", help="of bundles (default: the fastest)")
    completion.offer(runtime, ENCODER_RUNTIMES)
    command.add_argument("--penalty", type=float, default=1.0, metavar="C", help="inverse weight of the penalty (1)")
    command.add_argument("--iterations", type=int, default=300, metavar="N", help="of the probe's optimiser at most")
    command.add_argument("--examples", type=int, default=50_000, metavar="N", help="training examples at most (50000)")
    command.add_argument("--plain", action="store_true", help="features as they are (default: standardised)")
    command.add_argument("--supervised", type=int, default=300, metavar="STEPS", help="of that baseline (300; 0: none)")
    command.add_argument("--no-baselines", action="store_true", help="the models alone")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--vectors", type=Path, metavar="DIR", help="keep what was probed, for `seqgen information`")
    command.add_argument("--report", type=Path, metavar="FILE", help="where the JSON object goes")
    command.add_argument("--json", action="store_true", help="print one object instead of the table")
    command.set_defaults(run=run_probe)


def run_probe(given: argparse.Namespace) -> int:
    """Probe every model and print one table."""
    from seqgen.analysis.linear_probe import ProbeConfig
    from seqgen.errors import SeqgenError
    from seqgen.files.outputs import require_writable, write_text

    began = time.perf_counter()
    if given.supervised < 0:
        raise SeqgenError(f"--supervised {given.supervised}", remedy="give 0 or more steps")
    if (given.target == "phone") != bool(given.ctm):
        raise SeqgenError(
            f"--target {given.target} {'with' if given.ctm else 'without'} --ctm",
            remedy="phones, and they alone, need an alignment: see `seqgen data phones --help`",
        )
    if given.vectors is not None and given.target in ("phone", "pitch"):
        raise SeqgenError(
            f"--vectors with --target {given.target}: frames of one recording are no independent pairs",
            remedy="keep vectors of whole recordings, with --target speaker or digit",
        )
    if given.report is not None:
        require_writable(given.report)
    config = ProbeConfig(given.penalty, given.iterations, not given.plain, given.examples, given.seed)
    table = _of_pictures(given, config) if given.target == "class" else _of_recordings(given, config)
    result = table.plain() | {"seconds": time.perf_counter() - began}
    sys.stdout.write(json.dumps(result, allow_nan=False) + "\n" if given.json else table.text())
    if given.report is not None:
        write_text(given.report, json.dumps(result, indent=1, allow_nan=False) + "\n")
    return 0


def _of_recordings(given: argparse.Namespace, config: ProbeConfig) -> Table:
    """The table of encoders of recordings."""
    from seqgen.data import ctm
    from seqgen.tasks.speech import probing
    from seqgen.tasks.speech.encoders import open_path

    options = probing.Probing(
        target=given.target,
        layer=given.layer,
        config=config,
        supervised_steps=given.supervised,
        baselines=not given.no_baselines,
        split=given.split,
        alignment={utterance: rows for file in given.ctm for utterance, rows in ctm.read(file).items()},
    )
    encoders = [open_path(path, given.layer, given.network, given.runtime) for path in given.models]
    return probing.table(encoders, given.data, given.train, options, given.vectors)


def _of_pictures(given: argparse.Namespace, config: ProbeConfig) -> Table:
    """The table of models of pictures."""
    from seqgen.errors import SeqgenError
    from seqgen.tasks.pictures import probing

    if given.train is None:
        raise SeqgenError(
            "--target class without --train", remedy="give the pictures to learn from: --train DATA/train"
        )
    models = [probing.OpenedModel.of(path) for path in given.models]
    return probing.table(models, given.data, given.train, config, supervised_steps=given.supervised,
                         baselines=not given.no_baselines, vectors=given.vectors)  # fmt: skip
