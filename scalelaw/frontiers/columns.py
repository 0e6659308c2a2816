"""What a frontier needs of its runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
Basis = Literal["core_hours", "train_flop"]

MACS_PER_FLOP = 6.0
"""Training FLOP = 6 x multiply-adds per image x images, exactly."""


@dataclass(frozen=True)
class Columns:
    """What a frontier needs of its runs, each of shape (runs,)."""

    size: Array
    data: Array
    loss: Array
    flop: Array
    compute: Array
    unique: float
    size_name: str
    compute_name: str
    log_unit: float  # N D = exp(log_unit) x compute


def best_of(runs: RunTable) -> RunTable:
    if runs.points == "envelope":
        raise UserError("frontier: needs runs off the envelope too; pass all runs or .best_over('peak_lr')")
    done = runs.finished()
    best = done.best_over("peak_lr") if done.points == "all" and done.has("peak_lr") else done
    if len(best) < 3:
        raise UserError(f"frontier: {len(best)} finished runs in {runs.source}; it needs at least three")
    return best


def columns_of(best: RunTable, basis: Basis, notes: list[str]) -> Columns:
    """The arrays, and the compute unit; 6 N D where FLOP are not recorded and size is multiply-adds."""
    size, size_name = best.variable("N")
    data, _ = best.variable("D")
    loss, _ = best.variable("L")
    product = size * data
    if best.has("train_flop"):
        flop = best.train_flop.astype(float)
    elif size_name == "macs_per_image":
        flop = MACS_PER_FLOP * product
    else:
        raise UserError(f"{best.source}: has no train_flop; a frontier needs it where sizes are {size_name}")
    compute_name = basis
    if basis == "core_hours" and not best.has("core_hours"):
        compute_name = "train_flop"
        notes.append("core_hours are unknown: compute is train_flop")
    compute = best.column(compute_name).astype(float) if best.has(compute_name) else flop
    for name, values in {size_name: size, "images_seen": data, "val_loss": loss, compute_name: compute}.items():
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            rows = ", ".join(str(row + 1) for row in bad[:5])
            raise UserError(f"{best.source}: {name} must be positive and finite, see row {rows} of the best runs")
    ratio = np.log(product / compute)
    if np.ptp(ratio) > 0.02:
        notes.append(
            f"{compute_name} is not proportional to {size_name} x images: the ratio varies by a factor of "
            f"{np.exp(np.ptp(ratio)):.3g} between runs, and its geometric mean is used"
        )
    for name in ("batch_size", "dataset", "family"):
        if best.has(name) and best.frame[name].nunique() > 1:
            notes.append(f"runs of {best.frame[name].nunique()} different values of {name} are taken together")
    unique = 1.0
    if best.has("unique_images"):
        counts = best.frame["unique_images"].value_counts()
        unique = float(counts.index[0])
        if len(counts) > 1:
            notes.append(f"{len(counts)} sizes of training set: epochs of a trend refer to {unique:.0f} images")
    elif best.has("epochs"):
        unique = float(np.exp(np.mean(np.log(data / best.epochs.astype(float)))))
    else:
        notes.append("unique_images are unknown: epochs of a trend are images seen")
    return Columns(size, data, loss, flop, compute, unique, size_name, compute_name, float(ratio.mean()))


def params_at(columns: Columns, best: RunTable, size: Array) -> Array:
    """Parameters at sizes, interpolated in logs over the table's variants."""
    if columns.size_name == "params":
        return size
    if not best.has("params"):
        return np.full(len(size), np.nan)
    order = np.argsort(columns.size)
    params = best.params.astype(float)[order]
    return np.asarray(np.exp(np.interp(np.log(size), np.log(columns.size[order]), np.log(params))))
