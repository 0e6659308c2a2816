"""The mean over forms of the loss surface: modes, evidence and spread against computations written anew."""

import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.stats import multivariate_t

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import designs

from scalelaw.laws import ChanceSizeData, SizeData
from scalelaw.plan.average import mean_of_forms
from scalelaw.plan.average.bent import Bent
from scalelaw.plan.average.posterior import Prior, Runs, posterior
from scalelaw.plan.design.basis import FLATTEST, STEEPEST
from scalelaw.plan.design.forms import NAMES

LAW = SizeData(E=1.0, A=1.0, B=1.0, alpha=1.0, beta=1.0)
CHANCE = ChanceSizeData(E=1.0, A=1.0, B=1.0, alpha=1.0, beta=1.0, L0=3.0, p=4.0)
X = np.log(2) * np.stack([np.repeat(np.arange(5.0), 5), np.tile(np.arange(5.0), 5)]) + np.log([[1e6], [1e5]])
CENTRE = X.mean(axis=1)
HALF = (X.max(axis=1) - X.min(axis=1)) / 2
DEAREST = X.max(axis=1)
EIGHT = list(product(range(len(NAMES)), (True, False)))
ADDITIVE, INTERACTION = NAMES.index("additive"), NAMES.index("interaction")


def sum_by_hand(theta, form, floored, x):
    """(points,) E + A N^-alpha + B D^-beta and the departure, of one ln E, ln A, ln B, alpha, beta, factor, place."""
    e, a, b, alpha, beta, factor, place = theta
    breaks = CENTRE + place * HALF
    size, data = np.exp(a - alpha * (x[0] - CENTRE[0])), np.exp(b - beta * (x[1] - CENTRE[1]))
    past = [np.log(1 + np.exp(2 * (x[axis] - breaks[axis]))) / 2 for axis in (0, 1)]
    if NAMES[form] == "break of size":
        size = size * np.exp(0.1 * factor * past[0])
    if NAMES[form] == "break of data":
        data = data * np.exp(0.1 * factor * past[1])
    mixed = 0.3 * factor * np.sqrt(size * data) if NAMES[form] == "interaction" else 0.0
    return np.exp(e) * floored + size + data + mixed


def bent(form, floored, law=LAW, rows=1):
    return Bent(law, tuple(CENTRE), form, np.tile(CENTRE, (rows, 1)), np.tile(HALF, (rows, 1)), floored)


def drawn(theta, form, floored, noise, rows=1, seed=0):
    """Runs of a surface; one row a draw."""
    rng = np.random.default_rng(seed)
    y = np.log(sum_by_hand(theta, form, floored, X)) + noise * rng.standard_normal((rows, X.shape[1]))
    return Runs(X, y, np.ones_like(y), np.full(rows, noise))


def natural(theta):
    """(rows, 5) starts as `mean_of_forms` takes them: of the unit 1, not of the runs' middle."""
    start = np.atleast_2d(theta)[:, :5].astype(float).copy()
    start[:, 1:3] += start[:, 3:5] * CENTRE
    return start


@pytest.mark.parametrize("law", [LAW, CHANCE], ids=["sum", "chance"])
@pytest.mark.parametrize(("form", "floored"), EIGHT)
def test_surfaces_and_derivatives(form, floored, law):
    rng = np.random.default_rng(form)
    theta = np.array([-1.0, 0.1, -0.2, 0.4, 0.3, 0.5, 0.1]) + 0.2 * rng.standard_normal((3, 7))
    surface = bent(form, floored, law, rows=3)
    value, jacobian = surface.log_loss(theta, X)
    wanted = np.log([law.of_sum(sum_by_hand(one, form, floored, X)) for one in theta])
    assert value == pytest.approx(wanted, abs=1e-12)
    step = 1e-5
    for k in range(7):
        up, down = theta.copy(), theta.copy()
        up[:, k] += step
        down[:, k] -= step
        slope = (surface.log_loss(up, X)[0] - surface.log_loss(down, X)[0]) / (2 * step)
        if k in surface.free:
            assert jacobian[:, :, k] == pytest.approx(slope, abs=1e-8)
            assert np.abs(slope).max() > 1e-3
        else:
            assert np.abs(slope).max() == 0


TRUTH = np.array([np.log(0.5), np.log(0.6), np.log(0.5), 0.45, 0.4, 1.0, 0.2])


def residuals_by_hand(theta, form, floored, runs, prior):
    """Whose squares sum to the cost: misses over the noise, and distances from the prior."""
    S = sum_by_hand(theta, form, floored, X)
    if not (S > 0).all():
        return np.full(X.shape[1] + 7, 1e6)
    return np.r_[(runs.log_loss[0] - np.log(S)) / runs.noise[0], (theta - prior.mean[0]) / prior.sd]


@pytest.mark.parametrize("noise", [0.003, 0.03])
@pytest.mark.parametrize(("form", "floored"), EIGHT)
def test_modes_are_those_of_another_search(form, floored, noise):
    runs = drawn(TRUTH, form, True, noise)
    prior = Prior.of(runs.log_loss, runs.weights)
    surface = bent(form, floored)
    start = prior.mean.copy()
    start[:, :5] = TRUTH[:5]
    found = posterior(surface, runs, prior, [start, TRUTH[None]])
    low = np.array([-np.inf, -np.inf, -np.inf, FLATTEST, FLATTEST, -np.inf, -1])
    high = np.array([np.inf, np.inf, np.inf, STEEPEST, STEEPEST, np.inf, 1])
    others = [
        least_squares(residuals_by_hand, begin, bounds=(low, high), args=(form, floored, runs, prior), xtol=1e-12)
        for begin in (prior.mean[0], TRUTH)
    ]
    other = min(others, key=lambda one: one.cost)
    assert found.cost[0] == pytest.approx(2 * other.cost, abs=1e-3)
    spread = np.sqrt(np.diag(found.covariance[0]))
    off = (found.theta[0] - other.x)[surface.free] / spread[surface.free]
    assert np.abs(off).max() < 0.05
    fixed = sorted(set(range(7)) - set(surface.free))
    assert found.theta[0, fixed] == pytest.approx(prior.mean[0, fixed])
    assert (found.covariance[0][fixed] == 0).all()


@pytest.mark.parametrize(("form", "floored"), EIGHT)
def test_evidence_is_the_integral_of_likelihood_times_prior(form, floored):
    """By importance sampling from a t distribution about the mode: nothing is taken to be normal."""
    noise = 3e-6  # so little that the posterior is nearly normal
    runs = drawn(TRUTH, form, floored, noise, seed=3)
    prior = Prior.of(runs.log_loss, runs.weights)
    start = prior.mean.copy()
    start[:, :5] = TRUTH[:5]
    surface = bent(form, floored)
    found = posterior(surface, runs, prior, [start])
    free = surface.free
    about = multivariate_t(found.theta[0, free], 1.5 * found.covariance[0][np.ix_(free, free)], df=5, seed=0)
    theta = np.tile(prior.mean[0], (20_000, 1))
    theta[:, free] = points = about.rvs(20_000)
    log_loss = surface.log_loss(theta, X)[0]
    square = (((runs.log_loss - log_loss) / noise) ** 2).sum(axis=1) + (((theta - prior.mean) / prior.sd) ** 2).sum(1)
    square = np.where(np.isfinite(square), square, np.inf)
    constant = np.log(np.sqrt(2 * np.pi) * prior.sd[free]).sum()
    logs = -square / 2 - constant - about.logpdf(points)
    share = np.exp(logs - logs.max())
    assert share.sum() ** 2 / (share**2).sum() > 2_000  # draws that count
    assert found.log_evidence[0] == pytest.approx(logs.max() + np.log(share.mean()), abs=0.05)
    mean = share @ points / share.sum()
    spread = np.sqrt(share @ (points - mean) ** 2 / share.sum())
    assert np.sqrt(np.diag(found.covariance[0]))[free] == pytest.approx(spread, rel=0.1)


def weights_of(theta, form, floored, noise):
    runs = drawn(theta, form, floored, noise, rows=10, seed=1)
    return mean_of_forms(LAW, runs, np.tile(natural(theta), (10, 1)), DEAREST[:, None])


def test_the_runs_form_gets_the_weight():
    plain = weights_of(TRUTH, ADDITIVE, True, noise=0.0003)
    assert np.median(plain.weights[:, ADDITIVE]) > 0.8
    for form in range(1, len(NAMES)):
        strong = weights_of(np.r_[TRUTH[:5], 2.0 if form == INTERACTION else 4.0, 0.2], form, True, noise=0.002)
        assert np.median(strong.weights[:, form]) > 0.9, NAMES[form]
        assert np.median(strong.weights[:, ADDITIVE]) < 0.05
    assert plain.weights.sum(axis=1) == pytest.approx(np.ones(10))


def test_a_floor_is_told_from_none():
    with_floor = weights_of(TRUTH, ADDITIVE, True, noise=0.0003)
    without = weights_of(TRUTH, ADDITIVE, False, noise=0.0003)
    assert np.median(with_floor.floor) > 0.95
    assert np.median(without.floor) < 0.2


def test_the_start_may_lack_terms():
    runs = drawn(TRUTH, INTERACTION, True, 0.003)
    starts = natural(TRUTH), np.array([[-np.inf, *natural(TRUTH)[0, 1:]]]), np.full((1, 5), np.nan)
    found = [mean_of_forms(LAW, runs, start, DEAREST[:, None]) for start in starts]
    for one in found[1:]:
        assert one.log_loss == pytest.approx(found[0].log_loss, abs=0.1 * float(found[0].sd[0, 0]))


def test_rows_know_nothing_of_each_other():
    noises = np.array([0.002, 0.02, 0.1])
    rows = [drawn(TRUTH, form, True, noise, seed=form) for form, noise in enumerate(noises)]
    many = Runs(X, np.concatenate([one.log_loss for one in rows]), np.ones((3, X.shape[1])), noises)
    at = DEAREST[:, None] + np.log([[1.0, 4.0]])
    starts = np.tile(natural(TRUTH), (3, 1))
    together = mean_of_forms(LAW, many, starts, at)
    for k in range(3):
        alone = mean_of_forms(LAW, rows[k], starts[[k]], at)
        for name in ("log_loss", "sd", "weights", "floor"):
            assert getattr(together, name)[k] == pytest.approx(getattr(alone, name)[0], rel=1e-7), name


def test_runs_of_no_weight_say_nothing():
    """Nor do they move a break; the unit of size, which they move, hardly matters."""
    runs = drawn(np.r_[TRUTH[:5], 3.0, 0.2], NAMES.index("break of size"), True, 0.003)
    kept = X[0] < X[0].max() - 1
    at = DEAREST[:, None] + np.log(4)
    few = Runs(X[:, kept], runs.log_loss[:, kept], runs.weights[:, kept], runs.noise)
    emptied = Runs(X, np.where(kept, runs.log_loss, -3.0), np.where(kept, 1.0, 0.0)[None], runs.noise)
    one, other = (mean_of_forms(LAW, some, natural(TRUTH), at) for some in (few, emptied))
    assert other.log_loss == pytest.approx(one.log_loss, abs=0.02 * float(one.sd[0, 0]))
    assert other.sd == pytest.approx(one.sd, rel=0.02)
    assert other.weights == pytest.approx(one.weights, abs=0.01)


@pytest.mark.parametrize("unit", [1e-6, 7.0, 1e4])
def test_results_move_with_the_units_and_not_otherwise(unit):
    runs = drawn(TRUTH, INTERACTION, True, 0.005)
    scale = np.log([[1e-9], [2e3]])
    at = DEAREST[:, None] + np.log(4)
    start = natural(TRUTH)
    moved = start.copy()
    moved[:, :3] += np.log(unit)
    moved[:, 1:3] += start[:, 3:] * scale[:, 0]
    elsewhere = Runs(X + scale, runs.log_loss + np.log(unit), runs.weights, runs.noise)
    one, other = mean_of_forms(LAW, runs, start, at), mean_of_forms(LAW, elsewhere, moved, at + scale)
    assert other.log_loss - np.log(unit) == pytest.approx(one.log_loss, abs=1e-7)
    for name in ("within", "between", "weights", "floor"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-5, abs=1e-8), name


DRAWS = 300
FAR = designs.PILOT.sum(axis=0).max() + np.log(16)
THERE = np.array([[0.5], [0.5]]) * (FAR + np.array([[1.0], [-1.0]]) * (designs.MIDDLE[0] - designs.MIDDLE[1]))
"""ln N and ln D of 16 times the dearest run, as far beyond the pilot's middle in size as in data."""


def world_drawn(rng, middle):
    """A form's number and ln L of a surface of it: factor and floor as the priors have them."""
    form = int(rng.choice(4, p=[1 / 2, 1 / 6, 1 / 6, 1 / 6]))
    floor, factor = rng.uniform(0.02, 0.8) * (rng.random() < 0.5), rng.standard_normal()
    beta = designs.TOTAL * rng.choice([0.3, 0.5, 0.7])
    alpha, excess = designs.TOTAL - beta, designs.LOSS - floor
    low, high = designs.PILOT.min(axis=1), designs.PILOT.max(axis=1)
    breaks = (low + high) / 2 if middle else rng.uniform(low, high)

    def log_loss(x):
        n, d = x[0] - designs.MIDDLE[0], x[1] - designs.MIDDLE[1]
        size, data = excess * np.exp([-alpha * n, -beta * d]) * np.array([[beta], [alpha]]) / designs.TOTAL
        mixed = 0.3 * factor * np.sqrt(size * data) * (form == 1)
        past = np.logaddexp(0, 2 * (x - breaks[:, None])) / 2
        size = size * np.exp(0.1 * factor * past[0] * (form == 2))
        data = data * np.exp(0.1 * factor * past[1] * (form == 3))
        return np.log(floor + size + data + mixed)

    return form, log_loss


@pytest.mark.parametrize("middle", [True, False], ids=["middle", "anywhere"])
@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_intervals_hold_the_truth_at_16_times_the_dearest_run(noise, middle):
    rng = np.random.default_rng(7)
    forms, surfaces = zip(*[world_drawn(rng, middle) for _ in range(DRAWS)], strict=True)
    truth = np.array([log_loss(THERE)[0] for log_loss in surfaces])
    y = np.array([log_loss(designs.PILOT) for log_loss in surfaces])
    y = y + noise * rng.standard_normal(y.shape)
    fits = designs.fitted(designs.PILOT, y, np.ones_like(y))
    runs = Runs(designs.PILOT, y, np.ones_like(y), np.full(DRAWS, noise))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = mean_of_forms(LAW, runs, fits, THERE)
    off = truth - found.log_loss[:, 0]
    held = np.abs(off) < 1.96 * found.sd[:, 0]
    of = [held[np.array(forms) == form].mean() for form in range(4)]
    print(f"breaks {'in the middle' if middle else 'anywhere'}, noise {noise:g}: {held.mean():.2f} hold the truth; "
          + ", ".join(f"{name} {share:.2f}" for name, share in zip(NAMES, of, strict=True)))  # fmt: skip
    assert 0.9 <= held.mean() <= 0.99
    assert min(of) >= 0.8
    fitted = designs.log_loss_of(fits, THERE)[:, 0]
    assert designs.rms(off) < designs.rms(truth - fitted)
