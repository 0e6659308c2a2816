"""Rows as Arrow tables: typed as `Run` says, units and meanings in the field metadata, whatever wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.runs.schema import COLUMNS, Run, arrow_field, arrow_schema

Metadata = Mapping[str, Mapping[bytes, bytes]]


def aligned(table: pa.Table, path: Path | str) -> pa.Table:
    """The table with every known column, typed as now, whatever version wrote it; others are kept.

    Raises:
        UserError: when the table at `path` holds something else.
    """
    if table.schema.equals(arrow_schema(), check_metadata=True):
        return table
    if "run_id" not in table.column_names:
        raise UserError(f"{path}: is not a table of runs (it has no column 'run_id'); move it away")
    columns, fields = [], []
    for field in arrow_schema():
        fields.append(field)
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowException, KeyError) as error:  # KeyError: the name twice
            raise UserError(f"{path}: column {field.name!r} is not of type {field.type}; mend or remove it") from error
    for index, field in enumerate(table.schema):
        if field.name not in COLUMNS:
            columns.append(table.column(index))
            fields.append(field)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=arrow_schema().metadata))


def concatenated(parts: list[pa.Table]) -> pa.Table:
    """One table of aligned ones. An unknown column of different types becomes text."""
    if not parts:
        return arrow_schema().empty_table()
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException:
        return pa.concat_tables([_as_text(part) for part in parts], promote_options="permissive")


def _as_text(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if field.name not in COLUMNS:
            text = pa.array([None if value is None else str(value) for value in table.column(index).to_pylist()])
            table = table.set_column(index, pa.field(field.name, pa.string()), text.cast(pa.string()))
    return table


def metadata(table: pa.Table) -> Metadata:
    """The field metadata of columns that are not ours."""
    return {field.name: dict(field.metadata) for field in table.schema if field.metadata and field.name not in COLUMNS}


def from_frame(frame: pd.DataFrame, others: Metadata) -> pa.Table:
    """An Arrow table whose known columns have their types, units and meanings.

    Args:
        frame: rows with checked columns.
        others: field metadata of columns that are not ours.
    """
    arrays, fields = [], []
    for name in [*(name for name in COLUMNS if name in frame), *(name for name in frame if name not in COLUMNS)]:
        if name in COLUMNS:
            field = _fitting(arrow_field(name), frame[name])
            arrays.append(pa.Array.from_pandas(frame[name], type=field.type))
        else:
            arrays.append(_plain(frame[name]))
            field = pa.field(str(name), arrays[-1].type, metadata=others.get(str(name)))
        fields.append(field)
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=arrow_schema().metadata))


def _fitting(field: pa.Field, values: pd.Series) -> pa.Field:
    """The field, as float64 where a foreign table counts in fractions or beyond 64 bits."""
    if field.type != pa.int64():
        return field
    known = values.dropna().to_numpy(dtype=np.float64)
    whole = bool(np.all((known == np.rint(known)) & (np.abs(known) < 2.0**63)))
    return field if whole else field.with_type(pa.float64())


def _plain(values: pd.Series) -> pa.Array:
    try:
        return pa.Array.from_pandas(values)
    except (pa.ArrowException, OverflowError):  # values of several types, or whole numbers beyond 64 bits
        return pa.array([None if pd.isna(value) else str(value) for value in values], type=pa.string())


def of_runs(runs: list[Run]) -> pa.Table:
    """An Arrow table of runs with the schema of `Run`."""
    return pa.Table.from_pylist([asdict(run) for run in runs], schema=arrow_schema())


def one_row(table: pa.Table, run_id: str, path: Path) -> pa.Table:
    """The table, which must be the one row of the run.

    Raises:
        UserError: when it is not.
    """
    found = table["run_id"].to_pylist()
    if found != [run_id]:
        held = f"holds the run {found[0]!r}" if len(found) == 1 else f"holds {len(found)} rows"
        raise UserError(f"{path}: {held}, not the one row of its folder's run; remove it")
    return table
