"""Two trials in every cell, no more: what one reaches who is told all but the cells' best rates and levels.

    python analysis/two_trials_told.py       # eight minutes; prints the table; -o FOLDER writes two_trials_told.md

`two each` of two_trials.py stays below 95 % of Step Law's cells. Is that the rule, or is there no more to be known?
Here sweeps are drawn from a known truth on Step Law's cells and rates, and replayed by a chooser who is told all of the
truth's numbers: how deep and how lopsided the basin of each size, length and batch is, the noise of a run, how smoothly
best rates and lowest losses change from cell to cell, and how much is a cell's own. Only the best rates and the lowest
losses themselves are left to be learned, from all trials so far at once: so one trial says something too, as
neighbours tell what loss to expect.

The truth: about the smooth part of what Step Law's own runs say, each cell's own departures and height and the runs'
noise are drawn anew. The chooser's posterior is Laplace's; its first trial of a cell is one of the two rates that would
be best as a pair, in turns below and above, the second the best companion of the first. Cells are taken in rounds as by
the rule, or one at a time, the next always the one whose best rate is known best. It chooses a step at a time, so that
a better one may exist: what it reaches is no bound, but says how much is owed to what any rule has to learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from two_trials import STEP_LAW, Grid, Score, orders, own_basin, replayed, step_law

from scalelaw.learning_rate.trials import Cell, Trial
from scalelaw.learning_rate.two_trials import MEAN, MOST, rounds

Array = NDArray[np.float64]

NOISE, OWN_RATE, OWN_LEVEL = 0.001, 0.07, 0.0016
"""Of a run's ln loss; of ln best rate and ln lowest loss in one cell, beside what neighbours share."""
SHARED_RATE, SHARED_LEVEL, REACH = 0.53, 0.06, 2.0
"""Sizes of what they share, and the distance in logs over which they do."""
HEIGHT, HEIGHT_SLOPES = 0.008, (-0.12, -0.37, 0.20)
"""p of the basin at the middle cell, and of ln p in ln size, ln length, ln batch."""
SKEW, SKEW_SLOPES = 0.78, (-0.23, -0.12, -0.07)
UNLIKE = 0.3
"""Share by which heights differ between cells beside that."""
# all of these: the likeliest under all of Step Law's runs within 3 % of their cell's best, rounded
NEAR, CLIFF = 0.03, 0.1
"""ln loss above a cell's best: runs below the one say where the smooth part lies, those beyond the other stay."""
SWEEPS = 4
_LATTICE = np.linspace(-3.5, 3.5, 71)
_WEIGHT = np.exp(-0.5 * _LATTICE**2) / np.exp(-0.5 * _LATTICE**2).sum()
_STEPS = 30


def _above(u: Array, p: Array | float, skew: Array | float) -> Array:
    """ln loss above the lowest at distances u in ln rate."""
    t = skew * np.clip(u, -4, 4)
    return np.asarray(2 * p * (np.expm1(t) - t) / np.square(skew))


@dataclass(frozen=True)
class Told:
    """What the chooser is told.

    Attributes:
        cells: all of them.
        near: (cells, cells) how much two cells share, 1 for the same setting.
        rate, rates: prior mean (cells,) of ln best rate; covariance (cells, cells) but for what is a cell's own.
        level: the same covariance of ln lowest loss.
        height, skew: (cells,) of the basins.
    """

    cells: tuple[Cell, ...]
    near: Array
    rate: Array
    rates: Array
    level: Array
    height: Array
    skew: Array

    @classmethod
    def of(cls, cells: tuple[Cell, ...]) -> Told:
        raw = np.log([[cell.size, cell.length, cell.batch] for cell in cells])
        logs = raw - raw.mean(axis=0)
        near = np.exp(-0.5 * ((logs[:, None] - logs[None]) ** 2).sum(axis=-1) / REACH**2)
        low, high = np.log([(cell.rates[0], cell.rates[-1]) for cell in cells]).T
        # as vague about level and slopes as `learning_rate.belief`
        sloped, rising = logs * (0.3, 0.3, 0.5), logs * 0.3
        spread = 0.15 * (high.max() - low.min())
        return cls(
            cells,
            near,
            (low + high).mean() / 2 + logs @ (-0.2, -0.3, 0.5),
            spread**2 + sloped @ sloped.T + SHARED_RATE**2 * near,
            1 + rising @ rising.T + SHARED_LEVEL**2 * near,
            HEIGHT * np.exp(logs @ HEIGHT_SLOPES),
            np.clip(SKEW + logs @ SKEW_SLOPES, 0.05, 1.6),
        )

    def believe(self, trials: Sequence[Trial], start: Array | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of every cell's ln best rate, (cells,) each; start is the mean so far."""
        own = self.rates + OWN_RATE**2 * np.eye(len(self.cells))
        at = np.array([trial.cell for trial in trials], dtype=np.int64)
        if not len(at):
            return self.rate, np.sqrt(np.diag(own))
        log_rate, y = np.log([trial.rate for trial in trials]), np.array([trial.log_loss for trial in trials])
        y = y - np.median(y)
        p, skew = self.height[at], self.skew[at]
        same = at[:, None] == at[None]
        level = self.level[np.ix_(at, at)] + OWN_LEVEL**2 * same
        across = own[:, at]
        x = self.rate if start is None else start
        for step in range(_STEPS):
            u = log_rate - x[at]
            expected, slope = _above(u, p, skew), -2 * p * np.expm1(skew * np.clip(u, -4, 4)) / skew
            noise = NOISE**2 + (UNLIKE * np.minimum(expected, 0.3)) ** 2
            J = across * slope
            factor = cho_factor(level + np.diag(noise) + slope[:, None] * own[np.ix_(at, at)] * slope)
            pull = cho_solve(factor, y - expected + slope * (x[at] - self.rate[at]))
            move = np.clip(self.rate + J @ pull - x, -0.4, 0.4) * (1 if step < _STEPS // 3 else 0.5)
            x = x + move
            if np.abs(move).max() < 2e-3:
                break
        variance = np.diag(own) - np.einsum("ij,ji->i", J, cho_solve(factor, J.T))
        return x, np.sqrt(np.maximum(variance, 1e-6))

    def costs(self, at: int, x: Array, spread: Array) -> Array:
        """ln loss above the lowest of every rate of a cell over its possible best rates, (rates, lattice)."""
        u = np.log(self.cells[at].rates)[:, None] - (x[at] + spread[at] * _LATTICE)
        return np.minimum(_above(u, self.height[at], self.skew[at]), 6 * self.height[at])


def two_each(told: Told, grid: Grid, order: Sequence[int] | None = None) -> Array:
    """ln losses that the chooser reaches with two trials in every cell, (cells,).

    Args:
        order: of the cells, taken in rounds as the rule takes them; None for one cell at a time, the next always the
            one whose best rate is known best.
    """
    trials, best = list[Trial](), np.full(len(grid.cells), np.inf)
    sides, x, left = np.zeros(len(grid.cells)), told.rate, list(range(len(grid.cells)))
    planned = None if order is None else rounds(order, 2)

    def tried(at: int, which: int) -> None:
        trial = grid.outcomes[at][grid.cells[at].rates[which]]
        assert trial.log_loss is not None
        trials.append(trial)
        best[at] = min(best[at], trial.log_loss)

    while left:
        x, spread = told.believe(trials, x)
        now = [min(left, key=spread.__getitem__)] if planned is None else next(planned)
        first = {}
        for at in now:
            left.remove(at)
            cost = told.costs(at, x, spread)
            pairs = np.minimum(cost[:, None], cost[None]) @ _WEIGHT
            low, high = sorted(int(which) for which in np.unravel_index(int(np.argmin(pairs)), pairs.shape))
            # not on the side where the nearest neighbours tried
            sides[at] = 1 if told.near[at] ** 4 @ sides <= 0 else -1
            first[at] = high if sides[at] > 0 else low
            tried(at, first[at])
        x, spread = told.believe(trials, x)
        for at in now:
            if len(grid.cells[at].rates) > 1:
                cost = told.costs(at, x, spread)
                after = np.minimum(cost, cost[first[at]]) @ _WEIGHT
                after[first[at]] = np.inf
                tried(at, int(np.argmin(after)))
    return best


def drawn(told: Told, grid: Grid, seed: int) -> Grid:
    """A sweep on the grid's cells and rates from the truth that the chooser is told."""
    rng, count = np.random.default_rng(seed), len(grid.cells)
    near = [t for own, low in zip(grid.outcomes, grid.lowest, strict=True) for t in own.values()
            if t.log_loss is not None and t.log_loss < low + NEAR]  # fmt: skip
    own = OWN_RATE**2 * np.eye(count)
    smooth = told.rate + told.rates @ np.linalg.solve(told.rates + own, told.believe(near)[0] - told.rate)
    middle = grid.lowest.mean()
    level = told.level @ np.linalg.solve(told.level + OWN_LEVEL**2 * np.eye(count), grid.lowest - middle)
    x = smooth + OWN_RATE * rng.standard_normal(count)
    lowest = middle + level + OWN_LEVEL * rng.standard_normal(count)
    height = told.height * np.exp(UNLIKE * rng.standard_normal(count))
    outcomes = []
    for at, trials in enumerate(grid.outcomes):
        found = {}
        for rate, trial in trials.items():
            u = np.log(rate) - x[at]
            run = float(lowest[at] + _above(u, height[at], told.skew[at]) + NOISE * rng.standard_normal())
            assert trial.log_loss is not None
            beyond = trial.log_loss > grid.lowest[at] + CLIFF and u > 1
            found[rate] = trial if beyond else replace(trial, log_loss=run)
        outcomes.append(found)
    return replace(grid, name=f"drawn {seed}", outcomes=tuple(outcomes))


def report(grid: Grid) -> str:
    """The table, as Markdown: Step Law and sweeps drawn; by cost, and the mean of ten orders."""
    told = Told.of(grid.cells)
    names = ["sweep", "two each", "two each, told", "the same, surest cell next", "two a cell", "own basin"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    shares = []
    for sweep in [grid, *(drawn(told, grid, seed) for seed in range(SWEEPS))]:
        surest = two_each(told, sweep)
        found = [[replayed(sweep, order, by_cost, MEAN)[1], two_each(told, sweep, order), surest,
                  replayed(sweep, order, by_cost, MOST)[1], own_basin(sweep)]
                 for order, by_cost in orders(sweep)]  # fmt: skip
        shares.append([[Score.of(losses, sweep).within for losses in one] for one in found])
        lines.append(_row(sweep.name, np.array(shares[-1])))
        print(lines[-1], flush=True)
    return "\n".join([*lines, _row(f"mean of the {SWEEPS} drawn", np.mean(shares[1:], axis=0))])


def _row(name: str, shares: Array) -> str:
    """A line for shares (orders, rules); one number where the order is nothing to a rule."""
    cells = [f"{by_cost:.1%}, {mean:.1%}" if np.ptp(column) else f"{by_cost:.1%}"
             for column, by_cost, mean in zip(shares.T, shares[0], shares.mean(axis=0), strict=True)]  # fmt: skip
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Replays Step Law and what is drawn from its fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, help="folder for two_trials_told.md")
    args = parser.parse_args()
    if not STEP_LAW.exists():
        raise SystemExit(f"{STEP_LAW}: absent; its cells and rates are those of the sweeps drawn")
    text = report(step_law(best_batch=False))
    print(text)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        about = (__doc__ or "").split("\n\n", 2)[2].strip()
        said = "Cells within .1 % of their grid's best loss, of 170, by cost and in the mean of ten orders:"
        (args.out / "two_trials_told.md").write_text(f"{about}\n\n{said}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
