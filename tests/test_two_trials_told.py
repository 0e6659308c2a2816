"""The chooser who is told all but best rates and levels (analysis/): its posterior, and who gains by what."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import two_trials_told
from two_trials import Grid

from scalelaw.learning_rate.trials import Cell, Trial

RATES = tuple(0.0005 * 2.0 ** (k / 2) for k in range(14))


def simulated(seed):
    """A sweep on 24 cells from the very prior that the chooser has, about the middle of the rates; x and level."""
    cells = tuple(Cell(4.0**i * 1e6, 3.0**j * 1e9, RATES, 2.0**k) for i in range(3) for j in range(4) for k in range(2))
    told = two_trials_told.Told.of(cells)
    rng, count = np.random.default_rng(seed), len(cells)
    logs = np.log([[cell.size, cell.length, cell.batch] for cell in cells])
    apart = ((logs[:, None] - logs[None]) ** 2).sum(axis=-1)
    told = replace(told, rates=0.3**2 * np.exp(-0.5 * apart / two_trials_told.REACH**2))
    x = rng.multivariate_normal(told.rate, told.rates + two_trials_told.OWN_RATE**2 * np.eye(count))
    level = rng.multivariate_normal(np.zeros(count), told.level + two_trials_told.OWN_LEVEL**2 * np.eye(count))
    outcomes = []
    for at in range(count):
        above = two_trials_told._above(np.log(RATES) - x[at], told.height[at], told.skew[at])
        losses = level[at] + above + two_trials_told.NOISE * rng.standard_normal(len(RATES))
        outcomes.append({rate: Trial(at, rate, float(y)) for rate, y in zip(RATES, losses, strict=True)})
    return told, Grid("simulated", cells, tuple(outcomes)), x, level


def test_the_posterior_covers_best_rates_and_levels_and_narrows_with_trials():
    apart, high, narrowed = [], [], []
    for seed in range(12):
        told, grid, x, level = simulated(seed)
        every = [trial for outcomes in grid.outcomes for trial in list(outcomes.values())[4:10:2]]
        belief = told.believe(every)
        apart.append((belief.x - x) / np.sqrt(belief.x_variance))
        high.append((belief.level - level) / np.sqrt(belief.level_variance))
        narrowed.append(np.sqrt(belief.x_variance / told.believe([]).x_variance))
    assert (np.abs(apart) < 1.96).mean() >= 0.93
    assert 0.6 < np.std(apart) < 1.1
    assert (np.abs(high) < 1.96).mean() >= 0.93
    assert 0.6 < np.std(high) < 1.1
    assert np.median(narrowed) < 0.3


def test_without_trials_the_prior_and_with_one_trial_neighbours_move_too():
    told, grid, _, _ = simulated(0)
    before = told.believe([])
    assert before.x == pytest.approx(told.rate)
    trials = [grid.outcomes[at][RATES[3 + 6 * (at % 2)]] for at in range(len(grid.cells) - 2)]
    after = told.believe(trials)
    # the last two cells have no trial of their own
    assert (after.x_variance[-2:] < before.x_variance[-2:]).all()
    assert (after.level_variance[-2:] < before.level_variance[-2:]).all()
    assert (after.x[-2:] != before.x[-2:]).all()


def test_a_first_trial_that_came_out_high_sends_the_second_further_away():
    """Of a cell whose level is known and whose best rate is not."""
    told, grid, _, _ = simulated(0)
    one = np.ones(len(grid.cells))
    belief = two_trials_told.Belief(told.rate, 0.6**2 * one, 2 * one, 1e-6 * one, 0 * one)
    outlook = two_trials_told.Outlook(told, belief, 0)
    first, chance = outlook.first()
    assert 0.3 < chance < 1
    away = [abs(outlook.second(first, 2 + above) - first) for above in (0.0, 0.01, 0.04)]
    assert away[0] < away[1] < away[2]


def test_two_trials_in_every_cell_and_none_worse_than_the_first():
    told, grid, _, _ = simulated(3)
    best = two_trials_told.two_each(told, grid)
    regret = best - grid.lowest
    assert (regret >= 0).all()
    assert np.median(regret) < 0.001
