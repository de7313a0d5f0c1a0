"""Training rows that hear what came before them: every sample that is learnt from has the past it will have in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqgen.audio import io
from seqgen.audio.codec import Bytes16, Codec, Float
from seqgen.audio.prediction import LinearPrediction
from seqgen.data import directory
from seqgen.data.directory import DataDir, Utterance
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.nets.layers import Dense
from seqgen.noise import Key
from seqgen.objectives.classification import Classification
from seqgen.objectives.contract import Objective, Part, Rows
from seqgen.objectives.distillation import middle
from seqgen.spec import Facts, FeatureSpec
from seqgen.tasks import experiment
from seqgen.tasks.vocoder.batches import SegmentBatches, UtteranceBatches
from seqgen.tasks.vocoder.config import VocoderConfig
from seqgen.tasks.vocoder.examples import record
from seqgen.text.prepare import Preparation, prepare
from seqgen.train.batch import rows as rows_of
from tests.runtime.voices import density, lively, run_of
from tests.unit.cli_workspace import done
from tests.unit.test_distillation import HOP, batch_of, objective

SPEC = FeatureSpec(sample_rate=8000, n_fft=256, window=160, hop=40, n_mels=10)
LENGTHS = {"anna-1": 333, "anna-2": 4007, "ben-1": 41, "ben-2": 1210}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataDir:
    """Recordings of two speakers, from little more than a hop to half a second."""
    root, made = tmp_path_factory.mktemp("context"), []
    for number, (name, samples) in enumerate(LENGTHS.items()):
        path = root / f"{name}.wav"
        io.write(path, (0.2 * np.random.default_rng(number).standard_normal(samples)).astype(np.float32), 8000)
        made.append(Utterance(name, path, 8000, 0, samples, name.split("-")[0]))
    directory.write(root / "data", made)
    return DataDir.load(root / "data")


def segments(data: DataDir, **changes: Any) -> SegmentBatches:
    options: dict[str, Any] = {"features": SPEC, "codec": Float(), "segment": 120, "context": 200, "batch_size": 8}
    return SegmentBatches(data, **{**options, "seed": 3, "left": 3, "right": 2, **changes})


@pytest.mark.parametrize("codec", [Float(), Bytes16()])
@pytest.mark.parametrize("order", [0, 4])
def test_a_row_is_its_stretch_behind_what_came_before_it(data: DataDir, codec: Codec, order: int) -> None:
    if order and not codec.alphabet:
        pytest.skip("prediction is of 16-bit samples")
    prediction = LinearPrediction(SPEC, order) if order else None
    per, given = codec.symbols_per_sample, {"codec": codec, "prediction": prediction}
    batches, plain = segments(data, **given), segments(data, context=0, **given)
    whole = UtteranceBatches(data, features=SPEC, batch_size=1, left=3, right=2, **given)
    recordings = {batch.ids[0]: batch for batch in whole}
    kinds = set()
    for step in range(12):
        batch, bare = batches[step], plain[step]
        assert batches.draws(step) == plain.draws(step)  # what is learnt from is the same with and without
        assert batch.ids == bare.ids
        assert batch.skip is not None
        assert bare.skip is None
        assert batch.x.shape[1] == int(batch.skip.max()) + 120 * per
        for row, (utterance, offset) in enumerate(batches.draws(step)):
            before = min(offset, 200)
            skip, end = int(batch.skip[row]), int(batch.lengths[row])
            assert skip == before * per
            assert end - skip == int(bare.lengths[row]) == min(120, utterance.samples - offset) * per
            assert torch.equal(batch.x[row, skip:end], bare.x[row, : end - skip])
            recording, start = recordings[utterance.id], offset - before
            assert torch.equal(batch.x[row, :end], recording.x[0, start * per : start * per + end])
            frames = batch.cond.features[row, : 3 + end // per // 40]
            assert torch.equal(frames, recording.cond.features[0, start // 40 : start // 40 + len(frames)])
            kinds.add(0 if before == 0 else 1 if before < 200 else 2)
    assert kinds == {0, 1, 2}  # from the start, cut short by it, whole


def test_processes_share_rows_and_parts_keep_what_is_skipped(data: DataDir) -> None:
    whole, shares = segments(data)[5], [segments(data).shard(rank, 2)[5] for rank in range(2)]
    assert whole.skip is not None
    for rank, share in enumerate(shares):
        assert share.ids == whole.ids[rank::2]
        assert share.skip is not None
        assert torch.equal(share.skip, whole.skip[rank::2])
        assert torch.equal(share.lengths, whole.lengths[rank::2])
        assert torch.equal(rows_of(whole, rank, 2).skip, share.skip)


@pytest.mark.parametrize("context", [-40, 30])
def test_a_context_of_no_whole_hops_is_refused(data: DataDir, context: int) -> None:
    with pytest.raises(SeqgenError, match=f"context of {context} samples"):
        segments(data, context=context)
    with pytest.raises(SeqgenError, match=rf"'context' is {context}; give 0 or a multiple of the hop \(40\)"):
        VocoderConfig("a", "b", "c", SPEC, context=context)


WAVENET = {"name": "wavenet", "layers": 7, "dilation_cycle": 7, "residual_channels": 6, "gate_channels": 6,
           "skip_channels": 8, "head_channels": 8, "vocab_size": 0}  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("context", [160, 200])
def test_what_is_learnt_from_costs_what_it_costs_in_the_whole_recording(data: DataDir, context: int) -> None:
    """A WaveNet that reaches 129 samples back scores a stretch as it does in the stream; without context it does not.

    So does the loss: its mean over a batch's stretches is that of the whole recordings' own log-probabilities.
    """
    mixture = {"name": "logistic-mixture", "mixtures": 2, "origin": -2}
    voice = density(WAVENET | {"outputs": 6}, distribution=mixture)
    options = {"train": str(data.path), "valid": str(data.path), "test": str(data.path), "codec": "float"}
    run = run_of(voice, **options, segment=120, context=context)
    run = replace(run, train=replace(run.train, steps=2, batch_size=8))
    task = experiment.task_of(run, source="here")
    system = experiment.build(task, source="here")
    generator, trained = system.networks["generator"], system.objective
    assert isinstance(generator, AutoRegressive)
    assert trained is not None
    assert generator.body.spec.context == 129
    lively(generator, seed=1)
    scores = {}
    for batch in task.source("test", system.networks).whole():
        for row, name in enumerate(batch.ids):
            alone = rows_of(batch, row, len(batch.ids))
            fresh = replace(alone.cond, features=alone.cond.features[:, alone.cond.left :], left=0)
            scores[name] = generator.log_prob(alone.x, fresh)[0]
    (batch,) = task.source("train", system.networks).batches(0, 1, 0, 1)
    draws = segments(data, context=context, seed=run.train.seed).draws(0)
    expected = [scores[one.id][offset : min(offset + 120, one.samples)] for one, offset in draws]
    assert any(offset > context for _, offset in draws)
    found = trained(Part(batch, Key(0, 0)), "generator")
    assert float(found.weight) == sum(len(one) for one in expected)
    torch.testing.assert_close(found.total, -torch.cat(expected).mean(), rtol=1e-5, atol=1e-5)
    measured = trained.measure(batch, Key(0, 0), 0)["bits_per_sample"]
    assert measured.weights.tolist() == [len(one) for one in expected]
    cut = experiment.task_of(run_of(voice, **options, segment=120), source="here")
    cut = experiment.task_of(replace(cut.run, train=run.train), source="here")
    (bare,) = cut.source("train", system.networks).batches(0, 1, 0, 1)
    assert abs(float(trained(Part(bare, Key(0, 0)), "generator").total - found.total)) > 1e-3


@torch.no_grad()
def test_a_student_is_judged_on_what_it_says_behind_its_context() -> None:
    """Loss and figures of rows that skip are those of the samples after, each with the whole past before it."""
    built, batch = objective(contrast=0.0).double(), batch_of(2, 20)
    features = batch.cond.features.double()
    batch = replace(batch, x=batch.x.double(), cond=replace(batch.cond, features=features))
    batch = replace(batch, lengths=torch.tensor([80, 77]), skip=torch.tensor([40, 8]))
    drawn, epsilon = built.draw(batch, Key(1, 2))
    parts = built.divergence(drawn, epsilon, batch)[1]
    terms = built(Part(batch, Key(1, 2)), "student")
    assert float(terms.weight) == 40 + 69
    for name in ("kl", "cross_entropy", "entropy"):
        kept = torch.cat([parts[name][0, 40:80], parts[name][1, 8:77]])
        torch.testing.assert_close(terms.terms[name], kept.mean())


def test_the_middle_of_a_long_row_keeps_its_past_to_be_heard() -> None:
    batch = batch_of(2, 10)
    framed = replace(
        batch, cond=replace(batch.cond, features=torch.arange(15.0).view(1, 15, 1).expand(2, -1, 2), left=3)
    )
    cut = middle(framed, 4 * HOP, hop=HOP, reach=HOP + 1)
    assert torch.equal(cut.x, batch.x[:, 1 * HOP : 7 * HOP])
    assert cut.cond.features[0, :, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert (cut.skip.tolist(), cut.lengths.tolist()) == ([8, 8], [24, 24])
    all_of_it = middle(framed, 4 * HOP, hop=HOP, reach=1000)
    assert torch.equal(all_of_it.x, batch.x[:, : 7 * HOP])
    assert (all_of_it.skip.tolist(), all_of_it.lengths.tolist()) == ([12, 12], [28, 28])
    behind = replace(framed, skip=torch.tensor([6 * HOP, 0]))
    assert middle(behind, 4 * HOP, hop=HOP, reach=HOP) is behind


@torch.no_grad()
def test_what_is_skipped_counts_in_no_loss_and_no_figure() -> None:
    """Of every method whose batches may skip: what is heard only is neither learnt from nor judged."""
    example, *_ = Classification.examples()
    batch: Rows = example.batch
    skipped = replace(batch, skip=torch.tensor([3, 1, 0, 0]))
    trained: Objective = example.objective
    outputs = trained.classifier(batch.x)  # type: ignore[operator]
    logits = torch.stack([outputs[row, skip:length].mean(dim=0) for row, (skip, length) in
                          enumerate(zip([3, 1, 0, 0], batch.lengths.tolist(), strict=True))])  # fmt: skip
    wanted = torch.tensor([1, 0, 0, 1])
    found = trained(Part(skipped, Key(0, 0)), "classifier")
    torch.testing.assert_close(found.total, torch.nn.functional.cross_entropy(logits, wanted))


def test_a_label_is_told_by_what_counts_alone() -> None:
    """Outputs ``(x, -x)``: what is skipped and what is padding would turn every answer round."""
    network = Dense(1, 2)
    with torch.no_grad():
        network.linear.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        network.linear.bias.zero_()
    x = torch.full((2, 6, 1), -9.0)
    x[0, 2:4], x[1, 1:3] = 1.0, 0.5
    batch = Rows(x, torch.tensor([4, 3]), texts=("low", "low"), skip=torch.tensor([2, 1]))
    trained = Classification(Classification.Config(("low", "high")), {"classifier": network}, Facts())
    loss = trained(Part(batch, Key(0, 0)), "classifier")
    assert loss.terms["accuracy"].item() == 1
    assert loss.total.item() == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2)
    measured = trained.measure(batch, Key(0, 0), 0)["accuracy"]
    assert (measured.amounts.tolist(), measured.weights.tolist()) == ([1, 1], [1, 1])


CONFIG = """\
name: short
task: {{name: vocoder, train: {train}, valid: {valid}, test: {test}, codec: float, segment: 120, {context}
       features: {{sample_rate: 8000, n_fft: 256, window: 160, hop: 40, n_mels: 10}}}}
networks:
  generator:
    name: autoregressive
    body: {{name: wavenet, layers: 7, dilation_cycle: 7, residual_channels: 4, gate_channels: 4, skip_channels: 4,
           head_channels: 4, vocab_size: 0, outputs: 2}}
    distribution: {{name: gaussian}}
    conditioner: {{name: frames, channels: 4, blocks: 0, look_ahead: 0}}
train: {{steps: 1, batch_size: 2}}
"""


@pytest.mark.parametrize(("context", "warned"), [("", True), ("context: 80,", True), ("context: 160,", False)])
def test_training_warns_of_a_reach_that_rows_do_not_show(context: str, warned: bool, tmp_path: Path) -> None:
    path = tmp_path / "short.yaml"
    path.write_text(CONFIG.format(**record(tmp_path), context=context))
    said = [line for line in done("train", path, "--out", tmp_path / "exp").err.splitlines() if "warning" in line]
    assert bool(said) is warned
    if warned:
        assert "warning: networks.generator reaches 129 samples back" in said[0]
        assert "set task.context to that, in whole hops of 40" in said[0]


TEXT = """\
name: text
task: {{name: text, data: {data}, segment: {segment}}}
networks: {{generator: {{name: autoregressive, body: {{name: wavenet, layers: 5, dilation_cycle: 5,
  residual_channels: 4, gate_channels: 4, skip_channels: 4, head_channels: 4, conditioned: false, vocab_size: 4,
  outputs: 4}}}}}}
train: {{steps: 1, batch_size: 2}}
"""


@pytest.mark.parametrize(("segment", "warned"), [(32, True), (33, False)])
def test_so_it_does_for_text(segment: int, warned: bool, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("abcab" * 80)
    prepare(tmp_path / "text.txt", tmp_path / "data", Preparation("characters", valid_share=0.2, test_share=0.2))
    (tmp_path / "text.yaml").write_text(TEXT.format(data=tmp_path / "data", segment=segment))
    err = done("train", tmp_path / "text.yaml", "--out", tmp_path / "exp").err
    assert ("warning: networks.generator reaches 33 samples back" in err) is warned
