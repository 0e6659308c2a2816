"""The points behind a frontier, and sizes translated into parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scalelaw.frontiers import equal_compute
from scalelaw.frontiers.columns import Columns, params_at
from scalelaw.frontiers.envelope import envelope_rows
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
    return Trend("params", columns.compute_name, amplitude, ratio * size.slope, V, size.dof, size.status, note)


def budget_points(columns: Columns, best: RunTable, budgets: list[equal_compute.Budget]) -> pd.DataFrame:
    """One row a budget: its minimum."""
    compute = np.array([np.exp(np.log(columns.compute[list(b.runs)]).mean()) for b in budgets])
    size = np.exp(np.array([b.log_size for b in budgets]))
    images = np.exp(columns.log_unit) * compute / size if len(budgets) else compute
    return pd.DataFrame(
        {
            "approach": "equal_compute",
            "core_hours": compute if columns.compute_name == "core_hours" else np.nan,
            "train_flop": np.exp(np.array([b.log_compute for b in budgets])),
            columns.size_name: size,
            "params": params_at(columns, best, size),
            "epochs": images / columns.unique,
            "images": images,
            "val_loss": np.array([b.loss for b in budgets]),
            "bracketed": np.array([b.bracketed for b in budgets], dtype=bool),
        }
    )


def envelope_points(columns: Columns, best: RunTable) -> pd.DataFrame:
    """One row a run of the envelope."""
    rows = envelope_rows(best)
    return pd.DataFrame(
        {
            "approach": "envelope",
            "core_hours": columns.compute[rows] if columns.compute_name == "core_hours" else np.nan,
            "train_flop": columns.flop[rows],
            columns.size_name: columns.size[rows],
            "params": params_at(columns, best, columns.size[rows]),
            "epochs": columns.data[rows] / columns.unique,
            "images": columns.data[rows],
            "val_loss": columns.loss[rows],
            "bracketed": False,
        }
    )
