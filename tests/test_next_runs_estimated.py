"""Plans for a loss whose departure from the fitted form is estimated too, and beside one run for as much."""

from __future__ import annotations

import numpy as np
import pytest
from test_next_runs_design import CELLS, RUNS, WORK, WORLDS
from test_next_runs_scenarios import NOISE, scenarios

from scalelaw.plan.design.beside_one_run import BesideOneRun
from scalelaw.plan.design.estimated import Estimated
from scalelaw.plan.design.exchange import choose
from scalelaw.plan.design.forms import NAMES
from scalelaw.plan.design.information import PRIOR

COST = np.exp(CELLS.sum(axis=0) - WORK)
SHAPE = len(WORLDS.theta), len(NAMES)


def estimated(noise=NOISE, size=0.0):
    return Estimated.learnt(scenarios(noise, size))


def rows(told, counts, world, form):
    """Jacobian and departure of the runs there are and of counts of the cells."""
    J = np.concatenate([WORLDS.jacobian(RUNS)[world], np.repeat(WORLDS.jacobian(CELLS)[world], counts, axis=0)])
    return J, np.concatenate([told.at_runs[world, form], np.repeat(told.at_cells[world, form], counts)])


def test_the_error_is_that_of_a_fit_with_one_parameter_more():
    """Second method: the inverse of the whole information, with the departure's factor as a sixth parameter."""
    counts = np.zeros(CELLS.shape[1], int)
    counts[[2, 7, 14]] = 3, 1, 2
    told = estimated().with_counts(counts)
    found = np.add(*told.errors()).reshape(SHAPE)
    for world, form in np.ndindex(SHAPE):
        J, bend = rows(told, counts, world, form)
        X = np.column_stack([J, bend])
        before = np.column_stack([J[: RUNS.shape[1]], bend[: RUNS.shape[1]]])
        held = NOISE**2 * np.diag([*PRIOR**-2.0, 0.0])
        runs = before.T @ before + held
        known = runs[5, 5] - runs[5, :5] @ np.linalg.solve(runs[:5, :5], runs[:5, 5])
        held[5, 5] = NOISE**2 - known  # so that the factor's variance is 1 by the runs there are
        gradient = np.append(WORLDS.gradient("loss", WORK)[world], told.at_answer[world, form])
        expected = NOISE**2 * gradient @ np.linalg.solve(X.T @ X + held, gradient)
        assert found[world, form] == pytest.approx(expected, rel=1e-6), NAMES[form]


def test_runs_that_tell_nothing_leave_the_error_of_an_additive_estimate():
    told, plain = estimated(0.03), scenarios(0.03)
    assert np.add(*told.errors()) == pytest.approx(np.add(*plain.errors()))
    more = [one.with_counts(np.full(CELLS.shape[1], 2)) for one in (told, plain)]
    chance, bent = more[0].errors()
    assert chance == pytest.approx(more[1].errors()[0])
    assert (bent <= more[1].errors()[1] * (1 + 1e-9)).all()
    assert bent.reshape(SHAPE)[:, 1:].sum() < 0.7 * more[1].errors()[1].sum()


@pytest.mark.parametrize("beside", [False, True])
def test_one_run_more_is_what_rebuilding_gives(beside):
    told = estimated(size=0.02)
    start = BesideOneRun.of(told, COST, 1.0) if beside else told
    start = start.changed(3, 2)
    more = np.stack([np.add(*start.changed(k).errors()) for k in range(CELLS.shape[1])], axis=1)
    assert start.after() == pytest.approx(more, rel=1e-9)
    again = start.changed(6, 2).changed(6, -2)
    assert np.add(*again.errors()) == pytest.approx(np.add(*start.errors()), rel=1e-9)


def test_beside_one_run_that_run_is_one():
    told = estimated()
    spend = 0.4
    start = BesideOneRun.of(told, COST, spend)
    affordable = np.flatnonzero(spend >= COST)
    logs = [np.log(np.add(*told.changed(int(k)).errors())).mean() for k in affordable]
    best = int(affordable[int(np.argmin(logs))])
    assert np.add(*start.changed(best).errors()) == pytest.approx(np.ones(2))
    assert np.add(*BesideOneRun.of(told, COST, 1e-9 * COST.min()).errors()) == pytest.approx(np.ones(2))


def test_the_form_that_fares_worst_fares_better_beside_one_run():
    """A mean of logarithms trades it for others under which the choice shines."""
    told, spend = estimated(noise=0.003), 0.3
    start = BesideOneRun.of(told, COST, spend)
    worst = []
    for goal in (told, start):
        counts = choose(goal, COST, spend, 12, wide=True).counts
        errors = np.add(*told.with_counts(counts).errors()).reshape(SHAPE)
        worst.append((errors / start.one).max())
    assert worst[1] < 0.95 * worst[0]
