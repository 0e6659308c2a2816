"""Learning rate in two trials: which rate a cell tries next, from what the cells tried so far have shown.

The first trial of a cell is at the rate whose expected loss is lowest, the best rate being uncertain and the basin
lopsided. Its loss, set against the level that neighbouring cells promise, tells how far off it may be; the second
trial is at the rate that makes the better of the two lowest in expectation. Then the cell is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scalelaw.learning_rate.belief import Belief, Cell, Trial, believe

Array = NDArray[np.float64]

MOST = 2
"""Trials of a cell."""
_LATTICE = np.linspace(-3.5, 3.5, 141)
_CLIFF = 6.0
"""In units of p: no loss counts as worse; beyond, runs diverge."""


def next_rate(belief: Belief, cells: Sequence[Cell], at: int, own: Sequence[Trial]) -> float | None:
    """The rate that a cell tries next; None when it is done.

    Args:
        belief: from the trials of all cells.
        cells: all cells.
        at: number of the cell.
        own: its trials that have ended.
    """
    tried = {trial.rate for trial in own}
    left = [rate for rate in cells[at].rates if rate not in tried]
    if len(own) >= MOST or not left:
        return None
    x, weight = posterior(belief, at, own)
    basin = belief.basin

    def cost(rate: float) -> Array:
        return np.minimum(basin.above(np.log(rate) - x), _CLIFF * basin.p)

    usable = [trial for trial in own if trial.log_loss is not None]
    so_far = np.min([cost(trial.rate) for trial in usable], axis=0) if usable else np.full(len(x), np.inf)
    expected = [float(weight @ np.minimum(so_far, cost(rate))) for rate in left]
    return left[int(np.argmin(expected))]


def posterior(belief: Belief, at: int, own: Sequence[Trial]) -> tuple[Array, Array]:
    """Possible ln best rates of a cell and their probabilities, each (lattice,)."""
    spread = float(belief.spread[at])
    x = belief.x[at] + spread * _LATTICE
    log_weight = -0.5 * _LATTICE**2
    for trial in own:
        if trial.log_loss is None:
            # a diverged run says that its rate is too high
            log_weight = log_weight - 0.5 * (np.maximum(0.7 - (np.log(trial.rate) - x), 0) / 0.2) ** 2
    weight = np.exp(log_weight - log_weight.max())
    return x, weight / weight.sum()


__all__ = ["MOST", "Belief", "Cell", "Trial", "believe", "next_rate"]
