"""Runs as CSV, Parquet or JSON lines for other programs, exact to the last bit: `scalelaw import` reads them back."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from scalelaw.errors import UserError
from scalelaw.imports.tables import frame_of, read_csv, read_text
from scalelaw.runs import COLUMNS, RunTable, arrow, files

SUFFIXES = (".csv", ".parquet", ".jsonl")


def check_out(out: Path) -> None:
    """Refuses a file that is there, or of another format.

    Raises:
        UserError: naming it.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise UserError(f"-o {out}: must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, which names the format")
    if out.exists():
        raise UserError(f"-o {out}: is there already; name another, or remove it")


def export(runs: RunTable, out: Path) -> list[str]:
    """Writes every row and column.

    Floats are written with the digits that read back to the same number, unknown as an empty cell or null.

    Returns:
        A sentence for every column of text that CSV does not tell from numbers.

    Raises:
        UserError: when the file cannot be written.
    """
    table = arrow.from_frame(runs.frame, runs.metadata)
    suffix = out.suffix.lower()
    if suffix == ".parquet":
        files.write_parquet(out, table)
        return []
    if suffix == ".jsonl":
        files.write_text(out, "".join(json.dumps(_plain(row), ensure_ascii=False) + "\n" for row in table.to_pylist()))
        return []
    flat = _flat(table)
    files.write_atomically(out, lambda path: arrow_csv.write_csv(flat, path))
    return _mistakable(flat, out)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: times as text, NaN as null (JSON has no other word for what is no number)."""
    return {name: _json(value) for name, value in row.items()}


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return _plain(value)
    if isinstance(value, (list, tuple)):
        return [_json(one) for one in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _flat(table: pa.Table) -> pa.Table:
    """The table with columns that CSV can hold: what is nested becomes JSON text."""
    for index, field in enumerate(table.schema):
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            text = [None if value is None else json.dumps(_json(value)) for value in table.column(index).to_pylist()]
            table = table.set_column(index, pa.field(field.name, pa.string()), pa.array(text, pa.string()))
    return table


def _mistakable(table: pa.Table, out: Path) -> list[str]:
    """Columns that are none of ours and would be read as numbers though they are text."""
    kinds = pa.string(), pa.large_string()
    texts = [name for name in table.column_names if name not in COLUMNS and table[name].type in kinds]
    if not texts:
        return []
    found: pd.DataFrame = frame_of(read_csv(out))
    return [
        f"{out}: column {name!r} holds text that reads as numbers; Parquet and JSON lines keep it as text"
        for name in texts
        if any(not isinstance(value, str) for value in read_text(list(found[name])) if value is not None)
    ]
