"""Learning-rate basins: a panel a cell, sizes by epochs, with the fitted curve and its optimum or its bound."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, key, mark, stroke
from scalelaw.figures.numbers import Numbers, bar_ends, model_of_run, models, plain, shared_budgets, tags, thinned
from scalelaw.figures.panels import Layout, outer
from scalelaw.learning_rate import LearningRates, optimal_learning_rates
from scalelaw.learning_rate.basin import WIDE, WINDOW, Basin, basin_of, optimum, phi
from scalelaw.runs import RunTable

Array = npt.NDArray[np.float64]

LINE_POINTS = 32
MOST_ROWS, MOST_COLUMNS = 6, 7
HIGHEST = 1.6
"""Losses over the lowest of their cell that a panel shows; higher ones stand at its upper edge."""
_CURVES = {"parabola": "fitted parabola", "lopsided": "fitted lopsided basin", "grid": "no curve"}
_FOOT, _TOP = 0.09, 0.92  # heights in a panel


def collect(runs: RunTable) -> Numbers:
    """The losses of every cell against the learning rate, its curve and its optimum, by size and epochs.

    Raises:
        UserError: when epochs are unknown, or no cell was trained at two learning rates.
    """
    if not runs.has("epochs"):
        raise UserError(f"{runs.source}: has no epochs; the panels of the basins stand by them")
    result = optimal_learning_rates(runs)
    notes = [*runs.notes, *result.notes]
    cells = result.cells.assign(model=model_of_run(RunTable.from_frame(result.cells)))
    names, budgets = _drawn(cells, runs, notes)
    panels = [_panel(cell, runs, result) for name in names for budget in budgets
              for cell in [_cell(cells, name, budget, notes)]]  # fmt: skip
    numbers: Numbers = {
        "figure": "learning-rate basins",
        "models": models(runs),
        "rows": names,
        "epochs": budgets,
        "curve": result.shape.curve,
        "skew": result.shape.skew,
        "noise": result.noise,
        "panels": [{"model": name, "epochs": budget, **(panel or {})} for (name, budget), panel in
                   zip([(n, b) for n in names for b in budgets], panels, strict=True)],
        "notes": list(dict.fromkeys(notes)),
    }  # fmt: skip
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _drawn(cells: pd.DataFrame, runs: RunTable, notes: list[str]) -> tuple[list[str], list[float]]:
    """Models by size and epoch budgets that have panels: those that share most, and what that leaves out."""
    budgets = [budget for budget in shared_budgets(runs, MOST_COLUMNS) if (cells["epochs"] == budget).any()]
    budgets = budgets or sorted(cells["epochs"].unique())[:MOST_COLUMNS]
    there = cells[cells["epochs"].isin(budgets)]
    names = [row["name"] for row in models(runs) if (there["model"] == row["name"]).any()]
    names = thinned(names, MOST_ROWS)
    left = len(cells) - int(there["model"].isin(names).sum())
    if left:
        notes.append(f"not drawn: {left} of {len(cells)} cells, of other epoch budgets or sizes")
    return names, [float(budget) for budget in budgets]


def _cell(cells: pd.DataFrame, name: str, budget: float, notes: list[str]) -> pd.Series | None:
    """The cell of one model and budget; of several (other batch sizes or data) the first, which is noted."""
    mine = cells[(cells["model"] == name) & (cells["epochs"] == budget)]
    if len(mine) > 1:
        notes.append(f"{name}, {budget:g} epochs: the first of {len(mine)} cells is drawn")
    return mine.iloc[0] if len(mine) else None


def _panel(cell: pd.Series | None, runs: RunTable, result: LearningRates) -> Numbers | None:
    """One cell's runs, curve and optimum, losses over the lowest mean of its rates."""
    if cell is None:
        return None
    frame = runs.frame[(runs.scheduled_cells() == cell["cell"]).to_numpy()]
    if "status" in frame and frame["status"].notna().any():
        frame = frame[frame["status"].isin(["finished", "diverged"])]
    basin = basin_of(frame)
    diverged = frame["status"] == "diverged" if "status" in frame else pd.Series(False, index=frame.index)
    done = frame[~diverged & frame["val_loss"].notna()].sort_values(["peak_lr", "val_loss"])
    known = {end: None if pd.isna(cell[end]) else cell[end] for end in ("low", "high")}
    line = _line(basin, result)
    return {
        "lowest": cell["best_loss"],
        "rates": done["peak_lr"].tolist(),
        "val_loss": done["val_loss"].tolist(),
        "over_lowest": (done["val_loss"] / cell["best_loss"]).tolist(),
        "diverged": sorted(set(frame["peak_lr"][diverged])),
        "optimum": {"rate": cell["best_lr"], **known, "bound": cell["bound"], "kind": cell["kind"]},
        "line": line and {"rate": line[0], "over_lowest": line[1] / cell["best_loss"]},
    }


def _line(basin: Basin, result: LearningRates) -> tuple[Array, Array] | None:
    """Rates, and losses on the fitted curve; None where no curve gives the optimum.

    About its lowest point the curve is bend x phi: what is left is its level, the mean of what remains of the losses.
    """
    skew = result.shape.basis
    found = optimum(basin, None, math.inf, 0.95, skew)
    if found.bend is None or skew is None:
        return None
    best = int(np.argmin(basin.y))
    use = basin.near(WIDE if skew else WINDOW)
    use[[best - 1, best + 1]] = True
    x, weight = basin.x[use], basin.count[use]
    level = float(np.average(basin.y[use] - found.bend * phi(x - found.best, skew), weights=weight))
    line = np.linspace(x.min(), x.max(), LINE_POINTS)
    return np.exp(line), np.exp(level + found.bend * phi(line - found.best, skew))


def _caption(numbers: Numbers) -> str:
    panels = [panel for panel in numbers["panels"] if "optimum" in panel]
    inside = sum(panel["optimum"]["bound"] == "inside" for panel in panels)
    curve = {"parabola": "parabolas in ln rate", "grid": "none", "lopsided": "lopsided basins"}[numbers["curve"]]
    skew = f" of skew {numbers['skew']:.2f}" if numbers["curve"] == "lopsided" else ""
    return (
        f"Held-out loss over the lowest mean of a rate in its cell against the learning rate, {len(panels)} cells by "
        f"size and epochs. Curves: {curve}{skew}, through the rates near the best. {inside} optima lie inside their "
        "grid; the others are bounds, and their arrows say which way the optimum lies. Bars: 95 % intervals, drawn "
        "where closed."
    )


def layout(numbers: Numbers) -> Layout:
    """A row a size, a column an epoch budget."""
    rows, columns = len(numbers["rows"]), len(numbers["epochs"])
    width = style.FULL_WIDTH if columns > 2 else style.WIDTH
    return Layout(0.35 + 0.92 * rows, rows * columns, columns, width)


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned, all panels on the same scales."""
    shades = style.shades(numbers["models"])
    panels = numbers["panels"]
    rates = sorted({rate for panel in panels for name in ("rates", "diverged") for rate in panel.get(name, ())})
    words = tags(numbers["models"])
    over = [value for panel in panels for value in panel.get("over_lowest", ())]
    lowest, highest = min(over), min(HIGHEST, max(1.05, *over))
    low, high = lowest / (highest / lowest) ** 0.22, highest * (highest / lowest) ** 0.08
    for place, (ax, panel, (left, foot)) in enumerate(zip(axes, panels, outer(axes), strict=True)):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        ax.set_xlim(*style.log_limits(rates, 0.12))
        style.plain_axis(ax.yaxis, style.plain_ticks(1 / 1.001, high, most=4))
        style.plain_axis(ax.xaxis, style.apart(rates, *ax.get_xlim(), gap=0.3))
        if "optimum" in panel:
            _draw_panel(ax, panel, shades[panel["model"]], high)
        if left:
            ax.set_ylabel(f"{words[panel['model']]}\nloss / lowest")
        ax.tick_params(labelleft=left, labelbottom=foot)
        if place < len(numbers["epochs"]):
            ax.set_title(_length(panel["epochs"]), fontsize=style.PAPER["font.size"], pad=4)
        if foot:
            ax.set_xlabel("Learning rate")
    key(
        axes[-1],
        [Group("Held-out loss over the lowest mean of a rate in its cell", _signs(panels, _CURVES[numbers["curve"]]))],
        across=True,
    )
    return axes


def _length(epochs: float) -> str:
    return f"{style.lengths([epochs])[0]} epoch" + ("" if epochs == 1 else "s")


def _draw_panel(ax: Axes, panel: Numbers, shade: str, high: float) -> None:
    """Runs and curve; the optimum stands at the foot of the panel, rates off the scale at its top."""
    ax.axhline(1.0, color=style.GUIDE, linewidth=0.5, zorder=0)
    aside = ax.get_xaxis_transform()
    line, found = panel["line"], panel["optimum"]
    if line is not None:
        ax.plot(line["rate"], line["over_lowest"], color=shade, linewidth=0.9, zorder=2)
    rates, over = np.array(panel["rates"]), np.array(panel["over_lowest"])
    seen = over <= high
    ax.plot(rates[seen], over[seen], linestyle="", marker="o", markersize=2.8, color=shade, zorder=3)
    beyond = np.unique(rates[~seen])
    ax.plot(beyond, np.full(len(beyond), _TOP), linestyle="", marker="^", color=shade, mfc="white", transform=aside)
    ends = panel["diverged"]
    ax.plot(ends, np.full(len(ends), _TOP), linestyle="", marker="x", color=shade, transform=aside)
    inside = found["bound"] == "inside"
    if inside and (found["low"] is not None or found["high"] is not None):
        ends = (bar_ends([found["rate"]], [found[end]]) for end in ("low", "high"))
        ax.hlines([_FOOT], *ends, color=style.INK, linewidth=0.9, transform=aside, zorder=3)
    if not inside:
        sign = MarkerStyle(style.SIDEWAYS[found["bound"]], fillstyle="none")
        ax.plot([found["rate"]], [_FOOT], linestyle="", marker=sign, markersize=8, color=style.INK, transform=aside)
    face = style.INK if inside else "white"
    ax.plot([found["rate"]], [_FOOT], linestyle="", marker="D", markersize=2.8, color=style.INK, mfc=face,
            transform=aside, zorder=4)  # fmt: skip


def _signs(panels: Sequence[Numbers], curve: str) -> list[Entry]:
    there = [panel for panel in panels if "optimum" in panel]
    optima = [panel["optimum"] for panel in there]
    signs = [Entry("a run, in its model's colour", mark("o", style.INK, markersize=2.8))]
    if any(panel["line"] is not None for panel in there):
        signs.append(Entry(curve, stroke(style.INK, linewidth=0.9)))
    inside = [found for found in optima if found["bound"] == "inside"]
    if inside:
        signs.append(Entry("optimum", mark("D", style.INK, markersize=2.8)))
    if any(found["low"] is not None or found["high"] is not None for found in inside):
        bar = mark(style.SIDEWAYS["bar"], style.INK, markersize=12), mark("D", style.INK, markersize=2.8)
        signs.append(Entry("with its 95 % interval, where closed", bar))
    bounds = {found["bound"] for found in optima} - {"inside"}
    if bounds:
        arrow = style.SIDEWAYS["above" if "above" in bounds else "below"]
        sign = mark(arrow, style.INK, markersize=8), mark("D", style.INK, filled=False, markersize=2.8)
        signs.append(Entry("bound: best rate at the grid's edge", sign))
    if any(value > HIGHEST for panel in there for value in panel["over_lowest"]):
        signs.append(Entry("off the scale", mark("^", style.INK, filled=False)))
    if any(panel["diverged"] for panel in there):
        signs.append(Entry("diverged", mark("x", style.INK)))
    return signs
