"""Traces of runs: the columns of their part files, and many runs' rows read together when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

COLUMNS: dict[str, tuple[pa.DataType, str, str]] = {
    "step": (pa.int64(), "1", "optimizer steps done"),
    "images_seen": (pa.int64(), "images", "training images shown, repeats counted"),
    "epochs": (pa.float64(), "1", "images seen over unique images"),
    "core_hours": (pa.float64(), "TPU-v4 core-hours", "spent so far"),
    "core_hours_basis": (pa.string(), "", "measured (on TPU v4) or estimated (from FLOP)"),
    "learning_rate": (pa.float64(), "1", "of the last step"),
    "train_loss": (pa.float64(), "nats", "of the last batch"),
    "gradient_norm": (pa.float64(), "1", "Euclidean norm of the last batch's gradient, before clipping"),
    "parameter_norm": (pa.float64(), "1", "Euclidean norm of all parameters before the last step"),
    "clipped_share": (pa.float64(), "1", "share of units whose gradient was clipped"),
    "images_per_second": (pa.float64(), "images/s", "since the row before, training steps alone"),
    "utilisation": (pa.float64(), "1", "training FLOP/s over the peak named in this field's metadata; null without"),
    "val_loss": (pa.float64(), "nats", "on held-out images, where this row is an evaluation"),
    "val_top1_error": (pa.float64(), "1", "on held-out images, where this row is an evaluation"),
    "val_loss_ema": (pa.float64(), "nats", "the same with averaged weights"),
    "val_top1_error_ema": (pa.float64(), "1", "the same with averaged weights"),
    "val_images": (pa.int64(), "images", "held-out images of this evaluation"),
}
"""Name -> type, unit, meaning."""


def schema(utilisation_of: str = "unknown") -> pa.Schema:
    """The columns with their units; `utilisation` names its denominator."""
    about = {name: {"unit": unit, "about": text} for name, (_, unit, text) in COLUMNS.items()}
    about["utilisation"]["utilisation_of"] = utilisation_of
    return pa.schema([pa.field(name, kind, metadata=about[name]) for name, (kind, *_) in COLUMNS.items()])


def traces(root: Path, run_ids: Iterable[str]) -> Any:
    """The traces of runs as one pyarrow.dataset.Dataset, of which nothing is read before it is asked.

    Its columns are those of a trace and `run_id`. Rows are in no promised order: sort by run_id and step.

    Args:
        root: the results folder.
        run_ids: of the runs; those without a trace have no rows.
    """
    import pyarrow.dataset as ds
    from pyarrow import fs

    paths, owners = [], []
    for run_id in run_ids:
        folder = f"{root}/{run_id}/trace"
        for name in _parts(folder):
            paths.append(f"{folder}/{name}")
            owners.append(ds.field("run_id") == run_id)
    run_id_field = pa.field("run_id", pa.string(), metadata={"unit": "", "about": "the run that the row is of"})
    return ds.FileSystemDataset.from_paths(
        paths,
        schema=pa.schema([run_id_field, *schema()]),
        format=ds.ParquetFileFormat(),
        filesystem=fs.LocalFileSystem(),
        partitions=owners,
    )


def _parts(folder: str) -> list[str]:
    """The whole part files of one run, in their order; none when it has no trace."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return sorted(name for name in names if name.startswith("part-") and name.endswith(".parquet"))
