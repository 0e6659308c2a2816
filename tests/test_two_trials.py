"""Which rates cells try: on simulated basins of known best rates, and as a rule that can be replayed."""

from __future__ import annotations

import numpy as np
import pytest

from scalelaw.learning_rate.basin import phi
from scalelaw.learning_rate.belief import believe
from scalelaw.learning_rate.trials import Bowl, Cell, Trial
from scalelaw.learning_rate.two_trials import MEAN, MOST, next_rate, rounds, schedule

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
    assert len(made.tried) == MEAN * len(cells)
    assert (found <= 0.001).mean() >= 0.95
    assert found.mean() <= constant / 4


def test_a_third_trial_goes_to_cells_begun_early_and_beats_two_in_every_cell():
    within, places = [], []
    for seed in (1, 2):
        cells, _, loss = world(seed)
        made, each = played(cells, loss), played(cells, loss, most=MEAN)
        within.append([(regrets(one, loss) <= 0.001).mean() for one in (each, made)])
        count = np.bincount([trial.cell for trial in made.tried])
        assert set(np.bincount([trial.cell for trial in each.tried])) == {MEAN}
        assert set(count) == {1, MEAN, MOST}
        place = np.argsort(np.argsort([cell.size * cell.length for cell in cells]))
        places.append([place[count == MOST].mean(), place[count == 1].mean()])
    two, both = np.mean(within, axis=0)
    assert both > two
    early, late = np.mean(places, axis=0)
    assert early < late


def test_neither_trials_nor_what_they_cost_exceed_two_in_every_cell_begun():
    cells, _, loss = world(3)
    price = [[1.0] * len(cells), [cell.size * cell.length for cell in cells]]
    known: dict[tuple[int, float], Trial] = {}
    while (made := schedule(cells, lambda *one: known.get(one), prices=price)).open:
        begun = sorted({at for at, _ in [*known, *made.open]})
        for one, later in zip(np.array(price), made.later, strict=True):
            spent = sum(one[at] for at, _ in [*known, *made.open])
            assert spent <= MEAN * one[begun].sum() * (1 + 1e-9)
            assert spent + later <= MEAN * one.sum() * (1 + 1e-9)
        assert made.later[0] or not made.later[1]  # where no more is chosen nothing more is spent
        known.update({(at, rate): Trial(at, rate, float(loss[at, RATES.index(rate)])) for at, rate in made.open})
    assert made.later == (0.0, 0.0)
    # dear cells first: what cheap ones save pays for no third trial of theirs
    order = np.argsort(price[1])[::-1].tolist()
    free, made = (played(cells, loss, order=order, prices=one) for one in (None, price))
    assert sum(price[1][trial.cell] for trial in free.tried) > MEAN * sum(price[1])
    assert sum(price[1][trial.cell] for trial in made.tried) <= MEAN * sum(price[1])


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
        assert len(made.tried) + len(made.open) + sum(made.later) == MEAN * len(cells)
    assert made.tried == whole.tried
    assert set(known) == {(trial.cell, trial.rate) for trial in whole.tried}


def test_after_a_diverged_trial_a_lower_rate_is_tried():
    cells, x, loss = world(sizes=4, lengths=4)

    def diverged(at, rate):
        return np.log(rate) > x[at] + 0.4

    made = played(cells, loss, diverged)
    assert np.isfinite(regrets(made, loss)).mean() >= 0.9
    for at in range(len(cells)):
        own = [trial for trial in made.tried if trial.cell == at]
        if own[0].log_loss is None:
            assert own[1].rate < own[0].rate


def test_where_every_trial_diverged_only_lower_rates_are_likely():
    cell = Cell(1.0, 1.0, RATES)
    belief = believe((cell,), ())
    first, _ = next_rate(belief, cell, 0, ())
    assert first > RATES[2]
    own = (Trial(0, RATES[3], None), Trial(0, RATES[2], None))
    assert next_rate(belief, cell, 0, own)[0] < RATES[2]


def test_a_cell_with_one_rate_is_tried_once_and_rounds_hold_every_cell_once():
    lone = Cell(1.0, 1.0, (0.5,))
    belief = believe((lone,), ())
    rate, gain = next_rate(belief, lone, 0, ())
    assert rate == 0.5
    assert gain > 0
    assert next_rate(belief, lone, 0, (Trial(0, 0.5, 1.0),)) is None
    # cells of one rate leave nothing for a third trial of the other
    cells = (Cell(0.5, 1.0, RATES), lone, lone, lone)
    made = schedule(cells, lambda at, rate: Trial(at, rate, rate))
    assert np.bincount([trial.cell for trial in made.tried]).tolist() == [MEAN, 1, 1, 1]
    assert [at for some in rounds(range(57), 3) for at in some] == list(range(57))
    assert min(len(some) for some in list(rounds(range(57), 3))[:-1]) >= 3


def test_derivatives_of_the_basin_and_of_what_pairs_show():
    bowl = Bowl(0.03, 0.001, 0.6)
    u = np.linspace(-2, 2, 9)
    np.testing.assert_allclose((bowl.above(u + 1e-6) - bowl.above(u - 1e-6)) / 2e-6, bowl.slope(u), atol=1e-8)
