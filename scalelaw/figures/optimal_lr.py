"""Figure 3: the best learning rate against epochs, one curve a model, with optima at the grid's edge as bounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import ScaledTranslation

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.key import Entry, Group, key, mark, shortened, stroke
from scalelaw.figures.numbers import Numbers, bars, models, plain, shared_budgets, status_text, with_interval
from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.runs import RunTable

_DODGE = 2.2  # points between the markers of neighbouring models at one epoch budget


def collect(runs: RunTable) -> Numbers:
    """The numbers of Figure 3: per model its optima by epochs, each with its interval or as a bound, and their trend.

    Raises:
        UserError: when no cell was trained at two learning rates.
    """
    finished = runs.finished()
    result = optimal_learning_rates(finished)
    cells = result.cells[result.cells["rates"] >= 2]
    if not len(cells):
        raise UserError(f"{runs.source}: no model was trained at two learning rates for one length; Figure 3 needs a sweep")
    notes = list(finished.notes)
    untuned = len(result.cells) - len(cells)
    if untuned:
        notes.append(f"left out: {untuned} cells trained at one learning rate")
    batch_sizes = cells["batch_size"].dropna() if "batch_size" in cells else pd.Series(dtype=float)
    batch_size = None
    if len(batch_sizes):
        batch_size = batch_sizes.mode().iloc[0]
        other = cells["batch_size"] != batch_size
        if other.any():
            notes.append(f"left out: {int(other.sum())} cells at other batch sizes than {batch_size:g}")
            cells = cells[~other]
    budgets = shared_budgets(finished, most=9)
    elsewhere = ~cells["epochs"].isin(budgets)
    if budgets and elsewhere.any():
        notes.append(f"not drawn: {int(elsewhere.sum())} cells at epoch budgets of one model alone; the trend holds them")
        cells = cells[~elsewhere]
    numbers: Numbers = {
        "figure": "best learning rate against epochs",
        "batch_size": batch_size,
        "rates": np.unique(finished.column("peak_lr").astype(float)),
        "models": models(runs),
        "curves": _curves(cells, [row["name"] for row in models(runs)]),
        "inside_share": result.inside_share,
        "noise": result.noise,
        "trend": _trend(result.trend),
        "notes": notes,
    }
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _curves(cells: pd.DataFrame, names: list[str]) -> list[Numbers]:
    curves = []
    for name in names:
        mine = cells[cells["variant"].astype(str) == name].sort_values("epochs", kind="stable")
        if len(mine):
            curves.append({
                "model": name,
                **{column: mine[column].tolist() for column in ("epochs", "best_lr", "low", "high", "bound")},
            })  # fmt: skip
    return curves


def _trend(trend: Any) -> Numbers | None:
    if trend is None:
        return None
    return {name: getattr(trend, name) for name in ("params", "stderr", "interval", "status")}


def _caption(numbers: Numbers) -> str:
    batch = f" at batch size {numbers['batch_size']:g}" if numbers["batch_size"] else ""
    share = numbers["inside_share"]
    return (
        f"Best learning rate{batch} against epochs, bars its 95 % interval. Arrows are bounds: the best rate tried is "
        f"the grid's highest or lowest, and the optimum lies that way. {share:.0%} of the optima lie inside the grid."
    )


def draw(ax: Axes, numbers: Numbers) -> Axes:
    """Draws what `collect` returned; models are set side by side by a few points so that equal rates stay visible."""
    shades = dict(zip([row["name"] for row in numbers["models"]], style.colours(numbers["models"]), strict=True))
    curves = numbers["curves"]
    ax.set_xscale("log")
    ax.set_yscale("log")
    for place, curve in enumerate(curves):
        shift = (place - (len(curves) - 1) / 2) * _DODGE
        _draw_curve(ax, curve, shades[curve["model"]], shift)
    epochs = [x for curve in curves for x in curve["epochs"]]
    ends = [y for curve in curves for name in ("best_lr", "low", "high") for y in curve[name] if y is not None]
    rates = [rate for rate in numbers["rates"] if min(ends) / 2.1 < rate < max(ends) * 2.1]
    low, high = style.log_limits([*ends, *rates], 0.08)
    ax.set_ylim(low / 1.08, high * 1.08)
    ax.set_xlim(*style.log_limits(epochs, 0.09))
    style.plain_axis(ax.xaxis, style.apart(sorted(set(epochs)), *ax.get_xlim(), gap=0.07))
    style.plain_axis(ax.yaxis, style.apart(rates, *ax.get_ylim(), gap=0.08))
    for rate in rates:
        ax.axhline(rate, color=style.GUIDE, linewidth=0.5, zorder=0)
    ax.set_xlabel("Epochs")
    ax.set_ylabel("Best learning rate")
    key(ax, [Group("Model", [Entry(shortened(c["model"]), _sample(shades[c["model"]])) for c in curves])], _lines(numbers))
    return ax


def _draw_curve(ax: Axes, curve: Numbers, shade: str, shift: float) -> None:
    """One model's line, its optima inside the grid with their bars, and its bounds with their arrows."""
    aside = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    x, y = np.array(curve["epochs"]), np.array(curve["best_lr"])
    inside = np.array([bound == "inside" for bound in curve["bound"]])
    for start in range(len(x) - 1):
        certain = inside[start : start + 2].all()
        style_of = "-" if certain else (0, (1, 1.5))  # dotted where the optimum is a bound only
        step = slice(start, start + 2)
        ax.plot(x[step], y[step], color=shade, linewidth=0.8, linestyle=style_of, transform=aside, zorder=2)
    lengths = bars(y, curve["low"], curve["high"])
    if inside.any():
        ax.errorbar(
            x[inside], y[inside], lengths[:, inside],
            fmt="o", color=shade, ecolor=(shade, 0.55), elinewidth=0.8, capsize=0, transform=aside, zorder=4,
        )  # fmt: skip
    for bound, arrow in style.ARROWS.items():
        at = np.array([word == bound for word in curve["bound"]])
        ax.plot(
            x[at], y[at], linestyle="", marker=MarkerStyle(arrow, fillstyle="none"), markersize=8, color=shade,
            transform=aside, zorder=3,
        )  # fmt: skip
        ax.plot(x[at], y[at], linestyle="", marker="o", color=shade, mfc="white", transform=aside, zorder=4)


def _sample(shade: str) -> tuple[Any, ...]:
    return stroke(shade, linewidth=0.8), mark("o", shade)


def _lines(numbers: Numbers) -> list[Entry]:
    """What bars and arrows mean, where there are any, and the trend."""
    bounds = {bound for curve in numbers["curves"] for bound in curve["bound"]} - {"inside"}
    lines = []
    if any(low is not None for curve in numbers["curves"] for low in curve["low"]):
        bar = style.ARROWS["bar"]
        lines.append(Entry("95 % interval of the optimum", (mark(bar, style.INK, markersize=8), mark("o", style.INK))))
    if bounds:
        arrow = style.ARROWS["above" if "above" in bounds else "below"]
        lines.append(Entry("bound: best rate at the grid's edge", (mark(arrow, style.INK, markersize=8), mark("o", style.INK, filled=False))))
    trend = numbers["trend"]
    if trend is not None:
        lines.append(Entry("trend " + status_text(trend["status"]) + with_interval(None, None)))
    return lines
