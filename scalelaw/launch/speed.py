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


@dataclass(frozen=True)
class Expected:
    """Seconds of training for each run, and whether a measurement stands behind all of them."""

    seconds: dict[str, float]
    measured: bool

    def minutes(self, planned: Sequence[PlannedRun], workers: int) -> float:
        """Wall-clock minutes of the runs on so many workers."""
        workers = max(1, min(workers, len(planned)))
        compiled = max(len({run.shape for run in planned}), workers)  # each worker at least one
        training = sum(self.seconds[run.run_id] for run in planned)
        return (training + SECONDS_PER_RUN * len(planned) + SECONDS_PER_SHAPE * compiled) / workers / 60


def expected(planned: Sequence[PlannedRun], rows: RunTable | None = None) -> Expected:
    """Expected seconds of each run, from the speeds in `rows` where the same variant and batch size ran."""
    speeds: dict[tuple[str, int], float] = {}
    if rows is not None and len(rows) and rows.has("train_seconds"):
        done = rows.finished().frame
        for (variant, batch), alike in done.groupby(["variant", "batch_size"]):
            speeds[str(variant), int(str(batch))] = float(np.median(alike["images_seen"] / alike["train_seconds"]))
    seconds, measured = {}, True
    for run in planned:
        train = run.config.train
        known = speeds.get((run.config.model.variant, train.batch_size))
        if known is not None:
            seconds[run.run_id] = train.images / known
        else:
            measured = False
            seconds[run.run_id] = (
                run.cost.train_flop / ASSUMED_FLOP_PER_SECOND + train.images * ASSUMED_SECONDS_PER_IMAGE
            )
    return Expected(seconds, measured)
