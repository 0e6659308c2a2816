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
from scalelaw.figures.key import Entry, banded, inset, key, mark, stroke
from scalelaw.figures.loss_vs_compute import LINE_POINTS, flop_per_core_hour
from scalelaw.figures.numbers import Numbers, bars, in_words, models, plain, status_text, with_interval
from scalelaw.frontiers import frontier
from scalelaw.runs import RunTable

_PANELS = {"size": "macs_per_image", "epochs": "epochs"}
_SYMBOLS = {"size": r"M^*", "epochs": r"\mathrm{epochs}^*"}
_DOTTED = (0, (1, 1.4))
EQUAL_COMPUTE = "equal_compute"


def collect(runs: RunTable) -> Numbers:
    """The numbers of the frontier's figure: minima at equal compute, and the trends of size and epochs with bands.

    Raises:
        UserError: when the runs hold no frontier at all.
    """
    finished = runs.finished()
    best = finished.best_over("peak_lr") if finished.has("peak_lr") else finished
    front = frontier(best)
    compute = best.variable("C")[1]
    cost = best.column(compute).astype(float)
    line = np.geomspace(np.nanmin(cost), np.nanmax(cost), LINE_POINTS)
    numbers: Numbers = {
        "figure": "optimal size and epochs against compute",
        "compute": compute,
        "flop_per_core_hour": flop_per_core_hour(best),
        "models": models(runs),
        "params_trend": _trend(front.params_trend),
        "notes": list(best.notes),
    }
    points = front.points[front.points["approach"] == EQUAL_COMPUTE]
    for panel, quantity in _PANELS.items():
        numbers[panel] = {
            "quantity": quantity,
            "surface": _trend(getattr(front, panel), line, compute),
            "equal_compute": _trend(front.approaches.get(EQUAL_COMPUTE, {}).get(panel), line, compute),
            "points": _points(points, compute, quantity),
        }
    drawn = [numbers[panel][what] for panel in _PANELS for what in ("surface", "equal_compute")]
    if not len(points) and all(trend is None or trend["line"] is None for trend in drawn):
        raise UserError(f"{runs.source}: neither the surface nor runs at equal compute give an optimum; train more sizes")
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _points(points: pd.DataFrame, compute: str, quantity: str) -> Numbers:
    """The equal-compute minima of one quantity, intervals None where unknown."""
    unknown = [None] * len(points)
    ends = {end: points[f"{quantity}_{end}"].tolist() if f"{quantity}_{end}" in points else unknown for end in ("low", "high")}
    return {
        compute: points[compute].tolist(),
        quantity: points[quantity].tolist(),
        **ends,
        "bracketed": points["bracketed"].tolist(),
    }


def _trend(trend: Any, line: npt.NDArray[np.float64] | None = None, compute: str = "") -> Numbers | None:
    """A trend's exponent and, where it is known, its line at `line` with the 95 % band."""
    if trend is None:
        return None
    numbers: Numbers = {name: getattr(trend, name) for name in ("params", "stderr", "interval", "status", "note")}
    if line is not None:
        known = trend.params.get("alpha") is not None and trend.status in ("converged", "at_bound")
        band = trend.predict(line) if known else None
        numbers["line"] = band and {compute: line, "mid": band.mid, "low": band.low, "high": band.high}
    return numbers


def _caption(numbers: Numbers) -> str:
    parts = ["Model size (multiply-adds per image) and number of epochs of lowest loss against compute."]
    for panel, word in (("size", "size"), ("epochs", "epochs")):
        surface = numbers[panel]["surface"]
        exponent = with_interval(surface["params"].get("alpha"), surface["interval"].get("alpha"))
        parts.append(f"The surface's exponent of {word} is {exponent}{status_text(surface['status'])}.")
    bracketed = numbers["size"]["points"]["bracketed"]
    parts.append(f"{sum(bracketed)} of {len(bracketed)} equal-compute minima are bracketed by a smaller and a larger model.")
    return " ".join(parts)


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned on two axes, size above and epochs below."""
    upper, lower = axes
    compute = numbers["compute"]
    for ax, panel in ((upper, "size"), (lower, "epochs")):
        low, high = _draw_panel(ax, numbers[panel], compute)
        inset(ax, _laws(numbers, panel), low, high)
    style.plain_axis(upper.yaxis, style.plain_ticks(*upper.get_ylim(), most=5), in_words)
    style.plain_axis(lower.yaxis, style.doublings(*lower.get_ylim()))
    upper.set_ylabel("Optimal multiply-adds")
    lower.set_ylabel("Optimal epochs")
    _parameter_axis(upper, numbers["models"])
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
    drawn: list[float] = []
    surface, fitted = panel["surface"], panel["equal_compute"]
    if surface is not None and surface["line"] is not None:
        line = surface["line"]
        if line["low"] is not None and line["high"] is not None:
            ax.fill_between(line[compute], line["low"], line["high"], color=style.BAND, linewidth=0, zorder=1)
            drawn += line["low"] + line["high"]
        ax.plot(line[compute], line["mid"], color=style.INK, linewidth=1.0, zorder=2)
        drawn += line["mid"]
    if fitted is not None and fitted["line"] is not None:
        line = fitted["line"]
        ax.plot(line[compute], line["mid"], color=style.ACCENT, linestyle=_DOTTED, linewidth=1.0, zorder=3)
        drawn += line["mid"]
    points = panel["points"]
    x, y = np.array(points[compute]), np.array(points[panel["quantity"]])
    lengths, certain = bars(y, points["low"], points["high"]), np.array(points["bracketed"], dtype=bool)
    for kind, face in ((certain, style.ACCENT), (~certain, "white")):
        if kind.any():
            ax.errorbar(x[kind], y[kind], lengths[:, kind], fmt="o", color=style.ACCENT, mfc=face, elinewidth=0.8, zorder=4)
    drawn += [value for name in ("low", "high", panel["quantity"]) for value in points[name] if value is not None]
    return style.log_limits(drawn, 0.06)


def _laws(numbers: Numbers, panel: str) -> list[Entry]:
    """The exponents of one panel, or why there is none."""
    symbol = _SYMBOLS[panel]
    entries = []
    surface, fitted = numbers[panel]["surface"], numbers[panel]["equal_compute"]
    if surface is not None:
        entries.append(Entry(_exponent(f"${symbol} \\propto C^{{\\,a}}$, $a$ = ", surface), banded(style.INK, linewidth=1.0)))
    if fitted is not None:
        dotted = stroke(style.ACCENT, linestyle=_DOTTED, linewidth=1.0)
        entries.append(Entry(_exponent("at equal compute $a$ = ", fitted), dotted))
    if panel == "size" and numbers["params_trend"] is not None:
        entries.append(Entry(_exponent("in parameters $a$ = ", numbers["params_trend"])))
    return entries


def _exponent(start: str, trend: Numbers) -> str:
    value = trend["params"].get("alpha")
    if value is None:
        return start + trend["status"].replace("_", " ")
    return start + with_interval(value, trend["interval"].get("alpha")) + status_text(trend["status"])


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
    style.plain_axis(right.yaxis, style.plain_ticks(low, high, most=5), in_words)
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
        signs.append(Entry("lowest loss at equal compute, bracketed", mark("o", style.ACCENT)))
    if not all(bracketed):
        edge = "lowest loss at the edge of the sizes tried: a bound"
        signs.append(Entry(edge, mark("o", style.ACCENT, filled=False)))
    return signs
