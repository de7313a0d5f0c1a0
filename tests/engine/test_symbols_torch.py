"""Exported networks over symbols in the engine against torch: logits, drawn symbols, columns; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.export import symbol_program
from seqgen.export.contract import Placed
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.generation.encoder_decoder import EncoderDecoder, Sources, Unfolding
from seqgen.models.bytenet import ByteNet
from seqgen.models.bytenet_encoder import ByteNetEncoder
from seqgen.models.recurrent import Recurrent
from seqgen.nets.layers import Identity
from seqgen.runtime.native import Engine, Format
from seqgen.runtime.native_symbols import draw, score
from tests.engine.calls import TOLERANCE

SIZE = 300
BODIES: dict[str, Any] = {
    "recurrent": lambda: Recurrent(Recurrent.Config(SIZE, SIZE, hidden=20, layers=2, embedding=7)),
    "rectified": lambda: ByteNet(ByteNet.Config(SIZE, SIZE, channels=12, cycles=2)),
    "multiplicative": lambda: ByteNet(
        ByteNet.Config(SIZE, SIZE, channels=20, cycles=2, kernel=2, dilations=(1, 3), block="multiplicative")
    ),
}


def random(network: nn.Module) -> nn.Module:
    """The network with gains and biases that matter."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def density_over(body: Any) -> AutoRegressive:
    conditioner = Identity(body.spec.cond_dim) if body.spec.cond_dim else None
    distribution = Categorical(Categorical.Config(body.spec.vocab_size))
    return AutoRegressive(body, distribution, conditioner, start=0, symbols_per_sample=1).eval()


def written(density: nn.Module, document: dict[str, Any], where: Path) -> Path:
    save_file({name: value.contiguous() for name, value in density.state_dict().items()}, where / "weights.safetensors")
    symbol_program.write(document, where)
    return where


@pytest.fixture(scope="module", params=BODIES)
def density(request: pytest.FixtureRequest) -> AutoRegressive:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return density_over(random(BODIES[request.param]()))


@pytest.fixture(scope="module")
def where(density: AutoRegressive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(density, symbol_program.program(density), tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("form", ["float32", "bf16", "int8"])
@torch.no_grad()
def test_logits_are_those_of_torch(density: AutoRegressive, where: Path, form: Format) -> None:
    engine = Engine(where, format=form)
    x = np.random.default_rng(0).integers(0, SIZE, (3, 100))
    expected, _ = density.step(torch.from_numpy(x), density.init_state(3), None)
    got = score(engine, x, engine.init(3), np.empty((3, 100, 0), np.float32))
    worst = np.abs(got - expected.numpy()).max()
    assert worst <= TOLERANCE[form] * max(1.0, float(expected.abs().max()))
    if form == "float32":
        assert worst <= 1e-4
    losses = [float(-torch.log_softmax(torch.as_tensor(one), -1).gather(2, torch.from_numpy(x)[..., None]).mean())
              for one in (got, expected)]  # fmt: skip
    assert abs(losses[0] - losses[1]) < 0.02  # nats a symbol, of symbols that mean nothing


@torch.no_grad()
def test_symbols_are_those_of_torch(density: AutoRegressive, where: Path) -> None:
    engine = Engine(where)
    u = np.random.default_rng(1).random((2, 150), np.float32)
    for temperature in (1.0, 0.7):
        expected, _ = density.generate(torch.from_numpy(u)[..., None], density.init_state(2), None, temperature)
        got = draw(engine, u, engine.init(2), np.empty((2, 150, 0), np.float32), temperature)
        assert np.array_equal(got, expected.numpy())


@pytest.fixture(scope="module", params=[False, True], ids=["padded", "stretched"])
def translator(request: pytest.FixtureRequest) -> EncoderDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = random(ByteNetEncoder(ByteNetEncoder.Config(vocab_size=30, channels=11, out_dim=24, cycles=2)))
        body = random(ByteNet(ByteNet.Config(SIZE, SIZE, channels=12, cycles=1, cond_dim=24)))
        assert isinstance(encoder, ByteNetEncoder)
        assert isinstance(body, ByteNet)
        return EncoderDecoder(encoder, body, Unfolding(1.2, 1.0, stretch=request.param)).eval()


@pytest.fixture(scope="module")
def translated(translator: EncoderDecoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unfolding = translator.unfolding
    source = symbol_program.Source(
        Placed(translator.encoder, "encoder"), unfolding.factor, unfolding.offset, unfolding.stretch
    )
    document = symbol_program.program(translator.decoder, "decoder.", source)
    return written(translator, document, tmp_path_factory.mktemp("bundle"))


@pytest.mark.parametrize("form", ["float32", "bf16", "int8"])
@torch.no_grad()
def test_columns_and_logits_of_translators_are_those_of_torch(
    translator: EncoderDecoder, translated: Path, form: Format
) -> None:
    engine, rng = Engine(translated, format=form), np.random.default_rng(2)
    lengths = np.array([40, 1, 16, 33])
    source, x = rng.integers(0, 30, (4, 40)), rng.integers(0, SIZE, (4, 49))
    state, expected = translator.begin(Sources(torch.from_numpy(source), torch.from_numpy(lengths)))
    assert expected is not None
    columns = engine.columns(source, lengths)
    assert columns.shape == tuple(expected.shape) == (4, 49, 24)
    bound = TOLERANCE[form] * max(1.0, float(expected.abs().max()))
    assert np.abs(columns - expected.numpy()).max() <= bound
    logits, _ = translator.decoder.step(torch.from_numpy(x), state, expected)
    got = score(engine, x, engine.init(4), columns)
    assert np.abs(got - logits.numpy()).max() <= TOLERANCE[form] * float(logits.abs().max())


def test_a_network_with_statistics_of_other_rows_is_refused() -> None:
    body = ByteNet(ByteNet.Config(SIZE, SIZE, channels=4, cycles=1, norm="sub-batch"))
    assert not symbol_program.runnable(density_over(body))
    with pytest.raises(SeqgenError, match="no ops for ByteNet"):
        symbol_program.program(density_over(body))
