"""`runs.parquet` kept nearly whole while a sweep goes on, so that whoever looks opens few files.

A row of a run's own folder takes about a millisecond to open; ten thousand of them in one table a tenth of a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder

ROWS = 64
SHARE = 0.02
"""Compacted is whenever so many rows are new, and no fewer than this share of all: the work grows with all rows."""

Emit = Callable[[dict[str, Any]], None]


def compacting(results: ResultsFolder, emit: Emit) -> Emit:
    """`emit`, which compacts the results now and then as events tell that runs are done."""
    new, due = 0, ROWS

    def heard(event: dict[str, Any]) -> None:
        nonlocal new, due
        emit(event)
        new += _is_done(event)
        if new >= due:
            with suppress(UserError):  # a full disk: the sweep's end says so, and no row depends on it
                results.compact()
            new, due = 0, max(ROWS, round(SHARE * _rows(results)))

    return heard


def compact_if_due(results: ResultsFolder) -> None:
    """Compacts results to which nobody listens: runs that shells and queues start one by one."""
    known = _rows(results)
    own = sum(os.path.exists(f"{results.root}/{run_id}/row.parquet") for run_id in results.run_ids())
    if own - known >= max(ROWS, round(SHARE * own)):
        with suppress(UserError):  # a folder one may not write, or a full disk: no row depends on it
            results.compact()


def compact_by_lot(results: ResultsFolder, run_ids: Iterable[str]) -> None:
    """The same where to count rows is to list a whole store: after one run in `ROWS`, which its id draws."""
    if any(int(run_id, 16) % ROWS == 0 for run_id in run_ids):
        with suppress(UserError):
            results.compact()


def _is_done(event: Mapping[str, Any]) -> bool:
    return bool(event["event"] == "done")


def _rows(results: ResultsFolder) -> int:
    """Rows of the compacted table; 0 when it is absent or damaged."""
    try:
        with pa.OSFile(str(results.table_path)) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)
    except (OSError, ValueError, pa.ArrowException):
        return 0
