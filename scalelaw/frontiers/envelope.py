"""The envelope: its loss law, and why its exponents of size and data are not to be used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.fitting import Fit, fit
from scalelaw.frontiers.columns import Columns
from scalelaw.frontiers.trend import Trend, nothing, through
from scalelaw.laws import PowerLaw
from scalelaw.runs import RunTable


def envelope_rows(columns: Columns) -> NDArray[np.int64]:
    """Row numbers of the envelope, by rising compute in the unit of the columns, whatever else the table knows."""
    rows = {"train_flop": columns.compute, "val_loss": columns.loss, "_row": np.arange(len(columns.loss))}
    return RunTable(pd.DataFrame(rows)).envelope().frame["_row"].to_numpy(np.int64)


def envelope_trends(columns: Columns) -> dict[str, Trend]:
    """Slopes of size and data along the envelope, set by the grid whenever it ends in one of the grid's corners."""
    rows = envelope_rows(columns)
    logs = np.log(columns.compute[rows])
    result = {}
    for key, name, values in (("size", columns.size_name, columns.size), ("data", columns.data_name, columns.data)):
        line = through(name, columns.compute_name, logs, np.log(values[rows]))
        if np.isfinite(line.slope) and _in_corner(columns, rows):
            note = "the envelope ends in a corner of the grid, which sets this exponent"
            line = replace(line, covariance=None, status="set_by_grid", note=note)
        result[key] = line
    return result


def _in_corner(columns: Columns, rows: NDArray[np.int64]) -> bool:
    """Whether the envelope begins at the smallest size's shortest run or ends at the largest size's longest."""
    first, last = rows[0], rows[-1]
    small, large = columns.size == columns.size.min(), columns.size == columns.size.max()
    starts = bool(small[first]) and columns.data[first] <= columns.data[small].min() * 1.001
    ends = bool(large[last]) and columns.data[last] >= columns.data[large].max() * 0.999
    return starts or ends


def loss_trend(columns: Columns) -> tuple[Fit | None, Trend]:
    """The power law of the envelope's loss."""
    rows = envelope_rows(columns)
    try:
        power = fit(PowerLaw, C=columns.compute[rows], L=columns.loss[rows], points="envelope")
    except UserError as error:
        return None, nothing("val_loss", columns.compute_name, f"no power law: {error}")
    note = "; ".join(power.warnings)
    alpha = power.params["alpha"]
    V = power.covariance
    signed = None if V is None else V * np.array([[1.0, -1.0], [-1.0, 1.0]])
    trend = Trend(
        "val_loss",
        columns.compute_name,
        float(np.log(power.params["A"])),
        -alpha,
        signed,
        float(max(power.point.dof, 1)),
        power.status,
        note,
        falls=True,
        reached=(float(columns.compute[rows].min()), float(columns.compute[rows].max())),
    )
    return power, trend
