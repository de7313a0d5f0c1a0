"""Tasks whose truth is known: their processes, what is said of trained networks beside it, and exact resumption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from seqgen import noise
from seqgen.errors import SeqgenError
from seqgen.flows.affine import logistic_log_density
from seqgen.generation.contract import Density
from seqgen.models.repeated_frames import FramePerceptron, RepeatedFrames
from seqgen.models.resonance import Resonance
from seqgen.noise import Key
from seqgen.objectives.distillation import Distillation
from seqgen.spec import Facts
from seqgen.tasks import experiment, run
from seqgen.tasks.processes import tuned_resonance
from seqgen.tasks.processes.seasonal import Seasonal, SeasonalSymbols
from seqgen.tasks.processes.tuned_resonance import TunedResonance, TunedResonanceConfig
from seqgen.tasks.processes.tuned_resonance_quadrature import entropy_rate, least_divergence
from tests.unit.cli_workspace import done, refused

SYNTHETIC = Path(__file__).resolve().parents[2] / "egs" / "synthetic"
RUNS = {
    "seasonal": SYNTHETIC / "wavenet" / "conf" / "tiny.yaml",
    "tuned-resonance": SYNTHETIC / "parallel_wavenet" / "conf" / "tiny.yaml",
}
QUICK = ("train.steps=6", "train.warmup=2", "train.checkpoint_every=3", "train.validate_every=3", "train.log_every=1")
SMALL = {"seasonal": ("task.held_out=4", "task.length=32"), "tuned-resonance": ("task.held_out=4", "task.pool=8")}


def task_of(name: str, *overrides: str) -> Any:
    return experiment.task_of(run.load(RUNS[name], [*SMALL[name], *overrides]), source=name)


def train(name: str, out: Path, *options: object) -> None:
    done("train", RUNS[name], "--out", out, *options, "--set", *QUICK, *SMALL[name])


def evaluated(out: Path) -> dict[str, Any]:
    done("eval", out)
    found: dict[str, Any] = json.loads((out / "eval.json").read_text())
    return {name: value for name, value in found.items() if name not in ("path", "seconds")}


# --- the seasonal process


def test_symbols_are_as_likely_as_the_known_entropies_say() -> None:
    """Mean code length under the exact probabilities of a cell, without the past and given the season before."""
    process = Seasonal(season=4, coefficient=0.9, deviation=0.2, levels=64)
    x = process.draw(200, 404, Key(3, 1), 0).numpy()
    value, half = 2 * x / 63 - 1, 1 / 63

    def bits(mean: Any, deviation: float) -> float:
        below, above = (stats.norm.cdf(value[:, 4:] + edge, mean, deviation) for edge in (-half, half))
        return float(-np.log2(above - below).mean())

    assert bits(0, 0.2) == pytest.approx(process.marginal_entropy, abs=0.01)
    given = bits(0.9 * value[:, :-4], 0.2 * np.sqrt(1 - 0.9**2))
    assert given == pytest.approx(process.entropy_rate, abs=0.015)
    assert process.marginal_entropy - process.entropy_rate == pytest.approx(0.5 * np.log2(1 / (1 - 0.81)))


def test_rows_are_stationary_and_follow_the_season_alone() -> None:
    process = Seasonal(season=5, coefficient=0.8, deviation=0.2, levels=256)
    x = process.draw(4000, 20, Key(0, 2), 0).double() * 2 / 255 - 1
    torch.testing.assert_close(x.std(dim=0), torch.full((20,), 0.2, dtype=x.dtype), rtol=0.05, atol=0)
    lags = [float((x[:, lag:] * x[:, : 20 - lag]).mean()) / 0.04 for lag in range(1, 11)]
    expected = [0.8 if lag == 5 else 0.64 if lag == 10 else 0.0 for lag in range(1, 11)]
    assert lags == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("numbers", [{"season": 0}, {"levels": 1}, {"deviation": 0.0}, {"coefficient": 1.0}])
def test_numbers_that_make_no_process_are_refused(numbers: dict[str, Any], tmp_path: Path) -> None:
    ((key, value),) = numbers.items()
    said = refused("train", RUNS["seasonal"], "--out", tmp_path / "x", "--set", f"task.process.{key}={value}")
    assert key in said


# --- the resonance


def test_entropy_and_least_divergence_are_those_of_samples_and_of_no_better_logistic() -> None:
    """Quadrature against drawing from the noise's two peaks, and against every logistic of a grid."""
    process = Resonance.Config()
    generator = np.random.default_rng(1)
    peaks = np.where(generator.random(400_000) < 0.5, -1, 1) * process.apart
    drawn = torch.from_numpy(peaks + process.scale * generator.logistic(size=400_000))
    assert entropy_rate(process) == pytest.approx(float(-log_density(drawn, process).mean()), abs=0.005)
    unit = torch.from_numpy(generator.logistic(size=100_000))
    grid = [
        float((logistic_log_density(unit, torch.tensor(0.0), torch.tensor(0.0)) - log_scale
               - log_density(mean + np.exp(log_scale) * unit, process)).mean())
        for mean in np.linspace(-0.04, 0.04, 9) for log_scale in np.linspace(-4.5, -3, 31)
    ]  # fmt: skip
    assert least_divergence(process) == pytest.approx(min(grid), abs=0.003)
    assert (least_divergence(process), entropy_rate(process)) == pytest.approx((0.0173, -1.6418), abs=5e-4)


def log_density(x: torch.Tensor, process: Resonance.Config) -> torch.Tensor:
    left, right = (
        torch.from_numpy(stats.logistic.logpdf(x.numpy(), peak, process.scale))
        for peak in (-process.apart, process.apart)
    )
    return torch.logaddexp(left, right) - torch.tensor(2.0).log()


@torch.no_grad()
def test_recordings_cost_their_teacher_their_entropy() -> None:
    """The process as a task's recordings and as a run's teacher are one: what it says costs it its entropy."""
    system = experiment.build(task_of("tuned-resonance"), source="test")
    assert isinstance(system.objective, Distillation)
    recorded = tuned_resonance.recordings(TunedResonanceConfig(), rows=32, frames=40, stream=5)
    params = system.objective.teacher.distributions(recorded.x, recorded.cond)
    density = system.objective.teacher.distribution.log_density(params, recorded.x[..., 0])  # type: ignore[attr-defined]
    assert -float(density.mean()) == pytest.approx(entropy_rate(Resonance.Config()), abs=0.02)


def test_a_teacher_that_is_another_resonance_is_refused(tmp_path: Path) -> None:
    said = refused("train", RUNS["tuned-resonance"], "--out", tmp_path, "--set", "task.process.radius=0.9")
    assert "networks.teacher" in said
    assert "radius=0.95" in said
    assert "task.process" in said


@pytest.mark.parametrize("numbers", ["radius=1.0", "scale=0", "apart=-1"])
def test_numbers_that_make_no_resonance_are_refused(numbers: str, tmp_path: Path) -> None:
    given = [f"{place}.{numbers}" for place in ("task.process", "networks.teacher.body")]
    said = refused("train", RUNS["tuned-resonance"], "--out", tmp_path, "--set", *given)
    assert numbers.partition("=")[0] in said


# --- both as tasks


@pytest.mark.parametrize("name", RUNS)
def test_batches_are_functions_of_their_number_and_shared_out_row_by_row(name: str) -> None:
    task = task_of(name)
    source = task.source("train", {})
    first, second, third = source.batches(0, 3, 0, 1)
    (again,) = source.batches(2, 3, 0, 1)
    assert torch.equal(again.x, third.x)
    assert again.ids == third.ids
    assert not torch.equal(first.x, second.x)
    shares = [next(source.batches(1, 2, rank, 2)) for rank in range(2)]
    for rank, share in enumerate(shares):
        assert torch.equal(share.x, second.x[rank::2])
        assert share.ids == second.ids[rank::2]
        if second.cond is not None:
            assert torch.equal(share.cond.features, second.cond.features[rank::2])
    assert not torch.equal(next(task_of(name, "train.seed=1").source("train", {}).batches(0, 1, 0, 1)).x, first.x)


@pytest.mark.parametrize("name", RUNS)
def test_held_out_rows_are_the_same_for_every_run_and_no_training_rows(name: str) -> None:
    splits = {}
    for split in ("train", "valid", "test"):
        ours, theirs = (
            torch.cat([batch.x for batch in task_of(name, f"train.seed={seed}").source(split, {}).whole()])
            for seed in (0, 1)
        )
        assert torch.equal(ours, theirs) or (name, split) == ("seasonal", "train")
        splits[split] = ours[:4]
    assert len({tuple(rows.flatten().tolist()) for rows in splits.values()}) == 3


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_the_run_that_never_stopped(name: str, tmp_path: Path) -> None:
    """Weights, moments, history and evaluation, by the command line; TensorBoard has its record."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(name, whole)
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "step-000006")
    done("train", cut / "config.yaml", "--out", cut, "--resume")
    for file in ("model.safetensors", "optimiser.safetensors"):
        ours, theirs = ((out / "checkpoints" / "step-000006" / file).read_bytes() for out in (cut, whole))
        assert ours == theirs, file
    assert history(cut) == history(whole)
    assert evaluated(cut) == evaluated(whole)
    assert list((whole / "tensorboard").iterdir())


def history(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "elements_per_second")} for line in lines]


def test_bits_per_symbol_stand_beside_the_entropies(tmp_path: Path) -> None:
    """Two seasons into each row, where all that the past tells could be known."""
    train("seasonal", tmp_path / "exp")
    found, task = evaluated(tmp_path / "exp"), task_of("seasonal")
    assert isinstance(task, SeasonalSymbols)
    process = task.config.process
    density = experiment.Experiment.open(tmp_path / "exp").load().networks["generator"]
    assert isinstance(density, Density)
    with torch.no_grad():
        nats = -density.log_prob(process.draw(4, 16 + 32, Key(0, noise.name_to_stream("held out")), 0))
    assert found["bits_per_symbol"] == pytest.approx(float(nats[:, 16:].double().mean()) / np.log(2), abs=1e-9)
    assert found["entropy_rate"] == process.entropy_rate
    assert found["marginal_entropy"] == process.marginal_entropy
    assert found["excess"] == pytest.approx(found["bits_per_symbol"] - process.entropy_rate)
    assert found["excess_95"] == found["bits_per_symbol_95"]
    rows = found["examples"]["bits_per_symbol"]
    assert found["bits_per_symbol"] == pytest.approx(sum(bits for bits, _ in rows.values()) / (4 * 32))
    assert (found["rows"], found["symbols"], found["context"]) == (4, 128, 16)
    first = done("eval", tmp_path / "exp", "--examples", 2, "--json", "--report", tmp_path / "two.json").json()
    assert first["examples"]["bits_per_symbol"] == {key: rows[key] for key in ("000000", "000001")}


def test_a_students_figures_stand_beside_those_that_are_known(tmp_path: Path) -> None:
    train("tuned-resonance", tmp_path / "exp")
    found = evaluated(tmp_path / "exp")
    assert found["kl"] == pytest.approx(found["cross_entropy"] - found["entropy"], abs=1e-4)
    assert found["excess_kl"] == pytest.approx(found["kl"] - found["least_kl"])
    assert found["least_kl"] == pytest.approx(0.0173, abs=5e-4)
    assert found["process_entropy"] == pytest.approx(-1.6418, abs=5e-4)
    assert {"level", "bands", "teacher_nll", "teacher_nll_own", "overall_level", "overall_band_8"} <= set(found)
    assert found["examples"]["kl"]["000003"][1] == 2 * 128  # both passes
    silent = done("eval", tmp_path / "exp", "--likelihood-only", "--json", "--report", tmp_path / "kl.json").json()
    assert "overall_level" not in silent
    assert silent["kl"] == found["kl"]


def test_a_density_may_learn_the_resonance_by_likelihood(tmp_path: Path) -> None:
    """The task is no part of distillation: bits of what is recorded, and levels of what is drawn."""
    generator = (
        "{name: autoregressive, distribution: {name: logistic-mixture, mixtures: 2}, conditioner: perceptron,"
        " body: {name: wavenet, layers: 2, residual_channels: 4, gate_channels: 4, skip_channels: 4, head_channels: 4,"
        " vocab_size: 0, outputs: 6}}"
    )
    text = RUNS["tuned-resonance"].read_text().split("networks:")[0]
    (tmp_path / "run.yaml").write_text(text + f"networks: {{generator: {generator}}}\ntrain: {{steps: 1}}\n")
    done("train", tmp_path / "run.yaml", "--out", tmp_path / "exp", "--set", *QUICK, *SMALL["tuned-resonance"])
    found = evaluated(tmp_path / "exp")
    assert found["process_entropy"] == pytest.approx(-1.6418, abs=5e-4)
    assert np.isfinite([found["bits_per_sample"], found["overall_level"]]).all()
    assert "least_kl" not in found


@pytest.mark.parametrize("name", RUNS)
def test_samples_follow_their_seed(name: str, tmp_path: Path) -> None:
    train(name, tmp_path / "exp")
    texts = [done("sample", tmp_path / "exp", "--length", 40, "--seed", seed).out for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    done("sample", tmp_path / "exp", "--length", 40, "--seed", 1, "-o", tmp_path / "made.txt")
    assert (tmp_path / "made.txt").read_text() == texts[0]
    if name == "seasonal":
        assert len(texts[0].split()) == 40
        assert all(0 <= int(symbol) < 64 for symbol in texts[0].split())
    else:
        rows = np.loadtxt(texts[0].splitlines())
        assert rows.shape == (40, 2)
        assert np.ptp(rows[:16, 0]) == 0 != np.ptp(rows[:, 0])
    for words in (("--data", tmp_path), ("--keep", tmp_path / "kept")):
        assert words[0] in refused("eval", tmp_path / "exp", *words)
    assert "cannot be exported" in refused("export", tmp_path / "exp", "--out", tmp_path / "bundle")


def test_another_alphabet_is_refused_with_the_options_to_set(tmp_path: Path) -> None:
    said = refused("train", RUNS["seasonal"], "--out", tmp_path, "--set", "task.process.levels=32")
    assert "reads 64 symbols, the data have 32" in said
    assert "set vocab_size and outputs to 32" in said


def test_a_conditioner_needs_frames_of_some_kind() -> None:
    task = task_of("tuned-resonance")
    assert isinstance(task, TunedResonance)
    assert task.facts.frame_spec is not None
    assert RepeatedFrames.build(RepeatedFrames.Config(), task.facts, out_dim=1).spec.up == 16
    for kind in (FramePerceptron, RepeatedFrames):
        with pytest.raises(SeqgenError, match="the data have no frames"):
            kind.build(kind.Config(), Facts(), out_dim=1)
    with pytest.raises(SeqgenError, match="a frame has 1"):
        RepeatedFrames.build(RepeatedFrames.Config(), task.facts, out_dim=2)
