"""Plans for a size or a loss under other forms than the fitted one: against such surfaces and simulated fits."""

from __future__ import annotations

import numpy as np
import pytest
from test_next_runs import SPEND, TARGET, runs  # noqa: F401 (a fixture)
from test_next_runs_design import CELL_SIZES, CELLS, RUN_SIZES, RUNS, WORK, WORLDS

import scalelaw as sl
from scalelaw.plan.design.exchange import choose, score, with_counts
from scalelaw.plan.design.forms import BREAK, MIXED, NAMES, errors_of_form, shares
from scalelaw.plan.design.information import PRIOR, Information, Question, Scales
from scalelaw.plan.design.scenarios import Scenarios

NOISE = 0.01
ENDS = RUNS.max(axis=1)


def scenarios(noise=NOISE, size=0.0, log_loss=None, want="loss"):
    two = np.ones(2)
    question = Question(
        gradient=WORLDS.gradient(want, WORK),
        jacobian=WORLDS.jacobian(CELLS),
        sizes=CELL_SIZES,
        features=np.empty((CELLS.shape[1], 0)),
        answer_features=np.empty((2, 0)),
        scales=Scales(noise * two, size * two, two),
    )
    sums = Information.of(question, WORLDS.jacobian(RUNS), RUN_SIZES, np.empty((RUNS.shape[1], 0)))
    y = WORLDS.log_loss(RUNS)[0] if log_loss is None else log_loss
    return Scenarios.of(sums, WORLDS, RUNS, y, CELLS, WORLDS.stencil(want, WORK))


def test_each_form_is_the_surface_that_its_name_says():
    """Exact where the loss is the sum: ln(1 + error) is the difference of two surfaces' ln L."""
    e, a, b, alpha, beta = WORLDS.theta[1]
    x = CELLS - np.array(WORLDS.centre)[:, None]
    size, data = np.exp(a - alpha * x[0]), np.exp(b - beta * x[1])
    power = [(1 + np.exp(2 * (CELLS[k] - ENDS[k]))) ** (BREAK / 2) for k in (0, 1)]
    others = [0 * size, MIXED * np.sqrt(size * data), size * (power[0] - 1), data * (power[1] - 1)]
    found = errors_of_form(WORLDS, CELLS, ENDS)[1]
    for name, error, other in zip(NAMES, found, others, strict=True):
        exact = np.log(np.exp(e) + size + data + other) - WORLDS.log_loss(CELLS)[1]
        assert np.log1p(error) == pytest.approx(exact, abs=1e-12), name


def test_a_form_moves_the_best_size_as_its_surface_says():
    """Second method: the lowest point, found by looking, of a surface with a little of the form."""
    little, u = 0.02, np.linspace(-1, 1, 20_001)
    found = scenarios(noise=1e3, want="size").at_answer[1]
    best = WORLDS.best(WORK)[1]
    line = best + np.array([[1.0], [-1.0]]) * u
    errors = errors_of_form(WORLDS, line, ENDS)[1]
    bare = WORLDS.log_loss(line)[1]
    for name, error, moved in zip(NAMES, errors, found, strict=True):
        up, down = (u[np.argmin(bare + sign * little * error)] for sign in (1, -1))
        assert (up - down) / (2 * little) == pytest.approx(moved, rel=0.03, abs=0.01), name


def test_what_runs_say_of_a_form_is_its_factors_posterior():
    """Second method: the factor as a sixth parameter of a Bayesian linear fit with a wide prior for the others."""
    J = WORLDS.jacobian(RUNS)
    errors = errors_of_form(WORLDS, RUNS, ENDS)
    rng = np.random.default_rng(0)
    residual = 1.5 * errors[:, 1] + 1e-3 * rng.standard_normal((2, RUNS.shape[1]))
    found = shares(errors, J, residual, np.full(2, 1e-3))
    for world in range(2):
        for form in (1, 2, 3):
            X = np.column_stack([J[world], errors[world, form]])
            precision = X.T @ X / 1e-6 + np.diag([1e-12] * 5 + [1.0])
            mean = np.linalg.solve(precision, X.T @ residual[world] / 1e-6)[5]
            expected = np.sqrt(mean**2 + np.linalg.inv(precision)[5, 5])
            assert found[world, form] == pytest.approx(expected, rel=1e-4)
    assert found[:, 1] == pytest.approx(1.5, abs=0.2)
    blind = shares(errors, J, 0 * residual, np.full(2, 1e3))
    assert blind == pytest.approx(1, abs=1e-3)  # runs that say nothing leave what was thought before


@pytest.mark.parametrize("want", ["loss", "size"])
def test_the_error_is_that_of_least_squares_on_simulated_runs(want):
    noise, size = 0.01, 0.02
    start = scenarios(noise, size, want=want).changed(5, 3)
    x = np.concatenate([RUNS, np.repeat(CELLS[:, [5]], 3, axis=1)], axis=1)
    labels = np.concatenate([RUN_SIZES, np.repeat(CELL_SIZES[5], 3)])
    rng = np.random.default_rng(1)
    draws = 20_000
    noises = noise * rng.standard_normal((draws, x.shape[1])) + size * rng.standard_normal((draws, 9))[:, labels]
    found = sum(start.errors()).reshape(2, -1)
    for form in range(len(NAMES)):
        bent = np.concatenate([start.at_runs[0, form], np.repeat(start.at_cells[0, form, 5], 3)])
        J = WORLDS.jacobian(x)[0]
        held = np.linalg.inv(J.T @ J + np.diag(noise**2 / PRIOR**2))
        off = (noises + bent) @ J @ held @ WORLDS.gradient(want, WORK)[0] - start.at_answer[0, form]
        assert float(np.mean(off**2)) == pytest.approx(float(found[0, form]), rel=0.04), NAMES[form]


def test_one_run_more_is_what_rebuilding_gives():
    start = scenarios(size=0.02)
    more = np.stack([sum(start.changed(k).errors()) for k in range(CELLS.shape[1])], axis=1)
    assert start.after() == pytest.approx(more, rel=1e-9)
    again = start.changed(3, 2).changed(3, -2)
    assert sum(again.errors()) == pytest.approx(sum(start.errors()), rel=1e-9)


@pytest.mark.parametrize("share", [1.0, 1 / 3])
def test_a_wide_search_finds_what_a_plain_one_leaves(share):
    start, cost = scenarios(noise=0.03), np.exp(CELLS.sum(axis=0) - WORK)
    spend = share * float(cost.max())
    wide, plain = (choose(start, cost, spend, 12, wide=either) for either in (True, False))
    assert wide.score < plain.score - 0.03
    assert wide.score == pytest.approx(score(with_counts(start, wide.counts)))
    assert wide.counts @ cost == pytest.approx(wide.spent)
    assert wide.spent <= spend * (1 + 1e-9)


def test_models_smaller_than_the_smallest_may_be_bought_for_the_loss(runs):  # noqa: F811
    larger = runs.where(runs.variant != "N0")
    plan = sl.next_runs(larger, TARGET, SPEND, "loss")
    assert min(one.macs_per_image for one in plan.runs) < float(larger.macs_per_image.min())
    assert plan.expected["loss"].after < plan.expected["loss"].before
