"""The recipe of the recurrent character model in its tiny form, on a real text."""

from __future__ import annotations

import json
from pathlib import Path

from tests.recipes.conftest import Tiny


def test_a_character_model_is_trained_judged_and_heard(tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    said = tiny("shakespeare/charrnn", tmp_path, "--corpus", shared_data / "text")
    found = json.loads((tmp_path / "eval.json").read_text())
    assert found["unknown"] == 0
    assert 3 < found["bits_per_character"] < 4.5
    assert found["bits_per_byte"] == found["bits_per_character"]  # a text in ASCII
    sample = said[said.index("ROMEO:") :]
    assert len(sample) == len("ROMEO:") + 300 + 1
