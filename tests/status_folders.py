"""A results folder in the middle of its sweep, made in milliseconds; its losses lie on L = 2 C^-0.05 exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scalelaw import compute
from scalelaw.runs import ResultsFolder, Run
from scalelaw.sweep.config import RunConfig

MACS = {"N0": 2e5, "N1": 8e5}
RATES = (0.4, 0.8)
LENGTHS = (1000, 2000, 4000, 8000)
SPEED = {"N0": 1000.0, "N1": 250.0}
"""Images a second of the runs that are done."""


def loss_of(core_hours: float) -> float:
    return 2 * core_hours**-0.05


def config(variant: str, images: int, rate: float) -> RunConfig:
    return RunConfig.model_validate(
        {
            "data": {"source": "hierarchy", "train_images": 4096},
            "model": {"variant": variant},
            "train": {"images": images, "peak_lr": rate},
        }
    )


def row(one: RunConfig, **facts: Any) -> Run:
    """The finished run of a configuration."""
    variant, images, rate = one.model.variant, one.train.images, one.train.peak_lr
    flop = compute.train_flop(MACS[variant], images)
    hours = compute.core_hours(flop)
    known: dict[str, Any] = {
        "status": "finished", "hardware": "cpu", "devices": 1, "train_seconds": images / SPEED[variant],
        "core_hours": hours,
        "val_loss": loss_of(hours) * (1.0 if rate == RATES[0] else 1.1),
    }  # fmt: skip
    return Run(
        run_id=one.run_id, family="nfnet", variant=variant, macs_per_image=MACS[variant], unique_images=4096,
        epochs=images / 4096, images_seen=images, batch_size=64, peak_lr=rate, train_flop=flop,
        core_hours_basis="estimated", utilisation=compute.DEFAULT_UTILISATION, config=one.canonical,
        **{**known, **facts},
    )  # fmt: skip


def made(root: Path, done: int | None = None) -> tuple[ResultsFolder, list[RunConfig]]:
    """A sweep of 2 sizes x 4 lengths x 2 rates, of which the first `done` runs have rows (all, unless given)."""
    planned = [config(name, images, rate) for name in MACS for images in LENGTHS for rate in RATES]
    folder = ResultsFolder(root, new=True)
    costs = {
        one.run_id: compute.core_hours(compute.train_flop(MACS[one.model.variant], one.train.images)) for one in planned
    }
    record = {"name": "made", "utilisation": compute.DEFAULT_UTILISATION, "runs": list(costs), "core_hours": costs}
    folder.begin(record, {one.run_id: one.to_json() for one in planned})
    for one in planned[:done]:
        folder.commit_row(row(one))
    return folder, planned


def under_way(folder: ResultsFolder, run_id: str, **facts: Any) -> None:
    """What the worker of a run writes as it goes."""
    (folder.run_path(run_id) / "progress.json").write_text(json.dumps(facts))
