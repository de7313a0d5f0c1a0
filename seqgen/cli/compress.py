"""``seqgen compress`` and ``seqgen decompress``: files at the bits that a model's likelihood gives them."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqgen import completion
from seqgen.errors import SeqgenError
from seqgen.registry import SYMBOL_RUNTIMES

if TYPE_CHECKING:  # torch is imported when a command runs, so that help and refusals come at once
    from seqgen.compression.contract import Predictor
    from seqgen.compression.units import Units
    from seqgen.generation.contract import Density
    from seqgen.tasks.experiment import Experiment

_COMPRESS = """\
Compress a file with a trained model: to as many bytes as its likelihood asks for, within half a percent, and byte for
byte the same when it is decompressed. The model is not in the file: whoever decompresses needs the same one.

  seqgen compress exp/text book.txt -o book.sg              # an experiment's best checkpoint, by torch
  seqgen compress lm/ book.txt -o book.sg --runtime onnx    # a bundle of a language model, without torch
  seqgen compress exp/images digits.raw -o digits.sg --record 784    # records of 784 bytes, one by one
  seqgen decompress exp/text book.sg -o copy.txt
"""
_DECOMPRESS = """\
Decompress what `seqgen compress` wrote, with the same model, runtime, version and kind of processor. Anything else is
refused, and so is a file in which a bit was changed.

  seqgen decompress exp/text book.sg -o copy.txt
"""


def add_parsers(commands: Any) -> None:
    """Register the sub-commands."""
    raw = argparse.RawDescriptionHelpFormatter
    command = commands.add_parser("compress", help="a file at a model's bits", description=_COMPRESS,
                                  formatter_class=raw)  # fmt: skip
    _add_arguments(command, "file to compress")
    command.add_argument("--lanes", type=int, default=0, metavar="N",
                         help="stretches coded side by side (default: one for each 16 KiB, 256 at most)")  # fmt: skip
    command.add_argument("--record", type=int, default=0, metavar="BYTES",
                         help="the file is records of so many bytes, each coded by a fresh model")  # fmt: skip
    command.add_argument("--verify", action="store_true", help="decompress it again, and compare")
    command.add_argument("--json", action="store_true", help="print one object")
    command.set_defaults(run=run_compress)
    command = commands.add_parser("decompress", help="the file behind it", description=_DECOMPRESS, formatter_class=raw)
    _add_arguments(command, "what `seqgen compress` wrote")
    command.set_defaults(run=run_decompress)


def _add_arguments(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("model", type=Path, help="experiment or bundle of a language model")
    command.add_argument("file", type=Path, help=what)
    command.add_argument("-o", "--out", type=Path, required=True, help="file to write")
    runtime = command.add_argument("--runtime", default="", help="of a bundle (default: the fastest; to decompress: "
                                   "the one that compressed)")  # fmt: skip
    completion.offer(runtime, SYMBOL_RUNTIMES)


def run_compress(given: argparse.Namespace) -> int:
    """Compress once."""
    from seqgen.compression.compress import compress
    from seqgen.files.outputs import require_writable

    if given.lanes < 0 or given.record < 0 or (given.lanes and given.record):
        raise SeqgenError(f"--lanes {given.lanes} --record {given.record}", remedy="give one of them, 1 or more")
    require_writable(given.out)
    predictor, units = opened(given.model, given.runtime)
    began = time.perf_counter()
    report = compress(given.file, given.out, predictor, units, number=given.lanes, record=given.record,
                      progress=_progress(given.file))  # fmt: skip
    seconds = time.perf_counter() - began
    if given.verify:
        _verify(given.out, predictor, units)
    over = report.compressed - report.promised
    if given.json:
        found = {**vars(report), "promised": report.promised, "overhead": over, "seconds": seconds,
                 "identity": vars(predictor.identity), "model": predictor.digest, "label": predictor.label}  # fmt: skip
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    bits = 8 * report.compressed / max(1, report.size)
    sys.stderr.write(
        f"{given.out}: {report.compressed:,} bytes of {report.size:,}, {bits:.3f} bits per byte; the model claims "
        f"{report.promised:,.0f} bytes, {over:+,.0f}; {report.lanes} lanes, {report.elements:,} symbols in "
        f"{seconds:.1f} s\n"
    )
    return 0


def _verify(packed: Path, predictor: Predictor, units: Units) -> None:
    """Decompress into a file that nobody keeps; what comes out is compared with the digest of the original."""
    from seqgen.compression.container import Container
    from seqgen.compression.decompress import decompress

    with tempfile.TemporaryDirectory() as folder, Container(packed) as container:
        decompress(container, Path(folder) / "copy", predictor, units)


def run_decompress(given: argparse.Namespace) -> int:
    """Decompress once."""
    from seqgen.compression.container import Container
    from seqgen.compression.decompress import decompress
    from seqgen.files.outputs import require_writable

    require_writable(given.out)
    began = time.perf_counter()
    with Container(given.file) as container:
        predictor, units = opened(given.model, given.runtime or container.header.identity.runtime)
        size = decompress(container, given.out, predictor, units, progress=_progress(given.file))
    sys.stderr.write(f"{given.out}: {size:,} bytes in {time.perf_counter() - began:.1f} s\n")
    return 0


def opened(path: Path, runtime: str) -> tuple[Predictor, Units]:
    """The predictor of an experiment (its best checkpoint) or a bundle, and the units that files become.

    Raises:
        SeqgenError: for a path that is neither, and models that cannot code a file.
    """
    from seqgen.bundle import is_bundle

    return _bundle(path, runtime) if is_bundle(path) else _experiment(path, runtime)


def _bundle(path: Path, runtime: str) -> tuple[Predictor, Units]:
    from seqgen.bundle import Bundle
    from seqgen.compression.symbols import Bundled
    from seqgen.compression.units import TextUnits
    from seqgen.runtime import open_symbols

    made = open_symbols(Bundle.open(path), runtime)
    return Bundled(made), TextUnits(made.tokenizer)


def _experiment(path: Path, runtime: str) -> tuple[Predictor, Units]:
    from seqgen import config
    from seqgen.compression.densities import predictor, units
    from seqgen.tasks.experiment import Experiment
    from seqgen.train import weights

    if runtime not in ("", "torch"):
        raise SeqgenError(
            f"{path} is an experiment, which torch runs, not {runtime}",
            remedy="give the bundle that is exported of it, or leave --runtime out",
        )
    found = Experiment.open(path)
    name, density, place = _density(found)
    what = f"{weights.digest(density)} {config.digest(found.definitions[name])}"
    made = predictor(density, digest=hashlib.sha256(what.encode()).hexdigest()[:16], label=place.name)
    return made, units(found.facts, made.values)


def _density(found: Experiment) -> tuple[str, Density, Path]:
    """Name of the density that an experiment trains, itself, and its checkpoint."""
    from seqgen.generation.contract import Density

    for name in found.trained:
        network, place = found.network(name)
        if isinstance(network, Density):
            return name, network, place
    raise SeqgenError(f"{found.directory} trains no density", remedy="give a run of maximum likelihood")


def _progress(path: Path) -> Callable[[int], None]:
    """Listener to the bytes that are done, which tells them where somebody looks on."""

    def told(done: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{path}: {done:,} bytes\r")

    return told
