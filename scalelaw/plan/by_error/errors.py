"""Errors as a column over pre-training runs: after fine-tuning where runs were fine-tuned, else the runs' own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.frontiers.chance import classes_of
from scalelaw.plan.by_error.choice import UNIT
from scalelaw.runs import RunTable
from scalelaw.transfer import starts_of
from scalelaw.transfer.copies import alike
from scalelaw.transfer.rows import apart


@dataclass(frozen=True)
class Tuning:
    """What fine-tuning cost.

    Attributes:
        starts: pre-training runs that were fine-tuned.
        tried: the most fine-tuning settings tried on one of them.
        core_hours_per_mac: core-hours of one fine-tuning run over its parent's multiply-adds an image, the geometric
            mean over starts: the same number of images costs in proportion; None where unknown.
    """

    starts: int
    tried: int
    core_hours_per_mac: float | None


@dataclass(frozen=True)
class Errors:
    """Pre-training runs with a top-1 error each.

    Attributes:
        losses: finished pre-training runs, by their held-out loss.
        errors: those of them with a known error, which stands in the column val_loss in place of the loss.
        chance: the error of guessing among equally frequent classes; None where their number is unknown.
        tuning: what fine-tuning cost; None where errors are the runs' own.
        notes: one sentence for everything left out.
    """

    losses: RunTable
    errors: RunTable
    chance: float | None
    tuning: Tuning | None
    notes: tuple[str, ...]


def errors_of(runs: RunTable) -> Errors:
    """The error of every pre-training run: at its best fine-tuning where runs were fine-tuned, else its own.

    Raises:
        UserError: when errors are nowhere, are no shares, or the rows of the parents are not there.
    """
    losses, tuned = (part.finished() for part in apart(runs))
    losses = replace(losses, frame=losses.frame.assign(**{UNIT: losses.cells()}))
    if len(tuned):
        return _after_fine_tuning(losses, tuned, runs)
    if not losses.has("top1_error"):
        raise UserError(f"{runs.source}: has no column 'top1_error'; name it with --column top1_error='...'")
    error = losses.top1_error.astype(float)
    known = ~np.isnan(error)
    lost = int((~known).sum())
    notes = (f"{lost} runs of unknown error are left out",) if lost else ()
    return Errors(losses, _with_errors(losses, known, error), _guessing(losses), None, notes)


def _after_fine_tuning(losses: RunTable, tuned: RunTable, runs: RunTable) -> Errors:
    starts = starts_of(alike(runs))
    ids = losses.frame["run_id"].astype(str) if losses.has("run_id") else None
    error = dict(zip(starts.names, starts.error, strict=True))
    found = np.full(len(losses), np.nan) if ids is None else ids.map(error).to_numpy(float)
    known = ~np.isnan(found)
    if not known.any():
        raise UserError(f"{runs.source}: holds fine-tuned runs without the rows of their parents, which say what a "
                        "size and a length reached; name their results with --pretraining PATH")  # fmt: skip
    notes = list(starts.notes)
    if lost := len(starts) - int(known.sum()):
        notes.append(f"{lost} starts without a row of their own are left out")
    macs = dict(zip(ids[known], losses.macs_per_image[known].astype(float), strict=True)) if ids is not None else {}
    cost = starts.total_core_hours - starts.core_hours
    rates = np.array([hours / macs.get(name, np.nan) for name, hours in zip(starts.names, cost, strict=True)])
    rates = rates[np.isfinite(rates) & (rates > 0)]
    per_mac = float(np.exp(np.mean(np.log(rates)))) if len(rates) else None
    tuning = Tuning(int(known.sum()), int(starts.tunings.max()), per_mac)
    return Errors(losses, _with_errors(losses, known, found), _guessing(tuned), tuning, tuple(notes))


def _with_errors(losses: RunTable, known: NDArray[np.bool_], error: NDArray[np.float64]) -> RunTable:
    """The runs of known error, with it in place of the loss.

    Raises:
        UserError: for an error that is no share above 0: the logarithm of the law has no place for it.
    """
    bad = known & ~((error > 0) & (error <= 1))
    if bad.any():
        first = float(error[bad][0])
        mend = "give errors as shares, not per cent" if first > 1 else "its held-out set is too small to see any"
        raise UserError(f"{losses.source}: {int(bad.sum())} runs have a top1_error such as {first:g}, and a law of "
                        f"errors takes shares above 0 and up to 1; {mend}")  # fmt: skip
    frame = losses.frame.assign(val_loss=error)[known].reset_index(drop=True)
    return replace(losses, frame=frame)


def _guessing(runs: RunTable) -> float | None:
    classes = classes_of(runs)
    return None if classes is None else 1 - 1 / classes
