"""Which rows of `runs.parquet` are still those of their files: a stamp of every file, compared for equality.

Equality, never order: a clock that is set back, or that differs between two machines, then neither hides a new row nor
brings back an old one. Times of files may be coarse, so a file that changed just before the table was made gets no
stamp and is read anew (the way git treats such files in its index).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

COLUMN = "row_stamp"
COARSE_NS = 2_000_000_000  # file times may be this coarse
_ABOUT = "time of change (ns) and size (bytes) of the row's own file when it was copied here"
_FIELD = pa.field(COLUMN, pa.string(), metadata={"unit": "", "about": _ABOUT})


def stamp(path: str | Path) -> str | None:
    """Tells a file from an earlier or later one of its name; None when there is none."""
    try:
        facts = os.stat(path)
    except OSError:
        return None
    return f"{facts.st_mtime_ns}:{facts.st_size}"


def settled(found: str, now_ns: int) -> str | None:
    """The stamp, unless the file changed so shortly before `now_ns`, a file's time too, that it may do so unseen."""
    changed_ns = int(found.split(":")[0])
    return None if abs(now_ns - changed_ns) <= COARSE_NS else found


def joined(table: pa.Table, found: Mapping[str, str | None]) -> pa.Table:
    """The table of runs with the stamps of their files beside them."""
    return table.append_column(_FIELD, pa.array([found.get(run_id) for run_id in table["run_id"].to_pylist()],
                                                pa.string()))  # fmt: skip


def parted(table: pa.Table) -> tuple[pa.Table, dict[str, str | None]]:
    """A table of runs without its stamps, and the stamps by run; a table that never had any has none."""
    ids = table["run_id"].to_pylist()
    known = table[COLUMN].to_pylist() if COLUMN in table.column_names else [None] * len(ids)
    return without(table), dict(zip(ids, known, strict=True))


def without(table: pa.Table) -> pa.Table:
    """A table without its stamps, if it has any."""
    return table.drop_columns([COLUMN]) if COLUMN in table.column_names else table
