"""From tables and fits to the plain JSON numbers that a figure draws."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from scalelaw.runs import RunTable

Numbers = dict[str, Any]
"""What `collect` returns and `draw` draws: plain JSON, every value of the figure in it."""

NAMELESS = "all runs"
"""The model of every run in a table that knows neither variants nor sizes."""

SIGNIFICANT_DIGITS = 6
"""Digits kept of every number: far below a figure's resolution, and above the last bits in which machines differ."""


def plain(value: Any) -> Any:
    """The same value as plain JSON: NumPy unpacked, floats at six significant digits, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return float(f"{number:.{SIGNIFICANT_DIGITS}g}") if math.isfinite(number) else None
    return value


def with_known(runs: RunTable, columns: Sequence[str]) -> RunTable:
    """The runs at which all `columns` are known, positive and finite; `notes` says how many were left out."""
    known = np.ones(len(runs), dtype=bool)
    for column in columns:
        values = runs.column(column).astype(np.float64)
        known &= np.isfinite(values) & (values > 0)
    lost = int((~known).sum())
    return runs.where(known, f"left out: {lost} without {' and '.join(columns)}") if lost else runs


def model_of_run(runs: RunTable) -> list[str]:
    """Each run's model: the variant, else its size in words as "1.2M"; `NAMELESS` where neither is known."""
    if runs.has("variant"):
        return [str(name) for name in runs.column("variant")]
    if runs.has("macs_per_image") or runs.has("params"):
        sizes, _ = runs.variable("N")
        return [in_words(size) for size in sizes]
    return [NAMELESS] * len(runs)


JOINED = "Lines join runs on one training set, and with one parent."
"""For the caption of a figure whose runs are of several `series`."""


def series(frame: pd.DataFrame) -> list[int]:
    """Which rows a line may join, as equal numbers: those on one training set and of one parent."""
    known = [name for name in ("dataset", "unique_images", "parent") if name in frame]
    return [int(number) for number in frame.groupby(known, dropna=False).ngroup()] if known else [0] * len(frame)


def models(runs: RunTable) -> list[Numbers]:
    """The models by rising size: name, macs_per_image and params (None where unknown).

    A figure gives a model its colour by its place in this list, so that every figure of one table agrees.
    """
    names = model_of_run(runs)
    rows: dict[str, Numbers] = {}
    for place, name in enumerate(names):
        if name not in rows:
            sizes = {column: _at(runs, column, place) for column in ("macs_per_image", "params")}
            rows[name] = {"name": name, **sizes}
    return sorted(rows.values(), key=lambda row: (row["macs_per_image"] or row["params"] or 0, row["name"]))


def shared_budgets(runs: RunTable, most: int) -> list[float]:
    """Epoch budgets at which several models were trained, rising, at most the `most` commonest.

    Runs at equal compute have a budget each; all budgets count where there are no more than `most`.
    """
    if not runs.has("epochs"):
        return []
    pairs = set(zip(model_of_run(runs), runs.column("epochs").astype(float).tolist(), strict=True))
    counts = Counter(epochs for _, epochs in pairs if epochs > 0)
    several = [epochs for epochs, n in counts.items() if n > 1 or len(counts) <= most]
    return sorted(sorted(several, key=lambda epochs: (-counts[epochs], epochs))[:most])


def tags(rows: Sequence[Numbers], most: int = 6) -> dict[str, str]:
    """A few letters a model, for tick labels: names where all are short, else sizes in words, else names cut short."""
    names = [row["name"] for row in rows]
    if all(len(name) <= most for name in names):
        return {name: name for name in names}
    sizes = [row["macs_per_image"] or row["params"] for row in rows]
    words = [in_words(size) if size else name[:most] for name, size in zip(names, sizes, strict=True)]
    return dict(zip(names, words, strict=True))


def thinned(names: Sequence[str], most: int = 8) -> list[str]:
    """At most `most` of the names, evenly, first and last among them."""
    if len(names) <= most:
        return list(names)
    return [names[round(place)] for place in np.linspace(0, len(names) - 1, most)]


def _at(runs: RunTable, column: str, place: int) -> float | None:
    if not runs.has(column):
        return None
    value = float(runs.column(column)[place])
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else value


def bar_ends(middle: npt.ArrayLike, ends: Sequence[float | None]) -> npt.NDArray[np.float64]:
    """One end of the error bars, shape (points,): the middle itself where the end is unknown."""
    mid = np.asarray(middle, dtype=np.float64)
    return np.array([m if end is None else end for m, end in zip(mid, ends, strict=True)], dtype=np.float64)


_LETTERS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def in_words(value: float) -> str:
    """A size as people say it: 57300 is "57k", 1.2e9 is "1.2B"."""
    for power, letter in _LETTERS:
        if value >= power * 0.9995:
            return f"{value / power:.{1 if value < 9.95 * power else 0}f}".removesuffix(".0") + letter
    return f"{value:.3g}"


def tick_words(value: float) -> str:
    """The same of an axis' tick, in full: 10500 is "10.5k"."""
    for power, letter in _LETTERS:
        if value >= power:
            return f"{value / power:g}{letter}"
    return f"{value:g}"


def with_interval(value: float | None, interval: Sequence[float | None] | None) -> str:
    """An estimate and its interval as text, to the digits that the interval supports: "0.112 [0.103, 0.121]".

    One end that is None is written "open"; where both are, the interval is said to be unknown.
    """
    if value is None:
        return "unknown"
    low, high = interval if interval is not None else (None, None)
    ends = [abs(end - value) for end in (low, high) if end is not None]
    width = max(ends, default=0.0)
    decimals = 3 if width <= 0 else min(max(math.ceil(-math.log10(width / 2)), 1), 5)

    def text(number: float | None) -> str:
        if number is None:
            return "open"
        rounded = f"{number:.{decimals}f}"
        return rounded.replace("-", "" if float(rounded) == 0 else "−")

    if not ends:
        return f"{text(value)} (interval unknown)"
    return f"{text(value)} [{text(low)}, {text(high)}]"


def status_text(status: str) -> str:
    """What a legend adds to an estimate that is not simply converged: ", not identified"; else nothing."""
    return "" if status == "converged" else f", {status_words(status)}"


def status_words(status: str) -> str:
    """A status without its underscores."""
    return status.replace("_", " ")
