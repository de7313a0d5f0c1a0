"""Mutual information of representations with what is known of their recordings, one pair a recording.

``python -m egs.bench.representations.information VECTORS OUT STEPS FEWEST BOUND ...``: VECTORS is a folder of
``seqgen probe --vectors``. Each file of vectors is held against ``label`` and ``signal`` by each bound;
``OUT/ROW-OF-BOUND.json`` are the reports of ``seqgen information``. What is there is kept. A batch has 64 pairs,
or as many as choose the checkpoint. Of fewer recordings than FEWEST nothing is told: intervals would be wider than what
is to be found. A bound whose training diverges, as NWJ's may, has no report, and is named at the end.
"""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np

from seqgen.cli.main import main as seqgen

_KNOWN = ("label", "signal")
_BATCH, _VALID = 64, 0.15  # pairs of a batch at most, and the share of the pairs that chooses the checkpoint


def main(words: list[str]) -> int:
    """Every pair of files by every bound; 0, or the last failure's status where none could be told."""
    vectors, out, steps, fewest, bounds = Path(words[0]), Path(words[1]), words[2], int(words[3]), words[4:]
    out.mkdir(parents=True, exist_ok=True)
    rows = sorted(place for place in vectors.glob("*.npy") if place.stem not in _KNOWN)
    known = len(np.load(rows[0], mmap_mode="r"))
    if known < fewest:
        sys.stderr.write(f"{vectors}: {known} recordings are too few for mutual information, give {fewest}\n")
        return 0
    batch, status, lacking = min(_BATCH, int(_VALID * known)), 0, []
    for row in rows:
        for of in _KNOWN:
            for bound in bounds:
                report = out / f"{row.stem}-{of}-{bound.replace(':', '-')}.json"
                if report.exists():
                    continue
                options = ["--bound", bound, "--steps", steps, "--batch", str(batch), "--report", str(report)]
                with contextlib.redirect_stdout(io.StringIO()):
                    failed = seqgen(["information", str(row), str(vectors / f"{of}.npy"), *options])
                if failed:
                    status = failed
                    lacking.append(report.stem)
    if lacking:
        sys.stderr.write(f"{out}: nothing is told of {', '.join(lacking)}\n")
    return 0 if any(out.iterdir()) else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
