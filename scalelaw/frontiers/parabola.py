"""Hoffmann et al.'s approach 2 as published: a parabola in ln size through the losses of every budget, and its bias.

The basin of E + A N^-alpha + B D^-beta at fixed compute is no parabola. Fitted to runs whose sizes are wide or not
centred on the optimum, a parabola has its minimum elsewhere even without noise: by -23 % to +25 % in size on usual
layouts. The bias depends only on (alpha, beta) and on where the tested sizes lie about the optimum, for a parabola's
minimum does not change when losses are scaled or shifted; so it is known without knowing E, A or B.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.frontiers.equal_compute import Budget, Rows, basin, best_tested

Array = NDArray[np.float64]

SLIGHT = 0.01
"""A bias in size, as a share, up to which it is called slight: budgets are rarely known better."""


def minimum(log_compute: Array, log_size: Array, loss: Array, rows: Rows) -> Budget:
    """The minimum of the least-squares parabola of loss in ln size through one budget's runs (arrays over all runs)."""
    edge, inside = best_tested(log_compute, log_size, loss, rows)
    s, y = log_size[rows], loss[rows]
    at = vertex(s, y)
    if not inside or at is None or not s.min() < at < s.max():
        return edge
    centre = s.mean()
    curve = np.polynomial.Polynomial.fit(s - centre, y, 2)
    squares = float(np.sum((curve(s - centre) / y - 1) ** 2))
    return replace(edge, log_size=at, loss=float(curve(at - centre)), bracketed=True, squares=squares)


def vertex(log_size: Array, loss: Array) -> float | None:
    """Where the least-squares parabola is lowest; None where it opens downwards."""
    centre = float(log_size.mean())
    _, slope, bend = np.polynomial.polynomial.polyfit(log_size - centre, loss, 2)
    return None if bend <= 0 else centre - float(slope) / (2 * float(bend))


def bias(offsets: Array, shape: tuple[float, float]) -> float | None:
    """ln(parabola's minimum / optimum) without noise, for sizes tested at `offsets` = ln(size / optimum).

    Args:
        offsets: one a run.
        shape: the surface's exponents (alpha, beta).
    """
    return vertex(offsets, basin(offsets, shape)[0])


@dataclass(frozen=True)
class Bias:
    """How far parabolas lie from the exact shape, in the budgets where both have a bracketed minimum.

    Attributes:
        theory: parabola's optimal size over the true one, less 1, that these sizes give without noise.
        found: parabola's optimal size over the exact shape's, less 1.
        exponent: what the theory's biases add to the exponent of size; None with fewer than two budgets.
    """

    theory: tuple[float, ...]
    found: tuple[float, ...]
    exponent: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"theory": list(self.theory), "found": list(self.found), "exponent": self.exponent}

    def __str__(self) -> str:
        slope = "" if self.exponent is None else f" and {self.exponent:+.3f} in the exponent"
        degree = "biased" if max(map(abs, self.theory)) > SLIGHT else "hardly biased"
        return (
            f"the parabola is {degree} on these sizes: without noise by {_percent(self.theory)} in size{slope}; its "
            f"minima lie {_percent(self.found)} from the exact shape's, and its line is unweighted, as published"
        )


def _percent(shares: Sequence[float]) -> str:
    """Median and range of shares, in percent."""
    low, middle, high = 100 * np.quantile(shares, [0.0, 0.5, 1.0])
    if len(shares) == 1:
        return f"{middle:+.1f} %"
    return f"{middle:+.1f} % (median; {low:+.1f} to {high:+.1f} over {len(shares)} budgets)"


def compare(
    log_size: Array, exact: Sequence[Budget], parabolas: Sequence[Budget], shape: tuple[float, float]
) -> Bias | None:
    """Bias of the parabolas; None where no budget has a bracketed minimum by both."""
    rows = []
    for one, other in zip(exact, parabolas, strict=True):
        if one.bracketed and other.bracketed:
            theory = bias(log_size[list(one.runs)] - one.log_size, shape)
            if theory is not None:
                rows.append((one.log_compute, theory, other.log_size - one.log_size))
    if not rows:
        return None
    compute, theory_logs, found_logs = np.array(rows).T
    slope = float(np.polyfit(compute, theory_logs, 1)[0]) if len(np.unique(compute)) > 1 else None
    return Bias(tuple(np.expm1(theory_logs).tolist()), tuple(np.expm1(found_logs).tolist()), slope)
