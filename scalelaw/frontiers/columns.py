"""What a frontier needs of its runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.frontiers.chance import chance_loss
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
Basis = Literal["core_hours", "train_flop"]

MACS_PER_FLOP = 6.0
"""Training FLOP = 6 x multiply-adds per image x images, exactly."""
_HAIR = 1e-3
"""Numbers of images that differ by less than this share are equal: lengths are rounded to whole images."""


@dataclass(frozen=True)
class Columns:
    """What a frontier needs of its runs.

    Attributes:
        size, data, loss, flop, compute: one value a run, shape (runs,).
        unique: images in the training set, what epochs refer to; None when unknown, as in a table of tokens.
        size_name, data_name, compute_name: what size, data and compute are.
        log_unit: N D = exp(log_unit) x compute.
        chance: the loss of guessing, None when unknown.
    """

    size: Array
    data: Array
    loss: Array
    flop: Array
    compute: Array
    unique: float | None
    size_name: str
    data_name: str
    compute_name: str
    log_unit: float
    chance: float | None = None


def best_of(runs: RunTable) -> RunTable:
    """The finished runs, the best over learning rates where there are several; FLOP derived where that is exact."""
    if runs.points == "envelope":
        raise UserError("frontier: needs runs off the envelope too; pass all runs or .best_over('peak_lr')")
    done = runs.finished()
    best = done.best_over("peak_lr") if done.points == "all" and done.has("peak_lr") else done
    if len(best) < 3:
        raise UserError(f"frontier: {len(best)} finished runs in {runs.source}; it needs at least three")
    if (
        not (best.has("core_hours") or best.has("train_flop"))
        and best.has("macs_per_image")
        and best.has("images_seen")
    ):
        flop = MACS_PER_FLOP * best.macs_per_image.astype(float) * best.images_seen.astype(float)
        best = replace(best, frame=best.frame.assign(train_flop=flop))
    return best


def one_training_set(best: RunTable, notes: list[str]) -> RunTable:
    """The runs on the largest training set, and those on smaller ones that repeat no image.

    A first pass is a first pass whatever set it is over, so these follow one surface; repeats of smaller sets do not.
    Runs of unknown training-set size stay.
    """
    if not (best.has("unique_images") and best.has("images_seen")):
        return best
    unique, images = (best.column(name).astype(float) for name in ("unique_images", "images_seen"))
    largest = float(np.nanmax(unique))
    repeats = (unique < largest) & (images > unique * (1 + _HAIR))
    sets = len(np.unique(unique[np.isfinite(unique)]))
    if sets > 1:
        notes.append(
            f"{sets} sizes of training set: epochs refer to the largest, {largest:.0f} images"
            + (f"; {int(repeats.sum())} runs that repeat images of smaller ones are left out" if repeats.any() else "")
        )
    kept = best.where(~repeats)
    if len(kept) < 3:
        raise UserError(
            f"frontier: {len(kept)} runs in {best.source} are over the largest training set or repeat no image; it "
            "needs at least three: add runs"
        )
    return kept


def _compute_name(best: RunTable, basis: Basis | None, mixed: bool, notes: list[str]) -> Basis:
    """The compute column: what was asked for, else core-hours where known; never two bases unless said."""
    if basis == "train_flop":
        return "train_flop"
    if not best.has("core_hours"):
        if basis == "core_hours":
            raise UserError(f"{best.source}: has no core_hours; take --basis train_flop, or name them with --column")
        notes.append("without core_hours: compute is train_flop")
        return "train_flop"
    counts = best.frame["core_hours_basis"].value_counts().to_dict() if best.has("core_hours_basis") else {}
    if len(counts) > 1 and not mixed:
        said = " and ".join(f"{word} in {count}" for word, count in counts.items())
        raise UserError(
            f"{best.source}: core_hours are {said} runs, and a fit takes one basis; take --basis train_flop, or "
            "--mixed-basis (mixed=True) to take them together"
        )
    return "core_hours"


def columns_of(best: RunTable, basis: Basis | None, notes: list[str], *, mixed: bool = False) -> Columns:
    """The arrays, and the compute unit.

    FLOP are 6 x multiply-adds x images where they are not recorded. For sizes in parameters they must be: 6 N D is a
    choice, not a default. Without data FLOP over size serve, which are proportional to them if C = k N D for any k.
    """
    size, size_name = best.variable("N")
    loss, _ = best.variable("L")
    has_data, has_flop = best.has("images_seen"), best.has("train_flop")
    if not has_flop and size_name != "macs_per_image":
        raise UserError(
            f"{best.source}: has no train_flop; a frontier needs it where sizes are {size_name}: name it with "
            "--column C='...', or add a column C (for transformers, 6 x parameters x tokens)"
        )
    if has_flop:
        flop = best.train_flop.astype(float)
        data = best.images_seen.astype(float) if has_data else flop / size
        if has_data and size_name == "macs_per_image":
            flop = np.where(np.isnan(flop), MACS_PER_FLOP * size * data, flop)
    else:
        data, _ = best.variable("D")
        flop = MACS_PER_FLOP * size * data
    data_name = "data" if has_data else f"train_flop / {size_name}"
    if not has_data:
        notes.append(
            f"the table says no data: {data_name} serves, which is k times the data where C = k N D; name data with "
            "--column D='...'"
        )
    compute_name = _compute_name(best, basis, mixed, notes)
    compute = flop if compute_name == "train_flop" else best.column(compute_name).astype(float)
    needed = {size_name: size, "train_flop": flop, "images_seen": data, "val_loss": loss, compute_name: compute}
    for name, values in needed.items():
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if len(bad):
            rows = ", ".join(str(row + 1) for row in bad[:5])
            raise UserError(f"{best.source}: {name} must be positive and finite, see row {rows} of the best runs")
    ratio = np.log(size) + np.log(data) - np.log(compute)
    if np.ptp(ratio) > 0.02:
        notes.append(
            f"{compute_name} is not proportional to {size_name} x {data_name}: the ratio varies by a factor of "
            f"{np.exp(np.ptp(ratio)):.3g} between runs, and its geometric mean is used"
        )
    varied = ["batch_size", "dataset", "family"]
    if compute_name == "core_hours":
        varied.append("core_hours_basis")
    for name in varied:
        if best.has(name) and best.frame[name].nunique() > 1:
            notes.append(f"runs of {best.frame[name].nunique()} different values of {name} are taken together")
    unique = _unique(best, data) if has_data else None
    return Columns(
        size, data, loss, flop, compute, unique, size_name, data_name, compute_name, float(ratio.mean()),
        chance_loss(best),
    )  # fmt: skip


def _unique(best: RunTable, data: Array) -> float | None:
    """Images in the training set; the largest number where there are several, None where it is unknown."""
    if best.has("unique_images"):
        return float(best.frame["unique_images"].max())
    if best.has("epochs") and (best.epochs.astype(float) > 0).any():
        epochs = best.epochs.astype(float)
        return float(np.exp(np.mean(np.log((data / epochs)[epochs > 0]))))
    return None


def params_at(columns: Columns, best: RunTable, size: Array) -> Array:
    """Parameters at sizes, interpolated in logs over the table's variants."""
    if columns.size_name == "params":
        return size
    if not best.has("params"):
        return np.full(len(size), np.nan)
    order = np.argsort(columns.size)
    params = best.params.astype(float)[order]
    return np.asarray(np.exp(np.interp(np.log(size), np.log(columns.size[order]), np.log(params))))
