"""Learning rate in two trials: which cells of a sweep are tried next, and at which two rates, from what the cells tried
before have shown.

A cell's first rate is the one likeliest to be as good as the best of its whole grid, within `NEAR`; its second is the
one that raises that chance most. Both are chosen together, as one trial alone says nothing of where the best rate lies
(`trials`). The cell that comes next is the one whose two trials are likeliest to find a rate so good: what is sure
already makes the neighbours surer, and what is doubtful waits until they have spoken. What is chosen depends on the
trials before it alone, so a sweep that is killed and started again comes to the same rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from scalelaw.learning_rate.belief import Belief, believe
from scalelaw.learning_rate.trials import SHAPE, Cell, Trial

Array = NDArray[np.float64]
Outcome = Callable[[int, float], Trial | None]

TRIALS = 2
"""Of every cell that has as many rates."""
NEAR = float(np.log(1.001))
"""As good as the best: within .1 % of its loss."""
DRAWS = 1000
"""Of what the grid of a cell may look like."""
FAR = 6.0
"""In units of the basin's height: no loss counts as worse; beyond, runs diverge."""
LOSS_WEIGHT = 0.05
"""What a loss above the best by one height costs, in chance: it decides between rates that are as likely."""
OWN_WEIGHT = 1e-6
"""The same, of a second trial's own loss: it decides where a second trial cannot gain anything."""


@dataclass(frozen=True)
class Schedule:
    """How far the trials are.

    Attributes:
        tried: trials that have ended, in the order of their choice.
        open: number of a cell and rate, for those chosen and not ended.
        later: numbers of the cells whose rates are not chosen yet.
    """

    tried: tuple[Trial, ...]
    open: tuple[tuple[int, float], ...]
    later: tuple[int, ...]


def schedule(cells: Sequence[Cell], outcome: Outcome, at_a_time: int = 1, seed: int = 0) -> Schedule:
    """Chooses cells and rates until a chosen trial has not ended.

    Args:
        cells: all of them.
        outcome: what came out of a cell at a rate; None while it has not ended.
        at_a_time: cells that are tried side by side, knowing nothing of each other.
        seed: of the draws behind the chances.
    """
    cells, tried = tuple(cells), tuple[Trial, ...]()
    while later := _later(cells, tried):
        chosen = _chosen(cells, tried, at_a_time, seed)
        ended = [outcome(at, rate) for at, rate in chosen]
        tried += tuple(trial for trial in ended if trial is not None)
        if None in ended:
            waiting = tuple(one for one, trial in zip(chosen, ended, strict=True) if trial is None)
            begun = {at for at, _ in chosen}
            return Schedule(tried, waiting, tuple(at for at in later if at not in begun))
    return Schedule(tried, (), ())


def _later(cells: Sequence[Cell], tried: Sequence[Trial]) -> tuple[int, ...]:
    begun = {trial.cell for trial in tried}
    return tuple(at for at in range(len(cells)) if at not in begun)


@lru_cache(maxsize=4096)
def _chosen(cells: tuple[Cell, ...], tried: tuple[Trial, ...], count: int, seed: int) -> tuple[tuple[int, float], ...]:
    """The next cells, each with its rates."""
    belief, draws = believe(cells, tried), Draws.of(max(len(cell.rates) for cell in cells), seed)
    found = {at: best_two(belief, cells[at], at, draws) for at in _later(cells, tried)}
    surest = sorted(found, key=lambda at: (-found[at][1], cells[at].size * cells[at].length, cells[at].size, at))
    return tuple((at, rate) for at in surest[:count] for rate in found[at][0])


@dataclass(frozen=True, eq=False)
class Draws:
    """Of what is unknown of a cell's grid, in its own units.

    Attributes:
        place: of the best rate, (draws,).
        height: of the basin, (draws,).
        noise: of the runs, (rates, draws).
    """

    place: Array
    height: Array
    noise: Array

    @staticmethod
    @lru_cache
    def of(rates: int, seed: int = 0, count: int = DRAWS) -> Draws:
        """For cells of at most so many rates."""
        rng = np.random.default_rng(seed)
        place = rng.permutation(norm.ppf((np.arange(count) + 0.5) / count))
        return Draws(place, rng.standard_normal(count), rng.standard_normal((rates, count)))


def best_two(belief: Belief, cell: Cell, at: int, draws: Draws) -> tuple[tuple[float, ...], float]:
    """The rates that a cell tries, one where it has no other, and the chance that the better one is within `NEAR` of
    its grid's best.

    Args:
        belief: of all cells' best rates.
        cell: the cell.
        at: its number in the belief.
        draws: of what the belief leaves open.
    """
    bowl = belief.bowl
    u = np.log(cell.rates)[:, None] - (belief.x[at] + belief.spread[at] * draws.place)
    above = np.minimum(bowl.above(u) * np.exp(SHAPE * draws.height), FAR * bowl.p)  # (rates, draws)
    runs = above + bowl.noise * draws.noise[: len(u)]
    good = runs <= runs.min(axis=0) + NEAR

    def worth(good: NDArray[np.bool_], above: Array) -> Array:
        return np.asarray(good.mean(axis=-1) - LOSS_WEIGHT * above.mean(axis=-1) / bowl.p)

    first = int(np.argmax(worth(good, above)))
    if len(cell.rates) == 1:
        return cell.rates, 1.0
    either = good | good[first]
    beside = worth(either, np.minimum(above, above[first])) - OWN_WEIGHT * above.mean(axis=-1) / bowl.p
    beside[first] = -np.inf
    second = int(np.argmax(beside))
    return (cell.rates[first], cell.rates[second]), float(either[second].mean())
