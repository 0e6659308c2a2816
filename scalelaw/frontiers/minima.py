"""The minima of all equal-compute budgets, by the exact shape and by parabolas, and the trends through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelaw.fitting import Fit
from scalelaw.fitting.straightness import t_quantile
from scalelaw.frontiers import equal_compute, parabola
from scalelaw.frontiers.columns import Columns
from scalelaw.frontiers.equal_compute import Budget
from scalelaw.frontiers.parabola import Bias
from scalelaw.frontiers.trend import Trend, nothing, through
from scalelaw.laws import Split

Array = NDArray[np.float64]

USABLE = 0.02, 2.0
"""Exponents of a surface between which its basin is taken as the shape of every budget's."""
WIDER = 5
"""Where windows this many times as wide would take in a quarter more of the runs, a note says so: compute read off a
figure scatters by several percent."""


@dataclass(frozen=True)
class Minima:
    """Every equal-compute budget's minimum, two ways.

    Attributes:
        exact: by the exact shape, by rising compute.
        parabola: of the same budgets, by parabolas.
        bias: of the parabolas; None where no budget has both minima.
        shape: exponents (alpha, beta) of the exact shape.
        loss: (runs,) losses that the curves go through: moved along the surface to the mean compute of their budget.
    """

    exact: tuple[Budget, ...]
    parabola: tuple[Budget, ...]
    bias: Bias | None
    shape: tuple[float, float]
    loss: Array


def minima(columns: Columns, surface: Fit | None, tolerance: float, notes: list[str]) -> Minima:
    """Groups runs of equal compute and finds each group's minimum, by the exact shape and by a parabola.

    With a usable surface its exponents give the shape, and losses are moved along it to the mean compute of their
    group, which matters where `tolerance` is wide.
    """
    logs, sizes = np.log(columns.flop), np.log(columns.size)
    groups = equal_compute.groups(logs, sizes, tolerance)
    wider = equal_compute.groups(logs, sizes, WIDER * tolerance)
    taken, more = (sum(map(len, found)) for found in (groups, wider))
    if more - taken > len(logs) / 4:
        notes.append(
            f"runs of equal compute are those within {100 * tolerance:g} %: {taken} of {len(logs)} runs; "
            f"equal_within={WIDER * tolerance:g} would take {more}"
        )
    law = _usable(surface)
    shape = equal_compute.SYMMETRIC if law is None else (law.alpha, law.beta)
    loss = columns.loss.copy()
    for rows in groups:
        if law is not None:
            # D^-beta at the mean compute of the group less D^-beta at the run's own
            ratio = np.exp(logs[rows].mean() - logs[rows])
            loss[rows] += law.B * columns.data[rows] ** -law.beta * (ratio**-law.beta - 1)
    exact = tuple(equal_compute.minimum(logs, sizes, loss, rows, shape) for rows in groups)
    parabolas = tuple(parabola.minimum(logs, sizes, loss, rows) for rows in groups)
    return Minima(exact, parabolas, parabola.compare(sizes, exact, parabolas, shape), shape, loss)


def _usable(surface: Fit | None) -> Split | None:
    """The surface's law, where its exponents can be those of a basin."""
    if surface is None or surface.status not in ("converged", "at_bound", "not_identified"):
        return None
    law = surface.fitted
    low, high = USABLE
    return law if isinstance(law, Split) and low < law.alpha < high and low < law.beta < high else None


def exact_trends(
    columns: Columns, budgets: Sequence[Budget], surface: Fit | None, notes: list[str]
) -> dict[str, Trend]:
    """Lines through the bracketed minima; their noise is pooled over budgets (or the surface's when too little)."""
    inside = [budget for budget in budgets if budget.bracketed]
    if budgets and len(inside) < len(budgets):
        notes.append(
            f"equal compute: {len(budgets) - len(inside)} of {len(budgets)} budgets have their best size at an edge; "
            "such a minimum is a bound and is left out"
        )
    noise, dof = noise_of(budgets, surface)
    stderr = None if noise is None else noise * np.array([budget.stderr for budget in inside], dtype=float)
    return _lines(columns, inside, len(budgets), stderr, dof)


def noise_of(budgets: Sequence[Budget], surface: Fit | None) -> tuple[float | None, float]:
    """Standard deviation of ln loss about the curves of all bracketed budgets, and its degrees of freedom.

    That about the surface where the curves leave fewer than three degrees of freedom; None where neither tells.
    """
    dof = float(sum(budget.dof for budget in budgets))
    variance = sum(budget.squares for budget in budgets if budget.bracketed) / dof if dof >= 3 else None
    if variance is None and surface is not None and surface.point.dof >= 3:
        dof = float(surface.point.dof)
        variance = float(surface.residuals @ surface.residuals) / dof
    return (float(np.sqrt(variance)) if variance is not None and variance > 0 else None), dof


def log_size_interval(
    budget: Budget, noise: tuple[float | None, float], level: float = 0.95
) -> tuple[float, float] | None:
    """Interval of ln size at a bracketed minimum, given what `noise_of` says; None where unknown."""
    if not budget.bracketed or budget.stderr is None or noise[0] is None:
        return None
    half = t_quantile(level, noise[1]) * noise[0] * budget.stderr
    return budget.log_size - half, budget.log_size + half


def parabola_trends(columns: Columns, found: Minima) -> dict[str, Trend]:
    """Unweighted lines through the parabolas' bracketed minima, as Hoffmann et al. draw them, with their bias in the
    note; the spread is that of the scatter."""
    inside = [budget for budget in found.parabola if budget.bracketed]
    lines = _lines(columns, inside, len(found.parabola), None, None)
    if found.bias is None:
        return lines
    warning = str(found.bias)
    return {key: replace(line, note=f"{line.note}; {warning}" if line.note else warning) for key, line in lines.items()}


def _lines(
    columns: Columns, inside: Sequence[Budget], tried: int, stderr: Array | None, dof: float | None
) -> dict[str, Trend]:
    """Lines of ln optimal size and of ln optimal data on ln compute, in the columns' unit of compute."""
    names = {"size": columns.size_name, "data": columns.data_name}
    if len(inside) < 2:
        why = f"{len(inside)} of {tried} equal-compute budgets bracket their minimum; a trend needs two"
        return {key: nothing(name, columns.compute_name, why) for key, name in names.items()}
    unit = np.array([np.log(columns.compute[list(budget.runs)]).mean() for budget in inside])
    log_size = np.array([budget.log_size for budget in inside])
    values = {"size": log_size, "data": columns.log_unit + unit - log_size}
    return {key: through(name, columns.compute_name, unit, values[key], stderr, dof) for key, name in names.items()}
