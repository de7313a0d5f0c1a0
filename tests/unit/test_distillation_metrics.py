"""What is said of a student beside its teacher, where the teacher's own density is known."""

from __future__ import annotations

import pytest
import torch
from seqgen.train.teaching import heard, own

from egs.synthetic.parallel_wavenet import known
from egs.synthetic.parallel_wavenet.experiment import batch
from seqgen.generation.parallel import Parallel
from seqgen.models.parallel_wavenet import ParallelWaveNet
from seqgen.nets.layers import Dense
from seqgen.noise import Key
from seqgen.objectives.distillation import Distillation
from seqgen.stream.combinators import Repeat, Serial


@torch.no_grad()
def test_a_teacher_is_as_sure_of_its_own_samples_as_its_entropy_says() -> None:
    settings = known.Teacher()
    teacher = known.generator(settings)
    body = ParallelWaveNet(
        ParallelWaveNet.Config(layers=(2,), dilation_cycle=2, residual_channels=4, gate_channels=4, head_channels=4)
    )
    conditioner = Serial(Dense(1, body.spec.cond_dim), Repeat(settings.hop, dim=body.spec.cond_dim))
    options = Distillation.Config(samples=1, longest=4000)
    objective = Distillation(options, Parallel(body, conditioner), left=0, teacher=teacher)
    tuned = known.features(settings, 1, 100, stream=0)
    recorded = batch(tuned, known.recordings(teacher, tuned, stream=0))
    found, student = own(objective, recorded, Key(0, 1)), heard(objective, recorded, Key(0, 1))
    entropy = known.entropy_rate(settings)
    assert found["teacher_nll_own"] == pytest.approx(entropy, abs=0.1)
    assert student["teacher_nll_recordings"] == pytest.approx(entropy, abs=0.1)
    assert found["level_own"] == pytest.approx(0, abs=1.5)
    assert found["bands_own"] < 1.5 < student["bands"]
    assert student["bands"] > abs(sum(student[f"band_{band}"] for band in range(1, 9)) / 8) - 1e-4
    assert found != own(objective, recorded, Key(0, 2))


def test_a_fresh_student_is_no_louder_than_its_scales_say() -> None:
    torch.manual_seed(0)
    body = ParallelWaveNet(
        ParallelWaveNet.Config(
            layers=(8, 8, 10), residual_channels=32, gate_channels=32, head_channels=32, conditioned=False
        )
    )
    with torch.no_grad():
        affine, _ = body.affine(torch.randn(4, 400, 1), body.init_state(4))
    assert affine.log_scale.exp().mean().item() == pytest.approx(0.5**3, rel=0.2)
    assert affine.mean.std().item() < 2 * 0.5**3
