"""``seqgen data lexicon``: a pronouncing dictionary in a small file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HELP = """\
Pack a pronouncing dictionary: lines `word PH ON EMES` in ARPAbet, as the CMU Pronouncing Dictionary has them, plain or
gzipped; or with the International Phonetic Alphabet between slashes. Of words that come again, or have a number behind
them as in `read(2)`, all pronunciations are kept, the first being the usual one.

  seqgen data lexicon cmudict.dict.gz -o english.lexicon
"""


def add_parser(commands: Any) -> None:
    """Register the sub-command."""
    command = commands.add_parser(
        "lexicon",
        help="a pronouncing dictionary in a small file",
        description=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("dictionary", type=Path, metavar="FILE")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="lexicon to write")
    command.set_defaults(run=run_lexicon)


def run_lexicon(given: argparse.Namespace) -> int:
    """Read the dictionary and write it, whole or not at all."""
    from seqgen.errors import SeqgenError
    from seqgen.files.outputs import replacing, require_writable
    from seqgen.text.pronounced.lexicon import Lexicon

    require_writable(given.out)
    lexicon = Lexicon.open(given.dictionary)
    if not len(lexicon):
        raise SeqgenError(f"{given.dictionary}: no word", remedy="give lines such as: hello HH AH0 L OW1")
    data = lexicon.packed()
    with replacing(given.out) as file:
        file.write(data)
    sys.stderr.write(f"{given.out}: {len(lexicon):,} words, {len(data):,} bytes\n")
    return 0
