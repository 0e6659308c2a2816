"""Runs that have no final row yet: what they are by their configuration, how far they are, how long they will take."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.launch.speed import Shape, assumed_seconds
from scalelaw.runs import Status, files, progress
from scalelaw.runs.looks import looked
from scalelaw.runs.progress import Progress
from scalelaw.sweep.config import DataConfig, ParentConfig, RunConfig, TrainConfig
from scalelaw.sweep.recipes import rules_of

SILENT_SECONDS = 60.0
"""A worker that has written nothing for so long may hang: that is said."""


@dataclass(frozen=True)
class Unfinished:
    """A run without a final row.

    Attributes:
        cell: runs of one cell differ in learning rate or seed alone.
        images: that the whole schedule shows.
        progress: where it stands; None unless a process works on it and has said so.
        core_hours: of the whole schedule, TPU v4; None where the sweep did not note it.
        seconds_left: of training, by its own speed, else by its shape's; None where nothing tells.
        measured: whether a measurement stands behind `seconds_left`.
    """

    run_id: str
    variant: str | None = None
    batch_size: int | None = None
    images: int | None = None
    cell: str | None = None
    progress: Progress | None = None
    core_hours: float | None = None
    seconds_left: float | None = None
    measured: bool = False

    @property
    def shape(self) -> Shape | None:
        """What its speed belongs to."""
        return None if self.variant is None or self.batch_size is None else (self.variant, self.batch_size)

    @property
    def share(self) -> float:
        """Share of the schedule that is done."""
        return 0.0 if self.progress is None or not self.images else min(self.progress.images / self.images, 1.0)

    @property
    def silent_seconds(self) -> float | None:
        """How long its worker has written nothing, where that is long; a clock set back is no silence."""
        silent = 0.0 if self.progress is None else time.time() - self.progress.at
        return silent if silent > SILENT_SECONDS else None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        seen = None if self.progress is None else asdict(self.progress)
        return {
            "run_id": self.run_id,
            "variant": self.variant,
            "images": self.images,
            "share": None if seen is None else self.share,
            "images_seen": None if seen is None else seen["images"],
            "images_per_second": None if seen is None else seen["images_per_second"],
            "train_loss": None if seen is None else seen["train_loss"],
            "val_loss": None if seen is None else seen["val_loss"],
            "seconds_left": self.seconds_left,
            "silent_seconds": self.silent_seconds,
        }


def unfinished(
    root: Path,
    statuses: Mapping[str, Status],
    *,
    speeds: Mapping[Shape, float],
    costs: Mapping[str, float],
    utilisation: float,
) -> list[Unfinished]:
    """Runs by their folders; what cannot be read of one is None.

    Args:
        root: the results folder.
        statuses: of these runs, by id.
        speeds: measured images a second by shape, each counted as often as it is gone through.
        costs: TPU-v4 core-hours of whole schedules by id, as far as they are known.
        utilisation: behind them.
    """
    configs = looked(_config, [f"{root}/{run_id}/config.json" for run_id in statuses])
    return [
        _unfinished(run_id, config, progress.read(root / run_id) if status == "running" else None, speeds,
                    costs.get(run_id), utilisation)
        for (run_id, status), config in zip(statuses.items(), configs, strict=True)
    ]  # fmt: skip


def _unfinished(
    run_id: str,
    config: Mapping[str, Any],
    seen: Progress | None,
    speeds: Mapping[Shape, float],
    core_hours: float | None,
    utilisation: float,
) -> Unfinished:
    train, model = config.get("train", {}), config.get("model", {})
    variant, images = model.get("variant"), train.get("images")
    if variant is None or images is None:
        return Unfinished(run_id, progress=seen, core_hours=core_hours)
    batch = train.get("batch_size", TrainConfig.model_fields["batch_size"].default)
    left = max(images - seen.images, 0) if seen is not None else images
    speed = seen.images_per_second if seen is not None and seen.images_per_second else None
    if speed is None and (measured := speeds.get((variant, batch))) is not None:
        speed = measured / _passes(config, batch)
    seconds = None
    if speed is not None:
        seconds = left / speed
    elif core_hours is not None:
        flop = compute.flop_of_core_hours(core_hours, utilisation)
        seconds = assumed_seconds(flop * left / images, left)
    return Unfinished(run_id, variant, batch, images, cell_of(config), seen, core_hours, seconds, speed is not None)


def _passes(config: Mapping[str, Any], batch: int) -> float:
    """How often a step goes through its images: more than once where it is sharpness-aware."""
    if not {"recipe", "sam_radius"} & set(config["train"]):  # plain, as thousands of runs are: nothing to look up
        return 1.0
    try:
        return rules_of(RunConfig.model_validate(config)).passes(batch)
    except (ValueError, UserError):
        return 1.0


def cell_of(config: Mapping[str, Any]) -> str | None:
    """What a configuration sets beside learning rate, seed and where things lie; None when it sets no model."""
    try:
        kinds: dict[str, type[DataConfig | ParentConfig]] = {"data": DataConfig, "parent": ParentConfig}
        told = {name: {key: value for key, value in config.get(name, {}).items() if key not in kind.NOT_OF_THE_RUN}
                for name, kind in kinds.items() if name == "data" or name in config}  # fmt: skip
        train = {key: value for key, value in config["train"].items() if key not in ("peak_lr", "seed")}
        return files.canonical({**told, "model": config["model"], "train": train})
    except (KeyError, AttributeError):
        return None


def _config(path: str) -> dict[str, Any]:
    """What the file holds; empty when it cannot be read."""
    try:
        with open(path, "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
