"""Compression: byte-exact on anything, at the model's own bits, by a model that is in the same state on both sides."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from seqgen import registry
from seqgen.compression import lanes
from seqgen.compression.block import code
from seqgen.compression.coder import RangeDecoder, RangeEncoder
from seqgen.compression.compress import compress
from seqgen.compression.densities import Stepped, predictor
from seqgen.compression.units import SampleUnits, TextUnits
from seqgen.config import Component
from seqgen.distributions.categorical import Categorical
from seqgen.distributions.gaussian import Gaussian
from seqgen.distributions.logistic_mixture import LogisticMixture
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.contract import DensityExample
from seqgen.generation.factorised import Factorised
from seqgen.generation.flow import Flow
from seqgen.generation.successive import Successive, Transformed
from seqgen.models.discrete_autoregressive import DiscreteAutoregressive
from seqgen.models.wavenet import WaveNet
from seqgen.models.wavernn import WaveRNN
from seqgen.text.sentencepiece import SentencePiece
from seqgen.text.tokenizer import tokenizer
from tests.unit.compression import TEXT, Coded, byte_model, coded, language_model, there_and_back

BOUND, SHARE = 64, 0.005  # bytes, and of what the model claims


def random_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


# --- lanes


@given(st.integers(0, 1 << 40))
def test_lanes_are_few_where_a_file_is_small(size: int) -> None:
    made = lanes.count(size)
    assert 1 <= made <= lanes.MOST
    assert made == 1 or size / made >= 1 << 14
    bounds = lanes.even_bounds(size, made, 1)
    assert bounds == sorted(bounds)
    assert (bounds[0], bounds[-1], len(bounds)) == (0, size, made + 1)


def test_a_row_that_ends_keeps_the_state_of_its_end() -> None:
    """Rows of unequal lengths: whatever runs on behind a row's end leaves no trace in its state."""
    model = byte_model()
    given_rows = np.frombuffer(random_bytes(60), np.uint8).astype(np.int64).reshape(3, 20)
    counts = np.array([20, 7, 0])
    with model.predictor.session():
        _, state = code(model.predictor, RangeEncoder(), model.predictor.init(3), given_rows, counts)
        _, short = code(model.predictor, RangeEncoder(), model.predictor.init(3), given_rows[:, :7], np.full(3, 7))
    assert torch.equal(state.previous[1], short.previous[1])
    assert torch.equal(state.body[0][1], short.body[0][1])
    assert torch.equal(state.body[0][2], model.predictor.init(3).body[0][2])


# --- there and back


@pytest.mark.parametrize("size", [0, 1, 2, 3, 100, 1500])
@pytest.mark.parametrize("steps", [0, 60])
def test_random_bytes_come_back(size: int, steps: int, tmp_path: Path) -> None:
    report, _ = there_and_back(random_bytes(size), byte_model(steps), tmp_path)
    assert report.compressed <= report.promised * (1 + SHARE) + BOUND


@pytest.mark.parametrize("number", [0, 1, 7, 50])
def test_text_comes_back_at_the_models_bits(number: int, tmp_path: Path) -> None:
    model = byte_model(60)
    report, _ = there_and_back(TEXT, model, tmp_path, number=number)
    assert report.lanes == max(1, number)
    assert report.compressed <= report.promised * (1 + SHARE) + BOUND
    assert report.compressed < len(TEXT) / 2, "a trained model compresses"
    if number == 1:
        x = torch.from_numpy(np.array(tokenizer(Component("bytes")).encode(TEXT).symbols))[None]
        with torch.no_grad():
            claimed = -float(model.density.log_prob(x).double().sum()) / math.log(2)
        assert report.claimed == pytest.approx(claimed, rel=1e-4), "what evaluation says the text takes"


def test_a_model_that_is_sure_of_nonsense_costs_24_bits_at_most(tmp_path: Path) -> None:
    density = language_model(256)
    with torch.no_grad():
        density.body.out.bias[0] += 80
    report, _ = there_and_back(TEXT, coded(tokenizer(Component("bytes")), density), tmp_path)
    assert report.claimed > 100 * report.elements
    assert report.compressed <= 3 * len(TEXT) + BOUND


@pytest.mark.parametrize("size", [1, 15, 16, 17, 100])
def test_records_are_coded_by_fresh_models(size: int, tmp_path: Path) -> None:
    there_and_back(TEXT[:16] * 6 + TEXT[:4], byte_model(60), tmp_path, record=size)


def test_every_record_costs_what_it_costs_alone(tmp_path: Path) -> None:
    six, _ = there_and_back(TEXT[:16] * 6, byte_model(60), tmp_path, record=16)
    alone, _ = there_and_back(TEXT[:16], byte_model(60), tmp_path)
    assert six.claimed == pytest.approx(6 * alone.claimed, rel=1e-3)


def test_blocks_and_lanes_of_a_larger_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "PIECE", 64)
    told: list[int] = []
    data = TEXT + random_bytes(333) + "größer".encode() * 50
    original = tmp_path / "a"
    original.write_bytes(data)
    model = byte_model(60)
    compress(original, tmp_path / "a.sg", model.predictor, model.units, number=5, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == len(data)
    assert len(told) > 5
    there_and_back(data, model, tmp_path, number=5)


@given(data=st.one_of(st.binary(max_size=200), st.text("abc dé€\N{GRINNING FACE}x\0", max_size=100).map(str.encode)),
       number=st.integers(1, 4))  # fmt: skip
def test_unknown_characters_and_invalid_ones_come_back(
    data: bytes, number: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = tokenizer(Component("characters", {"characters": " abcdé"}))
    model = coded(made, language_model(made.vocab_size))
    report, _ = there_and_back(data, model, tmp_path_factory.mktemp("characters"), number=number)
    strange = sum(map(len, made.encode(data).literals))
    assert report.kept >= strange
    assert report.kept == strange or number > 1


def test_subwords_come_back(tmp_path: Path) -> None:
    made = SentencePiece.learn(lambda: [TEXT], vocabulary=300)
    model = coded(made, language_model(made.vocab_size))
    data = TEXT + random_bytes(500) + " ▁ößé\n\n\0".encode() + TEXT[:100]
    report, _ = there_and_back(data, model, tmp_path, number=3)
    assert report.kept == 0


class Forgetful(TextUnits):
    """Units that do not give back what has a capital in it."""

    def decode(self, values: np.ndarray, literals: tuple[bytes, ...]) -> bytes:  # type: ignore[type-arg]
        return super().decode(values, literals).lower()


def test_pieces_that_do_not_come_back_are_kept_as_they_are(tmp_path: Path) -> None:
    model = byte_model(60)
    other = Coded(model.predictor, Forgetful(tokenizer(Component("bytes"))), model.density)
    report, packed = there_and_back(b"all is well here" * 20 + b"But not HERE", other, tmp_path, number=4)
    assert 0 < report.kept < 200
    assert b"But not HERE" in packed or report.kept > 12


def real_body(outputs: int) -> WaveNet:
    return WaveNet(WaveNet.Config(layers=3, residual_channels=4, gate_channels=4, skip_channels=4, head_channels=4,
                                  conditioned=False, vocab_size=0, outputs=outputs))  # fmt: skip


@pytest.mark.parametrize("size", [0, 1, 2, 1000, 1001])
@pytest.mark.parametrize("levels", [256, 65536])
def test_samples_come_back(size: int, levels: int, tmp_path: Path) -> None:
    wave = (np.sin(np.arange(size // 2) / 20) * 9000).astype("<i2").tobytes() + b"\x07" * (size % 2)
    if levels == 256:
        drawn = Categorical(Categorical.Config(256))
        net = WaveRNN(WaveRNN.Config(hidden=8, conditioned=False))
        density = AutoRegressive(net, drawn, None, start=0, symbols_per_sample=2)
        model = Coded(Stepped(density, digest="0" * 16, label=""), SampleUnits(coarse=True), density)
    else:
        drawn = LogisticMixture(LogisticMixture.Config(mixtures=2))
        density = AutoRegressive(real_body(drawn.num_params), drawn, None, start=0.0, symbols_per_sample=1)
        model = Coded(Stepped(density, digest="0" * 16, label=""), SampleUnits(coarse=False), density)
    report, _ = there_and_back(wave, model, tmp_path)
    assert report.kept == (size if size % 2 else 0), "half a sample is kept, with the piece that it is in"
    assert report.compressed <= report.promised * (1 + SHARE) + BOUND
    if size == 1000:
        elements = model.units.encode(wave).symbols
        x = drawn.values(torch.from_numpy(elements))[None]
        with torch.no_grad():
            claimed = -float(density.log_prob(x if levels == 256 else x[..., None]).double().sum()) / math.log(2)
        assert report.claimed == pytest.approx(claimed, rel=1e-4), "what evaluation says the samples take"


def test_densities_of_real_numbers_and_conditioned_ones_are_refused() -> None:
    density = AutoRegressive(real_body(2), Gaussian(Gaussian.Config()), None, start=0.0, symbols_per_sample=1)
    with pytest.raises(SeqgenError, match="real numbers"):
        Stepped(density, digest="0" * 16, label="")
    conditioned = next(one.density for one in AutoRegressive.examples() if one.density.body.spec.cond_dim)
    with pytest.raises(SeqgenError, match="conditioned on frames"):
        Stepped(conditioned, digest="0" * 16, label="")


# --- whatever tells its elements one after the other


DENSITIES = [
    pytest.param(one, id=f"{name}-{index}")
    for name in registry.DENSITIES
    for index, one in enumerate(registry.DENSITIES.load(name).examples())
    if isinstance(one.density, Successive | Transformed) and one.cond is None and one.values is not None
]


@pytest.mark.parametrize("example", DENSITIES)
def test_every_density_over_symbols_codes_at_its_own_bits(example: DensityExample) -> None:
    """Every registered density, flows over either kind of base too: each row's log-probability, and what was given."""
    model = predictor(example.density, digest="0" * 16, label="")
    x = example.x[:, : example.density.length or None]
    given_rows = np.concatenate([x.numpy(), x.numpy()[:, ::-1][:, :1]], axis=1)  # one element more than a block has
    counts = np.full(len(x), given_rows.shape[1])
    counts[0] = x.shape[1]
    encoder = RangeEncoder()
    with model.session():
        coded_rows, _ = code(model, encoder, model.init(len(x)), given_rows, counts)
        decoded, _ = code(model, RangeDecoder(encoder.finish()), model.init(len(x)), np.zeros_like(given_rows), counts)
        alone = RangeEncoder()
        code(model, alone, model.init(len(x)), x.numpy(), np.full(len(x), x.shape[1]))
        claimed = -float(example.density.log_prob(x).double().sum()) / math.log(2)
    given_rows[0, -1] = 0
    assert (decoded == given_rows).all()
    assert (coded_rows == given_rows).all()
    assert alone.claimed == pytest.approx(claimed, rel=1e-4)


def test_registered_densities_are_coded() -> None:
    assert len(DENSITIES) > 8


@pytest.mark.parametrize("size", [1, 4, 5, 6, 301])
def test_files_are_coded_in_blocks_of_a_flow(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of whole blocks and a part of one, several pieces long: the part costs a whole one."""
    monkeypatch.setattr(lanes, "PIECE", 16)
    net = Component("recurrent", {"vocab_size": 256, "outputs": 256, "hidden": 6, "embedding": 3})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bijector = DiscreteAutoregressive(DiscreteAutoregressive.Config(vocab_size=256, length=5, net=net))
        base = Factorised(Factorised.Config(vocab_size=256, length=5))
        density = Flow(base, [bijector])
        with torch.no_grad():
            for parameter in density.parameters():
                parameter.copy_(torch.randn(parameter.shape))
    one = predictor(density, digest="0" * 16, label="")
    report, _ = there_and_back(random_bytes(size), Coded(one, byte_model().units, byte_model().density), tmp_path)
    assert report.lanes == 1
    assert report.kept == 0
    x = torch.from_numpy(np.frombuffer(random_bytes(size) + bytes(-size % 5), np.uint8).astype(np.int64)).view(-1, 5)
    with torch.no_grad():
        claimed = -float(density.log_prob(x).double().sum()) / math.log(2)
    assert report.claimed == pytest.approx(claimed, rel=1e-4)


class Shifted(Stepped):
    """A bijection that does not give everything back: symbol 65 comes back as 66."""

    def from_noise(self, noise: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.where(noise == 65, 66, noise)


def test_what_a_bijection_does_not_give_back_is_kept_as_it_is(tmp_path: Path) -> None:
    model = byte_model()
    shifted = Shifted(model.density, digest="0" * 16, label="")
    shifted.length = 4
    report, _ = there_and_back(TEXT[:90], Coded(shifted, model.units, model.density), tmp_path)
    assert report.kept == 0
    report, packed_file = there_and_back(b"xyzA" * 20, Coded(shifted, model.units, model.density), tmp_path)
    assert report.kept == 80
    assert report.elements == 0
    assert len(packed_file) < 80 + BOUND
