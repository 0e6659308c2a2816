"""How long runs will take on this machine: from measured speed where a shape has run, else from an assumption.

What this machine's own workers have trained is noted in a file of the user's cache, by the machine's name, so that one
sweep's speeds serve the next. A row does not say which machine trained it; a worker's own report does.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.launch.orders import SECONDS_PER_SHAPE
from scalelaw.runs import RunTable, files
from scalelaw.sweep import PlannedRun

ASSUMED_FLOP_PER_SECOND = 55e9
"""Of one worker on one CPU core with a small model: about what LOG.md measures; a measurement replaces it."""

ASSUMED_SECONDS_PER_IMAGE = 22e-6
SECONDS_PER_RUN = 0.2  # initial weights, evaluations, files
LEAST_SECONDS = 1.0  # of training, for a speed to be worth a note

Basis = Literal["this sweep", "this machine", "assumed"]


Shape = tuple[str, int]
"""Variant and batch size: what a speed belongs to."""


@dataclass(frozen=True)
class Expected:
    """Seconds of training for each run, and what they rest on.

    Attributes:
        basis: `this sweep` where the run's shape was timed in it, `this machine` where in another sweep here.
    """

    seconds: dict[str, float]
    basis: dict[str, Basis] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether a measurement stands behind all of them."""
        return "assumed" not in self.basis.values()

    def minutes(self, planned: Sequence[PlannedRun], workers: int) -> float:
        """Wall-clock minutes of the runs on so many workers."""
        if not planned:
            return 0.0
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
    """Images a second of training by shape, of any resolution: the median of the finished runs.

    An image counts as often as it is gone through: sharpness-aware steps do so up to twice.
    """
    return {(variant, batch): speed for (variant, batch, size), speed in measured_sizes(rows).items() if size is None}


def measured_sizes(rows: RunTable | None) -> dict[tuple[str, int, int | None], float]:
    """The same by variant, batch size and multiply-adds an image, and with None for these of all together."""
    if rows is None or not len(rows) or not rows.has("train_seconds"):
        return {}
    done = rows.finished(fine_tuned=True).frame
    timed = done[done["train_seconds"] > 0].dropna(subset=["variant", "batch_size", "images_seen"])
    timed = timed.assign(_speed=_gone_through(timed) / timed["train_seconds"])
    found: dict[tuple[str, int, int | None], float] = {}
    for (variant, batch), alike in timed.groupby(["variant", "batch_size"]):
        found[str(variant), int(float(str(batch))), None] = float(np.median(alike["_speed"]))
        for size, same in alike.groupby("macs_per_image") if "macs_per_image" in alike else ():
            found[str(variant), int(float(str(batch))), round(float(str(size)))] = float(np.median(same["_speed"]))
    return found


def _gone_through(frame: pd.DataFrame) -> pd.Series:
    """Images by passes over them, of rows that know their FLOP; else as often as they were shown."""
    images = frame["images_seen"].astype(float)
    if not {"train_flop", "macs_per_image"} <= set(frame):
        return images
    return (frame["train_flop"] / compute.train_flop(1, 1) / frame["macs_per_image"]).fillna(images)


def assumed_seconds(train_flop: float, images: float) -> float:
    """Seconds of training of a shape that was never timed."""
    return train_flop / ASSUMED_FLOP_PER_SECOND + images * ASSUMED_SECONDS_PER_IMAGE


def expected(
    planned: Sequence[PlannedRun], rows: RunTable | None = None, noted: Mapping[str, float] | None = None
) -> Expected:
    """Expected seconds of each run.

    Args:
        rows: runs of this sweep: where the same model ran with the same batch size, their speed is taken.
        noted: images per second of shapes that ran on this machine, from `read_notes`.
    """
    speeds = measured_sizes(rows)
    seconds: dict[str, float] = {}
    basis: dict[str, Basis] = {}
    for run in planned:
        size = run.cost.size.macs_per_image
        images = run.cost.train_flop / compute.train_flop(size, 1)
        key = (run.config.model.variant, run.config.train.batch_size)
        known = speeds.get((*key, size), speeds.get((*key, None)))
        note = (noted or {}).get(_name(*key, size))
        if known is not None:
            seconds[run.run_id], basis[run.run_id] = images / known, "this sweep"
        elif note is not None:
            seconds[run.run_id], basis[run.run_id] = images / note, "this machine"
        else:
            seconds[run.run_id] = assumed_seconds(run.cost.train_flop, images)
            basis[run.run_id] = "assumed"
    return Expected(seconds, basis)


class Heard:
    """Passes workers' events on and remembers which runs they have trained.

    Attributes:
        trained: ids of the runs that our own workers finished.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self._emit = emit
        self.trained: list[str] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "done" and event.get("status") == "finished":
            self.trained.append(event["run_id"])
        self._emit(event)


def notes_path() -> Path:
    """This machine's file of speeds."""
    machine = re.sub(r"[^A-Za-z0-9.-]+", "-", platform.node()) or "machine"
    return files.user_cache(f"speeds-{machine}.json")


def read_notes() -> dict[str, float]:
    """Images per second of the shapes that this machine has trained; empty where none is known."""
    try:
        found = files.read_json(notes_path())
        return {str(name): float(speed) for name, speed in found.items() if float(speed) > 0}
    except (OSError, ValueError, TypeError, AttributeError, UserError):
        return {}  # a cache: without it speeds are assumed


def note(rows: RunTable, trained: Iterable[str]) -> None:
    """Notes the speeds of runs that this machine has trained; a file that cannot be written is none."""
    if not len(rows) or not rows.has("train_seconds"):
        return
    frame = rows.finished(fine_tuned=True).frame
    frame = frame[frame["run_id"].isin(list(trained))].dropna(subset=["train_seconds", "images_seen"])
    found = {}
    for (variant, batch, size), alike in frame.groupby(["variant", "batch_size", "macs_per_image"]):
        seconds = float(alike["train_seconds"].sum())
        if seconds >= LEAST_SECONDS:
            found[_name(str(variant), int(str(batch)), round(float(str(size))))] = (
                float(_gone_through(alike).sum()) / seconds
            )
    if found:
        try:
            files.write_json(notes_path(), {**read_notes(), **found})
        except (OSError, UserError):
            return


def _name(variant: str, batch: int, macs_per_image: int) -> str:
    return f"{variant}, batch {batch}, {macs_per_image} multiply-adds"
