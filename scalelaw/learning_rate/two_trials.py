"""Learning rate in two trials: which rates a sweep's cells try, each from what the cells tried before have shown.

Cells go in rounds, cheap ones first. A cell's first trial is at the rate whose expected loss is lowest, the best rate
being uncertain and the basin lopsided. As many further trials follow in every round, each where it tells most: in the
cell, of this round or an earlier one, whose expected loss falls most if the better of its trials counts, at the rate
that makes it fall most. So a cell that is sure of its rate keeps one trial, and one that was begun before anything was
known may have a third; over all cells begun it is two each, never more. What a round tries depends on the rounds before
it alone, so a sweep that is killed and started again comes to the same rates, whatever had been finished.
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

MEAN, MOST = 2, 3
"""Trials of a cell: over all cells, and of one cell at most."""
GROWTH = 8
"""A round takes an eighth of the cells before it, or as many as keep the workers busy."""
_ROUNDING = 1e-9
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
        later: what trials that are not chosen yet may still cost, at most, (prices,).
        belief: from the trials that have ended before this round.
    """

    tried: tuple[Trial, ...]
    open: tuple[tuple[int, float], ...]
    later: tuple[float, ...]
    belief: Belief


def schedule(
    cells: Sequence[Cell],
    outcome: Outcome,
    least: int = 2,
    order: Sequence[int] | None = None,
    most: int = MOST,
    prices: Sequence[Sequence[float]] | None = None,
) -> Schedule:
    """Chooses rates round by round until a chosen trial has not ended.

    Args:
        cells: all of them.
        outcome: what came out of a cell at a rate; None while it has not ended.
        least: cells of a round.
        order: of the cells; by size x length, the cheapest first, unless given.
        most: trials of one cell; with `MEAN` of them every cell has as many.
        prices: (prices, cells) what a trial of a cell costs, in units that are counted apart, as runs and core-hours;
            in none of them does it come to more than `MEAN` trials of every cell begun. Unless given, trials count.
    """
    if order is None:
        order = sorted(range(len(cells)), key=lambda at: (cells[at].size * cells[at].length, cells[at].size, at))
    price = np.ones((1, len(cells))) if prices is None else np.array(prices, dtype=float)
    due = price * [min(MEAN, len(cell.rates)) for cell in cells]
    spent, begun = np.zeros(len(price)), list[int]()
    tried: list[Trial] = []
    belief = believe(cells, tried)
    for now in rounds(order, least):
        begun += now
        for further in (False, True):
            if further:
                chosen = _further(cells, belief, begun, tried, most, price, due[:, begun].sum(axis=1) - spent)
            else:
                chosen = [(at, found[0]) for at in now if (found := next_rate(belief, cells[at], at, [])) is not None]
            spent = spent + price[:, [at for at, _ in chosen]].sum(axis=1)
            ended = [outcome(at, rate) for at, rate in chosen]
            tried += [trial for trial in ended if trial is not None]
            if None in ended:
                waiting = tuple(one for one, trial in zip(chosen, ended, strict=True) if trial is None)
                last = further and len(begun) == len(cells)
                later = 0 * spent if last else np.maximum(due.sum(axis=1) - spent, 0)
                return Schedule(tuple(tried), waiting, tuple(later.tolist()), belief)
        belief = believe(cells, tried)
    return Schedule(tuple(tried), (), (0.0,) * len(price), belief)


def _further(
    cells: Sequence[Cell],
    belief: Belief,
    begun: Sequence[int],
    tried: Sequence[Trial],
    most: int,
    price: Array,
    left: Array,
) -> list[tuple[int, float]]:
    """One more rate for each of the cells begun in which it tells most, for what is left to spend, (prices,)."""
    own: dict[int, list[Trial]] = {at: [] for at in begun}
    for trial in tried:
        own[trial.cell].append(trial)
    gains = []
    for place, at in enumerate(begun):
        if len(own[at]) < most and (found := next_rate(belief, cells[at], at, own[at])) is not None:
            rate, gain = found
            gains.append((-gain, place, at, rate))
    chosen = []
    left = left + _ROUNDING * price.sum(axis=1)
    for _, _, at, rate in sorted(gains):
        if (price[:, at] <= left).all():
            left = left - price[:, at]
            chosen.append((at, rate))
    return chosen


def rounds(order: Sequence[int], least: int) -> Iterator[Sequence[int]]:
    """The cells in rounds."""
    begun = 0
    while begun < len(order):
        size = max(least, begun // GROWTH)
        yield order[begun : begun + size]
        begun += size


def next_rate(belief: Belief, cell: Cell, at: int, own: Sequence[Trial]) -> tuple[float, float] | None:
    """The rate that makes the best of a cell's trials and it lowest in expectation, and by how much it lowers the ln
    loss that is expected of them; None where every rate was tried.

    Args:
        belief: of all cells' best rates.
        cell: the cell.
        at: its number in the belief.
        own: its trials; if there is more than one, the belief knows them.
    """
    tried = {trial.rate for trial in own}
    left = [rate for rate in cell.rates if rate not in tried]
    if not left:
        return None
    x, weight = _posterior(belief, at, own)
    worst = _FAR * belief.bowl.p

    def cost(rate: float) -> Array:
        return np.minimum(belief.bowl.above(np.log(rate) - x), worst)

    so_far = np.full(len(x), worst)
    for trial in own:
        if trial.log_loss is not None:
            so_far = np.minimum(so_far, cost(trial.rate))
    after = [float(weight @ np.minimum(so_far, cost(rate))) for rate in left]
    best = int(np.argmin(after))
    return left[best], float(weight @ so_far) - after[best]


def _posterior(belief: Belief, at: int, own: Sequence[Trial]) -> tuple[Array, Array]:
    """Possible ln best rates of a cell and their probabilities, each (lattice,).

    A diverged rate was too high. The belief knows that of a cell in which another rate did not diverge.
    """
    x = belief.x[at] + belief.spread[at] * _LATTICE
    log_weight = -0.5 * _LATTICE**2
    if all(trial.log_loss is None for trial in own):
        for trial in own:
            log_weight = log_weight - 0.5 * (np.maximum(x - (np.log(trial.rate) - _TOO_HIGH), 0) / _SOFT) ** 2
    weight = np.exp(log_weight - log_weight.max())
    return x, weight / weight.sum()
