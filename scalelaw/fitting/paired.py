"""Several fits resampled together: what two of them say of one quantity, with the errors that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.errors import UserError
from scalelaw.fitting.checks import check_seed
from scalelaw.fitting.replicates import smooth, weighted
from scalelaw.fitting.resampling import CERTIFIED, FEWEST
from scalelaw.laws import Law

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Paired:
    """Replicates of several fits, row by row from the same draw of units.

    Attributes:
        n: draws.
        laws: one a fit; its fields have shape (rows,), over the draws in which every fit is certified.
    """

    n: int
    laws: tuple[Law, ...]

    @property
    def usable(self) -> bool:
        """Whether there are enough rows to speak of a spread."""
        rows = len(getattr(self.laws[0], self.laws[0].names()[0]))
        return rows >= FEWEST and rows >= CERTIFIED * self.n

    def interval(self, values: Array, level: float = 0.95) -> tuple[float | None, float | None]:
        """Percentiles of (rows,) values; a row without one counts as beyond both ends, which are None where open."""
        if not self.usable:
            return None, None
        ends = []
        for q, beyond in (((1 - level) / 2, -np.inf), ((1 + level) / 2, np.inf)):
            known = np.where(np.isnan(values), beyond, values)
            ends.append(float(np.quantile(known, q, method="lower" if beyond < 0 else "higher")))
        low, high = ends
        return low if np.isfinite(low) else None, high if np.isfinite(high) else None


def paired(fits: Sequence[Fit], units: Sequence[Labels], n: int, seed: int) -> Paired:
    """Draws units with replacement, each with all its runs in every fit, and refits.

    Args:
        fits: at least one.
        units: for each fit the number of every run's unit, (runs,): the same number is the same unit in all.
        n: draws.
        seed: of the resampling.

    Raises:
        UserError: with fewer than two units, or a seed that is no whole number from 0 on.
    """
    count = 1 + max(int(labels.max()) for labels in units)
    if count < 2:
        raise UserError("bootstrap: there is one unit; resampling needs at least two")
    check_seed("bootstrap", seed)
    rng = np.random.default_rng(seed)
    problems = [smooth(fit) for fit in fits]
    ends: list[list[Array]] = [[] for _ in fits]
    for start in range(0, n, newton.CHUNK):
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=min(newton.CHUNK, n - start))
        parts = [
            weighted(fit, problem, drawn[:, labels] * fit.point.weights, starts=1)
            for fit, problem, labels in zip(fits, problems, units, strict=True)
        ]
        sure = np.logical_and.reduce([part.certified for part in parts])
        for found, fit, part in zip(ends, fits, parts, strict=True):
            found.append(fit.point.natural_of(part.theta[sure], part.alive[sure]))
    laws = tuple(fit.law.decode(np.concatenate(found)) for fit, found in zip(fits, ends, strict=True))
    return Paired(n, laws)
