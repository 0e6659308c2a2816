"""How long runs will take on this machine: from measured speed where a shape has run, else from an assumption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scalelaw.launch.orders import SECONDS_PER_SHAPE
from scalelaw.runs import RunTable
from scalelaw.sweep import PlannedRun

ASSUMED_FLOP_PER_SECOND = 55e9
"""Of one worker on one CPU core with a small model: about what LOG.md measures; a measurement replaces it."""

ASSUMED_SECONDS_PER_IMAGE = 22e-6
SECONDS_PER_RUN = 0.2  # initial weights, evaluations, files


Shape = tuple[str, int]
"""Variant and batch size: what a speed belongs to."""


@dataclass(frozen=True)
class Expected:
    """Seconds of training for each run, and whether a measurement stands behind all of them."""

    seconds: dict[str, float]
    measured: bool

    def minutes(self, planned: Sequence[PlannedRun], workers: int) -> float:
        """Wall-clock minutes of the runs on so many workers."""
        workers = max(1, min(workers, len(planned)))
        compiled = max(len({run.shape for run in planned}), workers)  # each worker at least one
        return wall_seconds([self.seconds[run.run_id] for run in planned], compiled, workers) / 60


def wall_seconds(seconds: Sequence[float], compiled: int, workers: int) -> float:
    """Wall-clock seconds of runs on so many workers.

    Args:
        seconds: of training, for each run.
        compiled: how often a shape is compiled, over all workers.
        workers: at least 1.
    """
    work = sum(seconds) + SECONDS_PER_RUN * len(seconds) + SECONDS_PER_SHAPE * compiled
    return max(work / workers, max(seconds, default=0.0))


def measured_speeds(rows: RunTable | None) -> dict[Shape, float]:
    """Images a second of training by shape: the median of the finished runs."""
    found: dict[Shape, float] = {}
    if rows is not None and len(rows) and rows.has("train_seconds"):
        done = rows.finished().frame
        timed = done[done["train_seconds"] > 0].dropna(subset=["variant", "batch_size", "images_seen"])
        timed = timed.astype({"batch_size": int})  # a row without one makes the column float
        for (variant, batch), alike in timed.groupby(["variant", "batch_size"]):
            found[str(variant), int(str(batch))] = float(np.median(alike["images_seen"] / alike["train_seconds"]))
    return found


def assumed_seconds(train_flop: float, images: int) -> float:
    """Seconds of training of a shape that was never timed."""
    return train_flop / ASSUMED_FLOP_PER_SECOND + images * ASSUMED_SECONDS_PER_IMAGE


def expected(planned: Sequence[PlannedRun], rows: RunTable | None = None) -> Expected:
    """Expected seconds of each run, from the speeds in `rows` where the same variant and batch size ran."""
    speeds = measured_speeds(rows)
    seconds, measured = {}, True
    for run in planned:
        train = run.config.train
        known = speeds.get((run.config.model.variant, train.batch_size))
        if known is not None:
            seconds[run.run_id] = train.images / known
        else:
            measured = False
            seconds[run.run_id] = assumed_seconds(run.cost.train_flop, train.images)
    return Expected(seconds, measured)
