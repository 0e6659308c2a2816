"""Learning rate in two trials: which rates a sweep's cells try, each from what the cells tried before have shown.

Cells go in rounds, cheap ones first. A cell's first trial is at the rate whose expected loss is lowest, the best rate
being uncertain and the basin lopsided; the second is at the rate that makes the better of the two lowest in
expectation, which is where it tells most: on the likelier side of the first, further away the less is known. Then the
cell is done. What a round tries depends on the rounds before it alone, so a sweep that is killed and started again
comes to the same rates, whatever had been finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.learning_rate.belief import Belief, believe
from scalelaw.learning_rate.trials import Cell, Trial

Array = NDArray[np.float64]
Outcome = Callable[[int, float], Trial | None]

MOST = 2
"""Trials of a cell."""
GROWTH = 8
"""A round takes an eighth of the cells before it, or as many as keep the workers busy."""
_LATTICE = np.linspace(-3.5, 3.5, 141)
_FAR = 6.0
"""In units of the basin's height: no loss counts as worse; beyond, runs diverge."""
_TOO_HIGH, _SOFT = 0.7, 0.2
"""A rate that diverged lies about this far above the best one, in ln rate, or further; and how surely."""


@dataclass(frozen=True)
class Schedule:
    """How far the trials are.

    Attributes:
        tried: trials that have ended, in the order of their choice.
        open: number of a cell and rate, for those chosen and not ended.
        later: trials of each cell that are not chosen yet, at most, (cells,).
        belief: from the trials that have ended before this round.
    """

    tried: tuple[Trial, ...]
    open: tuple[tuple[int, float], ...]
    later: tuple[int, ...]
    belief: Belief


def schedule(cells: Sequence[Cell], outcome: Outcome, least: int = 2, order: Sequence[int] | None = None) -> Schedule:
    """Chooses rates round by round until a chosen trial has not ended.

    Args:
        cells: all of them.
        outcome: what came out of a cell at a rate; None while it has not ended.
        least: cells of a round.
        order: of the cells; by size x length, the cheapest first, unless given.
    """
    if order is None:
        order = sorted(range(len(cells)), key=lambda at: (cells[at].size * cells[at].length, cells[at].size, at))
    later = [min(MOST, len(cell.rates)) for cell in cells]
    tried: list[Trial] = []
    belief = believe(cells, tried)
    for now in rounds(order, least):
        for _ in range(MOST):
            chosen = []
            for at in now:
                own = [trial for trial in tried if trial.cell == at]
                rate = next_rate(belief, cells[at], at, own)
                if rate is not None:
                    chosen.append((at, rate))
                    later[at] -= 1
            ended = [outcome(at, rate) for at, rate in chosen]
            tried += [trial for trial in ended if trial is not None]
            if None in ended:
                waiting = tuple(one for one, trial in zip(chosen, ended, strict=True) if trial is None)
                return Schedule(tuple(tried), waiting, tuple(later), belief)
        belief = believe(cells, tried)
    return Schedule(tuple(tried), (), tuple(later), belief)


def rounds(order: Sequence[int], least: int) -> Iterator[Sequence[int]]:
    """The cells in rounds."""
    begun = 0
    while begun < len(order):
        size = max(least, begun // GROWTH)
        yield order[begun : begun + size]
        begun += size


def next_rate(belief: Belief, cell: Cell, at: int, own: Sequence[Trial]) -> float | None:
    """The rate that a cell tries next; None when it is done.

    Args:
        belief: of all cells' best rates.
        cell: the cell.
        at: its number in the belief.
        own: its trials, which may have ended after those that the belief knows.
    """
    tried = {trial.rate for trial in own}
    left = [rate for rate in cell.rates if rate not in tried]
    if len(own) >= MOST or not left:
        return None
    x, weight = _posterior(belief, at, own)

    def cost(rate: float) -> Array:
        return np.minimum(belief.bowl.above(np.log(rate) - x), _FAR * belief.bowl.p)

    so_far = np.full(len(x), np.inf)
    for trial in own:
        if trial.log_loss is not None:
            so_far = np.minimum(so_far, cost(trial.rate))
    return left[int(np.argmin([weight @ np.minimum(so_far, cost(rate)) for rate in left]))]


def _posterior(belief: Belief, at: int, own: Sequence[Trial]) -> tuple[Array, Array]:
    """Possible ln best rates of a cell and their probabilities, each (lattice,); a diverged rate was too high."""
    x = belief.x[at] + belief.spread[at] * _LATTICE
    log_weight = -0.5 * _LATTICE**2
    for trial in own:
        if trial.log_loss is None:
            log_weight = log_weight - 0.5 * (np.maximum(x - (np.log(trial.rate) - _TOO_HIGH), 0) / _SOFT) ** 2
    weight = np.exp(log_weight - log_weight.max())
    return x, weight / weight.sum()
