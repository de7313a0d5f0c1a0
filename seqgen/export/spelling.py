"""Spellings in the bundle of a voice: a translator of letters into phones, and words with what it makes of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.export import single
from seqgen.files.outputs import write_text
from seqgen.manifest import TranslatorManifest
from seqgen.runtime.speller import FILES, Speller
from seqgen.runtime.voice import SPELLING, SPELLING_GOLDEN
from seqgen.text import tokenizer
from seqgen.text.pronounced.phones import PHONES

_WORDS = ("blickers", "unfathomed", "zorgle", "thrixton", "quandary", "mcallister", "ghoti", "pneumatics")


def require(translator: Bundle) -> TranslatorManifest:
    """The manifest of a translator that makes phones of letters.

    Raises:
        SeqgenError: for a bundle of another kind, without graphs, or of other targets.
    """
    manifest = translator.require(TranslatorManifest)
    there = {entry.name for entry in manifest.files}
    lacking = [name for name in FILES if name not in there]
    if lacking:
        raise SeqgenError(f"{translator.directory} has no {lacking[0]}", remedy="export it without --engine-only")
    target = tokenizer.read(translator.path("tokenizer.json"))
    learnt = [target.decode([symbol]).decode("utf-8", "replace") for symbol in range(target.vocab_size)]
    if target.stop is None or not set(PHONES).intersection(learnt):
        raise SeqgenError(f"{translator.directory} makes no phones", remedy="give a translator of egs/cmudict/g2p")
    return manifest


def write(translator: Bundle, directory: Path) -> None:
    """Write the files of a translator into the folder of a bundle, each graph with its weights inside.

    Raises:
        SeqgenError: as :func:`require`.
    """
    require(translator)
    for name in FILES:
        place = directory / f"{SPELLING}{name}"
        if name.endswith(".onnx"):
            single.write(translator, name.removesuffix(".onnx"), place)
        else:
            shutil.copyfile(translator.path(name), place)
    golden = dict(zip(_WORDS, map(" ".join, Speller(translator)(_WORDS)), strict=True))
    write_text(directory / SPELLING_GOLDEN, json.dumps(golden, indent=1) + "\n")
