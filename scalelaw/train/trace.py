"""The trace of a run: what was measured on the way, in Parquet part files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scalelaw.errors import UserError
from scalelaw.runs import files
from scalelaw.runs.traces import schema

UNREPEATABLE = ("images_per_second", "utilisation")
"""Columns in which the traces of identical runs differ: what is timed. Where core-hours are measured, they too."""


class Trace:
    """Rows of a run's trace, kept in memory until `flush` writes them as one more part file.

    Args:
        folder: the run's `trace` folder; `begin` makes it fit for this attempt.
        utilisation_of: which peak `utilisation` is a share of.
        writes: whether this process writes; with several, one does.
        through: puts the parts in their places.
    """

    def __init__(
        self,
        folder: Path,
        *,
        utilisation_of: str = "unknown",
        writes: bool = True,
        through: files.Writes | None = None,
    ) -> None:
        self.folder, self.writes, self.through = folder, writes, through
        self.schema = schema(utilisation_of)
        self.parts = 0
        self.rows: list[dict[str, Any]] = []

    def begin(self, through_step: int = 0) -> list[str]:
        """Keeps an earlier attempt's rows up to a step and removes what it wrote after.

        Returns:
            A sentence for each part that cannot be read; its rows are lost.
        """
        self.rows, self.parts = [], 0
        if not self.writes or not self.folder.exists():
            return []
        if through_step == 0:
            shutil.rmtree(self.folder)
            return []
        lost = []
        for path in sorted(self.folder.iterdir()):
            if not (path.name.startswith("part-") and path.suffix == ".parquet"):
                path.unlink()  # a part that was being written
                continue
            try:
                table = files.read_parquet(path)
                kept = table.filter(pc.less_equal(table["step"], through_step))
            except (UserError, KeyError) as error:
                lost.append(f"{path}: rows of the trace are lost, it cannot be read ({error})")
                path.unlink()
                continue
            if len(kept) == 0:
                path.unlink()
            elif len(kept) < len(table):
                files.write_parquet(path, kept, self.through)
            if len(kept):
                self.parts = int(path.stem.removeprefix("part-")) + 1
        return lost

    def add(self, **values: Any) -> None:
        """Adds one row; columns that are not given are null."""
        self.rows.append(values)

    def flush(self) -> None:
        """Writes the rows since the last flush as a part file, if there are any."""
        if self.rows and self.writes:
            table = pa.Table.from_pylist(self.rows, schema=self.schema)
            files.write_parquet(self.folder / f"part-{self.parts:05d}.parquet", table, self.through)
            self.parts += 1
        self.rows = []
