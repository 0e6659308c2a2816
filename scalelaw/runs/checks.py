"""From somebody's columns to ours: names, types, and every value that cannot be right named, none dropped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scalelaw import compute
from scalelaw.errors import UserError, nearest
from scalelaw.runs.schema import COLUMNS, LETTERS, STATUSES, python_type
from scalelaw.text import counted

_POSITIVE = ("params", "macs_per_image", "unique_images", "epochs", "images_seen", "batch_size", "peak_lr",
             "train_flop", "core_hours", "utilisation", "val_loss")  # fmt: skip
_AGREE = 1e-3  # relative difference up to which two ways to the same number agree; tables round
_SHARPNESS = re.compile(r'"sam_radius"|"recipe":\s*"finetune"')  # a configuration of sharpness-aware steps
_LETTERS = {**LETTERS, "L": "val_loss"}


def renamed(frame: pd.DataFrame, source: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Gives the table's columns our names: first by the caller's map, then by the field's letters.

    Raises:
        UserError: for a name on either side of the map that is unknown or meant twice.
    """
    frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
    have = list(frame.columns)
    known = [*COLUMNS, *_LETTERS]
    mistakes = [
        f"{source}: has two columns {name!r}; rename one" for name in dict.fromkeys(have) if have.count(name) > 1
    ]
    meant: dict[str, str] = {}
    for ours, theirs in columns.items():
        if ours not in known:
            mistakes.append(f"--column {ours}: is no known column{nearest(ours, known)} (known: {', '.join(known)})")
        if theirs not in have:
            mistakes.append(f"{source}: has no column {theirs!r}{nearest(theirs, have)} (columns: {', '.join(have)})")
        name = _LETTERS.get(ours, ours)
        if theirs in meant:
            mistakes.append(f"--column {ours}: {theirs!r} is {meant[theirs]} already; a column has one meaning")
        elif name in meant.values():
            mistakes.append(f"--column {ours}: {name} is named already; leave one of the two out")
        meant[theirs] = name
    if mistakes:
        raise UserError(*mistakes)
    taken = set(meant.values())
    frame = frame.drop(columns=[name for name in have if name in taken and name not in meant])
    for letter, name in _LETTERS.items():
        if letter in frame and letter not in meant and name not in taken and name not in frame:
            meant[letter] = name
            taken.add(name)
    return frame.rename(columns=meant)


def checked(frame: pd.DataFrame, source: str) -> tuple[pd.DataFrame, list[str]]:
    """Known columns in their types, and a sentence for every value that cannot be right.

    What is not a number where one must be becomes unknown. Only finished runs need sensible results.
    """
    frame = frame.reset_index(drop=True)
    found: list[str] = []
    names = frame.get("run_id")

    def name_rows(rows: npt.NDArray[np.bool_], column: str, was: pd.Series, mend: str) -> None:
        for row in np.flatnonzero(rows):
            run = f" (run {names.iloc[row]})" if names is not None and column != "run_id" else ""
            found.append(f"{source}: row {row + 1}{run}: {column} is {_shown(was.iloc[row])}; {mend}")

    judged = np.ones(len(frame), dtype=bool)
    if "status" in frame:
        judged = (frame["status"] == "finished").to_numpy(dtype=bool, na_value=False)
        name_rows(~frame["status"].isin(STATUSES).to_numpy(), "status", frame["status"],
                  f"it must be one of {', '.join(STATUSES)}")  # fmt: skip
    if names is not None:
        again = (names.duplicated() & names.notna()).to_numpy()
        name_rows(again, "run_id", names, "an earlier row has it too; keep one of the two")
    for column in [name for name in COLUMNS if name in frame]:
        was = frame[column]
        kind = python_type(column)
        if kind is str:
            texts = was if pd.api.types.infer_dtype(was) == "string" else was.map(str, na_action="ignore")
            frame[column] = texts.astype(object).where(was.notna(), None)
            continue
        if kind not in (int, float):
            frame[column] = pd.to_datetime(was, utc=True, errors="coerce", format="ISO8601")
            name_rows((was.notna() & frame[column].isna()).to_numpy(), column, was, "it must be a time, as 2026-01-31")
            continue
        numbers = _numbers(was)
        values = numbers.to_numpy(dtype=np.float64)
        name_rows(was.notna().to_numpy() & np.isnan(values), column, was, "it must be a number")
        if column in _POSITIVE:
            name_rows(judged & ~(values > 0) & ~np.isnan(values), column, was, "it must be positive")
            name_rows(judged & np.isinf(values), column, was, "it must be finite")
        if column == "val_loss":
            name_rows(judged & was.isna().to_numpy(), column, was, "a finished run has a loss")
        frame[column] = numbers
    told = [name for name in _POSITIVE if name in frame and name != "val_loss"]  # a result alone is no run
    known = frame[[name for name in COLUMNS if name in frame]]
    copies = known.duplicated().to_numpy(bool) & frame[told].notna().any(axis=1).to_numpy(bool)
    if names is not None:
        copies = copies & names.isna().to_numpy()  # a run_id that is there twice has been named
    if copies.any():
        first = np.flatnonzero(copies)[0] + 1
        found.append(f"{source}: {counted(int(copies.sum()), 'row')} equal to an earlier one in every known column, "
                     f"the first is row {first}; drop copies")  # fmt: skip
    for column, implied, why in _implied(frame):
        off = (implied / frame[column] - 1).abs().to_numpy(dtype=np.float64, na_value=np.nan)
        name_rows(off > _AGREE, column, frame[column], f"{why} imply another value")
    return frame, found


def _implied(frame: pd.DataFrame) -> list[tuple[str, pd.Series, str]]:
    """Columns that follow from others: (column, its value by the others, the others)."""
    ways: list[tuple[str, pd.Series, str]] = []
    if {"train_flop", "macs_per_image", "images_seen"} <= set(frame):
        flop = frame["macs_per_image"] * frame["images_seen"] * compute.train_flop(1, 1)
        if "config" in frame:  # steps of two gradients cost up to twice as much
            sharp = frame["config"].map(lambda text: bool(_SHARPNESS.search(str(text))))
            flop = flop.where(~sharp, frame["train_flop"].clip(flop, 2 * flop))
        ways.append(("train_flop", flop, "macs_per_image and images_seen"))
    if {"core_hours", "train_flop", "utilisation"} <= set(frame):
        hours = frame["train_flop"] / (frame["utilisation"] * compute.FLOP_PER_CORE_HOUR)
        ways.append(("core_hours", hours, "train_flop and utilisation"))
    if {"core_hours", "core_hours_basis", "hardware", "train_seconds", "devices"} <= set(frame):
        tpu = compute.HARDWARE["tpu-v4"]
        is_v4 = frame["hardware"].map(lambda kind: str(kind).lower().replace(" ", "-") == tpu.name)
        hours = compute.measured_core_hours(1, 1, tpu) * frame["train_seconds"] * frame["devices"]
        timed = hours.where(is_v4 & (frame["core_hours_basis"] == "measured"))
        ways.append(("core_hours", timed, "train_seconds and devices"))
    return ways


def _numbers(values: pd.Series) -> pd.Series:
    """The values as int64 where all are known and whole, else as float64 with NaN for what is no number."""
    numbers = pd.to_numeric(values, errors="coerce")
    if isinstance(numbers.dtype, np.dtype) and numbers.dtype.kind in "iuf":
        return numbers
    return numbers.astype(object).where(numbers.notna(), np.nan).astype(np.float64)


def _shown(value: Any) -> str:
    """A value as a person would write it, cut where long."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return "unknown"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
