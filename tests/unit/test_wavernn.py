"""WaveRNN against its definition: what the coarse byte may reach, both paths, the explicit equations, probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from seqgen import presets
from seqgen.audio.codec import Bytes16
from seqgen.distributions.categorical import Categorical
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive
from seqgen.models.wavernn import WaveRNN, mixing, scale
from tests.parity.wavernn_reference import reference_logits
from tests.runtime.voices import lively

SAMPLES = 9
# What byte 255 is as an input. The paper scales bytes to [-1, 1]: its weights are the stored ones, mixed and rescaled.
UNIT = float(scale(torch.tensor(255), torch.zeros((), dtype=torch.float64)))


def make(
    hidden: int = 24, *, conditioned: bool = False, dtype: torch.dtype = torch.float32, unit: float = 256
) -> WaveRNN:
    body = WaveRNN(WaveRNN.Config(hidden=hidden, conditioned=conditioned, unit=unit))
    lively(body, seed=hidden)
    return body.to(dtype)


def data(body: WaveRNN, *, batch: int = 2, samples: int = SAMPLES) -> tuple[Tensor, Tensor | None]:
    """Bytes ``[B, 2N]`` and conditioning ``[B, N, 3H]``."""
    generator = torch.Generator().manual_seed(5)
    elements = torch.randint(256, (batch, 2 * samples), generator=generator)
    dim = body.spec.cond_dim
    cond = torch.randn(batch, samples, dim, generator=generator).to(body.recurrent.dtype) if dim else None
    return elements, cond


def shifted(elements: Tensor) -> Tensor:
    """What is fed: the byte before each; before the first one lies the fine byte of silence, 0."""
    return torch.cat([torch.zeros_like(elements[:, :1]), elements[:, :-1]], dim=1)


def parallel(body: WaveRNN, x: Tensor, cond: Tensor | None) -> Tensor:
    """All at once."""
    return body(x, cond)


def in_blocks(body: WaveRNN, x: Tensor, cond: Tensor | None, sizes: tuple[int, ...] = (1,)) -> Tensor:
    """In blocks of ``sizes``, over and over; a sample's conditioning vector comes with its coarse byte."""
    state, made, start = body.init_state(x.shape[0]), [], 0
    while start < x.shape[1]:
        stop = min(x.shape[1], start + sizes[len(made) % len(sizes)])
        first, last = -(-start // 2), -(-stop // 2)
        y, state = body.step(x[:, start:stop], state, None if cond is None else cond[:, first:last])
        made.append(y)
        start = stop
    return torch.cat(made, dim=1)


@pytest.fixture(params=[parallel, in_blocks], ids=["parallel", "bytes"])
def run(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    return request.param


@pytest.fixture(params=[False, True], ids=["plain", "conditioned"])
def conditioned(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.mark.parametrize("t", [0, 4, SAMPLES - 1])
def test_the_coarse_byte_reaches_only_the_fine_logits_of_its_sample(run, conditioned: bool, t: int) -> None:
    body = make(conditioned=conditioned)
    elements, cond = data(body)
    other = elements.clone()
    other[:, 2 * t] = (other[:, 2 * t] + 100) % 256
    with torch.no_grad():
        before, after = (run(body, shifted(e), cond).unflatten(1, (-1, 2)) for e in (elements, other))
    assert torch.equal(before[:, :t], after[:, :t])
    assert torch.equal(before[:, t, 0], after[:, t, 0])
    for row in range(2):
        assert not torch.equal(before[row, t, 1], after[row, t, 1])
        if t + 1 < SAMPLES:
            assert not torch.equal(before[row, t + 1, 0], after[row, t + 1, 0])
            assert not torch.equal(before[row, t + 1, 1], after[row, t + 1, 1])


@pytest.mark.parametrize("t", [0, 4])
def test_the_fine_byte_reaches_only_later_samples(run, conditioned: bool, t: int) -> None:
    body = make(conditioned=conditioned)
    elements, cond = data(body)
    other = elements.clone()
    other[:, 2 * t + 1] = (other[:, 2 * t + 1] + 100) % 256
    with torch.no_grad():
        before, after = (run(body, shifted(e), cond).unflatten(1, (-1, 2)) for e in (elements, other))
    assert torch.equal(before[:, : t + 1], after[:, : t + 1])
    for half in (0, 1):
        assert not torch.equal(before[:, t + 1, half], after[:, t + 1, half])


def test_without_the_mask_the_coarse_byte_is_seen_by_its_own_prediction() -> None:
    """A control of the tests above: the same probe finds the leak once the mask is gone, in any one gate."""
    for gate in range(3):
        body = make()
        half = body.half
        body.mask[gate * half : (gate + 1) * half] = 1
        elements, _ = data(body)
        other = elements.clone()
        other[:, 8] = (other[:, 8] + 100) % 256
        before, after = (body(shifted(e))[:, 8] for e in (elements, other))
        assert not torch.equal(before, after)


@pytest.mark.parametrize(("hidden", "unit"), [(2, 256), (12, 256), (12, 16)])
def test_both_paths_are_the_explicit_equations(run, conditioned: bool, hidden: int, unit: float) -> None:
    body = make(hidden, conditioned=conditioned, dtype=torch.float64, unit=unit)
    elements, cond = data(body)
    weights = {name: value.numpy() for name, value in body.state_dict().items()}
    weights["input"] = weights["input"] @ body.mix.double().numpy()
    with torch.no_grad():
        made = run(body, shifted(elements), cond).numpy()
    for row in range(2):
        given = None if cond is None else cond[row].numpy()
        expected = reference_logits(weights, elements[row].numpy(), given, unit=UNIT)
        np.testing.assert_allclose(made[row], expected, rtol=0, atol=1e-10)
        unmasked = reference_logits(weights, elements[row].numpy(), given, unit=UNIT, masked=False)
        before = reference_logits(weights, elements[row].numpy(), given, unit=UNIT, reset="before")
        for other in (unmasked, before) if hidden > 2 else ():
            assert np.abs(other - expected).max() > 1e-3


def masked_gru(body: WaveRNN, elements: Tensor, cond: Tensor | None) -> Tensor:
    """The states by ``torch.nn.GRU``: its rows are gate by gate, its second input the conditioning itself."""
    half, width = body.half, body.hidden
    order = [i + half * block for gate in range(3) for block in (gate, gate + 3) for i in range(half)]
    extra = torch.eye(3 * width, dtype=cond.dtype) if cond is not None else torch.zeros(3 * width, 0)
    net = torch.nn.GRU(3 + extra.shape[1], width, batch_first=True).to(body.recurrent.dtype)
    with torch.no_grad():
        star = (body.input @ body.mix)[order] * UNIT
        for gate in range(3):
            star[gate * width : gate * width + half, 2] = 0
        net.weight_ih_l0.copy_(torch.cat([star, extra.to(star)[order]], dim=1))
        net.weight_hh_l0.copy_(body.recurrent[order])
        net.bias_hh_l0.zero_()
        net.bias_ih_l0.copy_(body.bias[order]) if body.bias is not None else net.bias_ih_l0.zero_()
    silence = torch.tensor([128, 0]).expand(elements.shape[0], 1, 2)
    samples = torch.cat([silence, elements.unflatten(1, (-1, 2))], dim=1)
    x = torch.cat([samples[:, :-1], samples[:, 1:, :1]], dim=2).to(star) / 127.5 - 1
    return net(torch.cat([x, cond], dim=2) if cond is not None else x)[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_whole_sequence_path_is_a_masked_torch_gru(conditioned: bool, dtype: torch.dtype, tolerance: float) -> None:
    body = make(conditioned=conditioned, dtype=dtype)
    elements, cond = data(body, samples=30)
    with torch.no_grad():
        states = masked_gru(body, elements, cond)
        y_coarse, y_fine = states.split(body.half, dim=2)
        heads = [body.o2(body.o1(y_coarse).relu()), body.o4(body.o3(y_fine).relu())]
        expected = torch.stack(heads, dim=2).flatten(1, 2)
        made, state = body.step(shifted(elements), body.init_state(2), cond)
    magnitude = max(1.0, float(expected.abs().max()))
    assert (made - expected).abs().max() <= tolerance * magnitude
    torch.testing.assert_close(torch.cat([state.top, state.bottom], 1), states[:, -1], rtol=0, atol=tolerance)
    assert torch.equal(state.coarse, elements[:, -2:-1])


@pytest.mark.parametrize("sizes", [(1,), (2,), (3,), (7,), (9, 1), (11, 2, 8), (17,)], ids=str)
def test_any_blocks_give_the_parallel_path(conditioned: bool, sizes: tuple[int, ...]) -> None:
    """Blocks of odd size end between the two bytes of a sample."""
    body = make(conditioned=conditioned)
    elements, cond = data(body, samples=40)
    with torch.no_grad():
        expected = body(shifted(elements), cond)
        made = in_blocks(body, shifted(elements), cond, sizes)
    assert (made - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max()))


def test_between_two_bytes_only_the_coarse_half_is_new() -> None:
    body = make()
    _, state = body.step(torch.zeros(2, 7, dtype=torch.int64), body.init_state(2))
    _, whole = body.step(torch.zeros(2, 6, dtype=torch.int64), body.init_state(2))
    assert state.phase.tolist() == [1, 1]
    torch.testing.assert_close(state.bottom, whole.bottom)
    assert not torch.allclose(state.top, whole.top)


@pytest.mark.parametrize("prefix", [(), (0, 255)], ids=["first", "second"])
def test_all_65536_values_of_a_sample_have_probability_one(prefix: tuple[int, ...]) -> None:
    body = make(8)
    generator = AutoRegressive(body, Categorical(Categorical.Config()), None, start=0, symbols_per_sample=2)
    values = torch.cartesian_prod(torch.arange(256), torch.arange(256))
    total = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for part in values.split(8192):
            x = torch.cat([torch.tensor(prefix, dtype=torch.int64).expand(len(part), -1), part], dim=1)
            scores = generator.log_prob(x)
            total += scores[:, -2:].double().sum(dim=1).exp().sum()
    assert abs(float(total) - 1) <= 1e-6


def test_no_gradient_reaches_the_coarse_bytes_column_of_the_coarse_half(run) -> None:
    body = make()
    elements, _ = data(body)
    logits = run(body, shifted(elements), None).unflatten(1, (-1, 2))
    rows = 3 * body.half
    for half in (0, 1):
        (gradient,) = torch.autograd.grad(logits[:, :, half].square().sum(), body.input, retain_graph=True)
        assert torch.count_nonzero(gradient[:rows, 2]) == 0
        assert torch.count_nonzero(gradient[:rows, :2]) == 2 * rows
        assert torch.count_nonzero(gradient[rows:, 2]) == rows  # through the state also to the next coarse byte
    (gradient,) = torch.autograd.grad(run(body, shifted(elements)[:, :1], None).sum(), body.input)
    assert torch.count_nonzero(gradient[rows:]) == 0


def test_bytes_of_every_sample_and_their_scale() -> None:
    pcm = np.arange(-32768, 32768)
    elements = Bytes16().encode((pcm / 32768).astype(np.float32)).reshape(-1, 2)
    np.testing.assert_array_equal(elements[:, 0], (pcm + 32768) // 256)
    np.testing.assert_array_equal(elements[:, 1], (pcm + 32768) % 256)
    np.testing.assert_array_equal(Bytes16().decode(elements.reshape(-1)) * 32768, pcm)
    scaled = scale(torch.arange(256), torch.zeros((), dtype=torch.float64))
    assert UNIT > 0
    np.testing.assert_allclose(scaled / UNIT, np.arange(256) / 127.5 - 1, atol=1e-15)


@pytest.mark.parametrize("unit", [16, 256])
def test_gates_read_the_sample_its_fine_byte_and_the_coarse_byte_now(unit: float) -> None:
    coarse, fine, now = (byte.flatten() for byte in torch.randint(256, (3, 50), dtype=torch.float64))
    read = scale(torch.stack([coarse, fine, now]), coarse).T @ mixing(unit).double().T
    sample = 256 * coarse + fine - 32767.5
    expected = torch.stack([sample / unit, (fine - 127.5) / 16, 256 * (now - 127.5) / unit], dim=1)
    torch.testing.assert_close(read, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("unit", [0.0, -16.0, float("nan"), float("inf")])
def test_a_unit_that_measures_nothing_is_refused(unit: float) -> None:
    with pytest.raises(SeqgenError, match="PCM steps"):
        WaveRNN(WaveRNN.Config(hidden=4, unit=unit))


def test_size_of_the_published_network() -> None:
    """H = 896: R has 2 408 448 weights, the four head matrices 630 784."""
    with torch.device("meta"):
        body = WaveRNN(WaveRNN.Config(hidden=presets.find("wavernn-896").model["hidden"]))
    assert body.recurrent.numel() == 2_408_448
    assert sum(layer.weight.numel() for layer in (body.o1, body.o2, body.o3, body.o4)) == 630_784


@pytest.mark.parametrize("hidden", [0, -2, 1, 15])
def test_a_state_without_two_halves_is_refused(hidden: int) -> None:
    with pytest.raises(SeqgenError, match=f"hidden is {hidden}; choose an even number"):
        WaveRNN(WaveRNN.Config(hidden=hidden))


@pytest.mark.parametrize("length", [1, 20])
def test_rows_at_different_bytes_are_refused(length: int) -> None:
    body = make()
    state = body.init_state(3)
    mixed = state._replace(phase=torch.tensor([0, 1, 0]))
    with pytest.raises(SeqgenError, match="different bytes of their sample"):
        body.step(torch.zeros(3, length, dtype=torch.int64), mixed)


@pytest.mark.parametrize("length", [1, 20])
def test_missing_conditioning_is_refused(length: int) -> None:
    body = make(conditioned=True)
    with pytest.raises(SeqgenError, match=r"no conditioning; give cond \[B, samples, 72\]"):
        body.step(torch.zeros(3, length, dtype=torch.int64), body.init_state(3))
