"""The best learning rate of every cell (a variant trained for one length), and its trend in size and epochs.

Losses near the best rate are smooth in ln(rate), so the optimum is the vertex of a parabola in ln(rate) through the
rates within a factor of about two of the best tested one. Three rates determine a parabola exactly; the noise comes
from repeated seeds, or else from cells with more rates than three. Where the best tested rate is the largest or
smallest one, the optimum is not inside the grid: the cell holds a bound, is marked so, and enters the trend as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scalelaw.errors import UserError
from scalelaw.fitting import Band
from scalelaw.learning_rate.basin import Basin, Optimum, basin_of, optimum, pooled_noise
from scalelaw.learning_rate.trend import RateTrend, fit_trend
from scalelaw.runs import RunTable

CELL = ("variant", "macs_per_image", "params", "epochs", "images_seen", "batch_size")
KEYS = ("dataset", "family", "unique_images", *CELL)
"""Columns that tell cells apart, where the table has them."""


@dataclass(frozen=True)
class LearningRates:
    """Optimal learning rates.

    Attributes:
        cells: one row a cell: variant, macs_per_image, params, epochs, images_seen, batch_size, best_lr (the parabola's
            vertex, or the edge rate), low, high (95 % interval; one end is None for a bound), bound, rates (different
            ones tested), runs, best_loss (mean loss of the best tested rate).
        inside_share: share of cells whose optimum is inside their grid.
        noise: standard deviation of ln loss between runs that differ by seed alone, None when unknown.
        noise_basis: seeds, curves or unknown.
        trend: in ln size and ln epochs.
        notes: what was left out.
    """

    cells: pd.DataFrame = field(repr=False)
    inside_share: float
    noise: float | None
    noise_basis: str
    trend: RateTrend
    notes: tuple[str, ...]

    def predict(self, macs_per_image: ArrayLike, epochs: ArrayLike, level: float = 0.95) -> Band:
        """The trend's rate at a size and a number of epochs."""
        return self.trend.predict(macs_per_image, epochs, level)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "cells": self.cells.astype(object).where(self.cells.notna(), None).to_dict("records"),
            "inside_share": self.inside_share,
            "noise": self.noise,
            "noise_basis": self.noise_basis,
            "trend": {
                "params": self.trend.params,
                "stderr": self.trend.stderr,
                "interval": {name: list(ends) for name, ends in self.trend.interval.items()},
                "scatter": self.trend.scatter,
                "status": self.trend.status,
                "note": self.trend.note,
            },
            "notes": list(self.notes),
        }


def optimal_learning_rates(runs: RunTable, level: float = 0.95) -> LearningRates:
    """The optimum of every cell with at least two rates, and the trend.

    Diverged runs count as what they are: a rate that is too high.

    Raises:
        UserError: when rates or losses are missing, or no cell has two rates.
    """
    for name in ("peak_lr", "val_loss"):
        if not runs.has(name):
            raise UserError(f"{runs.source}: has no {name}; learning rates need it in every run")
    frame = runs.frame
    if "status" in frame and frame["status"].notna().any():
        frame = frame[frame["status"].isin(["finished", "diverged"])]
    keys = [name for name in KEYS if name in frame and frame[name].notna().any()]
    if not keys:
        raise UserError(f"{runs.source}: has no column that tells cells apart, such as variant and epochs")
    groups = [(cell, basin_of(cell)) for _, cell in frame.groupby(keys, dropna=False, sort=True)]
    usable = [(cell, basin) for cell, basin in groups if len(basin.x) + (basin.diverged is not None) >= 2]
    notes = []
    if len(usable) < len(groups):
        notes.append(f"{len(groups) - len(usable)} of {len(groups)} cells have a single learning rate and no optimum")
    usable = [(cell, basin) for cell, basin in usable if len(basin.x)]
    if not usable:
        raise UserError(f"{runs.source}: no cell has two learning rates; add rates to [train] peak_lr")
    noise, dof, basis = pooled_noise([cell for cell, _ in usable], [basin for _, basin in usable])
    optima = [optimum(basin, noise, dof, level) for _, basin in usable]
    cells = pd.DataFrame([_row(cell, basin, found) for (cell, basin), found in zip(usable, optima, strict=True)])
    inside = np.array([found.bound == "inside" for found in optima])
    if noise is None:
        notes.append("no repeated seeds and no cell with more than three rates: intervals of the optima are unknown")
    return LearningRates(cells, float(inside.mean()), noise, basis, fit_trend(cells, optima, noise), tuple(notes))


def _row(cell: pd.DataFrame, basin: Basin, found: Optimum) -> dict[str, Any]:
    row: dict[str, Any] = {name: cell[name].iloc[0] if name in cell else None for name in CELL}
    row["best_lr"] = float(np.exp(found.best))
    row["low"] = None if found.low is None else float(np.exp(found.low))
    row["high"] = None if found.high is None else float(np.exp(found.high))
    row["bound"] = found.bound
    row["rates"] = len(basin.x)
    row["runs"] = len(cell)
    row["best_loss"] = float(np.exp(basin.y.min()))
    return row
