"""Tables to draw, from usual to extreme."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from drawings import sweep, texts_in_view
from matplotlib.figure import Figure

from scalelaw import figures
from scalelaw.figures import numbers
from scalelaw.runs import RunTable

ROOT = Path(__file__).resolve().parents[1]
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
LONG_NAMES = tuple(f"resnet-wide-{50 + k}-with-squeeze-excite" for k in range(7))


def simulated(
    models: int = 7,
    epochs: tuple[float, ...] = EPOCHS,
    rates: tuple[float, ...] = (0.4, 0.8, 1.6, 3.2),
    iso: int = 5,
    noise: float = 0.005,
    names: tuple[str, ...] = (),
) -> RunTable:
    """A sweep of epochs x sizes x rates, and of `iso` equal-compute budgets, without very short or long runs."""
    budgets = tuple(np.geomspace(2e10, 2e12, iso)) if iso else ()
    return sweep(models, epochs, rates, budgets, noise, names, lengths=(0.2, 9.0))


def trend(alpha: float | None, width: float, status: str = "converged", line: Any = None) -> dict[str, Any]:
    interval = [None, None] if alpha is None else [alpha - width, alpha + width]
    return {
        "params": {"A": 1.0, "alpha": alpha}, "stderr": {"A": None, "alpha": None}, "status": status, "note": "",
        "interval": {"A": [None, None], "alpha": interval}, "line": line,
    }  # fmt: skip


def frontier_numbers(
    bracketed: tuple[bool, ...] = (False, True, True, True, True), status: str = "converged"
) -> dict[str, Any]:
    """Numbers as `frontier.collect` makes them: M = 8e5 (C / 1e-6)^.55 and epochs = .8 (C / 1e-6)^.45, times noise."""
    hours = np.geomspace(1e-7, 1e-5, len(bracketed))
    line = np.geomspace(4e-8, 3e-5, 12)
    result: dict[str, Any] = {
        "compute": "core_hours",
        "flop_per_core_hour": {"median": 1.782e17, "low": 1.782e17, "high": 1.782e17},
        "models": [{"name": f"N{k}", "macs_per_image": 1e5 * 2**k, "params": 7000 * 1.8**k} for k in range(7)],
        "params_trend": trend(0.48, 0.04),
        "notes": [],
    }
    for panel, quantity, at_one, power in (("size", "macs_per_image", 8e5, 0.55), ("epochs", "epochs", 0.8, 0.45)):
        mid, points = at_one * (line / 1e-6) ** power, at_one * (hours / 1e-6) ** power * 1.05
        band = {"core_hours": line, "mid": mid, "low": mid / 1.2, "high": mid * 1.2}
        result[panel] = {
            "quantity": quantity,
            "counts_images": False,
            "surface": trend(None, 0, status) if status == "failed" else trend(power, 0.04, status, band),
            "equal_compute": trend(power + 0.02, 0.1, status, {**band, "mid": mid * 1.05, "low": None, "high": None}),
            "points": {
                "core_hours": hours, quantity: points, "bracketed": list(bracketed),
                "low": [value / 1.3 if sure else None for value, sure in zip(points, bracketed, strict=True)],
                "high": [value * 1.3 if sure else None for value, sure in zip(points, bracketed, strict=True)],
            },
        }  # fmt: skip
    return dict(numbers.plain(result))


def chinchilla(sizes: int, lengths: int) -> RunTable:
    """Foreign columns: parameters, tokens and C = 6 N D on the surface of Hoffmann et al. 2022."""
    rng = np.random.default_rng(1)
    rows = [(N, D) for N in np.geomspace(1e8, 1e10, sizes) for D in np.geomspace(2e9, 2e11, lengths)]
    frame = pd.DataFrame(rows, columns=["N", "D"])
    frame["C"] = 6 * frame["N"] * frame["D"]
    frame["loss"] = (1.69 + 406 * frame["N"] ** -0.34 + 411 * frame["D"] ** -0.28) * rng.normal(1, 0.002, len(frame))
    return RunTable.from_frame(frame)


TABLES: dict[str, Callable[[], RunTable]] = {
    "full": simulated,
    "long names": lambda: simulated(names=LONG_NAMES),
    "eight models": lambda: simulated(models=8, epochs=(*EPOCHS, 16.0)),
    "epochs only": lambda: simulated(models=5, iso=0),
    "few": lambda: simulated(models=2, epochs=(1.0, 2.0), iso=0),
    "parameters and tokens": lambda: chinchilla(6, 6),
    "forty models": lambda: chinchilla(40, 2),
    "compute and loss": lambda: RunTable.from_frame(chinchilla(6, 6).frame[["train_flop", "val_loss"]]),
}
FRONTIERS: dict[str, Callable[[], dict[str, Any]]] = {
    "bounds and bars": frontier_numbers,
    "unbracketed": lambda: frontier_numbers((False, False)),
    "not identified": lambda: frontier_numbers(status="not_identified"),
    "no surface": lambda: frontier_numbers(status="failed"),
}
IMPOSSIBLE = {"figure3 parameters and tokens", "figure3 forty models", "figure3 compute and loss", "frontier few",
              "frontier compute and loss"}  # fmt: skip
ONE_COLUMN = ("figure2", "figure3", "frontier")
"""Figures of one column's width; those of several panels have cases of their own in test_figures_panels.py."""
CASES = [f"{name} {table}" for name in ONE_COLUMN for table in TABLES if f"{name} {table}" not in IMPOSSIBLE]
CASES += [f"frontier {what}" for what in FRONTIERS]


@functools.cache
def case(which: str) -> tuple[str, dict[str, Any]]:
    """The figure and the numbers of one of `CASES`."""
    name, _, what = which.partition(" ")
    numbers_of = FRONTIERS.get(what, lambda: figures.FIGURES[name].collect(TABLES[what]()))
    return name, numbers_of()


@functools.cache
def laid_out(which: str) -> tuple[Figure, dict[str, Any]]:
    """The figure of one of `CASES` as it stands on its page, and the texts that are seen: to look at, not to change."""
    name, drawn = case(which)
    figure = figures.FIGURES[name].make(drawn)
    return figure, texts_in_view(figure)


BY_CASE = pytest.mark.parametrize("which", CASES)
