"""The rows of a results folder in a store, kept on disk as one table that knows what it was made from.

`runs.parquet` carries in its schema's metadata the mark (time of change and size) of every row's object in it, here and
in the store alike: so a reader fetches only the rows that are newer than both, and no two files can disagree.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw.errors import UserError
from scalelaw.runs import arrow, files, stamps
from scalelaw.runs.folder import DONE
from scalelaw.runs.schema import UNREPEATABLE
from scalelaw.runs.store.place import Mark, Place, at_once, run_of

TABLE = "runs.parquet"
ROW = "row.parquet"
_MARKS = b"scalelaw.rows"


def row_name(run_id: str) -> str:
    """The object of a run's row."""
    return f"{run_id}/{ROW}"


def refreshed(place: Place, listing: Mapping[str, Mark], local: Path) -> list[str]:
    """Brings the table at `local` up to date with the rows of a listing. Returns a sentence for each unreadable object.

    Raises:
        StoreError: when the store cannot be reached.
        UserError: when the disk cannot be written.
    """
    wanted = {name: mark for name, mark in listing.items() if name in (TABLE, row_name(run_of(name)))}
    here, have = _local(local)
    if have == wanted and local.exists():
        return []
    problems: list[str] = []
    base, known = here, have
    if have.keys() - wanted.keys() or have.get(TABLE) != wanted.get(TABLE):  # what is compacted there is another
        base, known = _remote(place, problems) if TABLE in wanted else _nothing()
    rows = {run_of(name): mark for name, mark in wanted.items() if name != TABLE}
    from_here = {run_id for run_id, mark in rows.items() if have.get(row_name(run_id)) == mark}
    from_base = {run_id for run_id, mark in rows.items() if known.get(row_name(run_id)) == mark}
    missing = sorted(rows.keys() - from_here - from_base)
    read = dict(zip(missing, at_once(lambda run_id: _row(place, run_id), missing), strict=True))
    fetched = {run_id: table for run_id, (table, _) in read.items() if table is not None}
    problems += [wrong for _, wrong in read.values() if wrong is not None]
    whole = arrow.concatenated(
        [_kept(base, lambda run_id: run_id not in from_here and run_id not in fetched),
         _kept(here, lambda run_id: run_id in from_here), *fetched.values()]
    ).sort_by("run_id")  # fmt: skip
    unread = {row_name(run_id) for run_id in missing if run_id not in fetched}
    if problems and base is not here and not known:
        unread.add(TABLE)
    _write(local, whole, {name: mark for name, mark in wanted.items() if name not in unread})
    return problems


def compacted_statuses(place: Place) -> dict[str, str]:
    """Status by run, of the store's table alone; empty when there is none."""
    table, _ = _remote(place, [])
    return dict(zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True))


def read_row(place: Place, run_id: str) -> pa.Table | None:
    """A run's row, aligned; None when there is none, or none that can be read."""
    return _row(place, run_id)[0]


def stands(place: Place, run_id: str, row: pa.Table) -> bool:
    """Whether a run has a row there that no other is to replace; a new one that differs from it is told of."""
    first = read_row(place, run_id)
    if first is None or first["status"][0].as_py() not in DONE:
        return False
    apart = [name for name in row.column_names if name not in UNREPEATABLE
             and repr(first[name].to_pylist()) != repr(row[name].to_pylist())]  # fmt: skip
    if apart:
        print(f"scalelaw: {place.shown}/{run_id}: was trained twice, and differs in {', '.join(apart)}; the first row "
              "is kept", file=sys.stderr)  # fmt: skip
    return True


def _row(place: Place, run_id: str) -> tuple[pa.Table | None, str | None]:
    """A run's row, aligned; or what is wrong with it; neither when it is not there."""
    name = row_name(run_id)
    table, wrong = _read(place, name)
    if table is not None and (found := table["run_id"].to_pylist()) != [run_id]:
        held = f"the run {found[0]!r}" if len(found) == 1 else f"{len(found)} rows"
        return None, f"{place.shown}/{name}: holds {held}, not the one row of its folder's run; remove it"
    return table, wrong


def _read(place: Place, name: str) -> tuple[pa.Table | None, str | None]:
    """An aligned table; or what is wrong with it; neither when it is not there."""
    content = place.buffer(name)
    if content is None:
        return None, None
    shown = f"{place.shown}/{name}"
    try:
        found = pq.ParquetFile(pa.BufferReader(content)).read()
        table = stamps.without(arrow.aligned(found, shown))  # a folder on disk may have been put there as it was
        return table.replace_schema_metadata(found.schema.metadata), None
    except UserError as error:
        return None, error.messages[0]
    except (OSError, ValueError, pa.ArrowException) as error:
        return None, f"{shown}: is not a whole Parquet file ({files.reason(error)}); mend or remove it"


def _remote(place: Place, problems: list[str]) -> tuple[pa.Table, dict[str, Mark]]:
    table, wrong = _read(place, TABLE)
    if wrong is not None:
        problems.append(wrong)
    return _nothing() if table is None else (table, _marks_of(table))


def _local(path: Path) -> tuple[pa.Table, dict[str, Mark]]:
    """The table on disk; nothing when there is none that can be read: it is a copy, and made anew."""
    try:
        found = files.read_parquet(path)
        return arrow.aligned(found, path), _marks_of(found)
    except UserError:
        return _nothing()


def _nothing() -> tuple[pa.Table, dict[str, Mark]]:
    return arrow.concatenated([]), {}


def _marks_of(table: pa.Table) -> dict[str, Mark]:
    """From which objects a table was made, by name; empty when it does not say."""
    try:
        found = json.loads((table.schema.metadata or {}).get(_MARKS, b"{}"))
        return {str(name): (int(mark[0]), int(mark[1])) for name, mark in found.items()}
    except (ValueError, TypeError, AttributeError, IndexError):
        return {}


def _kept(table: pa.Table, keep: Callable[[str], bool]) -> pa.Table:
    return table.filter(pa.array([keep(run_id) for run_id in table["run_id"].to_pylist()], pa.bool_()))


def _write(path: Path, table: pa.Table, marks: Mapping[str, Mark]) -> None:
    metadata = {**(table.schema.metadata or {}), _MARKS: files.canonical(marks).encode()}
    files.write_parquet(path, table.replace_schema_metadata(metadata))
