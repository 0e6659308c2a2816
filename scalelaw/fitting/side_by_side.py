"""Standard errors under each resampling unit, side by side: how much the answer depends on what runs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw import newton
from scalelaw.errors import UserError
from scalelaw.fitting.report import number
from scalelaw.fitting.units import DRAWN, budgets, labels_of, sizes
from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit

Array = NDArray[np.float64]


def leave_one_out(fit: Fit, unit: str | ArrayLike = "size") -> dict[str, Array]:
    """Refits that leave out one unit each; name -> (units,) estimates, NaN where none is certified.

    Args:
        fit: a fit.
        unit: "run", "size", "compute", a letter of the data, or one label a run.
    """
    if isinstance(unit, str) and unit in ("wild", "wild-size", "residual"):
        raise UserError(f"leave one out: {unit} has no units to leave out; choose run, size or compute")
    _, labels = labels_of(fit.law, fit.data, unit)
    point = fit.point
    units = np.unique(labels[point.weights > 0])
    weights = np.where(labels == units[:, None], 0.0, point.weights)
    rows = len(weights)
    begin, side = np.repeat(fit.start[None], rows, axis=0), np.repeat(fit.allowed[None], rows, axis=0)
    found = newton.solve(point.problem, begin, weights, alive=side)
    return fit.named(np.where(found.certified[:, None], found.theta, np.nan), found.alive)


def jackknife(fit: Fit, unit: str | ArrayLike = "size") -> dict[str, float | None]:
    """Name -> delete-one-unit standard error, sqrt((G - 1) / G sum (estimate - mean)^2) (Efron and Stein 1981).

    None where an estimate is unknown with some unit left out.
    """
    found = leave_one_out(fit, unit)
    return {
        name: float(np.sqrt((len(values) - 1) * values.var())) if np.isfinite(values).all() else None
        for name, values in found.items()
    }


@dataclass(frozen=True)
class Spreads:
    """Standard errors under several resampling units.

    Attributes:
        rows: what the errors rest on -> parameter -> standard error, None where unknown.
        replicates: of each bootstrap.
        chosen: the fit's own unit.
    """

    rows: dict[str, dict[str, float | None]]
    replicates: int
    chosen: str

    def to_dict(self) -> dict[str, Any]:
        """The fields, as plain numbers."""
        return {"rows": self.rows, "replicates": self.replicates, "chosen": self.chosen}

    def __str__(self) -> str:
        names = list(next(iter(self.rows.values())))
        cells = [["standard error", *names]]
        cells += [[word, *(number(row[name]) for name in names)] for word, row in self.rows.items()]
        lines = [*columns(cells, left=(0,))]
        lines.append(f"{self.replicates} replicates each; the fit itself goes by {self.chosen}")
        return "\n".join(lines)


def spreads(fit: Fit, n: int, seed: int) -> Spreads:
    """The fit's own standard errors, those of every unit's bootstrap, and of leaving sizes out one by one."""
    rows: dict[str, dict[str, float | None]] = {f"this fit ({fit.basis}, by {fit.unit.word})": fit.stderr}
    shared = sizes(fit.data) is not None
    for unit in DRAWN:
        if unit in ("size", "wild-size") and not shared:
            continue
        if unit == "compute" and not _has_budgets(fit):
            continue
        rows[f"bootstrap: {unit}"] = fit.bootstrap(n, unit, seed).stderr
    if shared:
        rows["leave one size out"] = jackknife(fit)
    return Spreads(rows, n, fit.unit.word)


def _has_budgets(fit: Fit) -> bool:
    """Whether compute is known and makes at least two bins that are not single runs."""
    try:
        count = int(budgets(fit.law, fit.data).max()) + 1
    except UserError:
        return False
    return 1 < count < fit.n
