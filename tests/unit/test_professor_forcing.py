"""Professor forcing: both modes, whose gradient goes where, its gates, and a discriminator that is fair."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seqgen.distributions.categorical import Categorical
from seqgen.distributions.gaussian import Gaussian
from seqgen.errors import SeqgenError
from seqgen.generation.autoregressive import AutoRegressive, language_model
from seqgen.generation.behaviour import behaviour, channels, free_running, stretch, uniforms
from seqgen.models.recurrent import Recurrent
from seqgen.models.recurrent_discriminator import RecurrentDiscriminator
from seqgen.models.wavenet import WaveNet
from seqgen.noise import Key
from seqgen.objectives.contract import Loss, Part, Rows
from seqgen.objectives.likelihood import Likelihood
from seqgen.objectives.professor_forcing import FreeRun, ProfessorForcing
from seqgen.spec import Facts
from seqgen.stream.observed import Observed
from seqgen.train.identity import CheckpointIdentity
from seqgen.train.loop import Recipe, train
from seqgen.train.players import Players
from seqgen.train.processes import start
from seqgen.train.settings import TrainConfig
from seqgen.train.verify import Repeated

A, T = 4, 12
KEY = Key(3, 5)
LN2 = math.log(2)


def symbols(cell: str = "gru") -> AutoRegressive:
    body = Recurrent(Recurrent.Config(A, A, hidden=6, embedding=3, layers=2, cell=cell))  # type: ignore[arg-type]
    return AutoRegressive(body, Categorical(Categorical.Config(A)), None, start=0, symbols_per_sample=1)


def reals() -> AutoRegressive:
    sizes = WaveNet.Config(layers=2, dilation_cycle=2, residual_channels=4, gate_channels=4, skip_channels=4,
                           head_channels=4, vocab_size=0, outputs=2, conditioned=False)  # fmt: skip
    drawn = Gaussian(Gaussian.Config(origin=-2.0))
    return AutoRegressive(WaveNet(sizes), drawn, None, start=0, symbols_per_sample=1)


def made(generator: AutoRegressive | None = None, **options: Any) -> ProfessorForcing:
    """An objective in double precision, of weights that are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = symbols() if generator is None else generator
        judge = RecurrentDiscriminator(
            RecurrentDiscriminator.Config(in_dim=channels(generator), hidden=5, perceptron=7)
        )
        networks = {"generator": generator, "discriminator": judge}
        return ProfessorForcing(ProfessorForcing.Config(**options), networks, Facts()).double()


def data(rows: int = 5, seed: int = 0, **more: Any) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(A, (rows, T), generator=generator)
    lengths = torch.randint(4, T + 1, (rows,), generator=generator)
    return Rows(x, lengths, **more)


def sounds(rows: int = 3) -> Rows:
    x = 0.1 * torch.randn(rows, T, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Rows(x, torch.tensor([T, 9, 5])[:rows])


def part(objective: ProfessorForcing, batch: Rows, run: FreeRun | None = None) -> Part:
    with torch.no_grad():
        return Part(batch, KEY, objective.begin(batch, KEY) if run is None else run)


def trained(objective: ProfessorForcing, out: Path, *, resume: bool = False, **options: Any) -> ProfessorForcing:
    """The objective after training on one batch."""
    settings = TrainConfig(batch_size=5, validate_every=0, **options)
    train(objective, Recipe(settings), out=out, source=Repeated(data(texts=("",) * 5)),
          identity=CheckpointIdentity("", "", ""), resume=resume, device="cpu")  # fmt: skip
    return objective


def opened(objective: ProfessorForcing, accuracy: float = 0.9) -> ProfessorForcing:
    objective.average.fill_(accuracy)
    return objective


def gradients(objective: nn.Module, loss: Loss) -> dict[str, Tensor]:
    objective.zero_grad(set_to_none=True)
    loss.total.backward()
    return {name: one.grad.clone() for name, one in objective.named_parameters() if one.grad is not None}


def logits(objective: ProfessorForcing, sequence: Tensor, lengths: Tensor) -> Tensor:
    found: Tensor = objective.discriminator(sequence, lengths)
    return found


# Mode consistency


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_free_pass_over_the_data_has_the_states_of_teacher_forcing(cell: str) -> None:
    """Element by element, as what is drawn is fed back: the same states, to the last roundings of a sum."""
    generator, batch = symbols(cell).double(), data()
    seen, state = Observed(generator.body), generator.init_state(5)
    u = uniforms(batch, generator, KEY)
    y = free_running(generator, batch, torch.zeros(5, dtype=torch.int64), u)
    for x in (batch.x, y):
        inner, previous, told = state.body, state.previous, []
        for t in range(T):
            step, inner = seen.step(previous[:, None], inner)
            told.append(step)
            previous = x[:, t]
            if x is y:
                assert torch.equal(generator.distribution.sample(step[:, 0, :A], u[:, t]), y[:, t])
        params, inside = generator.observed(x)
        stepped = torch.cat(told, dim=1)
        torch.testing.assert_close(stepped, torch.cat([params, *inside], dim=-1), atol=1e-14, rtol=1e-13)
    everything = torch.full((5,), T)
    same = free_running(generator, batch, everything, u)
    assert torch.equal(same, batch.x)
    assert torch.equal(behaviour(generator, same).sequence, behaviour(generator, batch.x).sequence)
    assert not torch.equal(y, batch.x)


def test_states_are_normalised_and_outputs_are_probabilities() -> None:
    with torch.no_grad():
        found = behaviour(symbols().double(), data().x).sequence
    for layer in found[..., :12].split(6, dim=-1):
        assert float(layer.mean(dim=-1).abs().max()) < 1e-12
        assert torch.allclose(layer.var(dim=-1, unbiased=False), torch.ones(5, T, dtype=torch.float64), atol=0.02)
    assert torch.allclose(found[..., 12:].sum(dim=-1), torch.ones(5, T, dtype=torch.float64))


def test_both_modes_are_given_what_rows_only_hear() -> None:
    objective = opened(made(warm_up=2))
    batch = data(skip=torch.tensor([0, 1, 3, 4, 2]))
    y, heard = objective.begin(batch, KEY).y, torch.tensor([2, 2, 3, 4, 2])
    given = torch.arange(T)[None] < heard[:, None]
    assert torch.equal(y[given], batch.x[given])
    assert bool((y != batch.x)[~given].any())
    where = stretch(batch, 2)
    assert torch.equal(where.start, heard)
    assert torch.equal(where.lengths, (batch.lengths - heard).clamp_min(0))
    sequence = behaviour(objective.generator, y).sequence
    for row, (first, count) in enumerate(zip(heard.tolist(), where.lengths.tolist(), strict=True)):
        assert torch.equal(where.of(sequence)[row, :count], sequence[row, first : first + count])


# Gradients


def test_each_player_s_gradient_reaches_its_own_parameters() -> None:
    objective, batch = opened(made(c_t=1.0)), data()
    found = gradients(objective, objective(part(objective, batch), "discriminator"))
    assert {name.split(".")[0] for name in found} == {"discriminator"}
    found = gradients(objective, objective(part(objective, batch), "generator"))
    assert {name.split(".")[0] for name in found} == {"generator"}


def test_the_free_run_s_cost_comes_by_states() -> None:
    """Also where the discriminator is blind to outputs, to every layer below the last state; not to what reads it."""
    objective, batch = opened(made(c_f=1.0)), data()
    with torch.no_grad():
        for layer in (objective.discriminator.onward[0], objective.discriminator.homeward[0]):
            layer.input.weight[:, -A:] = 0
    both = gradients(objective, objective(part(objective, batch), "generator"))
    nll = gradients(objective, objective(part(opened(objective, 0.5), batch), "generator"))
    for name, value in both.items():
        assert torch.equal(value, nll[name]) == (".out." in name), name


def test_drawn_symbols_carry_no_gradient() -> None:
    """The gradient is that of the same sequences as constants."""
    objective, batch = opened(made()), data()
    shared = part(objective, batch)
    assert not shared.shared.y.requires_grad
    found = gradients(objective, objective(shared, "generator"))
    generator, where = objective.generator, stretch(batch)
    objective.zero_grad(set_to_none=True)
    judged = logits(objective, behaviour(generator, shared.shared.y).sequence, where.lengths)
    real = torch.arange(T)[None] < batch.lengths[:, None]
    nll = -(generator.log_prob(batch.x) * real).sum() / real.sum()
    (nll + nn.functional.softplus(-judged).sum() / real.sum()).backward()  # type: ignore[no-untyped-call]
    for name, value in found.items():
        torch.testing.assert_close(value, objective.get_parameter(name).grad, atol=1e-13, rtol=1e-10)


@pytest.mark.parametrize("differentiate", [False, True])
def test_drawn_numbers_carry_a_gradient_on_request(differentiate: bool) -> None:
    """Against differences: of what is drawn again with the same noise, or of what was drawn once."""
    objective, batch = opened(made(reals(), differentiate=differentiate, c_f=1e3)), sounds()
    shared = part(objective, batch)
    found = gradients(objective, objective(shared, "generator"))["generator.body.out.bias"]
    bias = objective.get_parameter("generator.body.out.bias")

    def loss(index: int, shift: float) -> float:
        with torch.no_grad():
            bias[index] += shift
            run = part(objective, batch, None if differentiate else shared.shared)
            total = float(objective(run, "generator").total)
            bias[index] -= shift
        return total

    for index in range(2):
        slope = (loss(index, 1e-6) - loss(index, -1e-6)) / 2e-6
        assert float(found[index]) == pytest.approx(slope, rel=1e-5, abs=1e-8)
    objective.config = ProfessorForcing.Config(differentiate=not differentiate, c_f=1e3)
    other = gradients(objective, objective(shared, "generator"))["generator.body.out.bias"]
    assert not torch.allclose(other, found, rtol=1e-3)


# Gates


def players(objective: ProfessorForcing) -> Players:
    settings = TrainConfig(steps=10, batch_size=5, precision="64-true", learning_rate=1e-2)
    return Players(start(settings, device="cpu", players=2), objective, settings)


def test_below_the_first_gate_the_generator_follows_likelihood_alone() -> None:
    objective, batch = opened(made(), 0.70), data()
    found = gradients(objective, objective(part(objective, batch), "generator"))
    plain = Likelihood(Likelihood.Config(), {"generator": copy.deepcopy(objective.generator)}, Facts())
    expected = gradients(plain, plain(Part(batch, KEY, None), "generator"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    opened(objective, 0.75)
    assert not objective.adversarial
    opened(objective, 0.76)
    assert objective.adversarial
    further = gradients(objective, objective(part(objective, batch), "generator"))
    assert not any(torch.equal(further[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("accuracy", "moves"), [(0.70, True), (0.90, True), (0.995, False)])
def test_from_the_second_gate_on_the_discriminator_stands_still(accuracy: float, moves: bool) -> None:
    """Its optimiser has moments by then, which would move it without any gradient."""
    objective = made(average_rate=1e-9)
    play, batch = players(objective), data()
    play.update("discriminator", [part(objective, batch)], 0)
    opened(objective, accuracy)
    moments = {name: value.clone() for name, value in play.optimiser_state().items()}
    before = {name: value.detach().clone() for name, value in objective.named_parameters()}
    updates = {player: play.update(player, [part(objective, batch)], 1) for player in objective.players}
    for name, value in objective.named_parameters():
        assert torch.equal(value, before[name]) != (moves or name.startswith("generator")), name
    after = play.optimiser_state()
    same = [torch.equal(after[name], value) for name, value in moments.items()]
    assert any(same) != moves
    assert float(updates["discriminator"].losses[0].terms["frozen"]) == float(not moves)
    assert float(updates["generator"].losses[0].terms["adversarial"]) == float(accuracy > 0.75)
    assert (float(updates["discriminator"].norm) > 0) == moves


def test_the_average_is_of_balanced_accuracy_and_moves_after_updates_only() -> None:
    objective, batch = made(average_rate=0.25), data()
    with torch.no_grad():
        objective.discriminator.head[-1].weight.zero_()
        objective.discriminator.head[-1].bias.fill_(1.0)  # all is teacher forced: right in one half
    loss = objective(part(objective, batch), "discriminator")
    assert loss.aux is not None
    assert {name: float(value) for name, value in loss.aux.items()} == {"forced": 5, "drawn": 0, "rows": 5}
    assert float(objective.average) == 0.5
    counts = {"forced": torch.tensor(9.0), "drawn": torch.tensor(5.0), "rows": torch.tensor(10.0)}
    objective.after_update("generator", {}, {})
    objective.after_update("discriminator", counts, {})
    assert float(objective.average) == pytest.approx(0.5 + 0.25 * 0.2)


def test_a_discriminator_that_has_won_is_followed_no_longer() -> None:
    objective, batch = opened(made(patience=3), 1.0), data()
    right = {name: torch.tensor(5.0) for name in ("forced", "drawn", "rows")}
    for _ in range(2):
        objective.after_update("discriminator", right, {})
    assert objective.adversarial
    objective.after_update("discriminator", right, {})
    loss = objective(part(objective, batch), "generator")
    assert not objective.adversarial
    assert objective.frozen("discriminator")
    assert float(loss.total.detach()) == float(loss.terms["nats_per_sample"])
    assert float(objective(part(objective, batch), "discriminator").terms["won"]) == 1
    objective.after_update("discriminator", right | {"drawn": torch.tensor(0.0)}, {})
    assert objective.adversarial
    assert not objective.frozen("discriminator")


def test_a_discriminator_that_wins_for_ever_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its victory begins with the fourth of six updates: from there on the generator's loss is likelihood alone."""
    objective = opened(made(patience=3, average_rate=1e-9).float(), 1.0)
    trained(objective, tmp_path, steps=6, log_every=2)
    said = [line for line in capsys.readouterr().err.splitlines() if "told both modes apart" in line]
    assert [line.split(" of its")[0] for line in said] == [
        f"step {step}: the discriminator has told both modes apart for 3 updates in a row: for {share}"
        for step, share in ((4, "50%"), (6, "100%"))
    ]
    assert "training goes on with likelihood alone; lower its learning rate, or raise objective.c_f" in said[0]
    lines = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    first, _, last = (line for line in lines if line["split"] == "train")
    assert first["generator/adversarial"] == 1
    assert first["generator/loss"] > first["generator/nats_per_sample"]
    assert last["generator/adversarial"] == 0
    assert last["generator/loss"] == last["generator/nats_per_sample"] < first["generator/nats_per_sample"]


def test_a_resumed_run_has_the_gate_s_average(tmp_path: Path) -> None:
    def run(steps: int, resume: bool) -> ProfessorForcing:
        out = tmp_path / str(steps if not resume else 3)
        return trained(opened(made().float(), 0.9), out, steps=steps, resume=resume, log_every=1, checkpoint_every=3)

    whole = run(6, resume=False)
    halfway = run(3, resume=False)
    assert 0.9 > float(halfway.average) > float(whole.average)
    resumed = run(6, resume=True)
    assert torch.equal(resumed.average, whole.average)
    assert all(map(torch.equal, resumed.parameters(), whole.parameters()))


# The discriminator


def test_what_lies_behind_the_ends_changes_nothing() -> None:
    objective, batch = opened(made(c_t=1.0)), data()
    run = part(objective, batch).shared
    beyond = torch.arange(T)[None] >= batch.lengths[:, None]
    other = Rows(torch.where(beyond, (batch.x + 1) % A, batch.x), batch.lengths)
    others = FreeRun(run.u, torch.where(beyond, (run.y + 1) % A, run.y))
    for player in objective.players:
        losses = [objective(part(objective, *one), player) for one in ((batch, run), (other, others))]
        assert torch.equal(losses[0].total, losses[1].total)
        assert all(torch.equal(value, losses[1].terms[name]) for name, value in losses[0].terms.items())


def test_the_losses_of_a_discriminator_that_knows_nothing() -> None:
    objective, batch = opened(made(c_t=1.0)), data()
    with torch.no_grad():
        objective.discriminator.head[-1].weight.zero_()
        objective.discriminator.head[-1].bias.zero_()
    with torch.no_grad():
        judged, generated = (objective(part(objective, batch), player) for player in objective.players)
    assert float(judged.total) == pytest.approx(2 * LN2, rel=1e-14)
    assert float(judged.terms["accuracy"]) == 0.5
    assert float(generated.terms["c_f"]) == pytest.approx(LN2, rel=1e-14)
    assert float(generated.terms["c_t"]) == pytest.approx(LN2, rel=1e-14)
    added = 2 * LN2 * len(batch.x) / int(batch.lengths.sum())
    assert float(generated.total) == pytest.approx(float(generated.terms["nats_per_sample"]) + added, rel=1e-14)


def test_the_other_label_convention_exchanges_both_costs() -> None:
    """D says "free running", data stand where drawn sequences do: C_f is C_t, and C_d is itself."""
    objective, batch = opened(made(c_t=1.0)), data()
    run = part(objective, batch).shared
    plain = [objective(part(objective, batch, run), player) for player in objective.players]
    last = objective.discriminator.head[-1]
    with torch.no_grad():
        for one in (last.weight, last.bias):
            one.neg_()
    swapped = Rows(run.y, batch.lengths)
    turned = [objective(part(objective, swapped, FreeRun(run.u, batch.x)), player) for player in objective.players]
    assert float(turned[0].total) == pytest.approx(float(plain[0].total), rel=1e-12)
    assert float(turned[1].terms["c_t"]) == pytest.approx(float(plain[1].terms["c_f"]), rel=1e-12)
    assert float(turned[1].terms["c_f"]) == pytest.approx(float(plain[1].terms["c_t"]), rel=1e-12)
    assert abs(float(plain[1].terms["c_f"] - plain[1].terms["c_t"])) > 1e-3


@pytest.mark.parametrize(("biased", "least", "most"), [(False, 0.40, 0.60), (True, 0.9, 1.0)])
def test_equal_behaviours_are_told_apart_half_of_the_time(biased: bool, least: float, most: float) -> None:
    """Two independent batches, both teacher forced; and as a check of the test, one with other symbols."""
    objective = made().float()
    optimiser = torch.optim.Adam(objective.discriminator.parameters(), 1e-2)

    def judged(seed: int, rows: int) -> Loss:
        one, two = data(rows, 2 * seed), data(rows, 2 * seed + 1)
        other = two.x.clamp_min(1) if biased else two.x
        return objective(part(objective, one, FreeRun(torch.zeros(0), other)), "discriminator")

    for step in range(100):
        optimiser.zero_grad()
        judged(step + 1, 32).total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        assert least < float(judged(10_000, 512).terms["accuracy"]) <= most


# What is refused


@pytest.mark.parametrize(
    ("generator", "width", "options", "said"),
    [
        (symbols(), 15, {}, "reads 15 channels, a behaviour has 16, of states and outputs; set networks.discriminator"),
        (language_model(A), 4, {}, "Serial shows no inner activations; give a body that does"),
        (symbols(), 16, {"differentiate": True}, "'differentiate' is set for a generator of symbols or levels"),
    ],
)
def test_networks_that_do_not_fit_are_refused(
    generator: AutoRegressive, width: int, options: dict[str, Any], said: str
) -> None:
    judge = RecurrentDiscriminator(RecurrentDiscriminator.Config(in_dim=width))
    networks = {"generator": generator, "discriminator": judge}
    with pytest.raises(SeqgenError, match=said):
        ProfessorForcing(ProfessorForcing.Config(**options), networks, Facts())


@pytest.mark.parametrize("options", [{"c_f": -1.0}, {"average_rate": 0.0}, {"patience": 0}, {"follow_above": 1.5}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SeqgenError, match="give weights, warm_up and gates from 0"):
        ProfessorForcing.Config(**options)
