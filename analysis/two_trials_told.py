"""Two trials in every cell, no more: what one reaches who is told all but the cells' best rates and levels.

    python analysis/two_trials_told.py       # 15 minutes; prints the tables; -o FOLDER writes two_trials_told.md

How much of what `scalelaw sweep --lr two-trial` misses is the rule's, and how much could nobody know? Here sweeps are
drawn from a known truth on Step Law's cells and rates, and replayed by the rule and by a chooser who is told all of the
truth's numbers: how deep and how lopsided the basin of each size, length and batch is, the noise of a run, how smoothly
best rates and lowest losses change from cell to cell, and how much is a cell's own. Only the best rates and the lowest
losses themselves are left to be learned, from all trials so far at once: so one trial says something too, as
neighbours tell what loss to expect.

The truth: about the smooth part of what Step Law's own runs say, each cell's own departures and height and the runs'
noise are drawn anew. What the chooser believes of other cells is Laplace's posterior, of the cell at hand it is exact;
it takes the rates of highest chance to be within .1 % of the lowest loss of the cell's grid, which is what is counted,
one cell at a time, the next always the one that two trials are most likely to settle, as the rule does. It chooses a
step at a time, so that a better one may exist: what it reaches is no bound, but says how much is owed to what any rule
has to learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm
from two_trials import STEP_LAW, Grid, Score, own_basin, replayed, step_law

from scalelaw.learning_rate.trials import Cell, Trial
from scalelaw.learning_rate.two_trials import NEAR

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
SMOOTH, CLIFF = 0.03, 0.1
"""ln loss above a cell's best: runs below the one say where the smooth part lies, those beyond the other stay."""
SWEEPS = 24
"""Drawn."""
_STEPS, _DRAWS = 30, 400
_TIE = 0.05
"""Where chances hardly differ, the lower expected loss, in units of the basin's height, decides."""
_RNG = np.random.default_rng(5)
_RATES = _RNG.permutation(norm.ppf((np.arange(_DRAWS) + 0.5) / _DRAWS))
_HEIGHTS, _RUNS = _RNG.standard_normal(_DRAWS), _RNG.standard_normal((40, _DRAWS))
"""One set of draws for every cell and choice."""


def _above(u: Array, p: Array | float, skew: Array | float) -> Array:
    """ln loss above the lowest at distances u in ln rate."""
    t = skew * np.clip(u, -4, 4)
    return np.asarray(2 * p * (np.expm1(t) - t) / np.square(skew))


@dataclass(frozen=True)
class Told:
    """What the chooser is told.

    Attributes:
        cells: all of them.
        rate, rates: prior mean (cells,) of ln best rate; covariance (cells, cells) but for what is a cell's own.
        level: the same covariance of ln lowest loss.
        height, skew: (cells,) of the basins.
    """

    cells: tuple[Cell, ...]
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
            (low + high).mean() / 2 + logs @ (-0.2, -0.3, 0.5),
            spread**2 + sloped @ sloped.T + SHARED_RATE**2 * near,
            1 + rising @ rising.T + SHARED_LEVEL**2 * near,
            HEIGHT * np.exp(logs @ HEIGHT_SLOPES),
            np.clip(SKEW + logs @ SKEW_SLOPES, 0.05, 1.6),
        )

    def believe(self, trials: Sequence[Trial], start: Array | None = None) -> Belief:
        """What trials say of all cells at once; start is the mean of the ln best rates so far."""
        own_rate = self.rates + OWN_RATE**2 * np.eye(len(self.cells))
        own_level = self.level + OWN_LEVEL**2 * np.eye(len(self.cells))
        at = np.array([trial.cell for trial in trials], dtype=np.int64)
        if not len(at):
            nothing = np.zeros(len(self.cells))
            return Belief(self.rate, np.diag(own_rate), nothing, np.diag(own_level), nothing)
        log_rate, y = np.log([trial.rate for trial in trials]), np.array([trial.log_loss for trial in trials])
        middle = float(np.median(y))
        p, skew, pair = self.height[at], self.skew[at], np.ix_(at, at)
        x = self.rate if start is None else start
        for step in range(_STEPS):
            u = log_rate - x[at]
            expected, slope = _above(u, p, skew), -2 * p * np.expm1(skew * np.clip(u, -4, 4)) / skew
            noise = NOISE**2 + (UNLIKE * np.minimum(expected, 0.3)) ** 2
            factor = cho_factor(own_level[pair] + np.diag(noise) + slope[:, None] * own_rate[pair] * slope)
            pull = cho_solve(factor, y - middle - expected + slope * (x[at] - self.rate[at]))
            to_rate = own_rate[:, at] * slope
            move = np.clip(self.rate + to_rate @ pull - x, -0.4, 0.4) * (1 if step < _STEPS // 3 else 0.5)
            x = x + move
            if np.abs(move).max() < 2e-3:
                break
        to_level = own_level[:, at]
        rates, levels = cho_solve(factor, to_rate.T), cho_solve(factor, to_level.T)
        return Belief(
            x,
            np.diag(own_rate) - np.einsum("ij,ji->i", to_rate, rates),
            middle + to_level @ pull,
            np.diag(own_level) - np.einsum("ij,ji->i", to_level, levels),
            -np.einsum("ij,ji->i", to_rate, levels),
        )


@dataclass(frozen=True)
class Belief:
    """Gaussian, for every cell, (cells,) each.

    Attributes:
        x, x_variance: of ln best rate.
        level, level_variance: of ln lowest loss.
        both: covariance of the two.
    """

    x: Array
    x_variance: Array
    level: Array
    level_variance: Array
    both: Array


class Outlook:
    """A cell's possible basins and runs, and what two trials would make of them.

    Attributes:
        near: (rates, draws) whether a rate's run would be within .1 % of the lowest of the cell's grid.
        loss: (rates, draws) ln loss above the lowest, without a run's noise.
    """

    def __init__(self, told: Told, belief: Belief, at: int) -> None:
        rates, spread = np.log(told.cells[at].rates), np.sqrt(max(belief.x_variance[at], 1e-6))
        p = told.height[at] * np.exp(UNLIKE * _HEIGHTS)
        above = _above(rates[:, None] - (belief.x[at] + spread * _RATES), p, told.skew[at])
        runs = above + NOISE * _RUNS[: len(rates)]
        self.near = runs <= runs.min(axis=0) + NEAR
        self.loss = np.minimum(above, 6 * told.height[at])
        # the level given the best rate, and the loss of a run with it
        self._expected = belief.level[at] + belief.both[at] / spread * _RATES + above
        self._variance = max(belief.level_variance[at] - (belief.both[at] / spread) ** 2, 0) + NOISE**2
        self._unit = told.height[at]

    def first(self) -> tuple[int, float]:
        """The rate that is likeliest to be near, and the chance that it or the best rate beside it is."""
        pairs = (self.near[:, None] | self.near[None]).mean(axis=-1)
        return int(np.argmax(self.near.mean(axis=-1) - _TIE * self.loss.mean(axis=-1) / self._unit)), float(pairs.max())

    def second(self, first: int, log_loss: float) -> int:
        """The best companion of a first trial that came out so."""
        weight = np.exp(-0.5 * (log_loss - self._expected[first]) ** 2 / self._variance)
        weight = weight / weight.sum() if weight.sum() > 0 else np.full_like(weight, 1 / len(weight))
        value = (self.near | self.near[first]) @ weight - _TIE * np.minimum(
            self.loss, self.loss[first]
        ) @ weight / self._unit
        value[first] = -np.inf
        return int(np.argmax(value))


def two_each(told: Told, grid: Grid) -> Array:
    """ln losses that the chooser reaches with two trials in every cell, (cells,)."""
    trials, best = list[Trial](), np.full(len(grid.cells), np.inf)
    x, left = told.rate, list(range(len(grid.cells)))

    def tried(at: int, which: int) -> float:
        trial = grid.outcomes[at][grid.cells[at].rates[which]]
        assert trial.log_loss is not None
        trials.append(trial)
        best[at] = min(best[at], trial.log_loss)
        return trial.log_loss

    while left:
        belief = told.believe(trials, x)
        x = belief.x
        outlooks = {at: Outlook(told, belief, at) for at in left}
        at = max(left, key=lambda at: outlooks[at].first()[1])
        left.remove(at)
        first = outlooks[at].first()[0]
        found = tried(at, first)
        if len(grid.cells[at].rates) > 1:
            tried(at, outlooks[at].second(first, found))
    return best


def drawn(told: Told, grid: Grid, seed: int) -> Grid:
    """A sweep on the grid's cells and rates from the truth that the chooser is told."""
    rng, count = np.random.default_rng(seed), len(grid.cells)
    near = [t for own, low in zip(grid.outcomes, grid.lowest, strict=True) for t in own.values()
            if t.log_loss is not None and t.log_loss < low + SMOOTH]  # fmt: skip
    own = OWN_RATE**2 * np.eye(count)
    smooth = told.rate + told.rates @ np.linalg.solve(told.rates + own, told.believe(near).x - told.rate)
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
    """The table, as Markdown: Step Law, sweeps drawn, and their mean with its standard error."""
    told = Told.of(grid.cells)
    lines = ["| sweep | two trials | two trials, told | own basin |", "|---" * 4 + "|"]
    shares = []
    for sweep in [grid, *(drawn(told, grid, seed) for seed in range(SWEEPS))]:
        found = (replayed(sweep)[1], two_each(told, sweep), own_basin(sweep))
        shares.append([Score.of(losses, sweep).within for losses in found])
        lines.append(f"| {sweep.name} | {' | '.join(f'{share:.1%}' for share in shares[-1])} |")
        print(lines[-1], flush=True)
    means = zip(np.mean(shares[1:], axis=0), np.std(shares[1:], axis=0, ddof=1) / SWEEPS**0.5, strict=True)
    said = " | ".join(f"{mean:.1%} +- {error:.1%}" for mean, error in means)
    lines.append(f"| mean of the {SWEEPS} drawn | {said} |")
    return "\n".join(lines)


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
        said = "Cells within .1 % of their grid's best loss, of 170:"
        (args.out / "two_trials_told.md").write_text(f"{about}\n\n{said}\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
