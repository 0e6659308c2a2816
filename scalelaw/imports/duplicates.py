"""One row a run: rows of one run that agree are put together, rows that contradict one another are refused by name."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
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
        keep: which row of contradicting ones to keep, whole, with what others that agree with it know; None to refuse
            them.

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
    pairs: list[tuple[int, int]] = []
    for run_id, members in groups.items():
        first, *others = members[::-1] if keep == "last" else members
        whole = dict(rows[first])
        by = dict.fromkeys(whole, first)  # the row that each value is from
        for index in others:
            differ = [name for name, value in rows[index].items() if not _agree(whole.get(name), value)]
            if not differ:
                known = {name: value for name, value in rows[index].items() if not _unknown(value)}
                by |= {name: index for name in known if _unknown(whole.get(name))}
                whole |= known
                pairs.append((min(first, index), max(first, index)))
                continue
            one, other = sorted((by[differ[0]], index))
            values = [(whole[name], rows[index][name])[:: 1 if other == index else -1] for name in differ[:3]]
            what = "; ".join(
                f"{name} is {_shown(a)} and {_shown(b)}" for name, (a, b) in zip(differ, values, strict=False)
            )
            what += f"; and {len(differ) - 3} more" if len(differ) > 3 else ""
            pair = f"{places[one]} and {places[other]}"
            if keep is None:
                mistakes.append(f"{pair}: both are run {run_id!r}, but {what}; keep one with --keep first or last")
            else:
                notes.append(f"left out: {places[index]}, for {pair} are both run {run_id!r}, but {what}")
        found.append(whole)
    if mistakes:
        more = [f"and {len(mistakes) - _SHOWN} more contradictions"] if len(mistakes) > _SHOWN else []
        raise UserError(*mistakes[:_SHOWN], *more)
    if pairs:
        one, other = min(pairs)
        notes.insert(0, f"{len(pairs)} rows repeat a run and agree with its other row: put together "
                        f"(as {places[one]} and {places[other]})")  # fmt: skip
    return found, notes


def _unknown(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and value != value)


def _shown(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def _agree(one: Any, other: Any) -> bool:
    return _unknown(one) or _unknown(other) or bool(one == other)
