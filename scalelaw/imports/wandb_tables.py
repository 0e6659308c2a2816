"""W&B's table of runs, as its page exports it (CSV) or its public API gives it (JSON, or a CSV of dictionaries)."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from scalelaw.errors import UserError
from scalelaw.imports.source import of_records
from scalelaw.imports.tables import flattened

_CONFIG, _SUMMARY = ("config",), ("summary", "summaryMetrics", "summary_metrics")
_IDS = ("ID", "id", "run_id", "Name", "name")
_STATES = ("State", "state")
_STARTS = ("Created", "created_at", "createdAt")
_LONGEST = 1_000_000  # characters of one cell


def is_runs_table(names: list[str]) -> bool:
    """Whether columns are those of W&B's table of runs."""
    exported = "Name" in names and "State" in names
    return exported or bool(set(_CONFIG) & set(names) and set(_SUMMARY) & set(names))


def runs_of(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs with settings and results as columns of their own.

    Raises:
        UserError: when a dictionary cannot be read, naming the row.
    """
    nested = [column for column in (*_CONFIG, *_SUMMARY) if column in frame]
    if not nested:
        return frame
    rows = []
    for number, row in enumerate(frame.to_dict("records"), start=1):
        plain: dict[str, object] = {str(key): value for key, value in row.items() if key not in nested}
        for column in nested:
            inner = _dictionary(row[column], f"{name}: row {number}: {column}")
            settings = column in _CONFIG
            for key, value in flattened({k: _bare(v) if settings else v for k, v in inner.items()}).items():
                if not key.startswith("_wandb"):
                    plain[key if key not in plain else f"{column}.{key}"] = value
        rows.append(plain)
    return of_records(rows)


def meanings(names: list[str]) -> dict[str, str]:
    """Our name -> W&B's, for what its table always holds."""
    found = {}
    for ours, words in (("run_id", _IDS), ("status", _STATES), ("started_at", _STARTS)):
        there = [word for word in words if word in names]
        if there:
            found[ours] = there[0]
    return found


def _bare(value: Any) -> Any:
    """A setting without the {"value": ..., "desc": ...} around it."""
    return value["value"] if isinstance(value, Mapping) and set(value) <= {"value", "desc"} and value else value


def _dictionary(cell: Any, place: str) -> Mapping[str, Any]:
    """A cell that is a dictionary: an object, JSON, or the text that Python prints of one (read as literals only)."""
    if cell is None or isinstance(cell, Mapping):
        return cell or {}
    text = str(cell)
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text) if len(text) <= _LONGEST else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, dict):
            return value
    raise UserError(
        f"{place} is no dictionary that can be read; export the runs as JSON lines, or as CSV from W&B's page"
    )
