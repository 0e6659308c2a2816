"""One row a run: rows of one run that agree are put together, rows that contradict one another are refused by name."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

import pandas as pd

from scalelaw.errors import UserError

Keep = Literal["first", "last"]
_SHOWN = 20

Rows = list[dict[str, Any]]


def named(rows: Rows, places: Sequence[str]) -> list[str]:
    """Gives every row a run_id where no row has one: a hash of what it says, so that it is the same next time.

    Rows that say the same get a number besides, for two seeds may come out alike.

    Raises:
        UserError: when some rows have one and others none.
    """
    without = [index for index, row in enumerate(rows) if row.get("run_id") is None]
    if not without:
        return []
    if len(without) < len(rows):
        raise UserError(*(f"{places[index]}: has no run id; name its run" for index in without[:_SHOWN]))
    seen: dict[str, int] = defaultdict(int)
    twins = 0
    for row in rows:
        text = json.dumps({k: str(v) for k, v in row.items() if v is not None}, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:12]
        seen[name] += 1
        twins += seen[name] > 1
        row["run_id"] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    notes = ["no column names the runs: each is named by a hash of its row"]
    if twins:
        notes.append(f"{twins} rows repeat an earlier one in every column and are kept, as no column names the runs; "
                     "name it with --column run_id=... if they are copies")  # fmt: skip
    return notes


def united(rows: Rows, places: Sequence[str], keep: Keep | None) -> tuple[Rows, list[str]]:
    """One row a run.

    Rows of one run that agree wherever both know something are put together, which also joins what two sources know.

    Args:
        rows: each with a run_id.
        places: of the rows, for messages.
        keep: which row of contradicting ones to keep, whole; None to refuse them.

    Returns:
        The rows in the order in which their runs first come, and a sentence for everything that was put together or
        left out.

    Raises:
        UserError: for contradicting rows without `keep`, naming both and where they differ.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row["run_id"]].append(index)
    found: Rows = []
    notes: list[str] = []
    mistakes: list[str] = []
    for run_id, members in groups.items():
        whole = dict(rows[members[0]])
        for index in members[1:]:
            differ = [name for name, value in rows[index].items() if not _agree(whole.get(name), value)]
            if not differ:
                whole |= {name: value for name, value in rows[index].items() if not _unknown(value)}
                continue
            what = "; ".join(f"{name} is {whole[name]!r} and {rows[index][name]!r}" for name in differ[:3])
            what += f"; and {len(differ) - 3} more" if len(differ) > 3 else ""
            pair = f"{places[members[0]]} and {places[index]}"
            if keep is None:
                mistakes.append(f"{pair}: both are run {run_id!r}, but {what}; keep one with --keep first or last")
            else:
                left = places[index] if keep == "first" else places[members[0]]
                notes.append(f"left out: {left}, for {pair} are both run {run_id!r}, but {what}")
                whole = dict(rows[index]) if keep == "last" else whole
        found.append(whole)
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN} more contradictions"] if len(mistakes) > _SHOWN else []
        raise UserError(*mistakes[:_SHOWN], *more)
    merged = len(rows) - len(found) - len(notes)
    if merged:
        first = next(members for members in groups.values() if len(members) > 1)
        notes.insert(0, f"{merged} rows repeat a run and agree with its other row: put together "
                        f"(as {places[first[0]]} and {places[first[1]]})")  # fmt: skip
    return found, notes


def _unknown(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and value != value)


def _agree(one: Any, other: Any) -> bool:
    return _unknown(one) or _unknown(other) or bool(one == other)
