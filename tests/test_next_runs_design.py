"""The error of an answer after further runs: closed forms against simulation, differences and rebuilt sums."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scalelaw.laws import SizeData
from scalelaw.plan.design.exchange import choose, score, with_counts
from scalelaw.plan.design.form_error import LENGTH, FormError
from scalelaw.plan.design.information import PRIOR, Information, Question, Scales
from scalelaw.plan.design.scales import drawn, replicates
from scalelaw.plan.design.worlds import WANTED, Worlds

RNG = np.random.default_rng(3)
WORLDS = Worlds(np.array([[-1.6, -0.6, -0.5, 0.4, 0.5], [-1.0, -0.7, -0.5, 0.3, 0.55]]), (1.0, -0.5))
RUNS = np.stack([np.repeat(np.arange(6.0), 4), np.tile(np.arange(4.0), 6)])
CELLS = np.stack([np.repeat(np.arange(4.0, 9.0), 3), np.tile([2.0, 4.0, 6.0], 5)])
WORK = 14.0
RUN_SIZES, CELL_SIZES = RUNS[0].astype(int), CELLS[0].astype(int)


def information(want="size", noise=0.01, size=0.02, form=0.03, prior=True):
    covers = FormError.over(np.concatenate([RUNS, CELLS, [[12.0], [12.0]]], axis=1))
    points, factors = WORLDS.stencil(want, WORK)
    two = np.ones(2)
    question = Question(
        gradient=WORLDS.gradient(want, WORK),
        jacobian=WORLDS.jacobian(CELLS),
        sizes=CELL_SIZES,
        features=covers.features(CELLS),
        answer_features=np.einsum("wp,wpf->wf", factors, covers.features(points)),
        scales=Scales(noise * two, size * two, form * two),
    )
    return Information.of(question, WORLDS.jacobian(RUNS), RUN_SIZES, covers.features(RUNS)), covers


@pytest.mark.parametrize("want", WANTED)
def test_gradients_are_those_of_the_answers(want):
    exact = WORLDS.gradient(want, WORK)
    for k in range(5):
        step = np.zeros(5)
        step[k] = 1e-5
        up, down = (Worlds(WORLDS.theta + sign * step, WORLDS.centre).answer(want, WORK) for sign in (1, -1))
        assert exact[:, k] == pytest.approx((up - down) / 2e-5, abs=1e-7)


def test_answers_are_those_of_the_law():
    e, a, b, alpha, beta = WORLDS.theta[0]
    A, B = np.exp([a + alpha * WORLDS.centre[0], b + beta * WORLDS.centre[1]])
    law = SizeData(E=float(np.exp(e)), A=float(A), B=float(B), alpha=alpha, beta=beta)
    assert WORLDS.answer("size", WORK)[0] == pytest.approx(np.log(law.optimal_size(np.exp(WORK), 1.0)))
    assert WORLDS.answer("loss", WORK)[0] == pytest.approx(np.log(law.optimal_loss(np.exp(WORK), 1.0)))
    assert WORLDS.answer("exponent", WORK)[0] == pytest.approx(law.size_exponent)


def _true_answer(want, delta, work):
    """Of world 0 with delta(ln N, ln D) on top, by minimising."""
    world = Worlds(WORLDS.theta[:1], WORLDS.centre)
    start = float(world.best(work)[0, 0, 0])

    def log_loss(u):
        x = np.array([[u], [work - u]])
        return float(world.log_loss(x)[0, 0] + delta(x)[0])

    found = minimize_scalar(log_loss, bounds=(start - 1, start + 1), method="bounded", options={"xatol": 1e-9})
    return {"size": found.x, "loss": found.fun}[want]


@pytest.mark.parametrize("want", WANTED)
def test_an_error_of_the_form_moves_the_answer_as_the_stencil_says(want):
    def delta(x, h=1e-4):
        return h * np.sin(0.4 * x[0] + 0.3) * np.cos(0.3 * x[1])

    def nothing(x):
        return 0 * x[0]

    if want == "exponent":
        ends = [_true_answer("size", f, WORK + s) for f in (delta, nothing) for s in (-0.2, 0.2)]
        moved = ((ends[1] - ends[0]) - (ends[3] - ends[2])) / 0.4
    else:
        moved = _true_answer(want, delta, WORK) - _true_answer(want, nothing, WORK)
    points, factors = WORLDS.stencil(want, WORK)
    assert float(factors[0] @ delta(points[0])) == pytest.approx(moved, rel=0.03, abs=1e-8)


@pytest.mark.parametrize("extent", [1.0, 4.7, 9.5, 12.0])
def test_features_give_the_covariance(extent):
    points = extent * np.stack(np.meshgrid(*[np.linspace(0, 1, 9)] * 2)).reshape(2, -1)
    features = FormError.over(points).features(points)
    distance = ((points[:, :, None] - points[:, None, :]) ** 2).sum(axis=0)
    assert features @ features.T == pytest.approx(np.exp(-distance / 2 / LENGTH**2), abs=0.011)


def test_one_run_more_or_less_is_what_rebuilding_gives():
    start, _ = information()
    more = np.stack([sum(start.changed(k).errors()) for k in range(CELLS.shape[1])], axis=1)
    assert start.after() == pytest.approx(more, rel=1e-9)
    twice = start.changed(4, 2)
    assert twice.after(sign=-1)[:, 4] == pytest.approx(sum(start.changed(4).errors()), rel=1e-9)
    counts = np.zeros(CELLS.shape[1], int)
    counts[[4, 7]] = 2, 1
    assert sum(with_counts(start, counts).errors()) == pytest.approx(sum(twice.changed(7).errors()), rel=1e-9)


def test_the_error_is_that_of_least_squares_on_simulated_runs():
    """Second method: draw noise, effects of size and form errors, fit the linear model, compare with the truth."""
    noise, size, form = 0.01, 0.02, 0.03
    start, covers = information("size", noise, size, form)
    start = start.changed(5, 3)
    x = np.concatenate([RUNS, np.repeat(CELLS[:, [5]], 3, axis=1)], axis=1)
    rows, draws = x.shape[1], 20_000
    points, factors = WORLDS.stencil("size", WORK)
    labels = np.concatenate([RUN_SIZES, np.repeat(CELL_SIZES[5], 3)])
    y = noise * RNG.standard_normal((draws, rows)) + size * RNG.standard_normal((draws, 9))[:, labels]
    weights = form * RNG.standard_normal((draws, covers.features(RUNS).shape[1]))
    y += weights @ covers.features(x).T
    J = WORLDS.jacobian(x)[0]
    inverse = np.linalg.inv(J.T @ J + np.diag(noise**2 / PRIOR**2))
    estimate = y @ J @ inverse @ WORLDS.gradient("size", WORK)[0]
    true = weights @ covers.features(points[0]).T @ factors[0]
    assert float(np.mean((estimate - true) ** 2)) == pytest.approx(float(sum(start.errors())[0]), rel=0.04)


def test_spending_stays_within_its_limits_and_more_of_it_helps():
    start, _ = information()
    cost = np.exp(CELLS.sum(axis=0) - WORK)
    scores = []
    for spend in (0.05, 0.3, 2.0):
        found = choose(start, cost, spend, 8)
        assert found.counts @ cost == pytest.approx(found.spent)
        assert found.spent <= spend * (1 + 1e-9)
        assert found.counts.sum() <= 8
        assert found.score == pytest.approx(score(with_counts(start, found.counts)))
        scores.append(found.score)
    assert score(start) > scores[0] > scores[1] > scores[2]
    assert not choose(start, cost, 1e-9, 8).counts.any()
    assert not choose(start, cost, 2.0, 0).counts.any()


def test_the_choice_is_near_the_best_of_all_designs():
    """Against every design of three runs or fewer, where these can be listed."""
    start, _ = information()
    cost = np.exp(CELLS.sum(axis=0) - WORK)
    spend = 0.6
    best = score(start)

    def search(state, first, left, runs):
        nonlocal best
        best = min(best, score(state))
        for k in range(first, CELLS.shape[1]):
            if runs and cost[k] <= left:
                search(state.changed(k), k, left - cost[k], runs - 1)

    search(start, 0, spend, 3)
    assert choose(start, cost, spend, 3).score <= best + 0.03


def test_a_form_that_may_be_wrong_asks_for_runs_nearer_the_target():
    cost = np.exp(CELLS.sum(axis=0) - WORK)
    dearest = []
    for form in (1e-4, 0.1):
        start, _ = information("size", size=0.0, form=form)
        counts = choose(start, cost, 1.0, 12).counts
        dearest.append(float(counts @ np.log(cost) / counts.sum()))
    assert dearest[1] > dearest[0] + 0.5


def test_scales_are_recovered_from_many_runs():
    """Noise and an effect of size, each from what the fit leaves over."""
    x = np.stack([np.repeat(np.linspace(0, 8, 16), 16), np.tile(np.linspace(0, 8, 16), 16)])
    sizes = np.repeat(np.arange(16), 16)
    J = Worlds(WORLDS.theta[:1], WORLDS.centre).jacobian(x)[0]
    features = FormError.over(x).features(x)
    rng = np.random.default_rng(0)
    residual = 0.01 * rng.standard_normal(256) + 0.012 * rng.standard_normal(16)[sizes]
    found, sized = drawn(20, J, residual, sizes, np.arange(256), features)
    assert sized
    assert np.sqrt(np.mean(found.noise**2)) == pytest.approx(0.01, rel=0.15)
    assert 0.006 < np.sqrt(np.mean(found.size**2)) < 0.018
    _, sized = drawn(20, J[:16], residual[:16], sizes[:16], np.arange(16), features[:16])
    assert not sized


def test_replicates_pool_what_settings_share():
    settings = np.array([0, 0, 1, 1, 1, 2])
    found = replicates(settings, np.array([1.0, 3.0, 5.0, 6.0, 7.0, 9.0]))
    assert (found.dof, found.sd) == (3, pytest.approx(np.sqrt(4 / 3)))
    assert replicates(np.arange(4), np.arange(4.0)).sd is None
