"""Structured VAE: where the observation is linear it is ordinary variational Bayes; what it learns of a conjugate prior
is checked against textbook formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.special import digamma, gammaln, multigammaln
from torch import Tensor

from seqgen import config, registry
from seqgen.config import Component
from seqgen.errors import SeqgenError
from seqgen.generation.contract import Density
from seqgen.latents.conjugate import ConjugatePrior
from seqgen.latents.contract import Setting
from seqgen.latents.potentials import RecognitionPotentials
from seqgen.latents.variable import LatentVariable
from seqgen.models.encoder import Encoder
from seqgen.noise import Key
from seqgen.objectives.contract import Part, Rows
from seqgen.objectives.evidence import MaximumEvidence
from seqgen.spec import Facts
from tests.unit.graphical_models import Drawn

N, D, K, NOISE = 40, 2, 4, 0.3
PRIORS = ("conjugate-mixture", "linear-dynamical", "switching-dynamical")
EXACT = {"rtol": 1e-8, "atol": 1e-8}


def prior(name: str, **options: Any) -> ConjugatePrior:
    """A prior in double precision with random beliefs, of N training rows, whose steps may be of any length."""
    torch.manual_seed(0)
    kind, options = registry.PRIORS.load(name), {"trust": math.inf, **options}
    made: ConjugatePrior = kind.build(replace(kind.small(D), **options), dim=D, examples=N)
    return made.double()


def told(y: Tensor, posterior: RecognitionPotentials) -> Tensor:
    """Outputs whose potentials are those of ``y = z + N(0, NOISE²)``: J = 1 / NOISE², h = y / NOISE²."""
    precision = torch.full_like(y, NOISE**-2)
    return torch.cat([torch.log(torch.expm1(precision - posterior.floor)), precision * y], dim=-1)


def setting(prior: ConjugatePrior, params: Tensor, posterior: RecognitionPotentials) -> Setting:
    placed = Setting(prior, None, torch.ones(params.shape[:2], dtype=torch.bool))
    return placed._replace(inferred=posterior.infer(params, placed))


def points(positions: int = 1) -> Tensor:
    """Observed vectors [N, positions, D] in two clusters, which move slowly."""
    drawn = Drawn(0)
    cluster = (drawn.uniform(N, 1, 1) > 0.4).double()
    return 2 * cluster - 1 + 0.4 * drawn.normal(N, positions, D).cumsum(dim=1)


def distortion(inferred: Any, y: Tensor) -> Tensor:
    """``-E ln N(y; z, NOISE²)`` of single positions, [N]: exact, by samples of the right mean and covariance."""
    total = torch.zeros(len(y), dtype=torch.float64)
    for axis in range(D):
        normals = torch.zeros(2, *y.shape, dtype=torch.float64)
        normals[0, ..., axis], normals[1, ..., axis] = math.sqrt(D), -math.sqrt(D)
        z = inferred.sample(normals)
        each = 0.5 * ((y - z) / NOISE) ** 2 + math.log(NOISE) + 0.5 * math.log(2 * math.pi)
        total += each.sum(dim=(2, 3)).mean(dim=0) / D
    return total


def textbook_bound(prior: Any, y: Tensor) -> float:
    """Bound of variational Bayes for ``y = z + noise``, z a mixture, at the local posterior's q(z): Bishop, equations
    10.70 to 10.77, with the covariance of z and the divergences in closed form."""
    alpha, alpha_0 = (belief.standard().detach().numpy() for belief in both(prior, "weights"))
    (s, m, kappa, nu), (s_0, m_0, kappa_0, nu_0) = (
        tuple(each.detach().numpy() for each in belief.standard()) for belief in both(prior, "components")
    )
    found = setting(prior, told(y, POSTERIOR), POSTERIOR).inferred._found
    r = found.responsibilities.detach().numpy()
    mean, covariance = (each.detach().numpy() for each in found.points.standard())
    total = 0.0
    for k in range(len(alpha)):
        w = nu[k] * torch.linalg.inv(torch.from_numpy(s[k])).numpy()  # E J
        log_det = (
            sum(digamma((nu[k] - i) / 2) for i in range(D))
            + D * math.log(2)
            - math.log(abs(torch.det(torch.from_numpy(s[k])).item()))
        )
        log_pi = digamma(alpha[k]) - digamma(alpha.sum())
        for n in range(len(y)):
            apart = mean[n] - m[k]
            square = (w * covariance[n]).sum() + apart @ w @ apart + D / kappa[k]
            fit = 0.5 * (log_det - square - D * math.log(2 * math.pi))
            total += r[n, k] * (fit + log_pi - math.log(r[n, k]))
        total -= niw_divergence((s[k], m[k], kappa[k], nu[k]), (s_0[k], m_0[k], kappa_0[k], nu_0[k]), w, log_det)
    for n in range(len(y)):
        total += 0.5 * math.log(torch.det(torch.from_numpy(covariance[n])).item()) + 0.5 * D * math.log(
            2 * math.pi * math.e
        )
        apart = y[n, 0].numpy() - mean[n]
        square = (apart @ apart + covariance[n].trace()) / NOISE**2
        total -= 0.5 * square + D * math.log(NOISE) + 0.5 * D * math.log(2 * math.pi)
    dirichlet = gammaln(alpha.sum()) - gammaln(alpha).sum() - gammaln(alpha_0.sum()) + gammaln(alpha_0).sum()
    return total - dirichlet - float(((alpha - alpha_0) * (digamma(alpha) - digamma(alpha.sum()))).sum())


def niw_divergence(q: Any, p: Any, w: Any, log_det: float) -> float:
    """``KL(NIW ‖ NIW)``: that of the mean given the covariance, and of Wishart distributions."""
    (s, m, kappa, nu), (s_0, m_0, kappa_0, nu_0) = q, p
    apart = m - m_0
    mean = 0.5 * (D * (kappa_0 / kappa - 1 - math.log(kappa_0 / kappa)) + kappa_0 * apart @ w @ apart)
    ln = [math.log(torch.det(torch.from_numpy(each)).item()) for each in (s, s_0)]
    normalisers = [
        0.5 * n * (one - D * math.log(2)) - multigammaln(n / 2, D) for n, one in zip((nu, nu_0), ln, strict=True)
    ]
    wishart = normalisers[0] - normalisers[1] + 0.5 * (nu - nu_0) * log_det - 0.5 * ((s - s_0) * w).sum()
    return float(mean + wishart)


def both(prior: Any, name: str) -> tuple[Any, Any]:
    return prior.beliefs[name].member(), prior.beliefs[name].prior()


POSTERIOR = RecognitionPotentials(RecognitionPotentials.Config(dim=D))


def test_with_a_linear_observation_the_bound_is_that_of_variational_bayes() -> None:
    made, y = prior("conjugate-mixture", components=K), points()
    inferred = setting(made, told(y, POSTERIOR), POSTERIOR).inferred
    found = -(distortion(inferred, y).sum() + inferred.rates.sum() + made.regulariser())
    # The search for responsibilities has an end: the last one's were made by the next to last.
    assert float(found.detach()) == pytest.approx(textbook_bound(made, y), rel=1e-7)


def test_a_whole_natural_step_is_the_update_of_variational_bayes() -> None:
    made, y = prior("conjugate-mixture", components=K), points()
    params = told(y, POSTERIOR)
    placed = setting(made, params, POSTERIOR)
    r = placed.inferred.responsibilities[:, 0]
    mean, covariance = placed.inferred._found.points.standard()
    alpha_0 = both(made, "weights")[1].standard()
    s_0, m_0, kappa_0, nu_0 = both(made, "components")[1].standard()
    step(made, params, placed)
    count = r.sum(dim=0)
    centre = r.T @ mean / count[:, None]
    apart = mean[:, None] - centre
    square = apart[..., :, None] * apart[..., None, :] + covariance[:, None]  # [N, K, D, D]
    spread = (r[..., None, None] * square).sum(dim=0)
    away = centre - m_0
    pulled = (kappa_0 * count / (kappa_0 + count))[:, None, None] * away[:, :, None] * away[:, None, :]
    known = (
        s_0 + spread + pulled,
        (kappa_0[:, None] * m_0 + count[:, None] * centre) / (kappa_0 + count)[:, None],
        kappa_0 + count,
        nu_0 + count,
    )
    for one, other in zip(both(made, "components")[0].standard(), known, strict=True):
        torch.testing.assert_close(one, other, **EXACT)
    torch.testing.assert_close(both(made, "weights")[0].standard(), alpha_0 + count, **EXACT)


def step(made: ConjugatePrior, params: Tensor, placed: Setting, rate: float = 1.0) -> None:
    """A step of plain descent along the prior's directions."""
    directions = made.limited(made.directions(POSTERIOR, params, placed), rate)
    assert set(directions) == {name for name, _ in made.named_parameters()}
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.sub_(rate * directions[name])


def loss(made: ConjugatePrior, params: Tensor, placed: Setting) -> Tensor:
    """``-E Σ ψ + KL(q(z) ‖ p(z)) + KL(q(θ) ‖ p(θ))``, of all rows: the negative bound but for what y alone tells."""
    potentials = POSTERIOR.potentials(params, placed.inside)
    evidence = potentials.inner(placed.inferred.moments).sum()
    return placed.inferred.rates.sum() + made.regulariser() - evidence


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("rate", [1.0, 0.3])
def test_natural_steps_never_lower_the_bound(name: str, rate: float) -> None:
    """Local inference and natural steps over all data each climb the same bound."""
    made, y = prior(name), points(positions=5)
    made.config = replace(made.config, sweeps=200, tolerance=1e-12) if name != "linear-dynamical" else made.config
    params, bounds = told(y, POSTERIOR), []
    for _ in range(8):
        placed = setting(made, params, POSTERIOR)
        bounds.append(-float(loss(made, params, placed).detach()))
        step(made, params, placed, rate)
    rises = torch.tensor(bounds, dtype=torch.float64).diff()
    assert (rises > -1e-5).all(), bounds
    assert rises[0] > 1.0


def vague() -> tuple[ConjugatePrior, Tensor]:
    """Fresh switching dynamics, known by ten points, of 1000 rows, and weak potentials of forty of them."""
    torch.manual_seed(0)
    kind = registry.PRIORS.load("switching-dynamical")
    made = kind.build(kind.Config(dim=D, states=3), dim=D, examples=1000).double()
    y = points(positions=8)
    return made, torch.cat([torch.full_like(y, 0.5), 3 * y], dim=-1)


@pytest.mark.parametrize(("trust", "least", "most"), [(math.inf, 3.0, 1e3), (1.0, 1.0, 1.2)])
def test_a_first_step_from_vague_dynamics_leaves_codes_where_they_are(trust: float, least: float, most: float) -> None:
    """Dynamics that hardly anything is known of hold codes near 0, by n K a position: of a twentieth of what all rows
    say as good as nothing of that would be left at once."""
    made, params = vague()
    made.trust = trust
    before = setting(made, params, POSTERIOR)
    step(made, params, before, 0.05)
    grown = setting(made, params, POSTERIOR).inferred.mean.std() / before.inferred.mean.std()
    assert least < float(grown.detach()) < most


@pytest.mark.parametrize("trust", [0.1, 1.0, math.inf])
def test_a_step_changes_what_codes_cost_by_no_more_than_it_may(trust: float) -> None:
    made, params = vague()
    made.trust = trust
    placed = setting(made, params, POSTERIOR)
    row = {name: tuple(each / N for each in told) for name, told in placed.inferred.statistics().items()}
    directions = made.directions(POSTERIOR, params, placed)
    held = made.limited(directions, 0.05)
    for name, belief in made.beliefs.items():
        shares = [(held[key] / directions[key]).nanmean() for key in directions if key.startswith(f"beliefs.{name}.")]
        share = float(torch.stack(shares).nanmean())
        assert 0 < share <= 1
        assert share == 1 or math.isfinite(trust)

        def changed(length: float, name: str = name, belief: Any = belief) -> float:
            now = belief.member()
            moves = tuple(directions[f"beliefs.{name}.{one}"] for one in belief.names)
            new = now.plus(moves, -length).expected()
            cost = [type(now)(*told).inner(row[name]) for told in (now.expected(), new)]
            return float((cost[1] - cost[0]).abs().sum())

        assert changed(0.05 * share) <= trust * (1 + 1e-6)
        assert share == 1 or changed(0.1 * share) > trust  # no shorter than it has to be


@pytest.mark.parametrize("name", PRIORS)
def test_what_was_believed_before_stands_still(name: str) -> None:
    """Of a fresh prior in single precision too, whose beliefs begin where they were before."""
    torch.manual_seed(0)
    kind = registry.PRIORS.load(name)
    made = kind.build(kind.small(D), dim=D, examples=N)
    before = {key: value.clone() for key, value in made.named_buffers()}
    params = told(points(positions=3), POSTERIOR)
    step(made, params, setting(made, params, POSTERIOR))
    assert all(torch.equal(value, before[key]) for key, value in made.named_buffers())


@pytest.mark.parametrize("name", PRIORS)
def test_part_of_the_rows_speaks_for_all(name: str) -> None:
    """Directions of two halves have the mean that the whole has, so that a batch is an unbiased sample."""
    made, params = prior(name), told(points(positions=3), POSTERIOR)
    whole = made.directions(POSTERIOR, params, setting(made, params, POSTERIOR))
    halves = [made.directions(POSTERIOR, half, setting(made, half, POSTERIOR)) for half in params.chunk(2)]
    for parameter, direction in whole.items():
        torch.testing.assert_close(0.5 * (halves[0][parameter] + halves[1][parameter]), direction, **EXACT)


@pytest.mark.parametrize("name", PRIORS)
def test_positions_behind_the_end_of_a_row_count_nothing(name: str) -> None:
    made, params = prior(name), told(points(positions=4), POSTERIOR)
    inside = torch.arange(4) < 2
    placed = Setting(made, None, inside.expand(N, 4))
    found, alone = POSTERIOR.infer(params, placed), setting(made, params[:, :2], POSTERIOR).inferred
    torch.testing.assert_close(found.mean[:, :2], alone.mean, **EXACT)
    torch.testing.assert_close(found.rates.sum(dim=1), alone.rates.sum(dim=1), **EXACT)
    assert not found.rates[:, 2:].any()
    for belief, statistics in found.statistics().items():
        for one, other in zip(statistics, alone.statistics()[belief], strict=True):
            torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("name", PRIORS)
def test_plain_gradients_are_those_of_the_bound(name: str) -> None:
    """Of unconstrained coordinates: a small step against the gradient lowers the loss, and there are no directions."""
    made, y = prior(name, natural=False), points(positions=3)
    params = told(y, POSTERIOR)

    def total() -> Tensor:
        return loss(made, params, setting(made, params, POSTERIOR))

    assert made.directions(POSTERIOR, params, setting(made, params, POSTERIOR)) == {}
    before = total()
    gradients = torch.autograd.grad(before, list(made.parameters()))
    square = sum(float((one**2).sum()) for one in gradients)
    with torch.no_grad():
        for parameter, gradient in zip(made.parameters(), gradients, strict=True):
            parameter.sub_(1e-4 / math.sqrt(square) * gradient)
    assert float(before - total()) == pytest.approx(1e-4 * math.sqrt(square), rel=0.02)


class Columns(Encoder):
    """Frames of D numbers as they are."""

    def __init__(self) -> None:
        super().__init__(vocab_size=0, out_dim=D, down=D)

    def columns(self, symbols: Tensor, lengths: Tensor) -> Tensor:
        return symbols[..., 0].unflatten(1, (-1, D))


class Noisy(Density):
    """``x = c + N(0, NOISE²)``."""

    num_uniforms = 1

    def log_prob(self, x: Tensor, cond: Any = None) -> Tensor:
        apart = (x[..., 0] - cond.features.flatten(1)) / NOISE
        return -0.5 * apart**2 - math.log(NOISE) - 0.5 * math.log(2 * math.pi)

    def sample(self, u: Tensor, cond: Any = None, temperature: Tensor | float = 1.0) -> Tensor:
        return cond.features.flatten(1)


def objective(name: str, **options: Any) -> MaximumEvidence:
    """The whole method with a linear observation, its recognition exact."""
    posterior = RecognitionPotentials(RecognitionPotentials.Config(dim=D))
    model = LatentVariable(Columns(), posterior, prior(name, **options), Noisy())
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[D:] = NOISE**-2 * torch.eye(D)
        model.head.bias.zero_()
        model.head.bias[:D] = math.log(math.expm1(NOISE**-2 - model.posterior.floor))
    made = MaximumEvidence(
        MaximumEvidence.Config(samples=200, evaluation_samples=0), {"model": model}, Facts(examples=N)
    )
    return made.double()


def test_the_loss_is_the_bound_of_a_row_and_the_prior_s_own_cost_once() -> None:
    made, y = objective("conjugate-mixture", components=K), points()
    batch = Rows(y.reshape(N, D, 1), torch.full((N,), D))
    loss = made(Part(batch, Key(0, 0), None), "model").total
    known = -textbook_bound(made.model.prior, y) / N
    assert float(loss.detach()) == pytest.approx(known, abs=0.05)
    measured = made.measure(batch, Key(0, 0), 0)
    assert set(measured) >= {"elbo", "rate", "distortion"}
    assert "evidence" not in measured


def test_the_prior_is_a_player_of_its_own_and_moves_along_its_directions() -> None:
    made, y = objective("linear-dynamical"), points(positions=3)
    batch = Rows(y.reshape(N, 3 * D, 1), torch.full((N,), 3 * D))
    assert set(made.players) == {"model", "prior"}
    assert all(name.startswith("model.prior.") for name in made.owned("prior"))
    assert set(made.owned("model")) == {"model.head.weight", "model.head.bias"}
    networks, own = (made(Part(batch, Key(0, 0), None), player) for player in ("model", "prior"))
    assert networks.directions is None
    assert own.directions is not None
    assert set(own.directions) == set(made.owned("prior"))
    torch.testing.assert_close(networks.total, own.total)
    plain = objective("linear-dynamical", natural=False)
    assert plain(Part(batch, Key(0, 0), None), "prior").directions is None


@pytest.mark.parametrize(
    ("posterior", "given"),
    [("potentials", "standard-normal"), ("gaussian", "linear-dynamical")],
)
def test_posterior_and_prior_that_do_not_fit_are_refused(posterior: str, given: str) -> None:
    one = config.construct(Component(posterior, {"dim": D}), registry.POSTERIORS, source="test")
    other = config.construct(Component(given, {"dim": D}), registry.PRIORS, source="test")
    with pytest.raises(SeqgenError, match=r"infers codes as the other does not; choose recognition potentials"):
        LatentVariable(Columns(), one, other, Noisy())


def test_data_without_end_are_refused() -> None:
    kind = registry.PRIORS.load("linear-dynamical")
    with pytest.raises(SeqgenError, match="these have no end; choose a task with a fixed number of examples"):
        kind.build(kind.Config(dim=D), dim=D, examples=0)


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("options", [{"dim": 0}, {"strength": 0.0}])
def test_improper_priors_are_refused(name: str, options: dict[str, Any]) -> None:
    kind = registry.PRIORS.load(name)
    with pytest.raises(SeqgenError, match="; give a number"):
        kind(replace(kind.small(D), **options))


def test_what_was_not_seen_is_filled_in() -> None:
    """A position without evidence has the mean that its neighbours and the dynamics tell."""
    made, y = prior("linear-dynamical"), points(positions=3)
    potentials = POSTERIOR.potentials(told(y, POSTERIOR), torch.ones(N, 3, dtype=torch.bool))
    seen = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    gone = type(potentials)(*(each * seen.view(1, 3, *[1] * (each.dim() - 2)) for each in potentials.natural))
    found = made.infer(gone, torch.ones(N, 3, dtype=torch.bool))
    pairs = made.beliefs["dynamics"].member().expected_factor()
    matrix = torch.linalg.solve(-2 * pairs.after, pairs.across.mT)
    torch.testing.assert_close(found.mean[:, 2], found.mean[:, 1] @ matrix.T, **EXACT)
