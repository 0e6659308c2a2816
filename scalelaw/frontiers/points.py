"""The points behind a frontier, and sizes translated into parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.frontiers.columns import Columns, params_at
from scalelaw.frontiers.envelope import envelope_rows
from scalelaw.frontiers.equal_compute import Budget
from scalelaw.frontiers.minima import log_size_interval
from scalelaw.frontiers.trend import Trend
from scalelaw.runs import RunTable


def params_trend(columns: Columns, best: RunTable, size: Trend) -> Trend | None:
    """The size trend in parameters: ln params against ln size interpolated over the table's variants.

    The slope is that of the line through the trend at the smallest and largest compute of the table.
    """
    if columns.size_name == "params" or not best.has("params") or not np.isfinite(size.slope):
        return None
    known = pd.DataFrame({"size": columns.size, "params": best.params.astype(float)}).dropna().drop_duplicates("size")
    known = known.sort_values("size")
    if len(known) < 2:
        return None
    x, y = np.log(known["size"].to_numpy()), np.log(known["params"].to_numpy())
    ends = np.log([columns.compute.min(), columns.compute.max()])
    at = np.clip(size.log_amplitude + size.slope * ends, x[0], x[-1])
    if at[0] == at[1]:
        return None
    values = np.interp(at, x, y)
    ratio = float((values[1] - values[0]) / (at[1] - at[0]))
    # ln params = values[0] + ratio (ln size - at[0])
    shift = float(values[0] - ratio * at[0])
    V = None if size.covariance is None else size.covariance * ratio**2
    amplitude = shift + ratio * size.log_amplitude
    note = f"d ln params / d ln {columns.size_name} = {ratio:.3f} over the table's variants"
    return Trend(
        "params",
        columns.compute_name,
        amplitude,
        ratio * size.slope,
        V,
        size.dof,
        size.status,
        note,
        reached=size.reached,
    )


def budget_points(
    columns: Columns,
    best: RunTable,
    approach: str,
    budgets: Sequence[Budget],
    noise: tuple[float | None, float] = (None, 0.0),
) -> pd.DataFrame:
    """One row a budget: its minimum by one approach, and where the noise is known its 95 % interval.

    Along a line of equal compute the largest size goes with the fewest images, so one interval gives the others.
    """
    compute = np.array([np.exp(np.log(columns.compute[list(b.runs)]).mean()) for b in budgets])
    size = np.exp(np.array([b.log_size for b in budgets]))
    data = np.exp(columns.log_unit) * compute / size if len(budgets) else compute
    flop = np.exp(np.array([b.log_compute for b in budgets]))
    loss = np.array([b.loss for b in budgets])
    bracketed = np.array([b.bracketed for b in budgets], dtype=bool)
    points = _points(columns, best, approach, (compute, flop, size, data, loss, bracketed))
    intervals = [log_size_interval(budget, noise) or (np.nan, np.nan) for budget in budgets]
    low, high = np.exp(np.array(intervals, dtype=float).reshape(-1, 2).T)
    for name in dict.fromkeys((columns.size_name, "data", "epochs")):
        ends = (low / size, high / size) if name == columns.size_name else (size / high, size / low)
        points[f"{name}_low"], points[f"{name}_high"] = (points[name] * end for end in ends)
    return points


def envelope_points(columns: Columns, best: RunTable) -> pd.DataFrame:
    """One row a run of the envelope."""
    rows = envelope_rows(columns)
    values = (columns.compute, columns.flop, columns.size, columns.data, columns.loss)
    return _points(columns, best, "envelope", (*(column[rows] for column in values), np.zeros(len(rows), bool)))


def _points(columns: Columns, best: RunTable, approach: str, values: tuple[NDArray[Any], ...]) -> pd.DataFrame:
    compute, flop, size, data, loss, bracketed = values
    return pd.DataFrame(
        {
            "approach": approach,
            "core_hours": compute if columns.compute_name == "core_hours" else np.nan,
            "train_flop": flop,
            columns.size_name: size,
            "params": params_at(columns, best, size),
            "epochs": np.nan if columns.unique is None else data / columns.unique,
            "data": data,
            "images": data,
            "val_loss": loss,
            "bracketed": bracketed,
        }
    )
