"""Which rates cells try: on simulated basins of known best rates, and as a rule that can be replayed."""

from __future__ import annotations

import numpy as np
import pytest

from scalelaw.learning_rate.basin import phi
from scalelaw.learning_rate.belief import Belief, believe
from scalelaw.learning_rate.trials import SHAPE, Bowl, Cell, Trial
from scalelaw.learning_rate.two_trials import FAR, NEAR, TRIALS, Draws, best_two, schedule

RATES = tuple(0.1 * 2.0**k for k in range(7))


def world(seed=0, noise=0.002, p=0.05, slopes=(-0.25, -0.2), sizes=6, lengths=6, unit=1.0):
    """Cells, their best ln rates, and a table of ln losses (cells, rates)."""
    rng = np.random.default_rng(seed)
    grid = [(4.0**i, 3.0**j) for i in range(sizes) for j in range(lengths)]
    ln = np.log(grid)
    x = np.log(0.8) + (ln - ln.mean(axis=0)) @ slopes + 0.05 * rng.standard_normal(len(grid))
    loss = 3 - 0.1 * ln.sum(axis=1)[:, None] + p * phi(np.log(RATES) - x[:, None], 0.5)
    cells = tuple(Cell(size * unit, length * unit, RATES) for size, length in grid)
    return cells, x, loss + noise * rng.standard_normal(loss.shape)


def played(cells, loss, diverged=lambda at, rate: False, **how):
    def outcome(at, rate):
        return Trial(at, rate, None if diverged(at, rate) else float(loss[at, RATES.index(rate)]))

    return schedule(cells, outcome, **how)


def regrets(made, loss):
    best = np.full(len(loss), np.inf)
    for trial in made.tried:
        best[trial.cell] = min(best[trial.cell], np.inf if trial.log_loss is None else trial.log_loss)
    return best - loss.min(axis=1)


@pytest.mark.parametrize("slopes", [(-0.25, -0.2), (0.0, -0.3), (-0.4, -0.1)])
def test_two_trials_find_the_best_rate_of_nearly_every_cell(slopes):
    cells, _, loss = world(slopes=slopes)
    made = played(cells, loss)
    found = regrets(made, loss)
    constant = min((loss[:, k] - loss.min(axis=1)).mean() for k in range(len(RATES)))
    assert set(np.bincount([trial.cell for trial in made.tried])) == {TRIALS}
    assert (found <= NEAR).mean() >= 0.95
    assert found.mean() <= constant / 4


def believed(spread: float, p: float = 0.05, noise: float = 0.0, x: float = np.log(0.9)) -> Belief:
    """Of one cell."""
    return Belief(np.array([x]), np.array([spread]), Bowl(p, noise, 0.5), np.zeros(3))


@pytest.mark.parametrize(("spread", "noise"), [(0.2, 0.0005), (0.5, 0.002), (1.0, 0.01)])
def test_the_chance_is_how_often_two_trials_do_find_a_rate_as_good_as_the_best(spread, noise):
    cell, belief = Cell(1.0, 1.0, RATES), believed(spread, noise=noise)
    rates, chance = best_two(belief, cell, 0, Draws.of(len(RATES)))
    rng, hits, count = np.random.default_rng(3), 0, 4000
    for _ in range(count):
        x = np.log(0.9) + spread * rng.standard_normal()
        height = np.exp(SHAPE * rng.standard_normal())
        loss = {rate: min(height * belief.bowl.above(np.log(rate) - x), FAR * belief.bowl.p)
                + noise * rng.standard_normal() for rate in RATES}  # fmt: skip
        hits += min(loss[rate] for rate in rates) <= min(loss.values()) + NEAR
    assert chance == pytest.approx(hits / count, abs=4 * np.sqrt(0.25 / 1000))
    assert 0.2 < chance < 1


def test_no_other_pair_of_rates_has_a_chance_that_is_much_better():
    """The second is the best companion of the first; the best of all pairs may be another."""
    cell, draws = Cell(1.0, 1.0, RATES), Draws.of(len(RATES))
    for spread in (0.1, 0.4, 0.8, 1.5):
        belief = believed(spread, noise=0.001)
        u = np.log(RATES)[:, None] - belief.x - spread * draws.place
        loss = np.minimum(belief.bowl.above(u) * np.exp(SHAPE * draws.height), FAR * belief.bowl.p)
        loss = loss + belief.bowl.noise * draws.noise
        good = loss <= loss.min(axis=0) + NEAR
        rates, chance = best_two(belief, cell, 0, draws)
        pairs = [[(good[a] | good[b]).mean() for a in range(len(RATES))] for b in range(len(RATES))]
        assert np.max(pairs) - 0.05 <= chance <= np.max(pairs)
        assert chance == pairs[RATES.index(rates[0])][RATES.index(rates[1])]


def test_who_is_sure_tries_the_best_rate_and_its_neighbour_and_who_is_not_both_sides():
    cell, draws = Cell(1.0, 1.0, RATES), Draws.of(len(RATES))
    rates, chance = best_two(believed(0.01, x=np.log(0.85)), cell, 0, draws)
    assert rates[0] == RATES[3]
    assert rates[1] in (RATES[2], RATES[4]), "nothing is left to gain, so the better one by itself"
    assert chance == 1
    rates, chance = best_two(believed(0.5, noise=0.001, x=np.log(0.8 * 2**0.5)), cell, 0, draws)
    assert set(rates) == {RATES[3], RATES[4]}
    lone, chance = best_two(believed(0.5), Cell(1.0, 1.0, (0.5,)), 0, draws)
    assert (lone, chance) == ((0.5,), 1.0)
    chances = [best_two(believed(spread), cell, 0, draws)[1] for spread in (0.1, 0.3, 0.6, 1.2)]
    assert chances == sorted(chances, reverse=True)


def test_a_cell_far_from_all_others_is_tried_last():
    """And the first of all is nobody's neighbour at the edge."""
    cells = tuple(Cell(size, 1.0, RATES) for size in (1e9, 1.0, 4.0, 16.0, 64.0))
    x = -0.25 * np.log([cell.size for cell in cells])
    loss = 0.05 * phi(np.log(RATES) - x[:, None], 0.5)
    order = list(dict.fromkeys(trial.cell for trial in played(cells, loss).tried))
    assert order[-1] == 0
    assert sorted(order) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
def test_cells_side_by_side_know_nothing_of_each_other(at_a_time):
    cells, _, loss = world(sizes=4, lengths=3)
    known: dict[tuple[int, float], Trial] = {}
    while (made := schedule(cells, lambda *one: known.get(one), at_a_time)).open:
        begun = {at for at, _ in made.open}
        assert len(begun) == min(at_a_time, len(cells) - len(known) // TRIALS)
        assert len(made.open) == TRIALS * len(begun)
        assert set(made.later) == set(range(len(cells))) - begun - {at for at, _ in known}
        known.update({(at, rate): Trial(at, rate, float(loss[at, RATES.index(rate)])) for at, rate in made.open})
    assert made.later == ()
    assert len(made.tried) == TRIALS * len(cells)


def test_the_belief_recovers_trend_and_basin():
    cells, x, loss = world(noise=0.001)
    made = played(cells, loss)
    belief = believe(cells, made.tried)
    np.testing.assert_allclose(belief.slopes[:2], (-0.25, -0.2), atol=0.06)
    assert np.std(belief.x - x) < 0.1
    assert 0.025 < belief.bowl.p < 0.1
    inside = np.abs(belief.x - x) < 2.5 * belief.spread
    assert inside.mean() > 0.9


def test_the_trend_never_rises_with_size_or_length():
    cells, _, loss = world(slopes=(0.25, -0.2))
    slopes = believe(cells, played(cells, loss).tried).slopes
    assert slopes[0] == 0
    assert slopes[1] < 0


def test_units_of_size_length_rate_and_loss_change_nothing():
    cells, _, loss = world(sizes=4, lengths=3)
    chosen = [(trial.cell, trial.rate) for trial in played(cells, loss).tried]
    other, _, _ = world(sizes=4, lengths=3, unit=1e6)
    assert [(trial.cell, trial.rate) for trial in played(other, loss + 7).tried] == chosen


def test_a_killed_sweep_comes_to_the_same_trials():
    cells, _, loss = world(sizes=4, lengths=3)
    whole = played(cells, loss)
    known: dict[tuple[int, float], Trial] = {}
    rng = np.random.default_rng(1)
    for _ in range(200):
        made = schedule(cells, lambda at, rate: known.get((at, rate)))
        if not made.open:
            break
        at, rate = made.open[rng.integers(len(made.open))]  # one trial ends, in any order, and all is decided anew
        known[at, rate] = Trial(at, rate, float(loss[at, RATES.index(rate)]))
        assert len(made.tried) + len(made.open) + TRIALS * len(made.later) == TRIALS * len(cells)
    assert made.tried == whole.tried
    assert set(known) == {(trial.cell, trial.rate) for trial in whole.tried}


def test_rates_that_diverge_are_left_behind():
    """A diverged trial teaches its neighbours, and nearly every cell has one that did not."""
    cells, x, loss = world(sizes=4, lengths=4)

    def diverged(at, rate):
        return np.log(rate) > x[at] + 0.4

    made = played(cells, loss, diverged)
    found = regrets(made, loss)
    assert np.isfinite(found).all()
    assert (found <= NEAR).mean() >= 0.85


def test_a_cell_with_one_rate_is_tried_once():
    cells = (Cell(0.5, 1.0, RATES), *[Cell(1.0, 1.0, (0.5,))] * 3)
    made = schedule(cells, lambda at, rate: Trial(at, rate, rate))
    assert np.bincount([trial.cell for trial in made.tried]).tolist() == [TRIALS, 1, 1, 1]
    assert made.tried[-1].cell == 0, "what is sure comes first"


def test_derivatives_of_the_basin_and_of_what_pairs_show():
    bowl = Bowl(0.03, 0.001, 0.6)
    u = np.linspace(-2, 2, 9)
    np.testing.assert_allclose((bowl.above(u + 1e-6) - bowl.above(u - 1e-6)) / 2e-6, bowl.slope(u), atol=1e-8)
