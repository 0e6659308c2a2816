"""Says when the plan is one large run in all but name, and what cheaper runs would do instead."""

from __future__ import annotations

import numpy as np

from scalelaw.plan.design.cells import Cells
from scalelaw.plan.design.exchange import Counts, Known, choose, score, with_counts
from scalelaw.plan.design.worlds import Want

MOSTLY = 0.8
"""From this share of the cost on a single run is called the plan."""
CHEAPER = 0.5
"""Share of its cost that every cheaper run may have."""


def about_one_run(information: Known, grid: Cells, counts: Counts, spend: float, most: int, want: Want) -> str | None:
    """A sentence on a single run that takes most of the cost, with the expected error of cheaper runs for as much.

    Args:
        information: of the runs before these.
        grid: the cells.
        counts: (cells,) runs chosen.
        spend: FLOP that they may cost.
        most: at most so many runs.
        want: what was asked.
    """
    if not counts.any():
        return None
    cost = float(counts @ grid.flop)
    dearest = int(np.argmax(np.where(counts > 0, grid.flop, 0.0)))
    if counts[dearest] != 1 or grid.flop[dearest] < MOSTLY * cost:
        return None
    cheap = np.where(grid.flop <= CHEAPER * grid.flop[dearest], grid.flop, np.inf)
    alone, all_of_it = score(information.changed(dearest)), score(with_counts(information, counts))
    others = choose(information, cheap, spend, most, together=1, wide=True).score
    name, images = grid.models[grid.model[dearest]].variant, int(grid.images[dearest])
    sentence = f"one run of {name} for {images:,} images is {grid.flop[dearest] / cost:.0%} of the cost and alone "
    sentence += f"brings the error of the {want} to {_error(alone):.3g}"
    instead = f"runs of at most half its cost would bring it to {_error(others):.3g} for as large a spend"
    if others >= all_of_it:
        return f"{sentence}; nothing cheaper tells as much: {instead}"
    return f"{sentence}; {instead}"


def _error(value: float) -> float:
    """The expected standard error of a score, which is a mean of ln squared error."""
    return float(np.exp(0.5 * value))
