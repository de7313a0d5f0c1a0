#!/usr/bin/env python3
"""Draw what goes on inside generators while they read test data, and while they go on by themselves, and say how well
a fresh probe tells both modes apart.

Each argument is an experiment whose network ``generator`` is autoregressive and whose test batches are not conditioned.
The picture has a panel for each: the first two principal components of its states and outputs at every place.

Example:
    $ tools/hidden_states.py --out states.png exp/likelihood exp/professor
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from seqgen.analysis.principal import Cloud, cloud, picture
from seqgen.analysis.sequence_probe import Sequences, accuracy, both_modes
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.noise import Key
from seqgen.tasks.experiment import Experiment
from seqgen.tasks.table import ratio

_TRAINED_ON, _DRAWN = 2 / 3, 64  # share of the rows that the probe is trained on; rows that are drawn
_KEY = Key(0, 0)


@torch.no_grad()
def modes(directory: Path, rows: int, longest: int) -> Sequences:
    """Behaviour of an experiment's generator on so many test rows of one length, in both modes."""
    experiment = Experiment.open(directory)
    system = experiment.load()
    generator = system.networks.get("generator")
    if not isinstance(generator, AutoRegressive):
        raise SeqgenError(f"{directory} trains no autoregressive generator", remedy="name the run of one")
    parts: list[torch.Tensor] = []
    count = 0
    for batch in experiment.task().source("test", system.networks).whole():
        whole = batch.x[batch.lengths == batch.x.shape[1], :longest]
        if batch.cond is None and len(whole) and (not parts or whole.shape[1:] == parts[0].shape[1:]):
            parts.append(whole)
            count += len(whole)
        if count >= rows:
            break
    if count < 3:
        raise SeqgenError(f"{directory} has {count} whole test rows without conditioning", remedy="name another run")
    return both_modes(generator, torch.cat(parts)[:rows], _KEY)


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each experiment, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", type=Path, metavar="EXPERIMENT")
    parser.add_argument("--out", type=Path, help="picture to write (PNG)")
    parser.add_argument("--rows", type=int, default=1536, help="test rows, two thirds of which train the probe")
    parser.add_argument("--longest", type=int, default=1000, help="elements of a row that are looked at")
    given = parser.parse_args(arguments)
    clouds: dict[str, Cloud] = {}
    try:
        for directory in given.directories:
            found = modes(directory, given.rows, given.longest)
            training, held_out = found.split(int(_TRAINED_ON * len(found.lengths)))
            right = 100 * accuracy(training, held_out, _KEY).double().numpy()
            figure = ratio(right, np.ones(len(right)), "%")
            sys.stdout.write(f"{directory}: probe accuracy {figure}, {len(right)} rows\n")
            clouds[directory.name] = cloud(Sequences(*(part[:_DRAWN] for part in found)))
    except SeqgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if given.out is not None:
        picture(clouds, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
