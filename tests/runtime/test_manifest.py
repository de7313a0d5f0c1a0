"""Manifests say their kind: each kind is read as what it is, contradictions are refused, and so is another kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from seqgen import bundle
from seqgen.bundle import Bundle
from seqgen.errors import SeqgenError
from seqgen.manifest import KINDS, LanguageModelManifest, Manifest, SymbolManifest, TranslatorManifest, VocoderManifest
from seqgen.runtime import open_runtime, open_symbols
from seqgen.spec import StateLeaf, StreamSpec

LEAVES = (StateLeaf("previous", (), "int64"), StateLeaf("body.0", (3,), "float32"))
PLAIN = {"name": "small", "licence": "CC0", "provenance": {}, "state": LEAVES, "tokenizer_signature": "0" * 16}
MODEL = LanguageModelManifest(
    kind="language-model", vocab_size=5, spec=StreamSpec(0, 5, context=None, vocab_size=5), **PLAIN
)
TRANSLATOR = TranslatorManifest(
    kind="translator",
    vocab_size=5,
    spec=StreamSpec(0, 5, cond_dim=2, context=9, vocab_size=5),
    source_vocab_size=7,
    source_tokenizer_signature="1" * 16,
    unfolding=(1.2, 5.0),
    columns=2,
    **PLAIN,
)


def written(folder: Path, manifest: Manifest) -> Bundle:
    def fill(work: Path) -> None:
        initial = {leaf.name: np.zeros((1, *leaf.shape), leaf.dtype) for leaf in manifest.state}
        save_file(initial, work / "initial.safetensors")

    return bundle.write(folder, manifest, fill)


@pytest.mark.parametrize("manifest", [MODEL, TRANSLATOR], ids=lambda one: one.kind)
def test_a_manifest_is_read_as_its_kind(tmp_path: Path, manifest: SymbolManifest) -> None:
    made = written(tmp_path / "lm", manifest)
    assert type(made.manifest) is KINDS[manifest.kind]
    assert replace(made.manifest, files=(), digest="") == manifest
    assert made.require(SymbolManifest) is made.require(type(manifest)) is made.manifest


@pytest.mark.parametrize(
    "change",
    [
        {"vocab_size": 6}, {"vocab_size": 0}, {"spec": StreamSpec(1, 5)}, {"state": LEAVES[1:]}, {"state": ()},
        {"spec": StreamSpec(0, 5, vocab_size=5, up=2)}, {"spec": StreamSpec(0, 4, vocab_size=5)},
        {"spec": StreamSpec(0, 5, vocab_size=5, latency=1)}, {"spec": StreamSpec(0, 5, vocab_size=5, cond_dim=1)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("manifest", [MODEL, TRANSLATOR], ids=lambda one: one.kind)
def test_a_manifest_of_symbols_without_sense_is_refused(
    tmp_path: Path, manifest: Manifest, change: dict[str, Any]
) -> None:
    with pytest.raises(SeqgenError, match=r"do not fit each other|begin with the symbol before; export"):
        written(tmp_path / "lm", replace(manifest, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"source_vocab_size": 0}, {"columns": 3}, {"columns": 0},
        {"unfolding": (-1.0, 2.0)}, {"unfolding": (0.0, 2.0)}, {"unfolding": (1.0, -2.0)}, {"unfolding": (1.0, 1e30)},
    ],
)  # fmt: skip
def test_a_translator_without_sense_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(SeqgenError, match=r"do not fit each other|its unfolding is"):
        written(tmp_path / "lm", replace(TRANSLATOR, **change))


def test_another_kind_than_the_one_needed_is_refused_in_one_line(tmp_path: Path, tiny_bundle: Path) -> None:
    model, voice = written(tmp_path / "lm", MODEL), Bundle.open(tiny_bundle)
    with pytest.raises(SeqgenError, match=r"lm: a bundle of the kind 'language-model' .* vocoder or voice$"):
        open_runtime(model)
    with pytest.raises(SeqgenError, match=r"kind 'vocoder' .*; give one of the kind language-model or translator$"):
        open_symbols(voice)
    assert voice.require(VocoderManifest) is voice.manifest


def test_a_voice_that_was_exported_before_still_opens(repository: Path) -> None:
    shipped = Bundle.open(repository / "egs/demo/voice").require(VocoderManifest)
    assert shipped.sample_rate == shipped.features.sample_rate
