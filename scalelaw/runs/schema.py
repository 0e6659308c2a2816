"""One finished schedule is one row: the columns of a run, their units, and the Parquet schema they make."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache
from typing import Any, Literal

import pyarrow as pa

Status = Literal["finished", "running", "pending", "failed", "diverged"]
STATUSES: tuple[Status, ...] = typing.get_args(Status)

SCHEMA_VERSION = 1


def _column(unit: str, about: str) -> Any:
    return field(default=None, metadata={"unit": unit, "about": about})


@dataclass(frozen=True, kw_only=True)
class Run:
    """One row. A point half-way down a cosine is not a run at half the budget, so only finished schedules are rows.

    What is unknown is None, never zero. Each field's metadata gives its unit and meaning; they travel in the Parquet
    field metadata.
    """

    run_id: str | None = _column("", "hash of the run's configuration")
    sweep: str | None = _column("", "sweep that first asked for the run")
    family: str | None = _column("", "model family")
    variant: str | None = _column("", "model variant")
    dataset: str | None = _column("", "training data, by a short name and a hash of its settings")
    status: str | None = _column("", "finished, running, pending, failed or diverged")
    parent: str | None = _column("", "run_id of the pre-training run that this one starts from")
    params: int | None = _column("1", "learned scalars")
    params_body: int | None = _column("1", "learned scalars without the final linear layer")
    macs_per_image: float | None = _column("multiply-adds", "forward pass of one image at the training resolution")
    resolution: int | None = _column("pixels", "side of a training image")
    unique_images: int | None = _column("images", "size of the training set")
    epochs: float | None = _column("1", "images seen over unique images")
    images_seen: int | None = _column("images", "training images shown, repeats counted")
    batch_size: int | None = _column("images", "images a step")
    peak_lr: float | None = _column("1", "learning rate at the end of warm-up")
    seed: int | None = _column("", "seed of the initial weights and, with the run_id, of the data order")
    hardware: str | None = _column("", "device kind")
    devices: int | None = _column("1", "JAX devices")
    train_seconds: float | None = _column("s", "training steps alone: no compilation, evaluation or waiting")
    train_flop: float | None = _column("FLOP", "3 x 2 x multiply-adds x images seen")
    core_hours: float | None = _column("TPU-v4 core-hours", "cost; core_hours_basis says how it is known")
    total_core_hours: float | None = _column("TPU-v4 core-hours", "the same with the parent's, where there is one")
    core_hours_basis: str | None = _column("", "measured (on TPU v4) or estimated (from FLOP)")
    utilisation: float | None = _column("1", "share of the TPU-v4 peak behind core_hours: measured, or assumed")
    val_loss: float | None = _column("nats", "cross-entropy on held-out images at the end of training")
    val_loss_ema: float | None = _column("nats", "the same with averaged weights")
    top1_error: float | None = _column("1", "share of held-out images whose class is not the likeliest")
    parent_core_hours: float | None = _column("TPU-v4 core-hours", "cost of the parent run")
    parent_val_loss: float | None = _column("nats", "held-out loss of the parent run, on its own data")
    parent_epochs: float | None = _column("1", "epochs of the parent run")
    parent_peak_lr: float | None = _column("1", "learning rate of the parent run")
    attempts: int | None = _column("1", "how often the run was started")
    error: str | None = _column("", "last lines of what went wrong, or what the reader of a finished run should know")
    config: str | None = _column("JSON", "the run's whole configuration")
    commit: str | None = _column("", "commit of the code")
    started_at: datetime | None = _column("UTC", "when the last attempt began")


COLUMNS: dict[str, Any] = {column.name: column for column in fields(Run)}

UNREPEATABLE = ("train_seconds", "started_at", "hardware", "commit", "attempts", "core_hours", "total_core_hours",
                "core_hours_basis", "utilisation", "sweep")  # fmt: skip
"""Columns in which identical runs may differ: what is measured, where and when, and what derives from it."""

LETTERS = {"C": "train_flop", "N": "params", "D": "images_seen", "U": "unique_images", "loss": "val_loss"}
"""The field's names for columns of a foreign table: training FLOP, parameters, images or tokens seen, different images
or tokens among them, loss."""


@cache
def _hints() -> dict[str, Any]:
    """The annotations of `Run`, which take long to work out."""
    return typing.get_type_hints(Run)


def python_type(name: str) -> type:
    """The type of a column's known values: str, int, float or datetime."""
    (known,) = [option for option in typing.get_args(_hints()[name]) if option is not types.NoneType]
    return typing.cast(type, known)


TEXTS = {name: str for name in COLUMNS if python_type(name) is str}
"""Columns of text, whatever it looks like: the run 007 is not the run 7."""

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), datetime: pa.timestamp("us", tz="UTC")}


def arrow_field(name: str) -> pa.Field:
    """The Parquet field of a known column, unit and meaning in its metadata."""
    metadata = {key: str(value) for key, value in COLUMNS[name].metadata.items()}
    return pa.field(name, _ARROW[python_type(name)], metadata=metadata)


@cache
def arrow_schema() -> pa.Schema:
    """The schema of a table of runs, in the order of `Run`'s fields."""
    return pa.schema([arrow_field(name) for name in COLUMNS], metadata={"scalelaw_schema": str(SCHEMA_VERSION)})
