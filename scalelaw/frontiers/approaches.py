"""frontier(runs): how the best model size and the best number of epochs grow with compute, three ways side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.fitting import Curvature, Fit, curvature
from scalelaw.frontiers import equal_compute
from scalelaw.frontiers.columns import Basis, Columns, best_of, columns_of
from scalelaw.frontiers.envelope import envelope_trends, loss_trend
from scalelaw.frontiers.points import budget_points, envelope_points, params_trend
from scalelaw.frontiers.surface import fit_surface, trends
from scalelaw.frontiers.trend import Trend, nothing, through
from scalelaw.laws import SizeData
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
ENOUGH_BUDGETS = 4
"""Bracketed budgets from which equal compute makes the headline: it assumes no law for the whole surface."""


@dataclass(frozen=True)
class Frontier:
    """Optimal size and epochs, and the lowest loss, against compute.

    Attributes:
        size, epochs: headline trends, from `headline`.
        params_trend: the same for the parameter count, None where it is unknown.
        loss: the envelope's power law.
        curvature: quadratic term of ln loss in ln C along the envelope, None with fewer than three runs.
        headline: the approach that gives size and epochs: equal_compute or surface.
        approaches: name -> {"size": Trend, "epochs": Trend} for surface, equal_compute and envelope.
        points: the envelope's runs and the minimum of every budget.
        surface: the fitted SizeData, None when the runs do not allow one.
        envelope: the fitted power law, None when the runs do not allow one.
        notes: sentences: what was left out, where approaches disagree.
        unique_images: training-set size that epochs refer to.
    """

    size: Trend
    epochs: Trend
    params_trend: Trend | None
    loss: Trend
    curvature: Curvature | None
    headline: str
    approaches: dict[str, dict[str, Trend]]
    points: pd.DataFrame = field(repr=False)
    surface: Fit | None = field(repr=False)
    envelope: Fit | None = field(repr=False)
    notes: tuple[str, ...] = ()
    unique_images: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        bend = self.curvature
        records = self.points.astype(object).where(self.points.notna(), None).to_dict("records")
        return {
            "size": self.size.to_dict(),
            "epochs": self.epochs.to_dict(),
            "loss": {
                **self.loss.to_dict(),
                "curvature": None if bend is None else {"value": bend.value, "interval": [bend.low, bend.high]},
            },
            "params": None if self.params_trend is None else self.params_trend.to_dict(),
            "points": records,
            "headline": self.headline,
            "approaches": {
                name: {quantity: trend.to_dict() for quantity, trend in pair.items()}
                for name, pair in self.approaches.items()
            },
            "surface": None if self.surface is None else self.surface.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        named = [(approach, trend) for approach, pair in self.approaches.items() for trend in pair.values()]
        if self.params_trend is not None:
            named.append((self.headline, self.params_trend))
        rows = [("optimum", "grows with compute as", "95 % interval", "status", "approach")]
        for approach, trend in named:
            power = f"C^{trend.slope:.3f}" if np.isfinite(trend.slope) else "-"
            rows.append((trend.quantity, power, _ends(trend), trend.status, approach))
        rows.append(("loss", f"C^-{self.loss.params['alpha']:.3f}", _ends(self.loss), self.loss.status, "envelope"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.append(f"headline: {self.headline}; C in {self.size.compute}")
        if self.curvature is not None:
            lines.append(str(self.curvature))
        reasons = {trend.note: f"{approach}: {trend.note}" for approach, trend in named if trend.note}
        return "\n".join([*lines, *(f"note: {note}" for note in (*reasons.values(), *self.notes))])


def _ends(trend: Trend) -> str:
    """The interval of a trend's exponent, as text."""
    low, high = trend.interval["alpha"]
    return "unknown" if low is None or high is None or not np.isfinite(low) else f"{low:.3f} to {high:.3f}"


def frontier(runs: RunTable, *, basis: Basis = "core_hours") -> Frontier:
    """Optimal size, epochs and loss against compute.

    Size is `macs_per_image` where known (then C = 6 N D exactly and the exponents of size and data sum to 1), else
    `params`. Exponents of size and epochs come from bracketed equal-compute minima when at least four budgets are
    bracketed, else from the surface; the envelope's are shown with status set_by_grid, for it ends in the corners of
    any grid.

    Args:
        runs: all runs, or the best over learning rates.
        basis: the compute column that trends refer to; train_flop where core_hours are unknown.

    Raises:
        UserError: when needed columns are missing, or fewer than three runs are finished.
    """
    if basis not in ("core_hours", "train_flop"):
        raise UserError(f"frontier: unknown basis {basis!r}{nearest(str(basis), ['core_hours', 'train_flop'])}")
    best = best_of(runs)
    notes = list(best.notes)
    columns = columns_of(best, basis, notes)
    surface = _surface(columns, notes)
    budgets = _budgets(columns, surface)
    equal = _equal_trends(columns, budgets, surface, notes)
    envelope = best.envelope()
    approaches = {
        "surface": _pair(columns, surface),
        "equal_compute": equal,
        "envelope": envelope_trends(columns, best),
    }
    headline = _headline(approaches, budgets)
    _disagreement(approaches, notes)
    size, epochs = (approaches[headline][name] for name in ("size", "epochs"))
    power, loss = loss_trend(columns, best)
    points = pd.concat([budget_points(columns, best, budgets), envelope_points(columns, best)], ignore_index=True)
    cost, _ = envelope.variable("C")
    lowest, _ = envelope.variable("L")
    return Frontier(
        size=size,
        epochs=epochs,
        params_trend=params_trend(columns, best, size),
        loss=loss,
        curvature=curvature(cost, lowest) if len(envelope) >= 3 else None,
        headline=headline,
        approaches=approaches,
        points=points,
        surface=surface,
        envelope=power,
        notes=tuple(dict.fromkeys(notes)),
        unique_images=columns.unique,
    )


def _surface(columns: Columns, notes: list[str]) -> Fit | None:
    try:
        return fit_surface(columns.size, columns.data, columns.loss, "best")
    except UserError as error:
        notes.append(f"no surface: {error}")
        return None


def _pair(columns: Columns, surface: Fit | None) -> dict[str, Trend]:
    if surface is None:
        missing = "no surface could be fitted"
        names = (columns.size_name, "epochs")
        size, epochs = (nothing(name, columns.compute_name, missing) for name in names)
    else:
        size, epochs = trends(surface, columns.log_unit, columns.size_name, columns.compute_name, columns.unique)
    return {"size": size, "epochs": epochs}


def _budgets(columns: Columns, surface: Fit | None) -> list[equal_compute.Budget]:
    shape = equal_compute.SYMMETRIC
    if surface is not None and surface.status in ("converged", "at_bound", "not_identified"):
        law = surface.fitted
        if isinstance(law, SizeData) and 0.02 < law.alpha < 2 and 0.02 < law.beta < 2:
            shape = (law.alpha, law.beta)
    logs, sizes = np.log(columns.flop), np.log(columns.size)
    return [equal_compute.minimum(logs, sizes, columns.loss, rows, shape) for rows in equal_compute.groups(logs, sizes)]


def _equal_trends(
    columns: Columns, budgets: list[equal_compute.Budget], surface: Fit | None, notes: list[str]
) -> dict[str, Trend]:
    """The line through the bracketed minima; their noise is pooled over budgets (or the surface's when too little)."""
    inside = [budget for budget in budgets if budget.bracketed]
    if budgets and len(inside) < len(budgets):
        notes.append(
            f"equal compute: {len(budgets) - len(inside)} of {len(budgets)} budgets have their best size at an edge; "
            "such a minimum is a bound and is left out"
        )
    names = (columns.size_name, "epochs")
    if len(inside) < 2:
        why = f"{len(inside)} of {len(budgets)} equal-compute budgets bracket their minimum; a trend needs two"
        size, epochs = (nothing(name, columns.compute_name, why) for name in names)
        return {"size": size, "epochs": epochs}
    dof = float(sum(budget.dof for budget in budgets))
    variance = sum(budget.squares for budget in inside) / dof if dof >= 3 else None
    if variance is None and surface is not None and surface.point.dof >= 3:
        dof = float(surface.point.dof)
        variance = float(surface.residuals @ surface.residuals) / dof
    unit = np.array([np.log(columns.compute[list(b.runs)]).mean() for b in inside])
    log_size = np.array([budget.log_size for budget in inside])
    stderr = None
    if variance is not None and variance > 0:
        stderr = np.sqrt(variance) * np.array([b.stderr for b in inside], dtype=float)
    log_epochs = columns.log_unit + unit - log_size - np.log(columns.unique)
    return {
        "size": through(columns.size_name, columns.compute_name, unit, log_size, stderr, dof),
        "epochs": through("epochs", columns.compute_name, unit, log_epochs, stderr, dof),
    }


def _headline(approaches: dict[str, dict[str, Trend]], budgets: list[equal_compute.Budget]) -> str:
    bracketed = sum(budget.bracketed for budget in budgets)
    equal, surface = approaches["equal_compute"]["size"], approaches["surface"]["size"]
    if bracketed >= ENOUGH_BUDGETS and equal.status == "converged":
        return "equal_compute"
    if surface.status == "converged" or not np.isfinite(equal.slope):
        return "surface"
    return "equal_compute" if equal.status == "converged" else "surface"


def _disagreement(approaches: dict[str, dict[str, Trend]], notes: list[str]) -> None:
    """Says when two approaches differ by more than two of their joint standard errors; averages nothing."""
    one, other = approaches["surface"]["size"], approaches["equal_compute"]["size"]
    se = [trend.stderr["alpha"] for trend in (one, other)]
    if se[0] is None or se[1] is None:
        return
    gap = abs(one.slope - other.slope)
    if gap > 2 * float(np.hypot(se[0], se[1])):
        notes.append(
            f"the approaches disagree: size grows as compute^{one.slope:.3f} on the surface and ^{other.slope:.3f} by "
            "equal compute, more than two joint standard errors apart"
        )
