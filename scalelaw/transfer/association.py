"""Does a lower pre-training loss go with a lower error after transfer, at equal compute? By ranks.

Spearman's rank correlation, and the partial correlation of the ranks given the rank of compute: what loss says of error
beyond what compute says of both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from scalelaw.transfer.groups import DRAWS, FEWEST, Ends, draws_within, interval
from scalelaw.transfer.starts import Array


@dataclass(frozen=True)
class Association:
    """A rank correlation of loss and error.

    Attributes:
        estimate: from -1 to 1; None where there are too few starts, or no differences.
        interval: 95 %, by resampling starts; None where unknown.
        starts: how many it rests on.
        verdict: `lower loss, lower error`, `lower loss, higher error` or `cannot tell`.
    """

    estimate: float | None
    interval: Ends
    starts: int

    @property
    def verdict(self) -> str:
        if self.estimate is None or self.interval is None or self.interval[0] <= 0 <= self.interval[1]:
            return "cannot tell"
        return f"lower loss, {'lower' if self.interval[0] > 0 else 'higher'} error"


def partial(loss: Array, error: Array, cost: Array) -> Array:
    """Partial rank correlation of loss and error given cost, over the last axis; NaN where a rank does not vary."""
    x, y, z = (_standard(stats.rankdata(values, axis=-1)) for values in (loss, error, cost))
    xy, xz, yz = ((one * other).sum(-1) for one, other in ((x, y), (x, z), (y, z)))
    with np.errstate(invalid="ignore", divide="ignore"):
        left = (1 - xz**2) * (1 - yz**2)
        found = (xy - xz * yz) / np.sqrt(left)
    return np.where(left > 1e-12, np.clip(found, -1, 1), np.nan)


def simple(loss: Array, error: Array) -> Array:
    """Spearman's rank correlation over the last axis; NaN where a rank does not vary."""
    x, y = (_standard(stats.rankdata(values, axis=-1)) for values in (loss, error))
    return np.asarray(np.where((x**2).sum(-1) * (y**2).sum(-1) > 0.5, (x * y).sum(-1), np.nan))


def pooled(loss: Array, error: Array, cost: Array, seed: int = 0, draws: int = DRAWS) -> Association:
    """The partial rank correlation given compute over all starts."""
    if len(loss) < FEWEST:
        return Association(None, None, len(loss))
    drawn = draws_within(np.zeros(len(loss), np.int64), seed, draws)
    estimate = float(partial(loss, error, cost))
    ends = interval(lambda rows: partial(loss[rows], error[rows], cost[rows]), drawn)
    return Association(None if np.isnan(estimate) else estimate, ends, len(loss))


def within(loss: Array, error: Array, members: NDArray[np.int64], seed: int = 0, draws: int = DRAWS) -> Association:
    """The rank correlation in one group of equal compute."""
    loss, error = loss[members], error[members]
    if len(loss) < FEWEST:
        return Association(None, None, len(loss))
    drawn = draws_within(np.zeros(len(loss), np.int64), seed, draws)
    estimate = float(simple(loss, error))
    ends = interval(lambda rows: simple(loss[rows], error[rows]), drawn)
    return Association(None if np.isnan(estimate) else estimate, ends, len(loss))


def _standard(ranks: Array) -> Array:
    """Centred, of length 1; zero where nothing varies."""
    centred = ranks - ranks.mean(-1, keepdims=True)
    length = np.sqrt((centred**2).sum(-1, keepdims=True))
    return np.asarray(np.divide(centred, length, out=np.zeros_like(centred), where=length > 0))
