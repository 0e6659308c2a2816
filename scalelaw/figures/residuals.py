"""Residuals of the loss surface: run by run against compute, and gathered by size, beside the noise of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, mark, model_key, shared_key
from scalelaw.figures.numbers import Numbers, model_of_run, models, plain, status_text, tags, thinned
from scalelaw.figures.panels import Layout
from scalelaw.fitting.straightness import t_quantile
from scalelaw.frontiers import frontier
from scalelaw.frontiers.columns import best_of, columns_of, one_training_set
from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.runs import RunTable

Array = npt.NDArray[np.float64]

MOST_NAMED = 8
_SPREAD = 15.0  # points between the first and the last run of a size


def collect(runs: RunTable) -> Numbers:
    """Residuals ln loss - ln surface of every run of the surface, and their means by size with 95 % intervals.

    Raises:
        UserError: when the runs allow no surface, or a failed one.
    """
    best = best_of(runs)
    notes = list(best.notes)
    best = one_training_set(best, notes)
    columns = columns_of(best, None, notes)
    front = frontier(best)
    if front.surface is None or front.surface.status == "failed":
        why = next((note for note in front.notes if note.startswith("no surface")), "the loss surface failed")
        raise UserError(f"{runs.source}: {why}")
    surface = front.surface
    order = np.argsort(columns.compute, kind="stable")
    residual = -surface.residuals[order]  # measured above the surface: positive
    names = np.array(model_of_run(best))[order]
    rows = [row["name"] for row in models(best)]
    dof = surface.point.dof
    numbers: Numbers = {
        "figure": "residuals of the loss surface",
        "compute": columns.compute_name,
        "models": models(runs),
        "status": surface.status,
        "runs": {
            "model": names,
            "compute": columns.compute[order],
            "val_loss": columns.loss[order],
            "residual": residual,
        },
        "sizes": [{"model": name, **_mean(residual[names == name])} for name in rows],
        "scatter": float(np.sqrt((residual**2).sum() / dof)) if dof >= 1 else None,
        "degrees_of_freedom": dof,
        "noise": _noise(runs),
        "notes": notes,
    }
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _mean(values: Array) -> Numbers:
    """Mean of the residuals of one size, with Student's interval; none for a single run."""
    low = high = None
    if len(values) > 1:
        half = t_quantile(0.95, len(values) - 1) * float(values.std(ddof=1)) / np.sqrt(len(values))
        low, high = float(values.mean()) - half, float(values.mean()) + half
    return {"runs": len(values), "mean": float(values.mean()), "low": low, "high": high}


def _noise(runs: RunTable) -> Numbers | None:
    """Standard deviation of ln loss of a run and what tells it; None where nothing does."""
    try:
        found = optimal_learning_rates(runs)
    except UserError:
        return None
    if found.noise is None:
        return None
    noise: Numbers = {"value": found.noise, "from": found.noise_basis, "cells": None, "dearest": None}
    if found.noise_basis == "seeds":
        done = runs.finished()
        frame = done.frame.assign(cell=done.cells())
        frame = frame[frame.duplicated(["cell", "peak_lr"], keep=False)]
        noise["cells"] = frame["cell"].nunique()
        noise["dearest"] = float(frame["core_hours"].max()) if "core_hours" in frame else None
    return noise


def _caption(numbers: Numbers) -> str:
    words = (
        f"Residuals, ln of measured over fitted loss, of the {len(numbers['runs']['residual'])} runs of the loss "
        f"surface{status_text(numbers['status'])}: against compute, and by size, in each size from the cheapest run "
        "to the dearest, with the mean and its 95 % interval."
    )
    if numbers["scatter"] is not None:
        words += f" Their standard deviation is {numbers['scatter']:.3f}."
    noise = numbers["noise"]
    if noise is None:
        return f"{words} The noise of a single run is unknown: no repeated seeds."
    source = "the scatter about curves in the learning rate"
    if noise["from"] == "seeds":
        source = f"repeated seeds in {noise['cells']} cells"
        source += "" if noise["dearest"] is None else f" of at most {noise['dearest']:.2g} core-hours a run"
    return f"{words} The band is 1.96 standard deviations of a single run, {noise['value']:.3f}, from {source}."


def layout(_: Numbers) -> Layout:
    """Two panels side by side."""
    return Layout(2.1, 2, 2, style.FULL_WIDTH, (1.35, 1.0))


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned: by run on the left, by size on the right, on the same scale."""
    by_run, by_size = axes
    shades = style.shades(numbers["models"])
    runs, noise = numbers["runs"], numbers["noise"]
    ends = [*runs["residual"], *(row[end] for row in numbers["sizes"] for end in ("low", "high") if row["runs"] > 2)]
    ends += [1.96 * sign * noise["value"] for sign in (-1, 1)] if noise else []
    reach = 1.1 * max(abs(end) for end in ends if end is not None)
    by_run.set_xscale("log")
    _draw_runs(by_run, runs, shades)
    by_run.set_xlim(*style.log_limits(runs["compute"]))
    style.compute_axis(by_run, numbers["compute"])
    _draw_sizes(by_size, numbers, shades)
    for ax in axes:
        ax.set_ylim(-reach, reach)
        ax.axhline(0.0, color=style.INK, linewidth=0.6, zorder=1)
        if noise is not None:
            ax.axhspan(
                -1.96 * noise["value"], 1.96 * noise["value"], color=style.BAND, linewidth=0, alpha=0.6, zorder=0
            )
    by_run.set_ylabel("ln (measured / fitted loss)")
    by_size.tick_params(labelleft=False)
    drawn = {row["model"] for row in numbers["sizes"]}
    shared_key(axes, model_key(shades, drawn), Group("Spread", _signs(numbers)))
    return axes


def _draw_runs(ax: Axes, runs: Numbers, shades: dict[str, str]) -> None:
    for name, compute, residual in zip(runs["model"], runs["compute"], runs["residual"], strict=True):
        ax.plot([compute], [residual], linestyle="", marker="o", color=shades[name], zorder=3)


def _draw_sizes(ax: Axes, numbers: Numbers, shades: dict[str, str]) -> None:
    """A strip a size: its runs from left to right by rising compute, then their mean."""
    rows, runs = numbers["sizes"], numbers["runs"]
    room = _SPREAD if len(rows) <= MOST_NAMED else 0.0
    for place, row in enumerate(rows):
        mine = [r for name, r in zip(runs["model"], runs["residual"], strict=True) if name == row["model"]]
        for k, residual in enumerate(mine):
            shift = room * (k / (len(mine) - 1) - 0.5) if len(mine) > 1 else 0.0
            aside = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
            ax.plot([place], [residual], linestyle="", marker="o", markersize=2.6, color=shades[row["model"]],
                    alpha=0.75, transform=aside, zorder=2)  # fmt: skip
        if row["low"] is not None:
            ax.vlines([place], [row["low"]], [row["high"]], color=style.INK, linewidth=1.0, zorder=4)
            ax.plot([place], [row["mean"]], linestyle="", marker="D", color=style.INK, mfc="white", zorder=5)
    names = [row["model"] for row in rows]
    ax.set_xlim(-0.6, len(rows) - 0.4)
    shown = [place for place, name in enumerate(names) if name in thinned(names)]
    ax.xaxis.set_major_locator(FixedLocator(shown))
    words = tags(numbers["models"])
    ax.xaxis.set_major_formatter(FixedFormatter([words[names[place]] for place in shown]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("Model, by size")


def _signs(numbers: Numbers) -> list[Entry]:
    signs: list[Entry] = []
    if any(row["low"] is not None for row in numbers["sizes"]):
        bar: tuple[Any, ...] = mark(style.ARROWS["bar"], style.INK, markersize=9), mark("D", style.INK, filled=False)
        signs.append(Entry("mean of a size, with 95 % interval", bar))
    noise = numbers["noise"]
    if noise is not None:
        source = "seeds" if noise["from"] == "seeds" else "curves in the rate"
        swatch = Rectangle((0, -2.8), 14, 5.6, color=style.BAND, linewidth=0, alpha=0.6)
        signs.append(Entry(f"95 % of single runs, by {source}: $\\sigma$ = {noise['value']:.3f}", swatch))
    else:
        signs.append(Entry("the noise of a single run is unknown", ()))
    if numbers["scatter"] is not None:
        signs.append(Entry(f"scatter about the surface: $\\sigma$ = {numbers['scatter']:.3f}", ()))
    return signs
