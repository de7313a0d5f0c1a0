"""Every recipe runs through on real recordings with its tiny configuration, and refuses what it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seqgen.audio import io
from tests.recipes.conftest import Run, Tiny

# Recipe -> folder of its recordings.
RECIPES = {
    "fsdd/wavernn": "fsdd",
    "fsdd/wavenet": "fsdd",
    "fsdd/parallel_wavenet": "fsdd",
    "ljspeech/wavernn": "ljspeech-mini",
    "ljspeech/wavenet": "ljspeech-mini",
    "ljspeech/parallel_wavenet": "ljspeech-mini",
    "yesno/wavernn": "yesno",
}
# What needs no recordings, and what is tested in a file of its own.
EXPERIMENTS = (
    "bench/representations",
    "cmudict/g2p",
    "digits/acn",
    "digits/broken_elbo",
    "fsdd/beta_tcvae",
    "fsdd/cpc",
    "fsdd/lossless",
    "fsdd/svae",
    "fsdd/delta_vae",
    "kathleen/acoustic",
    "kathleen/alignment",
    "kathleen/tts",
    "kathleen/vocoder",
    "librispeech/cpc",
    "librispeech/evidence_chains",
    "mnist/acn",
    "mnist/delta_vae",
    "mnist/gumbel_softmax",
    "fsdd/vq_vae",
    "librispeech/vq_vae",
    "mnist/lossless",
    "mnist/vq_vae",
    "mnist/vae",
    "digits/inference_gaps",
    "digits/sticking_the_landing",
    "digits/wasserstein_dependency",
    "omniglot/wasserstein_dependency",
    "images/professor_forcing",
    "shakespeare/actual",
    "shakespeare/charrnn",
    "enwiki/bytenet",
    "enwiki/discrete_flow",
    "shakespeare/bytenet",
    "shakespeare/cpc",
    "shakespeare/delta_vae",
    "shakespeare/discrete_flow",
    "shakespeare/professor_forcing",
    "synthetic/actual",
    "synthetic/beta_tcvae",
    "synthetic/bytenet",
    "synthetic/delta_vae",
    "synthetic/discrete_flow",
    "synthetic/evidence_chains",
    "synthetic/gumbel_softmax",
    "synthetic/information",
    "synthetic/parallel_wavenet",
    "synthetic/professor_forcing",
    "synthetic/svae",
    "synthetic/vq_vae",
    "synthetic/wavenet",
    "tatoeba/bytenet",
    "yesno/professor_forcing",
)


# Other scripts beside a recipe's run.sh: comparisons of several trainings.
COMPARISONS = {
    "fsdd/wavernn": ("sparsity", "quantise", "subscale"),
    "fsdd/parallel_wavenet": ("ablation",),
    "fsdd/cpc": ("ablation",),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_makes_a_streaming_voice(recipe: str, tiny: Tiny, shared_data: Path, tmp_path: Path) -> None:
    tiny(recipe, tmp_path / "exp", "--corpus", shared_data / RECIPES[recipe])
    scores = json.loads((tmp_path / "exp" / "eval.json").read_text())
    if recipe.endswith("parallel_wavenet"):
        assert scores["kl"] == pytest.approx(scores["cross_entropy"] - scores["entropy"], abs=1e-4)
    if recipe == "fsdd/parallel_wavenet":
        scores = json.loads((tmp_path / "exp" / "teacher.json").read_text())
    if recipe != "ljspeech/parallel_wavenet":
        assert 1 < scores["bits_per_sample"] < 16.5
    streamed, rate = io.read(tmp_path / "exp" / "streamed.wav")
    reference, expected_rate = io.read(min((tmp_path / "exp" / "audio").glob("*.reference.wav")))
    assert rate == expected_rate
    assert len(streamed) == len(reference)
    metrics = [json.loads(line) for line in (tmp_path / "exp" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in metrics if line["split"] == "train"]
    assert losses[-1] < losses[0]


def test_a_recipe_goes_on_at_a_stage(run: Run, shared_data: Path, tmp_path: Path) -> None:
    """Stage 3 without the stages before it: the missing experiment is named, nothing is written."""
    words = ("--corpus", shared_data / "yesno", "--stage", "3", "--out", tmp_path / "x")
    assert "no experiment here" in run("yesno/wavernn", *words, status=1).stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--corpsu", "x"], "unknown option --corpsu"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "two"], "two"),
    ],
)
def test_a_wrong_option_is_one_clear_line(options: list[str], said: str, run: Run) -> None:
    made = run("fsdd/wavernn", *options, status=2)
    assert said in made.stderr
    assert len(made.stderr.strip().splitlines()) == 1


def test_a_recipe_cannot_assign_what_stages_do_not_read(repository: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "run.sh"
    recipe.write_text(f". {repository}/egs/vocoder.sh\nvocoder fsdd speaker=yes\n")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    made = subprocess.run(["bash", recipe], env=environment, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (2, "error: vocoder.sh knows no 'speaker=yes'\n")


SCRIPTS = [
    *((recipe, "run") for recipe in (*RECIPES, *EXPERIMENTS)),
    *((recipe, script) for recipe, scripts in COMPARISONS.items() for script in scripts),
]


@pytest.mark.parametrize(("recipe", "script"), SCRIPTS)
def test_help_says_what_it_does(recipe: str, script: str, run: Run) -> None:
    made = run(f"{recipe}/{script}.sh", "--help")
    assert ("--corpus" if recipe in RECIPES else "--out") in made.stdout


def test_every_recipe_is_listed(repository: Path) -> None:
    egs = repository / "egs"
    found = {(str(path.parent.relative_to(egs)), path.stem) for path in egs.glob("*/*/*.sh")}
    assert found == set(SCRIPTS)


def _evaluated(out: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/eval.json")}


def test_students_of_a_known_teacher_go_the_right_way(tiny: Tiny, tmp_path: Path) -> None:
    """The tiny form of the experiment: every direction that the full one shows, not its values."""
    out = tmp_path / "exp"
    said = tiny("synthetic/parallel_wavenet", out, ELEMENTS="512")
    students = _evaluated(out)
    assert set(students) == {"untrained", "full", "one-draw", "independent", "short", "short-power"}
    least = students["full"]["least_kl"]
    assert least == pytest.approx(0.0173, abs=5e-4)
    assert students["full"]["process_entropy"] == pytest.approx(-1.6418, abs=5e-4)
    for name in ("full", "one-draw"):
        assert least < students[name]["kl"] < 0.05 * students["untrained"]["kl"]
    assert students["independent"]["kl"] > 2 * students["full"]["kl"]
    # The divergence alone leaves a student that cannot do everything too quiet; the power loss makes up for it.
    assert students["short"]["overall_level"] < -6
    assert students["short-power"]["overall_level"] > students["short"]["overall_level"] + 2
    assert "| least kl | 0.0173 |" in said
    quick, _ = json.loads((out / "generation.json").read_text())
    _, deep = json.loads((out / "stepped.json").read_text())
    assert quick["samples_per_second"] > 10 * deep["samples_per_second"]


def test_dilations_find_a_season_and_queues_generate_the_same(tiny: Tiny, tmp_path: Path) -> None:
    """The tiny form of the experiment: with dilations most of what the past tells is learnt, without them nothing."""
    out = tmp_path / "exp"
    said = tiny("synthetic/wavenet", out, ELEMENTS="20", DEPTHS="4 8")
    dilated, plain = (_evaluated(out)[name] for name in ("dilated", "plain"))
    marginal, given = dilated["marginal_entropy"], dilated["entropy_rate"]
    assert marginal - given == pytest.approx(1.679, abs=1e-3)  # ½ log2(1 / (1 - 0.95²))
    assert dilated["parameters"] == plain["parameters"]
    assert (dilated["context"], plain["context"]) == (16, 5)
    assert given < dilated["bits_per_symbol"] < marginal - 0.8
    assert plain["bits_per_symbol"] > marginal - 0.1
    assert [one["same"] for one in json.loads((out / "generation.json").read_text())] == [20, 20]
    assert f"| entropy rate | {given:.4f} |" in said
