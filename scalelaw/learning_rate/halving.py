"""Successive halving across the learning rates of one cell (Jamieson and Talwalkar 2016): at stated shares of the
schedule the rates that are clearly behind stop, the others go on to their end.

A rate that is ahead half-way down a cosine need not be ahead at its end, where low rates have less left to gain. So
what is kept is generous, and how far it biases fits is measured in analysis/halving.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

RUNGS = (0.25, 0.5)
"""Shares of the schedule at which rates may stop."""
FEWEST = 3
"""Rates of a cell that always go on: fewer show no basin."""
CLEAR = 0.01
"""A rate stops only where its ln loss is so far above the worst of those that are kept."""


def kept(losses: Mapping[float, float | None]) -> tuple[float, ...]:
    """The rates that go on, ascending: the better half, at least three, and whatever is not clearly behind them.

    Args:
        losses: of the rates at a rung, None where a run diverged: such a rate stops.
    """
    known = sorted((loss, rate) for rate, loss in losses.items() if loss is not None)
    sure = known[: max(FEWEST, -(-len(losses) // 2))]
    if not sure:
        return ()
    limit = sure[-1][0] * float(np.exp(CLEAR))
    return tuple(sorted(rate for loss, rate in known if loss <= limit))
