"""Cells of somebody's table in our types and units; what cannot be one is named with its row, nothing is guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from scalelaw.imports.column_map import DERIVED
from scalelaw.imports.units import converted, own_unit
from scalelaw.runs import STATUSES
from scalelaw.runs.schema import python_type

_MISSING = {"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "<na>"}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?", re.IGNORECASE)
_STATES = {"crashed": "failed", "killed": "failed", "preempted": "pending", "preempting": "pending",
           "completed": "finished", "success": "finished"}  # fmt: skip


@dataclass
class Cells:
    """A column of ours from one source.

    Attributes:
        values: one a row; unknown is None.
        mistakes: a sentence for each cell that cannot be read.
        not_numbers: rows whose cell is an explicit NaN or infinity.
    """

    values: list[Any]
    mistakes: list[str] = field(default_factory=list)
    not_numbers: list[int] = field(default_factory=list)


def read_cells(values: Sequence[Any], ours: str, theirs: str, unit: str | None, places: Sequence[str]) -> Cells:
    """A column in our type and unit.

    Args:
        values: as the source has them.
        ours, theirs: our name and the source's.
        unit: what the source counts in; None for our own unit.
        places: of the rows, for messages.
    """
    kind: type = float if ours in DERIVED else python_type(ours)
    label = f"{ours}" if ours == theirs else f"{ours} ({theirs!r})"
    found = Cells([])
    read: Any
    for row, value in enumerate(values):
        if kind is str:
            read, why = _text(value), ""
        elif kind in (int, float):
            read, why = _number(value)
            if read is None and not why and _explicit(value):
                found.not_numbers.append(row)
        else:
            read, why = _time(value)
        if ours == "status" and isinstance(read, str):
            read = _STATES.get(read.strip().lower(), read.strip().lower())
            why = "" if read in STATUSES else f"must be one of {', '.join(STATUSES)}"
        if ours == "core_hours_basis" and read not in (None, "measured", "estimated"):
            why = "must be measured or estimated"
        if why:
            found.mistakes.append(f"{places[row]}: {label} is {value!r}; {why}")
            read = None
        found.values.append(read)
    if unit is not None and unit != own_unit(ours):
        _convert(found, ours, label, unit, places)
    return found


def _convert(found: Cells, ours: str, label: str, unit: str, places: Sequence[str]) -> None:
    before = np.array([math.nan if value is None else value for value in found.values], dtype=np.float64)
    after = converted(before, ours, unit)
    for row in np.flatnonzero(np.isnan(after) & ~np.isnan(before)).tolist():
        found.mistakes.append(f"{places[row]}: {label} is {before[row]:g}, which is no {unit}; mend it")
    whole = python_type(ours) is int if ours not in DERIVED else False
    found.values = [
        None if math.isnan(value) else int(value) if whole and value.is_integer() else value for value in after.tolist()
    ]


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # a whole number that stood in a column with gaps
    return str(value)


def _number(value: Any) -> tuple[float | int | None, str]:
    """A number and "", or None and why it is none."""
    if value is None or value is pd.NaT:
        return None, ""
    if isinstance(value, bool):
        return None, "it must be a number"
    if isinstance(value, int):
        try:
            return (value if abs(value) < 2**63 else float(value)), ""
        except OverflowError:
            return None, "it is too large"
    if isinstance(value, str):
        word = value.strip()
        if word.lower() in _MISSING:
            return None, ""
        if not _NUMBER.fullmatch(word):
            mend = "; write it without marks between digits" if "," in word or "_" in word or " " in word else ""
            return None, "it must be a number" + mend
        return (int(word), "") if word.lstrip("+-").isdigit() and len(word) < 19 else (float(word), "")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None, "it must be a number"
    return (None if math.isnan(number) else number), ""


def _explicit(value: Any) -> bool:
    """Whether a cell says that it is not a number, rather than nothing."""
    return (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and value.strip() == "NaN")


def _time(value: Any) -> tuple[datetime | None, str]:
    why = "it must be a time, as 2026-01-31T12:00:00Z, or seconds since 1970"
    if value is None or value is pd.NaT or (isinstance(value, str) and value.strip().lower() in _MISSING):
        return None, ""
    try:
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, str) and not _NUMBER.fullmatch(value.strip()):
            moment = pd.to_datetime(value.strip(), utc=True, format="ISO8601").to_pydatetime()
        else:
            number = float(value)
            if math.isnan(number):
                return None, ""
            moment = datetime.fromtimestamp(number, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None, why
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)), ""
