"""The recipes of professor forcing run through in their tiny forms, on nested brackets and on a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.recipes.conftest import Tiny


def reports(out: Path) -> dict[str, Any]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("0/*/eval.json")}


def test_behaviours_on_nested_brackets(tiny: Tiny, tmp_path: Path) -> None:
    settings = {"METHODS": "scheduled professor", "UPDATES": "20", "DECAY": "0.02", "ROWS": "48"}
    said = tiny("synthetic/professor_forcing", tmp_path, **settings)
    found = reports(tmp_path)
    assert set(found) == {"likelihood", "scheduled", "professor"}
    for one in found.values():
        assert one["bits_per_symbol_process"] == found["likelihood"]["bits_per_symbol_process"]
        assert one["bits_per_symbol"] > one["bits_per_symbol_process"]
        assert 0 < one["errors_1_12"] < 100
        assert {"errors_13_24", "errors_25_30", "errors_beyond", "trigram_kl_beyond"} < set(one)
        assert 0 <= one["probe_accuracy"] <= 100
    assert 0 <= found["professor"]["discriminator_accuracy"] <= 1
    assert said.count("probe accuracy ") >= 3
    assert (tmp_path / "0/states.png").read_bytes().startswith(b"\x89PNG")


def test_behaviours_on_a_text(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    corpus = shared_data / "text"
    settings = {"METHODS": "professor", "SAMPLES": "8", "LENGTH": "80", "ROWS": "64"}
    tiny("shakespeare/professor_forcing", tmp_path, "--corpus", corpus, **settings)
    found = reports(tmp_path)
    assert set(found) == {"likelihood", "professor"}
    for one in found.values():
        assert 3 < one["bits_per_character"] < 6
        assert 3 < one["oracle_bits_per_character"] < 6
        assert 3 < one["oracle_bits_per_character_given"] < 6
    assert (tmp_path / "0/states.png").exists()
