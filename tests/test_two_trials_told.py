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
    """A sweep on 24 cells from the very prior that the chooser has, about the middle of the rates; ln best rates."""
    cells = tuple(Cell(4.0**i * 1e6, 3.0**j * 1e9, RATES, 2.0**k) for i in range(3) for j in range(4) for k in range(2))
    told = two_trials_told.Told.of(cells)
    rng, count = np.random.default_rng(seed), len(cells)
    told = replace(told, rates=0.3**2 * told.near)
    x = rng.multivariate_normal(told.rate, told.rates + two_trials_told.OWN_RATE**2 * np.eye(count))
    level = rng.multivariate_normal(np.zeros(count), told.level + two_trials_told.OWN_LEVEL**2 * np.eye(count))
    outcomes = []
    for at in range(count):
        above = two_trials_told._above(np.log(RATES) - x[at], told.height[at], told.skew[at])
        losses = level[at] + above + two_trials_told.NOISE * rng.standard_normal(len(RATES))
        outcomes.append({rate: Trial(at, rate, float(y)) for rate, y in zip(RATES, losses, strict=True)})
    return told, Grid("simulated", cells, tuple(outcomes)), x


def test_the_posterior_covers_best_rates_and_narrows_with_trials():
    apart, narrowed = [], []
    for seed in range(12):
        told, grid, x = simulated(seed)
        every = [trial for outcomes in grid.outcomes for trial in list(outcomes.values())[4:10:2]]
        mean, spread = told.believe(every)
        apart.append((mean - x) / spread)
        narrowed.append(spread / told.believe([])[1])
    assert (np.abs(apart) < 1.96).mean() >= 0.93
    assert 0.6 < np.std(apart) < 1.1
    assert np.median(narrowed) < 0.3


def test_without_trials_the_prior_and_with_one_trial_neighbours_move_too():
    told, grid, _ = simulated(0)
    mean, spread = told.believe([])
    assert mean == pytest.approx(told.rate)
    trials = [grid.outcomes[at][RATES[3 + 6 * (at % 2)]] for at in range(len(grid.cells) - 2)]
    moved, narrower = told.believe(trials)
    # the last two cells have no trial of their own
    assert (narrower[-2:] < spread[-2:]).all()
    assert (moved[-2:] != mean[-2:]).all()


@pytest.mark.parametrize("surest", [False, True])
def test_two_trials_in_every_cell_and_none_worse_than_the_first(surest):
    told, grid, _ = simulated(3)
    best = two_trials_told.two_each(told, grid, None if surest else range(len(grid.cells)))
    regret = best - grid.lowest
    assert (regret >= 0).all()
    assert np.median(regret) < 0.001
