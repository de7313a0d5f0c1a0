"""``seqgen data phones``: which phone is spoken when, as a CTM file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = """\
Phones of every recording of a data directory by pocketsphinx (`pip install 'seqgen[phones]'`), as a CTM file:
utterance, channel, start and duration in seconds, phone. Utterances with a transcript of English words that the
dictionary has are aligned to it; of others the phones are heard by a loop over all phones, which is wrong about many:
good for comparing features, no truth. How many were aligned and how many heard is told on standard error.

  seqgen data phones data/test -o phones.ctm
  seqgen probe exp/speech --data data/test --target phone --ctm phones.ctm
"""


def add_parser(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "phones",
        help="which phone is spoken when",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("data", type=Path, metavar="DIR", help="data directory")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="CTM file to write")
    command.set_defaults(run=run_phones)


def run_phones(given: argparse.Namespace) -> int:
    """Find the phones and write them, whole or not at all."""
    from seqgen.data import ctm
    from seqgen.data.directory import DataDir
    from seqgen.data.phones import phones
    from seqgen.errors import SeqgenError
    from seqgen.files.outputs import require_writable, write_text

    require_writable(given.out)
    found = list(phones(DataDir.load(given.data), _words))
    if not any(one.stretches for one in found):
        raise SeqgenError(f"{given.data}: no phone was heard", remedy="check the recordings")
    write_text(given.out, ctm.render({one.utterance: one.stretches for one in found}))
    aligned, silent = sum(one.aligned for one in found), sum(not one.stretches for one in found)
    sys.stderr.write(
        f"{given.out}: {aligned} utterances aligned to their transcripts, {len(found) - aligned - silent} heard without"
        f"{f', {silent} in which nothing was heard' if silent else ''}\n"
    )
    return 0


def _words(text: str) -> str:
    """The words of a transcript as they are spoken, in lower case."""
    from seqgen.text.spoken.splitter import spoken

    return " ".join(word.text for clause in spoken(text) for word in clause.words)
