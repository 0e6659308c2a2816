"""Groups of equal compute, and the draws that every interval of this package comes from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting.checks import check_seed
from scalelaw.transfer.starts import Array

WITHIN = 0.1
"""Relative difference in pre-training compute up to which starts are of one group: .4 % of loss on a slope of .04."""
FEWEST = 6
"""Starts below which a group, or all of them, cannot tell."""
DRAWS = 4000

Ends = tuple[float, float] | None


def groups_of(core_hours: Array, within: float = WITHIN) -> NDArray[np.int64]:
    """The number of each start's group, (starts,), for starts in the order of their compute.

    A group begins with its cheapest start and holds all that cost at most a share `within` more.
    """
    numbers, first, number = np.zeros(len(core_hours), np.int64), -np.inf, -1
    for k, cost in enumerate(core_hours):
        if cost > first * (1 + within) or number < 0:
            first, number = cost, number + 1
        numbers[k] = number
    return numbers


def draws_within(groups: NDArray[np.int64], seed: int, draws: int = DRAWS) -> NDArray[np.int64]:
    """Starts drawn with replacement within each group, (draws, starts): of each group as many as it has."""
    check_seed("compare_starts", seed)
    rng = np.random.default_rng(seed)
    found = np.empty((draws, len(groups)), np.int64)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        found[:, members] = members[rng.integers(len(members), size=(draws, len(members)))]
    return found


def interval(statistic: Callable[[NDArray[np.int64]], Array], draws: NDArray[np.int64]) -> Ends:
    """The middle 95 % of a statistic over draws, (draws, starts) -> (draws,); None where most draws have no value."""
    values = statistic(draws)
    values = values[np.isfinite(values)]
    if 2 * len(values) < len(draws):
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
