"""Histories as the traces of a results folder: our names and units where a column is one of ours, else as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from scalelaw.imports.source import History
from scalelaw.imports.units import converted, own_unit
from scalelaw.runs.schema import arrow_field

TRACED = {"val_loss": "val_loss", "val_loss_ema": "val_loss_ema", "images_seen": "images_seen", "epochs": "epochs",
          "core_hours": "core_hours", "top1_error": "val_top1_error"}  # fmt: skip
"""Columns of a run that also are columns of its trace -> their name there."""


def trace(history: History, ours: Mapping[str, str], units: Mapping[str, str]) -> pa.Table:
    """A history with `step` first; NaN that was logged stays NaN, what was not logged is null.

    Args:
        history: by rising step.
        ours: our name of a column -> the history's.
        units: our name -> the unit that the history counts in.
    """
    columns: dict[str, tuple[pa.Array, pa.Field]] = {}
    step = history.table[history.step].cast(pa.int64())
    columns["step"] = step, pa.field("step", pa.int64(), metadata={"unit": "1", "about": "steps done"})
    taken = {}
    for name, traced in TRACED.items():
        theirs = ours.get(name)
        if theirs in history.table.column_names and pa.types.is_primitive(history.table[theirs].type):
            taken[theirs] = traced
            values = _in_our_unit(history.table[theirs].combine_chunks(), name, units.get(name))
            columns[traced] = values, pa.field(traced, values.type, metadata=arrow_field(name).metadata)
    for theirs in history.table.column_names:
        if theirs not in taken and theirs != history.step:
            name = theirs if theirs not in columns else f"{theirs} (not used)"
            columns[name] = history.table[theirs], pa.field(name, history.table[theirs].type)
    return pa.Table.from_arrays([values for values, _ in columns.values()],
                                schema=pa.schema([field for _, field in columns.values()]))  # fmt: skip


def _in_our_unit(values: pa.Array, name: str, unit: str | None) -> pa.Array:
    if unit is None or unit == own_unit(name):
        return values
    known = ~np.asarray(values.is_null())
    numbers = np.asarray(values.cast(pa.float64()).fill_null(np.nan), dtype=np.float64)
    return pa.array(converted(numbers, name, unit), mask=~known, from_pandas=False)
