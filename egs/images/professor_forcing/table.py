"""Nats a picture of runs on binary pixels, and a sheet of their samples.

``python -m egs.images.professor_forcing.table OUT/SEED/METHOD ...`` reads what ``seqgen eval`` found, prints a row for
each and writes OUT/SEED/METHOD/samples.png.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
from matplotlib import image

from seqgen.generation.contract import Density
from seqgen.tasks.drawn import drawn
from seqgen.tasks.experiment import Experiment
from seqgen.text.tokenizer import tokenizer

_SHEET = 8  # pictures of a row and of a column
COLUMNS = ("oracle bits/pixel of samples", "of test pictures", "self-BLEU of samples", "of test pictures")
FIGURES = ("oracle_bits_per_character", "oracle_bits_per_character_given", "self_bleu", "self_bleu_given")
"""What another model says of samples, and how much they are like each other."""


def row(experiment: Path, pixels: int) -> str:
    """A row of the table: ``-ln p`` of a picture with its interval, then the figures of samples."""
    found = json.loads((experiment / "eval.json").read_text(encoding="utf-8"))
    nats = [pixels * math.log(2) * found[f"bits_per_character{suffix}"] for suffix in ("", "_95")]
    others = [f"{found[name]:.3f}" if name in found else "–" for name in FIGURES]
    name = f"{experiment.parent.name}/{experiment.name}"
    return f"| {' | '.join([name, f'{nats[0]:.2f} ± {nats[1]:.2f}', *others])} |"


def sheet(experiment: Path, pixels: int) -> None:
    """Samples side by side."""
    run = Experiment.open(experiment)
    network, _ = run.network("generator")
    assert isinstance(network, Density)
    assert run.facts.tokenizer is not None
    made = drawn(network, _SHEET * _SHEET, pixels, seed=0, temperature=1.0)
    ones = made == tokenizer(run.facts.tokenizer).encode(b"1").symbols[0]
    side = math.isqrt(pixels)
    tiles = ones.reshape(_SHEET, _SHEET, side, side).transpose(0, 2, 1, 3).reshape(_SHEET * side, _SHEET * side)
    image.imsave(experiment / "samples.png", np.kron(tiles, np.ones((4, 4))), cmap="gray")


def main(experiments: list[Path]) -> None:
    """Print the table."""
    heads = ["", "nats a picture", *COLUMNS]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for experiment in experiments:
        pixels = Experiment.open(experiment).run.task.options["segment"]
        lines.append(row(experiment, pixels))
        sheet(experiment, pixels)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main([Path(one) for one in sys.argv[1:]])
