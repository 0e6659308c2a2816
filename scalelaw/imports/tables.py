"""Tables of any maker: CSV, Parquet, JSON and JSON lines, every cell as it stands there."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv

from scalelaw.errors import UserError
from scalelaw.imports.source import Fields, of_records
from scalelaw.runs import files

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?|nan", re.IGNORECASE)
_MOST = 2**31 - 1  # Arrow's largest block


def read_csv(path: Path) -> pa.Table:
    """A CSV table, every cell as text; an empty cell without quotes is unknown, with quotes it is an empty text.

    Columns are parted by commas, tabs or semicolons: by the first of these that parts the header and the first row
    into as many.

    Raises:
        UserError: when it is no such table, naming the row.
    """
    try:
        delimiter, names, rows = _head(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is not a CSV table in UTF-8 ({files.reason(error)}); save it as one") from error
    if not names or not any(names):
        raise UserError(f"{path}: has no header line; the first line must name the columns")
    _once(path, names)
    if not rows:
        return pa.table({name: pa.nulls(0, pa.string()) for name in names})
    try:
        return arrow_csv.read_csv(
            path,
            read_options=arrow_csv.ReadOptions(block_size=min(max(path.stat().st_size + 1, 1 << 20), _MOST)),
            parse_options=arrow_csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=len(names) > 1
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: is not a CSV table ({files.reason(error)}); mend that row") from error


def _head(path: Path) -> tuple[str, list[str], bool]:
    """What parts the columns, their names, and whether there is a row below them."""
    found = []
    for mark in ",\t;":
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=mark)
            names = next(lines, [])
            try:
                row = next((line for line in lines if line), None)
            except csv.Error:  # a cell longer than this module reads
                row = names
        found.append((mark, names, row is not None, row is not None and len(row) == len(names)))
    parting = [one for one in found if len(one[1]) > 1]
    mark, names, rows, _ = next((one for one in parting if one[3]), (parting or found)[0])
    return mark, names, rows


def read_parquet(path: Path) -> tuple[pa.Table, Fields]:
    """A Parquet table, and its field metadata."""
    table = files.read_parquet(path)
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise UserError(f"{path}: is damaged ({files.reason(error)}); copy it anew") from error
    _once(path, table.column_names)
    return table, {field.name: dict(field.metadata) for field in table.schema if field.metadata}


def read_json(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON array, of its only array, or of JSON lines.

    Raises:
        UserError: when it holds something else, naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 ({files.reason(error)}); save it as that") from error
    rows: Any = None
    if path.suffix.lower() == ".json":
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError):
            rows = None  # many call JSON lines so
        if isinstance(rows, dict):
            lists = [
                value for value in rows.values() if isinstance(value, list) and isinstance((value or [0])[0], dict)
            ]
            if not lists and _by_name(rows):
                raise UserError(f"{path}: is one object of objects with equal names, a column or a run each; "
                                "write an array of objects, one a run (pandas: orient='records')")  # fmt: skip
            rows = lists[0] if len(lists) == 1 else [rows]
    if rows is None:
        rows = []
        for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path}: line {number} is not JSON ({files.reason(error)}); mend it") from error
    if not isinstance(rows, list):
        raise UserError(f"{path}: is not a table; write an array of objects, or an object a line")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: row {number} is {type(row).__name__}, and every row must be a JSON object")
    return list(rows)


def _by_name(rows: Mapping[str, Any]) -> bool:
    """Whether an object is a table by columns, or by the names of its rows, rather than one row."""
    inner = list(rows.values())
    return len(inner) > 1 and all(isinstance(value, dict) and set(value) == set(inner[0]) != set() for value in inner)


def frame_of(table: pa.Table) -> pd.DataFrame:
    """An Arrow table as Python values, structs taken apart."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    if not any(isinstance(value, dict) for values in columns.values() for value in values[:1] + values[-1:]):
        from scalelaw.imports.source import objects

        return objects(columns)
    return of_records([flattened(row) for row in table.to_pylist()])


def flattened(row: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """A row without objects in it: `{"a": {"b": 1}}` becomes `{"a.b": 1}`; lists become JSON text."""
    flat: dict[str, object] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = json.dumps(value, default=str) if isinstance(value, list) else value
    return flat


def columnar(rows: list[dict[str, object]], step: str) -> pa.Table:
    """Rows of a history as a table by rising step: numbers where all are, else text. NaN is a value, null is none.

    Rows without a step keep their place.
    """
    names = dict.fromkeys([step, *(name for row in rows for name in row)])
    columns = {name: typed([row.get(name) for row in rows]) for name in names}
    return by_step(pa.table(columns), step)


def by_step(table: pa.Table, step: str) -> pa.Table:
    """The rows by rising step, equal steps in their order."""
    steps = table[step].to_pandas().to_numpy(np.float64)
    return table.take(pa.array(np.argsort(steps, kind="stable")))


def typed(values: list[object]) -> pa.Array:
    """Python values as an Arrow array: of numbers or truth values where all are, else of text.

    "NaN" and "Infinity" among numbers are what W&B writes for those.
    """
    marks = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    known = [value for value in values if value is not None]
    if any(isinstance(value, (int, float)) for value in known):
        plain = [marks.get(value, value) if isinstance(value, str) else value for value in values]
        try:
            return pa.array(plain, from_pandas=False)
        except (pa.ArrowException, OverflowError):
            pass
    elif not known:
        return pa.nulls(len(values), pa.float64())
    try:
        return pa.array(values, from_pandas=False)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def read_text(values: list[Any]) -> list[Any]:
    """A column of text as whole numbers, numbers or truth values, where every known cell is one; else as it stands.

    "007" and "1_000" are no numbers: turning them into some would change what they say.
    """
    known = {value for value in values if value is not None}
    if not known or not all(isinstance(value, str) for value in known):
        return values
    if all(_WHOLE.fullmatch(value) for value in known):
        return [None if value is None else int(value) for value in values]
    if all(_REAL.fullmatch(value) and not _padded(value) for value in known):
        return [None if value is None else float(value) for value in values]
    if known <= {"true", "false"}:
        return [None if value is None else value == "true" for value in values]
    return values


def _padded(value: str) -> bool:
    return len(value) > 1 and value.lstrip("+-")[0] == "0" and value.lstrip("+-")[1:2].isdigit()


def _once(path: Path, names: list[str]) -> None:
    again = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if again:
        raise UserError(*(f"{path}: has two columns {name!r}; rename one" for name in again))
