"""Figures of evaluations: means and intervals in closed form, what one example or none gives, whose data are judged."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from seqgen import noise
from seqgen.audio import io
from seqgen.data import directory
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.estimators.contract import Estimator
from seqgen.metrics.table import Summary, summarise
from seqgen.noise import Key
from seqgen.objectives.actual import Actual
from seqgen.objectives.contract import Loss, Measure
from seqgen.objectives.latent_objective import perplexity
from seqgen.runtime.contract import Floats
from seqgen.spec import FeatureSpec
from seqgen.stream.contract import Streamable
from seqgen.tasks import experiment
from seqgen.tasks.contract import Evaluation, Exporting
from seqgen.tasks.table import Figure, Gathered, function_of_means, ratio
from seqgen.tasks.vocoder.comparison import Compared, compare
from seqgen.tasks.vocoder.config import number_of
from seqgen.tasks.vocoder.evaluation import recording
from seqgen.tasks.vocoder.task import Vocoding
from seqgen.train.loop import _Run
from tests.runtime.voices import tiny_run


def test_a_ratio_is_of_sums_and_its_interval_that_of_the_delta_method() -> None:
    """Written out for two examples: ``12.7 |a_1 - m w_1| √2 / (√2 · mean w)``, as the residuals add up to nothing."""
    found = ratio(np.array([10.0, 60.0]), np.array([2, 5]), "bits")
    assert found.value == pytest.approx(70 / 7)
    residual = 10 - 2 * 70 / 7
    assert found.half_width == pytest.approx(12.7062 * abs(residual) * math.sqrt(2) / (math.sqrt(2) * 3.5))
    assert found.unit == "bits"
    equal = ratio(np.array([1.0, 2.0, 6.0]), np.array([1, 1, 1]))
    assert equal.half_width == pytest.approx(4.30265 * np.std([1, 2, 6], ddof=1) / math.sqrt(3))


def test_a_ratios_interval_covers_it_95_times_in_100() -> None:
    rng, hit = np.random.default_rng(0), 0
    for _ in range(2000):
        weights = rng.integers(50, 400, 40)
        found = ratio(weights * 5.0 + np.sqrt(weights) * 9 * rng.standard_normal(40), weights)
        hit += abs(found.value - 5.0) < found.half_width
    assert 0.92 < hit / 2000 < 0.97


def test_batches_of_any_size_give_one_figure() -> None:
    amounts, weights = torch.tensor([3.0, 8.0, 1.0, 7.0]), torch.tensor([1, 4, 1, 2])
    whole, parts = Gathered(), Gathered()
    whole.add({"x": Measure(amounts, weights, "nats", 9.0, "ln K")}, "abcd")
    for first, last in ((0, 3), (3, 4)):
        part = Measure(amounts[first:last], weights[first:last], "nats", 9.0, "ln K")
        parts.add({"x": part}, "abcd"[first:last])
    assert whole.figures == parts.figures
    assert whole.figures["x"][:1] == (19 / 8,)
    assert whole.examples["x"]["b"] == (8.0, 4)
    assert str(whole.figures["x"]).endswith(" nats, at most 9.000 (ln K)")


def test_the_cap_of_a_mean_is_the_mean_of_the_caps_of_batches() -> None:
    """The last batch, which is smaller, has a lower one: a figure above that does not lean on it."""
    found = Gathered()
    for rows, value in ((16, 2.0), (16, 2.2), (4, 1.0)):
        one = Measure(torch.tensor([value]), torch.ones(1), "nats", math.log(rows), f"ln B, B = {rows} rows")
        found.add({"x": one}, [f"{value}"])
    (figure,) = found.figures.values()
    assert figure.cap == pytest.approx((2 * math.log(16) + math.log(4)) / 3)
    assert figure.cap_formula == "ln B, B = 16 rows or fewer, in the mean"
    assert math.log(4) < figure.value < figure.cap
    assert not figure.leans


def test_a_function_of_a_mean_has_the_interval_that_the_jackknife_gives() -> None:
    """Of a mean itself it is the delta method's; of the root of one half of that by the root."""
    amounts = np.random.default_rng(0).exponential(size=400)
    plain, same = ratio(amounts, np.ones(400)), function_of_means(amounts, np.ones(400), float)
    assert same.value == pytest.approx(plain.value)
    assert same.half_width == pytest.approx(plain.half_width, rel=1e-9)
    root = function_of_means(amounts, np.ones(400), np.sqrt)
    assert root.half_width == pytest.approx(plain.half_width / (2 * root.value), rel=0.01)
    assert math.isnan(function_of_means(amounts[:1], np.ones(1), np.sqrt).half_width)


def test_a_function_of_several_means_is_of_all_rows_at_once() -> None:
    usage, whole, parts = torch.tensor([[[3.0, 1.0]], [[1.0, 3.0]], [[2.0, 2.0]]]), Gathered(), Gathered()
    weights = torch.full((3,), 4)
    whole.add({"perplexity": Measure(usage, weights, function=perplexity)}, "abc")
    for row in range(3):
        parts.add({"perplexity": Measure(usage[row : row + 1], weights[:1], function=perplexity)}, "abc"[row])
    assert whole.figures["perplexity"].value == pytest.approx(2)
    assert parts.figures == whole.figures
    assert whole.examples == {}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "undefined"),
        ([math.nan], "undefined"),
        ([4.0], "4.000"),
        ([4.0, math.nan], "4.000"),
        ([4.0, 6.0], f"5.000 ± {stats.t.ppf(0.975, 1) * math.sqrt(2) / math.sqrt(2):.3f}"),
    ],
)
def test_what_has_no_interval_is_told_without_one(values: list[float], said: str) -> None:
    rows = [{"mcd": value} for value in values]
    found = summarise(rows)["mcd"] if rows else Summary(math.nan, math.nan, 0)
    assert str(found) == said
    assert found.utterances == sum(not math.isnan(value) for value in values)
    kept = np.array([value for value in values if not math.isnan(value)])
    if len(kept):
        assert "nan" not in str(ratio(kept, np.ones(len(kept))))


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (Figure(1.5), "1.500"),
        (Figure(1.5, 0.25, "nats"), "1.500 ± 0.250 nats"),
        (Figure(math.nan), "undefined"),
        (Figure(math.nan, 1.0, "dB"), "undefined dB"),
        (Figure(2.0, math.inf), "2.000"),
    ],
)
def test_a_figure_says_what_it_knows(figure: Figure, said: str) -> None:
    assert str(figure) == said


def test_speakers_are_told_apart_where_there_are_several() -> None:
    assert [number_of(name, ("ann", "bo")) for name in ("ann", "bo", "cy")] == [0, 1, None]
    assert [number_of(name, ("ann",)) for name in ("ann", "bo", "")] == [0, 0, 0]


# --- evaluations of one recording, and of somebody else's


def recorded(folder: Path, speaker: str, count: int) -> str:
    """A data directory of short tones of one speaker."""
    made = []
    for number in range(count):
        path, samples = folder / f"{speaker}-{number}.wav", 2400 + 170 * number
        path.parent.mkdir(parents=True, exist_ok=True)
        sound = 0.3 * np.sin(np.arange(samples) * (0.1 + 0.02 * number))
        io.write(path, sound.astype(np.float32), 8000)
        made.append(Utterance(f"{speaker}-{number}", path, 8000, 0, samples, speaker))
    directory.write(folder / speaker, made)
    return str(folder / speaker)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("speakers")
    return {speaker: recorded(root, speaker, count) for speaker, count in (("ann", 2), ("bo", 2), ("one", 1))}


def task_for(train: str, test: str) -> Vocoding:
    task = experiment.task_of(tiny_run(train=train, valid=test, test=test), source="here")
    assert isinstance(task, Vocoding)
    return task


def test_one_recording_is_judged_without_intervals(places: dict[str, str]) -> None:
    task = task_for(places["one"], places["one"])
    table = task.evaluate(experiment.build(task, source="here"), Evaluation(likelihood_only=False))
    assert "nan" not in table.text()
    assert "±" not in table.text()
    plain = json.loads(json.dumps(table.plain(), allow_nan=False))
    assert plain["bits_per_sample_95"] is None
    assert plain["scores"]["mcd"]["half_width"] is None
    assert plain["scores"]["mcd"]["utterances"] == 1


def test_a_voice_of_one_speaker_is_judged_on_anybodys_recordings(places: dict[str, str], tmp_path: Path) -> None:
    """As experiment and as bundle, with the same bits; and what it is validated on may be anybody's too."""
    task = task_for(places["ann"], places["ann"])
    system = experiment.build(task, source="here")
    other = Evaluation(data=Path(places["bo"]), likelihood_only=True)
    found = task.evaluate(system, other).examples["bits_per_sample"]
    assert {name: samples for name, (_, samples) in found.items()} == {"bo-0": 2400, "bo-1": 2570}
    bundle = task.export(system, tmp_path / "voice", Exporting())
    opened = task.open_bundle(bundle, "native")
    rounded = task.evaluate(opened, Evaluation(data=Path(places["bo"]))).examples["bits_per_sample"]
    assert {name: amounts[0] for name, amounts in rounded.items()} == pytest.approx(
        {name: amounts[0] for name, amounts in found.items()}, rel=1e-5
    )
    beside = task_for(places["ann"], places["bo"])
    (batch,) = beside.source("valid", system.networks).whole()
    assert batch.cond.speaker.tolist() == [0, 0]


def test_a_voice_that_is_6_db_too_quiet_is_6_db_away(tmp_path: Path) -> None:
    """What an evaluation hears of a voice whose sound is known, each utterance by its own noise whatever its company:
    of hiss that loses 6 dB the log-spectral distance is that, the mel-cepstral one nothing; what is made beyond the end
    of a recording does not count."""
    made, gain = [], 10 ** (-6 / 20)
    for number, samples in enumerate((2001, 4000, 3007)):
        hiss = 0.1 * np.random.default_rng(number).standard_normal(samples)
        io.write(tmp_path / f"a-{number}.wav", hiss.astype(np.float32), 8000)
        made.append(Utterance(f"a-{number}", tmp_path / f"a-{number}.wav", 8000, 0, samples, "a"))
    spec = FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=40, n_mels=10)
    asked: dict[int, int] = {}

    def quieter(features: Sequence[Floats], speakers: Sequence[str], streams: Sequence[int]) -> list[Floats]:
        asked.update({stream: len(one) for one, stream in zip(features, streams, strict=True)})
        assert list(speakers) == ["a"] * len(features)
        by_stream = {noise.name_to_stream(one.id): recording(one) for one in made}
        loud = [np.pad(by_stream[stream], (0, -len(by_stream[stream]) % 40), constant_values=1) for stream in streams]
        return [(gain * one).astype(np.float32) for one in loud]

    found = list(compare(quieter, spec, made))
    assert asked == {noise.name_to_stream(one.id): -(-one.samples // 40) for one in made}
    assert {one.utterance.id for one in found} == {one.id for one in made}
    for one in found:
        assert {len(audio) for audio in one.audio.values()} == {one.utterance.samples}
        assert np.array_equal(one.audio["recording"], recording(one.utterance))
        assert one.scores["voice"]["log_spectral_distance"] == pytest.approx(6, abs=0.05)
        assert one.scores["voice"]["mcd"] == pytest.approx(0, abs=1e-3)
        for other in ("griffin_lim", "world"):
            assert one.scores[other]["log_spectral_distance"] > 1
    mean = Compared.of(found, {}).scores["voice"]["log_spectral_distance"]
    assert (mean.mean, mean.utterances) == (pytest.approx(6, abs=0.05), 3)


def test_a_voice_of_several_refuses_a_stranger(places: dict[str, str], tmp_path: Path) -> None:
    both = tmp_path / "both"
    directory.write(both, [one for name in ("ann", "bo") for one in DataDir.load(Path(places[name]))])
    task = task_for(str(both), str(both))
    system = experiment.build(task, source="here")
    with pytest.raises(SeqgenError, match="spoken by 'one', whom the model does not know"):
        task.evaluate(system, Evaluation(data=Path(places["one"]), likelihood_only=True))
    shutil.rmtree(both)


# --- figures of single methods, in closed form


class Diagonal(Estimator):
    """The mean of the K scores of what belongs together: a mean of K independent numbers."""

    Config = dict

    def value(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.diagonal(dim1=-2, dim2=-1).mean(dim=-1)


@pytest.mark.parametrize("pairs", [2, 3, 10])
def test_the_variance_of_a_mean_is_that_of_its_numbers_over_how_many_there_are(pairs: int) -> None:
    scores = torch.randn(4, pairs, pairs, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    numbers = scores.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(Diagonal({}).variance(scores), numbers.var(dim=-1) / pairs)


class Constant(Streamable[tuple[()]]):
    """A critic that says one number of every action."""

    def __init__(self, like: Streamable[Any], value: float) -> None:
        super().__init__()
        self.spec, self.value = like.spec, value

    def init_state(self, batch: int, memory: Any = None) -> tuple[()]:
        return ()

    def step(self, x: torch.Tensor, state: tuple[()], cond: Any = None) -> tuple[torch.Tensor, tuple[()]]:
        return torch.full((*x.shape, self.spec.out_dim), self.value), ()


def test_a_critic_that_knows_the_mean_reward_alone_misses_all_of_its_variance() -> None:
    """``critic_error`` is 1 then, and grows by the square of what it is beside the mean, in deviations."""
    objective, batch = next(iter(Actual.examples()))
    with torch.no_grad():
        reward = objective.begin(batch, Key(0, 0)).reward.sum(dim=1)
    assert reward.std() > 0
    for beside in (0.0, 1.5):
        objective.critic = Constant(objective.critic, float(reward.mean()) + beside)
        found = objective.measure(batch, Key(0, 0), 0)["critic_error"]
        expected = 1 + beside**2 / float(reward.var(correction=0))
        assert float(found.amounts.sum() / found.weights.sum()) == pytest.approx(expected, rel=1e-4)


def test_a_process_without_a_share_of_the_validation_weighs_nothing_in_it() -> None:
    """It names the same figures as the others, of a batch that counts for none."""
    run: Any = SimpleNamespace(
        players=SimpleNamespace(
            begin=lambda batch, key: None,
            ask=lambda part, player: Loss(torch.tensor(3.0), {"x": torch.tensor(2.0)}, torch.tensor(7.0)),
        ),
        objective=SimpleNamespace(players=("model",)),
        settings=SimpleNamespace(seed=0),
        fabric=SimpleNamespace(global_rank=1, world_size=2, device=torch.device("cpu")),
        _prefix=lambda player: "",
    )
    run._measure = lambda *given: _Run._measure(run, *given)
    nothing, something = _Run._means(run, ["first"]), _Run._means(run, ["first", "second"])
    assert (nothing.elements, set(nothing.means)) == (0, {"loss", "x"})
    assert (something.elements, something.means) == (7, {"loss": 3.0, "x": 2.0})
