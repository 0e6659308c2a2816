"""Histories: what runs logged on the way. The last point of each is its row, the rest its trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scalelaw.errors import UserError, nearest
from scalelaw.imports.source import RUNTIME, History, Source, of_records
from scalelaw.imports.tables import by_step

LAST_POINT = ("the last point of each run is its row; a point half-way down a schedule is not a run at half the "
              "budget")  # fmt: skip
UNSAID = ("nothing here says whether runs went to the end of their schedules: name the column or number of steps "
          "that they should have with --total-steps, and those that fell short become failed")  # fmt: skip


def split(name: str, table: pa.Table, step: str, run_column: str | None, default_id: str) -> list[History]:
    """A history for every run of a table, in the order in which they first come.

    Raises:
        UserError: when there is no column of steps, or a row has no run or no whole step.
    """
    if step not in table.column_names:
        raise UserError(f"{name}: has no column {step!r}{nearest(step, table.column_names)}; name the column of steps "
                        f"with --step (columns: {', '.join(table.column_names)})")  # fmt: skip
    steps = _steps(name, table[step], step)
    table = table.set_column(table.column_names.index(step), step, pa.array(steps))
    if run_column is None:
        return [History(default_id, by_step(table, step), step)]
    runs = table[run_column].combine_chunks()
    if runs.null_count:
        raise UserError(f"{name}: row {runs.to_pylist().index(None) + 1}: has no {run_column!r}; name its run")
    coded = runs.dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False)
    order = np.lexsort((steps, codes))
    table, codes = table.take(pa.array(order)), codes[order]
    bounds = [*np.flatnonzero(np.diff(codes, prepend=-1)).tolist(), len(codes)]
    names = [str(value) for value in coded.dictionary.to_pylist()]
    return [History(names[codes[begin]], table.slice(begin, end - begin), step) for begin, end in pairwise(bounds)]


def _steps(name: str, column: pa.ChunkedArray, step: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    numbers = []
    for row, value in enumerate(column.to_pylist(), start=1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not (number.is_integer() and abs(number) < 2**63):
            raise UserError(f"{name}: row {row}: {step} is {value!r}, and a step must be a whole number; mend or "
                            "remove the row")  # fmt: skip
        numbers.append(int(number))
    return np.array(numbers, dtype=np.int64)


def contradiction(history: History, losses: Iterable[str]) -> tuple[int, str] | None:
    """The first step at which a run has two losses, and these; None when there is none."""
    steps = history.table[history.step].to_pylist()
    for column in losses:
        values = history.table[column].to_pylist() if column in history.table.column_names else []
        known = [(step, value) for step, value in zip(steps, values, strict=False) if value is not None]
        for (step, one), (again, other) in pairwise(known):
            if step == again and one != other and not (one != one and other != other):
                return int(step), " and ".join(f"{x:g}" if isinstance(x, float) else str(x) for x in (one, other))
    return None


def last_points(
    name: str,
    kind: str,
    histories: Sequence[History],
    *,
    losses: Iterable[str],
    total_steps: str | None = None,
    meanings: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
    notes: Sequence[str] = (),
) -> Source:
    """One row a run: the last known value of every column, beside what the source says of the run as a whole.

    Args:
        name: of the source.
        kind: the format, in words.
        histories: what was read.
        losses: columns of the held-out loss, whose last value should be of the last step.
        total_steps: how many steps runs should have: a number, or a column that says it; short ones become failed.
        meanings: our name -> the source's.
        files: what was read.
        notes: of the reader.

    Raises:
        UserError: when `total_steps` is neither a number nor a column.
    """
    rows, early, said = [], [], [*notes, LAST_POINT]
    losses = list(losses)
    again = []
    short: list[str] = []
    meanings = dict(meanings or {})
    state = meanings.pop("status", "status") if total_steps is not None else "status"
    for history in histories:
        last = {column: _last(history.table[column]) for column in history.table.column_names}
        row: dict[str, object] = {**history.facts, **{column: value for column, (value, _) in last.items()}}
        row["run_id"] = history.run_id
        end = int(history.table[history.step][-1].as_py()) if len(history.table) else -1
        if (found := contradiction(history, losses)) is not None:
            again.append(f"run {history.run_id}: {found[1]} at step {found[0]}")
        for column in losses:
            at = last.get(column, (None, None))[1]
            if at is not None and (step := int(history.table[history.step][at].as_py())) < end:
                early.append(f"run {history.run_id}: step {step} of {end}")
        if total_steps is not None:
            total = _total(name, total_steps, row, history.run_id)
            reached = end + 1 >= total  # steps count from 0 or from 1
            row["status"] = "finished" if reached and row.get(state) in (None, "finished") else "failed"
            if not reached:
                short.append(history.run_id)
                row["error"] = f"the last point is step {end} of {total:g}" if end >= 0 else "nothing was logged"
        rows.append(row)
    if again:
        said.append(f"two losses at one step of {len(again)} run{'s' * (len(again) > 1)}, as when a run is started "
                    f"again; the later row counts ({again[0]})")  # fmt: skip
    if early:
        said.append(f"the last loss of {len(early)} runs is older than their last step ({early[0]})")
    if short:
        said.append(f"{len(short)} runs stopped before their last step and are failed: {_some(short)}")
    frame = of_records(rows)
    if "status" not in {*meanings, *frame}:
        said.append(UNSAID)
    return Source(
        name, kind, frame, tuple(f"{name} run {history.run_id}" for history in histories),
        meanings={"run_id": "run_id", **meanings}, histories={one.run_id: one for one in histories},
        files=tuple(files), notes=tuple(said), logged=True,
    )  # fmt: skip


def _last(column: pa.ChunkedArray) -> tuple[object, int | None]:
    """The last value that was logged and its row; a NaN that was logged is a value."""
    known = np.flatnonzero(pc.is_valid(column).to_numpy(zero_copy_only=False))
    return (column[int(known[-1])].as_py(), int(known[-1])) if len(known) else (None, None)


def _total(name: str, total_steps: str, row: Mapping[str, object], run_id: str) -> float:
    value: Any = row.get(total_steps, total_steps)
    try:
        total = float(value)
    except (TypeError, ValueError):
        have = [column for column in row if column not in ("run_id", RUNTIME)]
        raise UserError(f"--total-steps {total_steps}: is no number, and run {run_id} of {name} has no number of that "
                        f"name{nearest(total_steps, have)} (it has {', '.join(have)})") from None  # fmt: skip
    if not 0 < total < math.inf:
        raise UserError(f"--total-steps {total_steps}: run {run_id} of {name} should then have {total:g} steps; that "
                        "must be a positive, finite number")  # fmt: skip
    return total


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
