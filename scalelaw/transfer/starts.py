"""What there is to choose from: pre-training runs that were fine-tuned, each with its best error after transfer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
FACTS = {"core_hours": "parent_core_hours", "loss": "parent_val_loss", "epochs": "parent_epochs",
         "peak_lr": "parent_peak_lr"}  # fmt: skip
"""A fact of a start, and the column of a fine-tuned row that carries it."""
_OWN = {"core_hours": "core_hours", "loss": "val_loss", "epochs": "epochs", "peak_lr": "peak_lr"}


@dataclass(frozen=True)
class Starts:
    """Pre-training runs in the order of their compute; arrays of shape (starts,), NaN for what is unknown.

    Attributes:
        names: run ids.
        variants: of the network.
        core_hours: of pre-training alone, with all that it began at.
        loss: held-out loss at the end of pre-training, nats.
        error: top-1 error after fine-tuning, a share: the mean over seeds at the best fine-tuning settings.
        size: multiply-adds of one image in fine-tuning, or parameters.
        epochs, peak_lr: of pre-training.
        total_core_hours: of pre-training and the best fine-tuning together.
        tunings: fine-tuning settings tried on each start.
        notes: one sentence for everything left out.
    """

    names: tuple[str, ...]
    variants: tuple[str, ...]
    core_hours: Array
    loss: Array
    error: Array
    size: Array
    epochs: Array
    peak_lr: Array
    total_core_hours: Array
    tunings: NDArray[np.int64]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def starts_of(runs: RunTable) -> Starts:
    """The starts of all finished fine-tuning runs.

    A start's facts come from its own row where the table has it, else from the fine-tuned rows that carry them.

    Raises:
        UserError: when no run was fine-tuned, errors are no shares, or the losses of their parents are nowhere.
    """
    finished = runs.finished(fine_tuned=True)
    frame = finished.frame
    if not finished.has("parent"):
        raise UserError(f"{runs.source}: no run names a parent; fine-tuned runs do: scalelaw finetune SPEC.toml")
    if not finished.has("top1_error"):
        raise UserError(f"{runs.source}: has no column 'top1_error'; name it with --column top1_error='...'")
    tuned = frame[frame["parent"].notna()]
    known = tuned[tuned["top1_error"].notna()]
    shares = known["top1_error"].to_numpy(float)
    if (bad := ~((shares >= 0) & (shares <= 1))).any():
        raise UserError(f"{runs.source}: {int(bad.sum())} fine-tuned runs have a top1_error such as "
                        f"{shares[bad][0]:g}; give errors as shares, not per cent")  # fmt: skip
    notes = list(finished.notes)
    if len(known) < len(tuned):
        notes.append(f"left out: {len(tuned) - len(known)} fine-tuned runs of unknown error")
    best = _best(known)
    own = _own(frame) if "run_id" in frame else pd.DataFrame()
    facts = {name: _facts(best, own, _OWN[name], column) for name, column in FACTS.items()}
    lacking = ~(np.isfinite(facts["loss"]) & np.isfinite(facts["core_hours"]) & (facts["core_hours"] > 0))
    if lacking.all():
        raise UserError(f"{runs.source}: neither rows of the parents nor the columns parent_val_loss and "
                        "parent_core_hours say what they cost and reached; add their rows")  # fmt: skip
    if lacking.any():
        notes.append(f"left out: {int(lacking.sum())} starts of unknown loss or cost")
    order = np.argsort(facts["core_hours"], kind="stable")
    order = order[~lacking[order]]
    size = next((name for name in ("macs_per_image", "params") if finished.has(name)), None)
    sizes = np.full(len(best), np.nan) if size is None else best[size].to_numpy(float)
    variants = best["variant"].fillna("?").astype(str) if "variant" in best else pd.Series(["?"] * len(best))
    return Starts(
        names=tuple(best["parent"].iloc[order].astype(str)),
        variants=tuple(variants.iloc[order]),
        error=best["top1_error"].to_numpy(float)[order],
        size=sizes[order],
        total_core_hours=facts["core_hours"][order] + _column(best, "core_hours")[order],
        tunings=best["tunings"].to_numpy(np.int64)[order],
        notes=tuple(notes),
        **{name: values[order] for name, values in facts.items()},
    )


def _best(tuned: pd.DataFrame) -> pd.DataFrame:
    """One row a start: the mean error over seeds at the best fine-tuning settings, and how many were tried."""
    runs = RunTable.from_frame(tuned)
    frame = runs.frame.assign(_cell=runs.cells())
    settings = ["parent", "_cell", *(["peak_lr"] if "peak_lr" in frame else [])]
    means = frame.groupby(settings, dropna=False, sort=False)["top1_error"].transform("mean")
    frame = frame.assign(top1_error=means).drop_duplicates(settings)
    frame["tunings"] = frame.groupby("parent")["parent"].transform("size")
    return frame.sort_values(["top1_error", *settings], kind="stable").drop_duplicates("parent").reset_index(drop=True)


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    """Every run's own row by its id; what a run that began at another cost is with that one's, as runs carry it."""
    own = frame.drop_duplicates("run_id").set_index("run_id")
    if {"core_hours", "total_core_hours"} <= set(own):
        own["core_hours"] = own["core_hours"].where(own["parent"].isna(), own["total_core_hours"])
    return own


def _facts(best: pd.DataFrame, own: pd.DataFrame, column: str, carried: str) -> Array:
    found = _column(best, carried)
    if column not in own:
        return found
    theirs = best["parent"].map(own[column]).to_numpy(float)
    return np.where(np.isnan(theirs), found, theirs)


def _column(frame: pd.DataFrame, name: str) -> Array:
    return frame[name].to_numpy(float) if name in frame else np.full(len(frame), np.nan)
