"""Plans for a loss whose departure from the fitted form is estimated too, and beside one run for as much."""

from __future__ import annotations

import numpy as np
import pytest
from test_next_runs_design import CELL_SIZES, CELLS, RUN_SIZES, RUNS, WORK, WORLDS

from scalelaw.plan.design.beside_one_run import POWER, BesideOneRun
from scalelaw.plan.design.estimated import FORMS, Estimated, Ground
from scalelaw.plan.design.exchange import choose
from scalelaw.plan.design.forms import BREAK, MIXED, VARIANCE, departures, shares
from scalelaw.plan.design.information import PRIOR, Scales
from scalelaw.plan.design.worlds import Worlds

COST = np.exp(CELLS.sum(axis=0) - WORK)
SHAPE = len(WORLDS.theta), FORMS
ENDS = np.stack([RUNS.min(axis=1), RUNS.max(axis=1)])
BEND = 0.01 * np.random.default_rng(5).standard_normal(RUNS.shape[1])
"""What runs miss the surfaces by."""


def estimated(noise=0.01, size=0.0, worlds=WORLDS):
    one = np.ones(len(worlds))
    ground = Ground.of(worlds, Scales(noise * one, size * one, one), RUNS, CELLS, CELL_SIZES, WORK)
    return Estimated.of(ground, RUNS, RUN_SIZES, worlds.log_loss(RUNS)[0] + BEND)


def test_departures_are_surfaces_that_bend_where_their_place_is():
    """Exact where the loss is the sum: ln(1 + error) is the difference of two surfaces' ln L."""
    e, a, b, alpha, beta = WORLDS.theta[1]
    x = CELLS - np.array(WORLDS.centre)[:, None]
    size, data = np.exp(a - alpha * x[0]), np.exp(b - beta * x[1])
    places = [ENDS[0] + share * (ENDS[1] - ENDS[0]) for share in (0, 0.5, 1)]
    bent = [term * ((1 + np.exp(2 * (CELLS[k] - place[k]))) ** (BREAK / 2) - 1)
            for place in places for k, term in enumerate((size, data))]  # fmt: skip
    found = departures(WORLDS, CELLS, ENDS)[1]
    for error, other in zip(found, [MIXED * np.sqrt(size * data), *bent], strict=True):
        exact = np.log(np.exp(e) + size + data + other) - WORLDS.log_loss(CELLS)[1]
        assert np.log1p(error) == pytest.approx(exact, abs=1e-12)


def by_hand(counts, noise, size):
    """(worlds, forms) squared errors from chance and from the form, of the linear estimate written out."""
    x = np.concatenate([RUNS, np.repeat(CELLS, counts, axis=1)], axis=1)
    labels = np.concatenate([RUN_SIZES, np.repeat(CELL_SIZES, counts)])
    best, chance, form = WORLDS.best(WORK), np.empty(SHAPE), np.empty(SHAPE)
    residual = WORLDS.log_loss(RUNS)[0] + BEND - WORLDS.log_loss(RUNS)
    factors = shares(departures(WORLDS, RUNS, ENDS), WORLDS.jacobian(RUNS), residual, np.full(SHAPE[0], noise))
    for world in range(SHAPE[0]):
        bent = departures(WORLDS, x, ENDS)[world].T
        X = np.column_stack([WORLDS.jacobian(x)[world], bent])
        answer = np.r_[WORLDS.gradient("loss", WORK)[world], departures(WORLDS, best, ENDS)[world, :, 0]]
        before = np.r_[PRIOR**2, VARIANCE]
        estimate = np.linalg.solve(X.T @ X / noise**2 + np.diag(1 / before), X.T / noise**2).T @ answer
        off = X.T @ estimate - answer  # what an unknown of 1 adds to the error
        shared = np.bincount(labels, estimate)
        chance[world] = noise**2 * estimate @ estimate + size**2 * shared @ shared + off[:5] ** 2 @ PRIOR**2
        form[world] = np.r_[0, (factors[world] * off[5:]) ** 2]
    return chance, form


@pytest.mark.parametrize("size", [0.0, 0.02])
@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_errors_are_those_of_the_linear_estimate(noise, size):
    counts = np.zeros(CELLS.shape[1], int)
    counts[[2, 7, 14]] = 3, 1, 2
    found = estimated(noise, size).with_counts(counts).errors()
    for mine, other in zip(found, by_hand(counts, noise, size), strict=True):
        assert mine.reshape(SHAPE) == pytest.approx(other, rel=1e-6, abs=1e-15)


def test_over_factors_as_they_are_drawn_it_is_the_posteriors_variance():
    """Second method: nothing but the precision of all unknowns."""
    told = estimated().changed(4, 2)
    chance, form = (part.reshape(SHAPE) for part in told.errors())
    answer = told.ground.answer
    variance = np.einsum("wp,wp->w", answer, np.linalg.solve(told.gram, answer[:, :, None])[:, :, 0])
    assert chance[:, 0] + (form[:, 1:] / told.factors**2) @ VARIANCE == pytest.approx(variance)


@pytest.mark.parametrize("beside", [False, True])
def test_one_run_more_is_what_rebuilding_gives(beside):
    told = estimated(size=0.02)
    start = BesideOneRun.of(told, COST, 1.0) if beside else told
    start = start.changed(3, 2)
    more = np.stack([np.add(*start.changed(k).errors()) for k in range(CELLS.shape[1])], axis=1)
    assert start.after() == pytest.approx(more, rel=1e-7)
    again = start.changed(6, 2).changed(6, -2)
    assert np.add(*again.errors()) == pytest.approx(np.add(*start.errors()), rel=1e-7)


def test_further_seeds_are_runs_of_their_cell():
    told = estimated(size=0.02)
    seeds = told.with_runs(told.ground.rows(CELLS[:, [5]])[:, 0], int(CELL_SIZES[5]), 3)
    assert np.add(*seeds.errors()) == pytest.approx(np.add(*told.changed(5, 3).errors()))


def test_effects_of_size_are_equally_large_in_all_worlds():
    """One world in which they are huge does not decide the choice."""
    three = Worlds(np.concatenate([WORLDS.theta, WORLDS.theta[:1]]), WORLDS.centre)
    told = [estimated(size=np.array(sizes), worlds=three).changed(4, 2) for sizes in ([0.02] * 3, [0.02, 0.02, 2.0])]
    assert np.stack(told[1].typical().errors()) == pytest.approx(np.stack(told[0].errors()))
    assert (told[1].errors()[0] >= told[0].errors()[0]).all()


def of_forms(errors):
    """(4,) means over worlds, and of breaks over places, of squared errors (worlds x forms,)."""
    none, mixed, *breaks = errors.reshape(SHAPE).mean(axis=0)
    return np.array([none, mixed, np.mean(breaks[0::2]), np.mean(breaks[1::2])])


def test_beside_one_run_that_run_is_one():
    told = estimated()
    spend = 0.4
    start = BesideOneRun.of(told, COST, spend)
    affordable = np.flatnonzero(spend >= COST)
    after = [of_forms(np.add(*told.changed(int(k)).errors())) for k in affordable]
    best = int(affordable[int(np.argmin(np.log(after).mean(axis=1)))])
    assert np.add(*start.changed(best).errors()) == pytest.approx([1.0])
    assert np.add(*BesideOneRun.of(told, COST, 1e-9 * COST.min()).errors()) == pytest.approx([1.0])


def test_it_is_the_mean_over_worlds_and_places_then_to_a_power_over_forms():
    told = estimated()
    start = BesideOneRun.of(told, COST, 0.4).changed(2, 3)
    beside = of_forms(np.add(*told.changed(2, 3).errors())) / start.one
    (found,) = np.add(*start.errors())
    assert found == pytest.approx((beside**POWER).mean() ** (1 / POWER))
    assert beside.max() * 4 ** (-1 / POWER) <= found <= beside.max()


def test_the_form_that_fares_worst_fares_better_beside_one_run():
    """A mean of logarithms trades it for others under which the choice shines."""
    told, spend = estimated(noise=0.003), 1.0
    start = BesideOneRun.of(told, COST, spend)
    worst = []
    for goal in (told, start):
        counts = choose(goal, COST, spend, 4, together=1, wide=True).counts
        errors = of_forms(np.add(*told.with_counts(counts).errors()))
        worst.append((errors / start.one).max())
    assert worst[0] > 1.1
    assert worst[1] < 0.95
