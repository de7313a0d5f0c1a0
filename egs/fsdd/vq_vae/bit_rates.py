"""The recipe's table of bit rates: what a codec's symbols take of a fixed width, and coded by the prior in its bundle.

``python -m egs.fsdd.vq_vae.bit_rates CODEC --data DIR`` encodes each recording of a data directory by itself, then all
of them as one. The intervals are over recordings.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from egs.fsdd.vq_vae.conversion import audio_of
from seqgen.bundle import Bundle
from seqgen.compression import code_file
from seqgen.compression.code_file import CodeHeader
from seqgen.compression.contract import Predictor
from seqgen.compression.symbols import OfCodes
from seqgen.data.directory import DataDir
from seqgen.runtime import open_speech_codec
from seqgen.runtime.speech_codec import SpeechCodec
from seqgen.tasks.table import ratio

_ROWS = (
    "fixed width",
    "fixed width, the whole file",
    "the prior's claim",
    "coded by it",
    "coded by it, the whole file",
)


def bits(codec: SpeechCodec, prior: Predictor, audio: Iterable[npt.NDArray[np.float32]]) -> list[float]:
    """Bits of a recording's symbols in every way of ``_ROWS``."""
    blocks = list(audio)
    symbols, found = list(codec.encode(blocks)), []
    for one in (None, prior):
        header = CodeHeader.of(codec.manifest, sum(map(len, blocks)), one)
        report = code_file.write(io.BytesIO(), header, symbols, one)
        found += [report.claimed, *([] if one is None else [8.0 * report.code]), 8.0 * report.size]
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("codec", type=Path, metavar="CODEC", help="bundle with a prior")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="recordings")
    parser.add_argument("--held", type=int, default=0, help="of how many of them (0: all)")
    given = parser.parse_args()
    codec = open_speech_codec(Bundle.open(given.codec))
    prior = OfCodes(codec)
    chosen = DataDir.load(given.data).utterances
    sounds = [audio_of(one) for one in chosen[:: max(1, len(chosen) // (given.held or len(chosen)))]]
    seconds = np.array([len(one) for one in sounds]) / codec.manifest.sample_rate
    alone = np.array([bits(codec, prior, [one]) for one in sounds])  # [R, rows]
    joined = np.array(bits(codec, prior, sounds)) / seconds.sum()
    lines = [
        f"| bits a second | {len(sounds)} recordings, each by itself | joined, {seconds.sum():.1f} s |",
        "|---|---|---|",
    ]
    for name, each, one in zip(_ROWS, alone.T, joined, strict=True):
        lines.append(f"| {name} | {ratio(each, seconds, '')} | {one:.1f} |")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
