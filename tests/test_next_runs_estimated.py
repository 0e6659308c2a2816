"""Plans for a loss whose departure from the fitted form is estimated too, and beside one run for as much."""

from __future__ import annotations

import numpy as np
import pytest
from test_next_runs_design import CELL_SIZES, CELLS, RUN_SIZES, RUNS, WORK, WORLDS

from scalelaw.plan.design.beside_one_run import POWER, BesideOneRun
from scalelaw.plan.design.estimated import FORMS, Estimated, Ground
from scalelaw.plan.design.exchange import choose, with_counts
from scalelaw.plan.design.forms import BREAK, MIXED, PLAIN, PROBABLE, departures, shares
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
    """(worlds, forms) squared errors from chance and from the form, of the mean over fits written out.

    What parameters are before any run are five more runs of them, of no departure.
    """
    x = np.concatenate([RUNS, np.repeat(CELLS, counts, axis=1)], axis=1)
    labels = np.concatenate([RUN_SIZES, np.repeat(CELL_SIZES, counts)])
    best, chance, form = WORLDS.best(WORK), np.empty(SHAPE), np.empty(SHAPE)
    residual = WORLDS.log_loss(RUNS)[0] + BEND - WORLDS.log_loss(RUNS)
    factors = shares(departures(WORLDS, RUNS, ENDS), WORLDS.jacobian(RUNS), residual, np.full(SHAPE[0], noise))
    for world in range(SHAPE[0]):
        bent = np.concatenate([departures(WORLDS, x, ENDS)[world].T / noise, np.zeros((5, FORMS - 1))])
        J = np.concatenate([WORLDS.jacobian(x)[world] / noise, np.diag(1 / PRIOR)])
        a, moved = WORLDS.gradient("loss", WORK)[world], departures(WORLDS, best, ENDS)[world, :, 0]
        alone = np.linalg.pinv(J).T @ a
        taken = np.linalg.lstsq(J, bent, rcond=None)[0]
        left, reach = bent - J @ taken, moved - a @ taken
        pull = reach / (1 + (left**2).sum(axis=0))
        pulled = np.zeros(FORMS - 1)
        for k in range(FORMS):
            f = factors[world, k - 1] if k else 0.0
            u = f * bent.T @ left[:, k - 1] if k else np.zeros(FORMS - 1)
            weights = weights_of(left, u)
            off = alone @ bent[:, k - 1] * f + weights @ (pull * u) - moved[k - 1] * f if k else 0.0
            form[world, k] = off**2
            chance[world, k] = alone @ alone + weights @ (pull**2 * (left**2).sum(axis=0))
            pulled += (PROBABLE[k - 1] if k else PLAIN) * weights * pull
        told = (alone + left @ pulled)[: len(labels)] / noise
        chance[world] += size**2 * (np.bincount(labels, told) ** 2).sum()
    return chance, form


def weights_of(left, u):
    """(departures,) of the forms with one, at the expected logarithm of the evidence, for scores about u."""
    told = (left**2).sum(axis=0)
    logs = np.log(PROBABLE) + [
        (one**2 + c) / (1 + c) / 2 - np.linalg.slogdet(np.eye(len(left)) + np.outer(row, row))[1] / 2
        for one, c, row in zip(u, told, left.T, strict=True)
    ]
    top = max(logs.max(), 0.0)
    return np.exp(logs - top) / (PLAIN * np.exp(-top) + np.exp(logs - top).sum())


@pytest.mark.parametrize("size", [0.0, 0.02])
@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_errors_are_those_of_the_mean_over_fits(noise, size):
    counts = np.zeros(CELLS.shape[1], int)
    counts[[2, 7, 14]] = 3, 1, 2
    found = with_counts(estimated(noise, size), counts).errors()
    for mine, other in zip(found, by_hand(counts, noise, size), strict=True):
        assert mine.reshape(SHAPE) == pytest.approx(other, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("form", range(FORMS))
def test_errors_are_those_of_estimates_from_drawn_runs(form):
    """Second method: runs are drawn, every form is fitted to them, and weighed by the evidence they give it."""
    told, world, draws = estimated(noise=0.02).changed(4, 2).changed(9, 3), 1, 4000
    counts = np.bincount([4, 4, 9, 9, 9], minlength=CELLS.shape[1])
    x = np.concatenate([RUNS, np.repeat(CELLS, counts, axis=1)], axis=1)
    rng = np.random.default_rng(form)
    rows = told.ground.rows(x)[world]
    answer, truth = told.ground.answer[world], np.zeros((draws, rows.shape[1]))
    truth[:, :5] = PRIOR * rng.standard_normal((draws, 5))
    if form:
        truth[:, 4 + form] = told.factors[world, form - 1]
    y = truth @ rows.T + rng.standard_normal((draws, len(rows)))
    before = np.linalg.inv(np.eye(len(rows)) + (rows[:, :5] * PRIOR**2) @ rows[:, :5].T)
    logs, means = [], []
    for k in range(FORMS):
        X = rows[:, [0, 1, 2, 3, 4, *([4 + k] if k else [])]]
        held = np.r_[PRIOR**-2.0, 1.0][: X.shape[1]]
        a = answer[[0, 1, 2, 3, 4, *([4 + k] if k else [])]]
        means.append(y @ X @ np.linalg.solve(X.T @ X + np.diag(held), a))
        b = rows[:, 4 + k] if k else np.zeros(len(rows))
        precision = before - np.outer(before @ b, before @ b) / (1 + b @ before @ b)  # Sherman and Morrison
        density = -np.einsum("di,ij,dj->d", y, precision, y) / 2 - np.log1p(b @ before @ b) / 2
        logs.append(density + np.log(PROBABLE[k - 1] if k else PLAIN))
    weights = np.exp(np.array(logs) - np.max(logs, axis=0))
    estimate = (weights * means).sum(axis=0) / weights.sum(axis=0)
    drawn = np.mean((estimate - truth @ answer) ** 2)
    expected = np.add(*told.errors()).reshape(SHAPE)[world, form]
    assert np.sqrt(expected / drawn) == pytest.approx(1, abs=0.12)


def test_without_noise_the_form_is_known():
    """Nor does anything overflow: what is left is what the surface's wide prior holds back."""
    told = estimated(noise=1e-12).changed(4, 2)
    assert np.isfinite(told.after()).all()
    chance, form = told.errors()
    assert chance == pytest.approx(0, abs=1e-8)
    assert form == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("beside", [False, True])
def test_one_run_more_is_what_rebuilding_gives(beside):
    told = estimated(size=0.02)
    start = BesideOneRun.of(told, COST, 1.0) if beside else told
    start = start.changed(3, 2)
    more = np.stack([np.add(*start.changed(k).errors()) for k in range(CELLS.shape[1])], axis=1)
    assert start.after() == pytest.approx(more, rel=1e-5)  # half as wide numbers
    assert start.after(np.array([4, 1])) == pytest.approx(start.after()[:, [4, 1]], rel=1e-5)
    again = start.changed(6, 2).changed(6, -2)
    assert np.add(*again.errors()) == pytest.approx(np.add(*start.errors()), rel=1e-5)


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
    """(forms,) means over worlds of squared errors (worlds x forms,)."""
    return errors.reshape(SHAPE).mean(axis=0)


def test_beside_one_run_that_run_is_one():
    told = estimated()
    spend = 0.4
    start = BesideOneRun.of(told, COST, spend)
    affordable = np.flatnonzero(spend >= COST)
    after = [of_forms(np.add(*told.changed(int(k)).errors())) for k in affordable]
    best = int(affordable[int(np.argmin(np.log(after).mean(axis=1)))])
    assert np.add(*start.changed(best).errors()) == pytest.approx([1.0])
    assert np.add(*BesideOneRun.of(told, COST, 1e-9 * COST.min()).errors()) == pytest.approx([1.0])


def test_it_is_the_mean_over_worlds_then_to_a_power_over_forms():
    told = estimated()
    start = BesideOneRun.of(told, COST, 0.4).changed(2, 3)
    beside = of_forms(np.add(*told.changed(2, 3).errors())) / start.one
    (found,) = np.add(*start.errors())
    assert found == pytest.approx((beside**POWER).mean() ** (1 / POWER))
    assert beside.max() * FORMS ** (-1 / POWER) <= found <= beside.max()


def test_the_form_that_fares_worst_fares_better_beside_one_run():
    """A mean of logarithms trades it for others under which the choice shines."""
    told, spend = estimated(noise=0.003), 0.1
    start = BesideOneRun.of(told, COST, spend)
    worst = []
    for goal in (told, start):
        counts = choose(goal, COST, spend, 12, together=1, wide=True).counts
        errors = of_forms(np.add(*with_counts(told, counts).errors()))
        worst.append((errors / start.one).max())
    assert worst[1] < 0.7 * worst[0]
