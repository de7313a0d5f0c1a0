"""Likelihoods in closed form: ragged batches under models whose every probability is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from seqgen.audio import io
from seqgen.data.directory import DataDir
from seqgen.distributions.categorical import Categorical
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.noise import Key
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.likelihood import Likelihood
from seqgen.runtime import open_runtime
from seqgen.spec import Facts, StreamSpec
from seqgen.stream.contract import Streamable
from seqgen.tasks import experiment
from seqgen.tasks.contract import Evaluation, System
from seqgen.tasks.table import Table
from seqgen.tasks.vocoder.examples import record
from seqgen.tasks.vocoder.task import Vocoding
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.settings import TrainConfig
from tests.runtime.voices import density, export, run_of, tiny_run


class Memoryless(Streamable[tuple[()]]):
    """The same distribution of every symbol, whatever came before."""

    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities, dtype=torch.float64).log())
        self.spec = StreamSpec(in_dim=0, out_dim=len(probabilities), vocab_size=len(probabilities))

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: Tensor, state: tuple[()], cond: Any = None) -> tuple[Tensor, tuple[()]]:
        return self.logits.expand(*x.shape, -1), ()


# Code lengths of 1, 2, 3 and 3 bits; behind the ends stand symbols that are cheaper or dearer than what is real.
COSTS = [0.5, 0.25, 0.125, 0.125]
RAGGED = Rows(torch.tensor([[0, 1, 2, 3, 0, 0], [3, 3, 0, 0, 0, 0], [1, 1, 0, 2, 3, 3]]), torch.tensor([6, 2, 4]))
BITS, LENGTHS = [11, 6, 8], [6, 2, 4]


def memoryless(per: int) -> Likelihood:
    body = Memoryless(COSTS)
    generator = AutoRegressive(body, Categorical(Categorical.Config(4)), None, start=0, symbols_per_sample=per)
    return Likelihood(Likelihood.Config(), {"generator": generator}, Facts(vocab_size=4, unit="sample"))


@pytest.mark.parametrize("per", [1, 2])
def test_the_loss_is_the_code_length_of_what_is_real(per: int) -> None:
    objective = memoryless(per)
    loss = objective(Part(RAGGED, Key(0, 0)), "generator")
    bits = sum(BITS) / sum(LENGTHS)
    assert loss.weight.item() == sum(LENGTHS)
    assert loss.total.item() == pytest.approx(bits * math.log(2), rel=1e-14)
    assert set(loss.terms) == {"nats_per_sample", "bits_per_sample"}
    assert loss.terms["bits_per_sample"].item() == pytest.approx(bits * per, rel=1e-14)
    assert loss.terms["nats_per_sample"].item() == pytest.approx(bits * per * math.log(2), rel=1e-14)
    loss.total.backward()
    counts = torch.tensor([4, 3, 2, 3], dtype=torch.float64)  # of each symbol before the ends
    gradient = torch.tensor(COSTS, dtype=torch.float64) - counts / sum(LENGTHS)
    body = objective.generator.body  # type: ignore[attr-defined]
    torch.testing.assert_close(body.logits.grad, gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("per", [1, 2])
def test_a_report_counts_the_bits_and_the_samples_of_each_row(per: int) -> None:
    (found,) = memoryless(per).measure(RAGGED, Key(0, 0), 0).items()
    assert found[0] == "bits_per_sample"
    assert found[1].amounts.tolist() == pytest.approx(BITS, rel=1e-14)
    assert found[1].weights.tolist() == [length // per for length in LENGTHS]


# --- the same at the end of every way that leads to a figure: ragged recordings, voices whose last layer is zero


def zeroed(run: Any) -> tuple[Vocoding, System]:
    """A fresh voice of a run over recordings that end within a hop, with nothing in what its distribution is made of;
    and its task."""
    task = experiment.task_of(run, source="here")
    assert isinstance(task, Vocoding)
    system = experiment.build(task, source="here")
    body = system.networks["generator"].body
    body = getattr(body, "body", body)  # inside a density of lanes
    heads = [body.o2, body.o4] if hasattr(body, "o2") else [body.out]  # type: ignore[union-attr]
    for parameter in (one for head in heads for one in head.parameters()):  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)  # type: ignore[arg-type]
    return task, system


def wavenet(outputs: int, **options: Any) -> dict[str, Any]:
    sizes = {"layers": 2, "dilation_cycle": 2, "residual_channels": 4, "gate_channels": 4, "skip_channels": 4}
    return density({"name": "wavenet", **sizes, "head_channels": 4, "outputs": outputs, **options.pop("body", {})},
                   **options)  # fmt: skip


Sound = npt.NDArray[np.float64]


def uniform(bits: float) -> Callable[[Sound], Sound]:
    return lambda x: np.full(len(x), bits)


def mixture(x: Sound) -> Sound:
    """Two logistics at 0 of scale e^-2, as 16-bit levels: one logistic."""
    half, scale = 1 / 65535, math.exp(-2.0)
    return np.asarray(-np.log2(stats.logistic.cdf((x + half) / scale) - stats.logistic.cdf((x - half) / scale)))


def normal(x: Sound) -> Sound:
    return np.asarray(-stats.norm.logpdf(x, 0, math.exp(-1.5)) / math.log(2))


REAL = {"body": {"vocab_size": 0}}
LANES = density({"name": "wavernn", "hidden": 16}, lanes=2, horizon=1, channels=4, blocks=1) | {"name": "subscale"}
VOICES: dict[str, tuple[Callable[..., Any], Callable[[Sound], Sound]]] = {
    "wavernn": (tiny_run, uniform(16.0)),
    "wavernn-prediction": (lambda **task: tiny_run(prediction=4, **task), uniform(16.0)),
    "subscale": (lambda **task: run_of(LANES, **task), uniform(16.0)),
    "mulaw": (lambda **task: run_of(wavenet(256), codec="mulaw8", **task), uniform(8.0)),
    "mixture": (
        lambda **task: run_of(
            wavenet(6, **REAL, distribution={"name": "logistic-mixture", "mixtures": 2, "origin": -2}),
            codec="float", **task,
        ),
        mixture,
    ),
    "gaussian": (
        lambda **task: run_of(
            wavenet(2, **REAL, distribution={"name": "gaussian", "origin": -1.5}), codec="float", **task
        ),
        normal,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return record(tmp_path_factory.mktemp("recordings"))


def costs(data: dict[str, str], each: Callable[[Sound], Sound], split: str = "test") -> dict[str, tuple[float, int]]:
    """Bits and samples of every recording of a split."""
    found = {}
    for utterance in DataDir.load(Path(data[split])):
        sound = io.read(utterance.path)[0].astype(np.float64)
        assert len(sound) == utterance.samples
        found[utterance.id] = (float(each(sound).sum()), utterance.samples)
    assert any(samples % 40 for _, samples in found.values())
    assert len({samples for _, samples in found.values()}) > 1
    return found


def require(table: Table, expected: dict[str, tuple[float, int]], rel: float) -> None:
    rows = table.examples["bits_per_sample"]
    assert rows.keys() == expected.keys()
    for name, (bits, samples) in expected.items():
        assert rows[name] == (pytest.approx(bits, rel=rel), samples)
    bits, samples = (sum(column) for column in zip(*expected.values(), strict=True))
    assert table.figures["bits_per_sample"].value == pytest.approx(bits / samples, rel=rel)
    assert f"bits per sample {bits / samples:.3f} ±" in table.text()


@pytest.mark.parametrize("name", VOICES)
def test_an_evaluation_gives_the_bits_that_a_known_voice_must_have(name: str, data: dict[str, str]) -> None:
    make, each = VOICES[name]
    task, system = zeroed(make(**data))
    require(task.evaluate(system, Evaluation(likelihood_only=True)), costs(data, each), rel=2e-5)


@pytest.mark.parametrize(
    ("name", "precision"), [("wavernn-prediction", "float32"), ("mixture", "float32"), ("wavernn", "int8")]
)
def test_a_bundle_has_the_same_through_every_runtime(
    name: str, precision: Any, data: dict[str, str], tmp_path: Path
) -> None:
    make, each = VOICES[name]
    task, system = zeroed(make(**data))
    bundle = export(system.networks["generator"], task, tmp_path / "voice", precision=precision)  # type: ignore[arg-type]
    for runtime in ("native",) if precision == "int8" else ("native", "onnx", "torch"):
        opened = System({}, runtime=open_runtime(bundle, runtime))
        require(task.evaluate(opened, Evaluation(likelihood_only=True)), costs(data, each), rel=2e-5)


def test_training_records_the_bits_of_what_it_is_given_and_validates_on(data: dict[str, str], tmp_path: Path) -> None:
    """A rate too small to move a weight: every line of the record is of the same voice."""
    task, system = zeroed(tiny_run(**data))
    assert system.objective is not None
    settings = TrainConfig(steps=4, batch_size=6, learning_rate=1e-12, log_every=1, validate_every=2, accumulate=2)
    train(
        system.objective,
        Recipe(settings),
        out=tmp_path / "exp",
        source=task.source("train", system.networks),
        validation=task.source("valid", system.networks),
        identity=CheckpointIdentity("", "", ""),
        device="cpu",
    )
    lines = [json.loads(line) for line in (tmp_path / "exp" / "metrics.jsonl").read_text().splitlines()]
    told = list(_told(lines, "bits_per_sample"))
    assert len(told) == 4 + 2
    assert told == pytest.approx([16.0] * 6, abs=1e-5)
    assert list(_told(lines, "nats_per_sample")) == pytest.approx([16 * math.log(2)] * 6, abs=1e-5)
    assert list(_told(lines, "loss")) == pytest.approx([8 * math.log(2)] * 6, abs=1e-5)


def _told(lines: list[dict[str, Any]], name: str) -> Iterator[float]:
    for line in lines:
        yield from (value for key, value in line.items() if key.rpartition("/")[2] == name)
