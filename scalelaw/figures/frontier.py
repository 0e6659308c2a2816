"""The frontier: the best model size and the best number of epochs against compute, with their exponents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, banded, inset, key, mark, stroke
from scalelaw.figures.loss_vs_compute import LINE_POINTS, flop_per_core_hour
from scalelaw.figures.numbers import (
    Numbers,
    bar_ends,
    models,
    plain,
    status_text,
    status_words,
    tick_words,
    with_interval,
)
from scalelaw.frontiers import frontier
from scalelaw.frontiers.equal_compute import TOLERANCE
from scalelaw.runs import RunTable

_SYMBOLS = {"macs_per_image": "M^*", "params": "N^*", "epochs": r"\mathrm{epochs}^*", "data": "D^*"}
_LINES: dict[str, dict[str, Any]] = {
    "surface": {"color": style.INK, "linewidth": 1.0},
    "equal_compute": {"color": style.ACCENT, "linewidth": 1.0, "linestyle": (0, (1, 1.4))},
}
SURFACE, EQUAL_COMPUTE = "surface", "equal_compute"


def collect(runs: RunTable) -> Numbers:
    """The numbers of the frontier's figure: minima at equal compute, and the trends of size and epochs with bands.

    Where the training set's size is unknown the epochs' panel shows data (images or tokens) and says so.

    Raises:
        UserError: when the runs hold no frontier at all.
    """
    finished = runs.finished()
    best = finished.best_over("peak_lr") if finished.has("peak_lr") else finished
    front = frontier(best)
    compute = front.size.compute
    cost = best.column(compute).astype(float)
    if np.nanmax(cost) <= np.nanmin(cost) * (1 + TOLERANCE):
        raise UserError(
            f"{runs.source}: one budget of equal compute shows no trend (equal_compute draws it); add others"
        )
    line = np.geomspace(np.nanmin(cost), np.nanmax(cost), LINE_POINTS)
    numbers: Numbers = {
        "figure": "optimal size and epochs against compute",
        "compute": compute,
        "flop_per_core_hour": flop_per_core_hour(best),
        "models": models(runs),
        "headline": front.headline,
        "params_trend": None if front.size.quantity == "params" else _trend(front.params_trend),
        "notes": list(front.notes),
    }
    points = front.points[front.points["approach"] == EQUAL_COMPUTE]
    length = "data" if front.unique_images is None else "epochs"
    for panel, trend, quantity in (("size", "size", front.size.quantity), ("epochs", length, length)):
        numbers[panel] = {
            "quantity": quantity,
            **{name: _trend(front.approaches[name][trend], line, compute) for name in (SURFACE, EQUAL_COMPUTE)},
            "points": _points(points, compute, quantity),
        }
    numbers["epochs"]["counts_images"] = length == "data"
    if not len(points) and all(numbers["size"][name]["line"] is None for name in (SURFACE, EQUAL_COMPUTE)):
        raise UserError(f"{runs.source}: no optimal size: {numbers['size'][front.headline]['note']}; train more sizes")
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _points(points: pd.DataFrame, compute: str, quantity: str) -> Numbers:
    """The equal-compute minima of one quantity with their 95 % intervals, None where unknown."""
    return {
        compute: points[compute].tolist(),
        quantity: points[quantity].tolist(),
        "low": points[f"{quantity}_low"].tolist(),
        "high": points[f"{quantity}_high"].tolist(),
        "bracketed": points["bracketed"].tolist(),
    }


def _trend(trend: Any, line: npt.NDArray[np.float64] | None = None, compute: str = "") -> Numbers | None:
    """A trend's exponent and, where it is known, its line at `line` with the 95 % band."""
    if trend is None:
        return None
    numbers: Numbers = {name: getattr(trend, name) for name in ("params", "stderr", "interval", "status", "note")}
    if line is not None:
        known = np.isfinite(trend.params["alpha"]) and trend.status not in ("failed", "dead_term")
        band = trend.predict(line) if known else None
        numbers["line"] = band and {compute: line, "mid": band.mid, "low": band.low, "high": band.high}
    return numbers


def _caption(numbers: Numbers) -> str:
    parts = ["Model size (multiply-adds per image) and number of epochs of lowest loss against compute."]
    if numbers["size"]["quantity"] == "params":
        parts[0] = parts[0].replace("multiply-adds per image", "parameters")
    if numbers["epochs"]["counts_images"]:
        parts[0] = parts[0].replace("number of epochs", "amount of data")
    for panel in ("size", "epochs"):
        for name in (SURFACE, EQUAL_COMPUTE):
            trend = numbers[panel][name]
            exponent = with_interval(plain(trend["params"]["alpha"]), trend["interval"]["alpha"])
            said = exponent + status_text(trend["status"]) if trend["line"] else "none"
            what = "size" if panel == "size" else numbers[panel]["quantity"]
            parts.append(f"Exponent of {what} by {status_words(name)}: {said}.")
    bracketed = numbers["size"]["points"]["bracketed"]
    if bracketed:
        share = f"{sum(bracketed)} of {len(bracketed)}"
        bars = "; bars: 95 % intervals" if plain(numbers["size"]["points"]["low"]) != [None] * len(bracketed) else ""
        parts.append(f"{share} equal-compute minima are bracketed by a smaller and a larger model{bars}.")
    parts.append("The envelope's exponents are set by the grid of sizes and epochs, and are not drawn.")
    return " ".join(parts)


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned on two axes, size above and epochs below."""
    upper, lower = axes
    compute, in_params = numbers["compute"], numbers["size"]["quantity"] == "params"
    for ax, panel in ((upper, "size"), (lower, "epochs")):
        low, high = _draw_panel(ax, numbers[panel], compute)
        inset(ax, _laws(numbers, panel), low, high)
        style.plain_axis(ax.yaxis, style.plain_ticks(*ax.get_ylim(), most=5), tick_words)
    upper.set_ylabel("Optimal parameters" if in_params else "Optimal multiply-adds")
    if not in_params:
        _parameter_axis(upper, numbers["models"])
    if numbers["epochs"]["counts_images"]:
        lower.set_ylabel("Optimal data" if in_params else "Optimal images")
    else:
        lower.set_ylabel("Optimal epochs")
        style.plain_axis(lower.yaxis, style.doublings(*lower.get_ylim()))
        lower.axhline(1.0, color=style.GUIDE, linewidth=0.6, zorder=0)
    style.compute_axis(lower, compute)
    upper.tick_params(labelbottom=False)
    style.flop_axis(upper, compute, numbers["flop_per_core_hour"])
    key(lower, [], _signs(numbers))
    return axes


def _draw_panel(ax: Axes, panel: Numbers, compute: str) -> tuple[float, float]:
    """Draws lines, band and points; returns the limits that hold them."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    points = panel["points"]
    drawn = [value for name in ("low", "high", panel["quantity"]) for value in points[name] if value is not None]
    for name in (SURFACE, EQUAL_COMPUTE):
        line = panel[name]["line"]
        if line is None:
            continue
        ax.plot(line[compute], line["mid"], zorder=3, **_LINES[name])
        drawn += line["mid"]
        if name == SURFACE and line["low"] is not None and line["high"] is not None:
            ax.fill_between(line[compute], line["low"], line["high"], color=style.BAND, linewidth=0, zorder=1)
            widest = min(line["mid"]) / 2, max(line["mid"]) * 2  # a band without bounds must not flatten the rest
            drawn += np.clip(line["low"] + line["high"], *widest).tolist()
    x, y = np.array(points[compute]), np.array(points[panel["quantity"]])
    low, high = (bar_ends(y, points[end]) for end in ("low", "high"))
    ax.vlines(x, low, high, color=style.ACCENT, linewidth=0.8, zorder=4)
    certain = np.array(points["bracketed"], dtype=bool)
    for kind, face in ((certain, style.ACCENT), (~certain, "white")):
        ax.plot(x[kind], y[kind], linestyle="", marker="o", color=style.ACCENT, mfc=face, zorder=5)
    return style.log_limits(drawn, 0.06)


def _laws(numbers: Numbers, panel: str) -> list[Entry]:
    """The exponents of one panel, or why there is none."""
    surface, equal = numbers[panel][SURFACE], numbers[panel][EQUAL_COMPUTE]
    symbol = _SYMBOLS[numbers[panel]["quantity"]]
    swatch = banded(**_LINES[SURFACE]) if surface["line"] and surface["line"]["low"] else stroke(**_LINES[SURFACE])
    law = rf"${symbol} \propto C^{{\,a}}$, " if surface["status"] == "converged" else "surface: "
    entries = [Entry(_exponent(law, surface), swatch if surface["line"] else ())]
    if numbers[panel]["points"]["bracketed"]:
        dotted = stroke(**_LINES[EQUAL_COMPUTE]) if equal["line"] else ()
        entries.append(Entry(_exponent("equal $C$: ", equal), dotted))
    if panel == "size" and numbers["params_trend"] is not None:
        entries.append(Entry(_exponent("in parameters: ", numbers["params_trend"]), ()))
    return entries


def _exponent(start: str, trend: Numbers) -> str:
    """An exponent with its interval; where it is not identified the words stand in the estimate's place."""
    value, interval = trend["params"].get("alpha"), trend["interval"].get("alpha")
    if value is not None and trend["status"] == "converged":
        return f"{start}$a$ = {with_interval(value, interval)}"
    _, bracket, ends = with_interval(value, interval).partition("[")
    words = "unknown" if trend["status"] == "failed" else status_words(trend["status"])
    return f"{start}$a$ {words}" + (f" {bracket}{ends}" if bracket else "")


def _parameter_axis(ax: Axes, rows: Sequence[Numbers]) -> None:
    """A right axis in parameters, exact at the models and log-linear between and beyond them.

    There is none where more multiply-adds do not always mean more parameters.
    """
    known = [(row["macs_per_image"], row["params"]) for row in rows if row["macs_per_image"] and row["params"]]
    if len(known) < 2 or any(np.diff([params for _, params in known]) <= 0):
        return
    macs, params = np.log(np.array(known, dtype=float)).T
    if any(np.diff(macs) <= 0):
        return
    right = ax.secondary_yaxis("right", functions=(_between(macs, params), _between(params, macs)))
    low, high = _between(macs, params)(np.array(ax.get_ylim()))
    style.plain_axis(right.yaxis, style.plain_ticks(low, high, most=5), tick_words)
    right.set_ylabel("Optimal parameters")


def _between(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> Callable[[Any], Any]:
    """exp of the broken line through (x, y), its outer pieces prolonged, of the logarithm."""
    slopes = np.diff(y) / np.diff(x)

    def through(values: Any) -> Any:
        log = np.log(np.maximum(values, np.finfo(float).tiny))
        piece = np.clip(np.searchsorted(x, log) - 1, 0, len(slopes) - 1)
        return np.exp(y[piece] + slopes[piece] * (log - x[piece]))

    return through


def _signs(numbers: Numbers) -> list[Entry]:
    """What the points mean."""
    bracketed = numbers["size"]["points"]["bracketed"]
    signs = []
    if any(bracketed):
        point = mark("o", style.ACCENT)
        known = any(end is not None for end in numbers["size"]["points"]["low"])
        bar = mark(style.ARROWS["bar"], style.ACCENT, markersize=9)
        words = "lowest loss at equal compute, bracketed" + (", 95 % interval" if known else "")
        signs.append(Entry(words, (bar, point) if known else point))
    if not all(bracketed):
        edge = "lowest loss at the edge of the sizes tried: a bound"
        signs.append(Entry(edge, mark("o", style.ACCENT, filled=False)))
    return signs
