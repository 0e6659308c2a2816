"""The best learning rate of every cell (a variant trained for one length), and its trend in size and epochs.

Losses near the best rate are smooth in ln(rate), so the optimum is the vertex of a parabola in ln(rate) through the
rates within a factor of about two of the best tested one; or of a lopsided curve through those within four, where that
is surely better on cells left out. Three rates determine either curve exactly; the noise comes from repeated seeds, or
else from cells with more rates than three. Where the best tested rate is the largest or smallest one, the optimum is
not inside the grid: the cell holds a bound, is marked so, and enters the trend as one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.fitting import Band
from scalelaw.learning_rate.basin import Basin, Optimum, basin_of, optimum, unusable
from scalelaw.learning_rate.candidates import TrendChoice, choose_trend
from scalelaw.learning_rate.censored import Observed
from scalelaw.learning_rate.shape import SKEWS, Curve, Shape, choose_shape, pooled_noise
from scalelaw.learning_rate.trend import PER, RateTrend, Terms, fit_trend, observed, terms_of
from scalelaw.runs import RunTable
from scalelaw.text import counted

CELL = ("variant", "macs_per_image", "params", "epochs", "images_seen", "batch_size")
KEYS = ("dataset", "family", "unique_images", *CELL, "parent")
"""Columns by which cells are known, where the table has them; runs that differ in other settings are other cells."""
CURVES = ("auto", *get_args(Curve))


@dataclass(frozen=True)
class LearningRates:
    """Optimal learning rates.

    Attributes:
        cells: one row a cell: dataset, family, unique_images, variant, macs_per_image, params, epochs, images_seen,
            batch_size, parent, cell (its number, as `runs.scheduled_cells()` counts), best_lr (the curve's lowest
            point, or the best tested rate), low, high (interval; one end is None for a bound), bound, kind (curve,
            grid, edge: what tells where the optimum is), best_lr_per_256 (best_lr / batch_size x 256), rates
            (different ones tested), runs, best_loss (mean loss of the best tested rate).
        shape: the curve, and how it was chosen.
        inside_share: share of cells whose optimum is inside their grid.
        noise: standard deviation of ln loss between runs that differ by seed alone, None when unknown.
        noise_basis: seeds, curves or unknown.
        trend: in ln size and ln epochs.
        trend_per_256: the same of best_lr_per_256; None where a batch size is unknown.
        notes: what was left out.
    """

    cells: pd.DataFrame = field(repr=False)
    inside_share: float
    noise: float | None
    noise_basis: str
    trend: RateTrend
    notes: tuple[str, ...]
    shape: Shape
    trend_per_256: RateTrend | None
    _terms: Terms = field(repr=False)
    _optima: Observed = field(repr=False)
    _firsts: RunTable = field(repr=False)

    @property
    def edge_cells(self) -> pd.DataFrame:
        """The cells whose best tested rate is their grid's highest or lowest: their loss is an upper bound."""
        return self.cells[self.cells["bound"] != "inside"]

    def at_edge(self, runs: RunTable) -> NDArray[np.bool_]:
        """Which runs belong to a cell at its grid's edge, (runs,): `fits_with_edges` takes them as upper bounds."""
        edges = self._firsts.frame[(self.cells["bound"] != "inside").to_numpy()]
        shared = [name for name in edges if name in runs.frame]
        both = pd.concat([edges[shared], runs.frame[shared]], ignore_index=True)
        numbers = replace(runs, frame=both).scheduled_cells().to_numpy()
        return np.isin(numbers[len(edges) :], numbers[: len(edges)])

    def without_edges(self, runs: RunTable) -> RunTable:
        """The runs of other cells than those at an edge; `notes` says how many were left out."""
        edge = self.at_edge(runs)
        if not edge.any():
            return runs
        note = f"left out: {int(edge.sum())} of {len(runs)} runs, whose cell's best rate is at the edge of its grid"
        return runs.where(~edge, note)

    def candidates(self, monotone: bool = False) -> TrendChoice:
        """Constant, power law, and constant then falling, compared on left-out cells and on the largest."""
        return choose_trend(self._terms, self._optima, monotone)

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
            "shape": {"curve": self.shape.curve, "skew": self.shape.skew, "gain": self.shape.gain},
            "trend": _plain(self.trend),
            "trend_per_256": None if self.trend_per_256 is None else _plain(self.trend_per_256),
            "notes": list(self.notes),
        }


def _plain(trend: RateTrend) -> dict[str, Any]:
    return {
        "params": trend.params,
        "stderr": trend.stderr,
        "interval": {name: list(ends) for name, ends in trend.interval.items()},
        "scatter": trend.scatter,
        "status": trend.status,
        "note": trend.note,
        "monotone": trend.monotone,
    }


def optimal_learning_rates(
    runs: RunTable,
    level: float = 0.95,
    *,
    curve: Curve | Literal["auto"] = "auto",
    monotone: bool = False,
) -> LearningRates:
    """The optimum of every cell with at least two rates, and the trend.

    Diverged runs count as what they are: a rate that is too high.

    Args:
        runs: any runs; diverged ones among them.
        level: of the intervals.
        curve: parabola; lopsided; auto, which is the lopsided one where it is surely better on cells left out; or grid,
            which takes the best tested rate, known to half a step.
        monotone: holds the trend to rates that never rise with size or epochs.

    Raises:
        UserError: when rates or losses are missing, or no cell has two rates, or for another curve.
    """
    if curve not in CURVES:
        raise UserError(f"curve: {curve!r} is not one of {', '.join(CURVES)}{nearest(str(curve), list(CURVES))}")
    for name in ("peak_lr", "val_loss"):
        if not runs.has(name):
            raise UserError(f"{runs.source}: has no {name}; learning rates need it in every run")
    kept = replace(runs, frame=runs.frame.assign(_cell=runs.scheduled_cells())).of_one_start()
    notes = list(kept.notes[len(runs.notes) :])
    groups = [(cell, basin_of(cell)) for cell in _grouped(kept)]
    if lost := sum(int(unusable(cell).sum()) for cell, _ in groups):
        notes.append(f"left out: {counted(lost, 'run')} without a positive, finite loss and learning rate")
    usable = [(cell, basin) for cell, basin in groups if len(basin.x) + (basin.diverged is not None) >= 2]
    if len(usable) < len(groups):
        notes.append(f"{len(groups) - len(usable)} of {len(groups)} cells have a single learning rate and no optimum")
    usable = [(cell, basin) for cell, basin in usable if len(basin.x)]
    if not usable:
        raise UserError(f"{runs.source}: no cell has two learning rates; add rates to [train] peak_lr")
    basins = [basin for _, basin in usable]
    shape = choose_shape(basins, curve)
    noise, dof, basis = pooled_noise([cell for cell, _ in usable], basins, shape)
    optima = [optimum(basin, noise, dof, level, shape.basis) for basin in basins]
    cells = pd.DataFrame([_row(cell, basin, found) for (cell, basin), found in zip(usable, optima, strict=True)])
    firsts = kept.frame.loc[[_first(cell) for cell, _ in usable]]
    inside = np.array([found.bound == "inside" for found in optima])
    if shape.curve == "lopsided" and abs(shape.skew) >= SKEWS[-1]:
        notes.append(f"the basins' skew is at the end of what is tried, {shape.skew:g}: optima carry the form's error")
    if noise is None:
        notes.append("no repeated seeds and no cell with more than three rates: intervals of the optima are unknown")
    terms, data = terms_of(cells), observed(optima, noise)
    trend = fit_trend(terms, data, monotone)
    return LearningRates(
        cells=cells,
        inside_share=float(inside.mean()),
        noise=noise,
        noise_basis=basis,
        trend=trend,
        notes=tuple(notes),
        shape=shape,
        trend_per_256=_per_256(cells, terms, data, trend),
        _terms=terms,
        _optima=data,
        _firsts=replace(runs, frame=firsts),
    )


def _per_256(cells: pd.DataFrame, terms: Terms, data: Observed, trend: RateTrend) -> RateTrend | None:
    """The trend of rate / batch x 256: a shift where all batches are equal, else a regression of its own."""
    batch = cells["batch_size"].astype(float).to_numpy()
    if not np.isfinite(batch).all():
        return None
    if (batch == batch[0]).all():
        return trend.scaled(PER / batch[0])
    shift = np.log(PER / batch)
    moved = Observed(data.y + shift, data.own, data.low + shift, data.high + shift, data.exact)
    return fit_trend(terms, moved, trend.monotone)


def _grouped(runs: RunTable) -> list[pd.DataFrame]:
    """The finished and diverged runs of each cell, which `_cell` numbers, by rising `KEYS`.

    Raises:
        UserError: without any of these columns, or without a finished run.
    """
    frame = runs.frame
    if "status" in frame and frame["status"].notna().any():
        frame = frame[frame["status"].isin(["finished", "diverged"])]
        if frame.empty:
            raise UserError(f"{runs.source}: has no finished run to read learning rates from")
    keys = [name for name in KEYS if name in frame and frame[name].notna().any()]
    if not keys:
        raise UserError(f"{runs.source}: has no column that tells cells apart, such as variant and epochs")
    cells = [cell for _, cell in frame.groupby("_cell", sort=False)]
    firsts = frame.loc[[_first(cell) for cell in cells], keys].reset_index(drop=True)
    return [cells[place] for place in firsts.sort_values(keys, kind="stable").index]


def _first(cell: pd.DataFrame) -> Any:
    """The label of a cell's first run that did not diverge, whose columns are those of the cell; else of any."""
    whole = cell.index[cell["status"] != "diverged"] if "status" in cell else cell.index
    return [*whole, *cell.index][0]


def _row(cell: pd.DataFrame, basin: Basin, found: Optimum) -> dict[str, Any]:
    first = cell.loc[_first(cell)]
    row: dict[str, Any] = {name: first[name] if name in cell else None for name in KEYS}
    row["cell"] = int(first["_cell"])
    row["best_lr"] = float(np.exp(found.best))
    row["low"], row["high"] = _rate(found.low), _rate(found.high)
    row["bound"] = found.bound
    row["kind"] = found.kind
    row["best_lr_per_256"] = None if pd.isna(row["batch_size"]) else row["best_lr"] / float(row["batch_size"]) * PER
    row["rates"] = len(basin.x)
    row["runs"] = len(cell)
    row["best_loss"] = float(np.exp(basin.y.min()))
    return row


def _rate(log_rate: float | None) -> float | None:
    """A rate of its logarithm; None where it is unknown or beyond floating point, which no grid reaches."""
    return None if log_rate is None or not -700 < log_rate < 700 else float(np.exp(log_rate))
