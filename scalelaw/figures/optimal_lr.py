"""Figure 3: the best learning rate against epochs, one curve a model, with optima at the grid's edge as bounds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import ScaledTranslation

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, key, mark, shortened, stroke
from scalelaw.figures.numbers import (
    JOINED,
    Numbers,
    bar_ends,
    model_of_run,
    models,
    plain,
    series,
    shared_budgets,
    status_text,
    with_interval,
)
from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.runs import RunTable

_DODGE, _SPREAD = 3.4, 20.0  # points between neighbouring models at one epoch budget, and at most between all


def collect(runs: RunTable) -> Numbers:
    """The numbers of Figure 3: per model its optima by epochs, each with its interval or as a bound, and their trend.

    Raises:
        UserError: when epochs are unknown, or no cell was trained at two learning rates.
    """
    if not runs.has("epochs"):
        raise UserError(f"{runs.source}: has no epochs; Figure 3 draws learning rates against them")
    result = optimal_learning_rates(runs)  # diverged runs count: their rate was too high
    cells, notes = _drawn(result.cells, runs, [*runs.notes, *result.notes])
    tried = runs.where(np.isfinite(runs.column("val_loss").astype(float)))
    numbers: Numbers = {
        "figure": "best learning rate against epochs",
        "batch_size": None if cells["batch_size"].isna().all() else cells["batch_size"].iloc[0],
        "rates": np.unique(tried.column("peak_lr").astype(float)),
        "models": models(runs),
        "curves": _curves(cells, [row["name"] for row in models(runs)]),
        "inside_share": result.inside_share,
        "noise": result.noise,
        "trend": {name: getattr(result.trend, name) for name in ("params", "stderr", "interval", "status", "note")},
        "notes": notes,
    }
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _drawn(cells: pd.DataFrame, runs: RunTable, notes: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """The cells at the commonest batch size and at epoch budgets that models share, and what that leaves out."""
    if cells["batch_size"].notna().any():
        commonest = cells["batch_size"].mode().iloc[0]
        other = cells["batch_size"] != commonest
        if other.any():
            notes.append(
                f"not drawn, but in the trend: {int(other.sum())} cells at other batch sizes than {commonest:g}"
            )
            cells = cells[~other]
    budgets = shared_budgets(runs, most=9)
    elsewhere = ~cells["epochs"].isin(budgets)
    if budgets and elsewhere.any() and not elsewhere.all():
        notes.append(f"not drawn, but in the trend: {int(elsewhere.sum())} cells at epoch budgets of one model alone")
        cells = cells[~elsewhere]
    return cells, notes


def _curves(cells: pd.DataFrame, names: list[str]) -> list[Numbers]:
    cells = cells.assign(model=model_of_run(RunTable.from_frame(cells)), series=series(cells))
    curves = []
    for name in names:
        mine = cells[cells["model"] == name].sort_values("epochs", kind="stable")
        if len(mine):
            columns = ("epochs", "best_lr", "low", "high", "bound", "series")
            curves.append({"model": name, **{column: mine[column].tolist() for column in columns}})
    return curves


def _caption(numbers: Numbers) -> str:
    batch = f" at batch size {numbers['batch_size']:g}" if numbers["batch_size"] else ""
    return (
        f"Best learning rate{batch} against epochs, with 95 % intervals where the noise is known. Arrows are bounds: "
        "the best rate tried is the grid's highest or lowest, and the optimum lies that way. "
        f"{numbers['inside_share']:.0%} of all optima lie inside their grid."
        + (f" {JOINED}" if len({one for curve in numbers["curves"] for one in curve["series"]}) > 1 else "")
    )


def draw(ax: Axes, numbers: Numbers) -> Axes:
    """Draws what `collect` returned; models are set side by side by a few points so that equal rates stay visible."""
    shades = style.shades(numbers["models"])
    curves = numbers["curves"]
    ax.set_xscale("log")
    ax.set_yscale("log")
    for place, curve in enumerate(curves):
        shift = (place - (len(curves) - 1) / 2) * min(_DODGE, _SPREAD / len(curves))
        _draw_curve(ax, curve, shades[curve["model"]], shift)
    epochs = [x for curve in curves for x in curve["epochs"]]
    best = [y for curve in curves for y in curve["best_lr"]]
    rates = [rate for rate in numbers["rates"] if min(best) / 2.1 < rate < max(best) * 2.1]
    low, high = style.log_limits([*best, *rates])
    ax.set_ylim(low / 1.3, high * 1.3)  # an interval that leaves the grid leaves the panel too
    ax.set_xlim(*style.log_limits(epochs, 0.09))
    ticks = style.apart(sorted(set(epochs)), *ax.get_xlim(), gap=0.07)
    style.plain_axis(ax.xaxis, ticks, dict(zip(ticks, style.lengths(ticks), strict=True)).__getitem__)
    style.plain_axis(ax.yaxis, style.apart(rates, *ax.get_ylim(), gap=0.08))
    for rate in rates:
        ax.axhline(rate, color=style.GUIDE, linewidth=0.5, zorder=0)
    ax.set_xlabel("Epochs")
    ax.set_ylabel("Best learning rate")
    samples = [Entry(shortened(c["model"]), _sample(shades[c["model"]])) for c in curves]
    key(ax, [Group("Model", samples)], _lines(numbers))
    return ax


def _draw_curve(ax: Axes, curve: Numbers, shade: str, shift: float) -> None:
    """One model's line, its optima inside the grid with their bar_ends, and its bounds with their arrows."""
    aside = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
    x, y = np.array(curve["epochs"]), np.array(curve["best_lr"])
    inside = np.array([bound == "inside" for bound in curve["bound"]])
    joined = np.array(curve["series"])
    for one in dict.fromkeys(curve["series"]):
        for step in map(list, pairwise(np.flatnonzero(joined == one))):
            if x[step[0]] == x[step[1]]:
                continue  # cells of one length differ in something else
            style_of = "-" if inside[step].all() else (0, (1, 1.5))  # dotted where the optimum is a bound only
            ax.plot(x[step], y[step], color=shade, linewidth=0.8, linestyle=style_of, transform=aside, zorder=2)
    low, high = (bar_ends(y, curve[end])[inside] for end in ("low", "high"))
    ax.vlines(x[inside], low, high, color=shade, alpha=0.55, linewidth=0.8, transform=aside, zorder=2)
    ax.plot(x[inside], y[inside], linestyle="", marker="o", color=shade, transform=aside, zorder=4)
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
    optima = [
        (bound, low is not None or high is not None)
        for curve in numbers["curves"]
        for bound, low, high in zip(curve["bound"], curve["low"], curve["high"], strict=True)
    ]
    lines = []
    if ("inside", True) in optima:
        bar = style.ARROWS["bar"]
        lines.append(Entry("95 % interval of the optimum", (mark(bar, style.INK, markersize=8), mark("o", style.INK))))
    bounds = {bound for bound, _ in optima} - {"inside"}
    if bounds:
        arrow = style.ARROWS["above" if "above" in bounds else "below"]
        sign = mark(arrow, style.INK, markersize=8), mark("o", style.INK, filled=False)
        lines.append(Entry("bound: best rate at the grid's edge", sign))
    return lines + _trend_lines(numbers["trend"])


def _trend_lines(trend: Numbers | None) -> list[Entry]:
    """The exponents of size and epochs, those that the cells determine."""
    factors = {"b": r"M^{\,b}", "c": r"\mathrm{epochs}^{\,c}"}
    known = [name for name in factors if trend is not None and trend["params"].get(name) is not None]
    if trend is None or not known:
        return []
    exponents = [f"${name}$ = {with_interval(trend['params'][name], trend['interval'][name])}" for name in known]
    law = r"\,".join(factors[name] for name in known)
    return [
        Entry(rf"trend: rate $\propto {law}${status_text(trend['status'])}", ()),
        Entry(", ".join(exponents), ()),
    ]
