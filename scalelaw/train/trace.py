"""The trace of a run: what was measured on the way, in Parquet part files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from scalelaw.runs import files

_COLUMNS: dict[str, tuple[pa.DataType, str, str]] = {
    "step": (pa.int64(), "1", "optimizer steps done"),
    "images_seen": (pa.int64(), "images", "training images shown, repeats counted"),
    "epochs": (pa.float64(), "1", "images seen over unique images"),
    "core_hours": (pa.float64(), "TPU-v4 core-hours", "spent so far, on the basis of the run's row"),
    "learning_rate": (pa.float64(), "1", "of the last step"),
    "train_loss": (pa.float64(), "nats", "of the last batch"),
    "gradient_norm": (pa.float64(), "1", "Euclidean norm of the last batch's gradient, before clipping"),
    "parameter_norm": (pa.float64(), "1", "Euclidean norm of all parameters before the step"),
    "clipped_share": (pa.float64(), "1", "share of units whose gradient was clipped"),
    "images_per_second": (pa.float64(), "images/s", "since the row before, training steps alone"),
    "val_loss": (pa.float64(), "nats", "on held-out images, where this row is an evaluation"),
    "val_top1_error": (pa.float64(), "1", "on held-out images, where this row is an evaluation"),
    "val_images": (pa.int64(), "images", "held-out images of this evaluation"),
}

SCHEMA = pa.schema(
    [pa.field(name, kind, metadata={"unit": unit, "about": about}) for name, (kind, unit, about) in _COLUMNS.items()]
)


class Trace:
    """Rows of a run's trace, kept in memory until `flush` writes them as one more part file.

    Args:
        folder: the run's `trace` folder; parts of an earlier attempt are removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = 0
        self.rows: list[dict[str, Any]] = []
        if folder.exists():
            shutil.rmtree(folder)

    def add(self, **values: Any) -> None:
        """Adds one row; columns that are not given are null."""
        self.rows.append(values)

    def flush(self) -> None:
        """Writes the rows since the last flush as a part file, if there are any."""
        if not self.rows:
            return
        table = pa.Table.from_pylist(self.rows, schema=SCHEMA)
        files.write_parquet(self.folder / f"part-{self.parts:05d}.parquet", table)
        self.parts += 1
        self.rows = []
