"""A voice that speaks, made in some seconds: runs of prosody and frames that have hardly learnt, a vocoder of random
weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seqgen.cli.main import main
from seqgen.tasks.acoustic.examples import timed
from tests.runtime.voices import export_tiny, tiny_run
from tests.unit.cli_workspace import done

TEXT = "A tea, tea. A?"
FEATURES = {"sample_rate": 8000, "n_fft": 512, "window": 320, "hop": 80, "n_mels": 6}


def acoustic_run(folder: Path, target: str, features: dict[str, Any], **speaking: str) -> str:
    """Configuration of a small run of prosody or frames over :func:`timed` recordings, JSON being YAML; ``speaking``:
    files of the folder that options of the task name."""
    encoder = {"name": "bytenet-encoder", "vocab_size": 70, "channels": 4, "out_dim": 6, "cycles": 1}
    body = {"body": {"channels": 5, "blocks": 1, "look_ahead": 2}, "width": 6} if target == "frames" else {}
    places = {name: str(folder / name) for name in ("train", "valid", "test", "times")}
    said = {option: str(folder / name) for option, name in speaking.items()}
    run = {
        "name": target,
        "licence": "CC0",
        "task": {"name": "acoustic", "target": target, "features": features, **places, **said},
        "networks": {"generator": {"name": "aligned-phones", "encoder": encoder, "components": 2, **body}},
        "objective": {"name": "likelihood"},
        "train": {"steps": 30, "batch_size": 4, "learning_rate": 1e-2, "validate_every": 30, "checkpoint_every": 30},
    }
    return json.dumps(run)


def speaking(folder: Path, **more: str) -> None:
    """Fill a folder: the runs ``prosody`` and ``frames`` with their configurations, ``vocoder``, and ``voice``, which
    they make; ``more``: files of the folder that further options of the task name."""
    timed(folder)
    (folder / "lexicon").write_text("a AH0\ntea T AH0\n")
    (folder / "own").write_text("tea T IY1\n")
    features = FEATURES | {"pitch": True}
    export_tiny(folder / "vocoder", tiny_run(hop=80, features=features))
    given = {"prosody": "prosody", "lexicon": "lexicon", "own": "own", "vocoder": "vocoder", **more}
    for target in ("prosody", "frames"):
        (folder / f"{target}.yaml").write_text(acoustic_run(folder, target, features, **given))
        assert main(["train", str(folder / f"{target}.yaml"), "--out", str(folder / target), "--threads", "1"]) == 0
    done("export", folder / "frames", "--out", folder / "voice")
