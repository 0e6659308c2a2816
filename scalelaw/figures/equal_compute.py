"""Equal compute: one panel a budget, loss against size, with the exact shape's curve beside the parabola's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, block, mark, model_key, shared_key, stroke
from scalelaw.figures.numbers import Numbers, model_of_run, models, plain, tick_words
from scalelaw.figures.panels import Layout, outer, row
from scalelaw.frontiers import frontier
from scalelaw.frontiers.columns import best_of, columns_of, one_training_set
from scalelaw.frontiers.equal_compute import TOLERANCE, Budget, basin
from scalelaw.frontiers.minima import log_size_interval, minima, noise_of
from scalelaw.runs import RunTable

Array = npt.NDArray[np.float64]

LINE_POINTS = 40
MOST_PANELS = 12
_EXACT: dict[str, Any] = {"color": style.INK, "linewidth": 1.0}
_PARABOLA: dict[str, Any] = {"color": style.ACCENT, "linewidth": 1.5, "linestyle": (0, (1.5, 2.2))}


def collect(runs: RunTable) -> Numbers:
    """The runs of every equal-compute budget, both curves through them, and their minima.

    A budget whose best run is at the edge of the sizes tried has no curve: its best size is a bound.

    Raises:
        UserError: when no three sizes were trained at equal compute.
    """
    best = best_of(runs)
    notes = list(best.notes)
    best = one_training_set(best, notes)
    columns = columns_of(best, None, notes)
    surface = frontier(best).surface
    found = minima(columns, surface, TOLERANCE, notes)
    if not found.exact:
        raise UserError(f"{runs.source}: no three sizes at equal compute (within {100 * TOLERANCE:g} %)")
    noise, dof = noise_of(found.exact, surface)
    names = np.array(model_of_run(best))
    places = np.unique(np.linspace(0, len(found.exact) - 1, min(MOST_PANELS, len(found.exact))).round().astype(int))
    if len(places) < len(found.exact):
        notes.append(f"drawn: {len(places)} of {len(found.exact)} budgets")
    panels = []
    for place in places:
        exact, parabola = found.exact[place], found.parabola[place]
        rows = np.array(exact.runs)
        rows = rows[np.argsort(columns.size[rows], kind="stable")]
        panels.append({
            "compute": np.exp(np.log(columns.compute[rows]).mean()),
            "train_flop": np.exp(exact.log_compute),
            "runs": {"model": names[rows], "size": columns.size[rows], "val_loss": columns.loss[rows]},
            "bracketed": exact.bracketed,
            "bound": None if exact.bracketed else _bound(exact, columns.size[rows]),
            "best": {"size": np.exp(exact.log_size), "loss": exact.loss},
            "exact": _curve(exact, np.log(columns.size), found.loss, found.shape, (noise, dof)),
            "parabola": _curve(parabola, np.log(columns.size), found.loss, None, (None, dof)),
        })  # fmt: skip
    numbers: Numbers = {
        "figure": "loss against size at equal compute",
        "size": columns.size_name,
        "compute": columns.compute_name,
        "models": models(runs),
        "shape": {"alpha": found.shape[0], "beta": found.shape[1]},
        "noise": noise,
        "degrees_of_freedom": dof,
        "panels": panels,
        "notes": notes,
    }
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _bound(budget: Budget, sizes: Array) -> str:
    """Which way the optimum lies of the best size: above, below, or "inside" where the runs bracket it but no curve."""
    at = np.exp(budget.log_size)
    if np.isclose(at, sizes.max()):
        return "above"
    return "below" if np.isclose(at, sizes.min()) else "inside"


def _curve(
    budget: Budget, log_size: Array, loss: Array, shape: tuple[float, float] | None, noise: tuple[float | None, float]
) -> Numbers | None:
    """A bracketed budget's curve over the sizes tried, and its minimum with the 95 % interval; shape None: a parabola.

    The curve has its minimum and level from the fit; what is left is its width, one number by least squares.
    """
    if not budget.bracketed:
        return None
    rows = list(budget.runs)

    def rise(logs: Array) -> Array:
        u = logs - budget.log_size
        return u * u if shape is None else basin(u, shape)[0] - 1

    weight = np.ones(len(rows)) if shape is None else loss[rows] ** -2.0
    above = rise(log_size[rows])
    scale = float((weight * above * (loss[rows] - budget.loss)).sum() / (weight * above * above).sum())
    line = np.linspace(log_size[rows].min(), log_size[rows].max(), LINE_POINTS)
    ends = log_size_interval(budget, noise)
    low, high = (None, None) if ends is None else np.exp(ends)
    return {
        "size": np.exp(budget.log_size),
        "low": low,
        "high": high,
        "loss": budget.loss,
        "line": {"size": np.exp(line), "loss": budget.loss + scale * rise(line)},
    }


def _caption(numbers: Numbers) -> str:
    panels = numbers["panels"]
    bracketed = sum(panel["bracketed"] for panel in panels)
    a, b = numbers["shape"]["alpha"], numbers["shape"]["beta"]
    size = "parameters" if numbers["size"] == "params" else "multiply-adds per image"
    words = (
        f"Held-out loss against model size ({size}) at {len(panels)} budgets of equal compute; {bracketed} of them "
        f"bracket their minimum. Solid: the shape of a loss surface with exponents {a:.2f} and {b:.2f} at fixed "
        "compute; dashed: a parabola in the logarithm of size."
    )
    if numbers["noise"] is None:
        return f"{words} The noise is unknown, and with it the intervals of the minima."
    return (
        f"{words} Bands are 95 % intervals of the solid curve's minimum, from the runs' pooled scatter about all "
        f"curves ({100 * numbers['noise']:.1f} % of loss, {numbers['degrees_of_freedom']:.0f} degrees of freedom)."
    )


def layout(numbers: Numbers) -> Layout:
    """A panel a budget."""
    return row(len(numbers["panels"]), height=1.85)


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned, one budget a panel; all panels span the same factor of loss."""
    shades = style.shades(numbers["models"])
    panels = numbers["panels"]
    spans = [_extent(panel) for panel in panels]
    factor = max(high / low for low, high in spans)
    sizes = [size for panel in panels for size in panel["runs"]["size"]]
    for ax, panel, (low, high), (left, foot) in zip(axes, panels, spans, outer(axes), strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        _draw_panel(ax, panel, shades)
        middle, half = np.sqrt(low * high), factor ** (0.5 * 1.25)
        ax.set_ylim(middle / half, middle * half)
        ax.set_xlim(*style.log_limits(sizes, 0.09))
        style.plain_axis(ax.yaxis, style.plain_ticks(*style.inner(*ax.get_ylim()), most=5))
        style.plain_axis(ax.xaxis, style.plain_ticks(*ax.get_xlim(), most=4), tick_words)
        unit = style.COMPUTE_UNITS[numbers["compute"]]
        title = f"{style.scientific(float(format(panel['compute'], '.2g')))} {unit}"
        ax.set_title(
            title if panel["bracketed"] else f"{title}\nnot bracketed", fontsize=style.PAPER["font.size"], pad=4
        )
        if left:
            ax.set_ylabel("Held-out loss (nats)")
        if foot:
            ax.set_xlabel("Parameters" if numbers["size"] == "params" else "Multiply-adds")
    drawn = {name for panel in panels for name in panel["runs"]["model"]}
    shared_key(axes, model_key(shades, drawn), Group("Curve", _signs(panels)))
    return axes


def _extent(panel: Numbers) -> tuple[float, float]:
    values = [*panel["runs"]["val_loss"]]
    for name in ("exact", "parabola"):
        values += panel[name]["line"]["loss"] if panel[name] else []
    return min(values), max(values)


def _draw_panel(ax: Axes, panel: Numbers, shades: dict[str, str]) -> None:
    exact, parabola = panel["exact"], panel["parabola"]
    if exact is not None:
        if exact["low"] is not None:
            ax.axvspan(exact["low"], exact["high"], color=style.BAND, linewidth=0, zorder=0, alpha=0.6)
        ax.axvline(exact["size"], color=style.INK, linewidth=0.6, zorder=1)
    for curve, look in ((exact, _EXACT), (parabola, _PARABOLA)):
        if curve is not None:
            ax.plot(curve["line"]["size"], curve["line"]["loss"], zorder=3, **look)
    if parabola is not None:
        ax.plot(
            parabola["size"],
            parabola["loss"],
            linestyle="",
            marker="D",
            markersize=3.2,
            color=style.ACCENT,
            mfc="white",
            zorder=4,
        )
    runs = panel["runs"]
    for name, size, loss in zip(runs["model"], runs["size"], runs["val_loss"], strict=True):
        ax.plot([size], [loss], linestyle="", marker="o", markersize=4.2, color=shades[name], zorder=5)
    if panel["bound"] in style.SIDEWAYS:
        arrow, best = style.SIDEWAYS[panel["bound"]], panel["best"]
        sign = MarkerStyle(arrow, fillstyle="none")
        ax.plot([best["size"]], [best["loss"]], linestyle="", marker=sign, markersize=12, color=style.INK, zorder=4)


def _signs(panels: Sequence[Numbers]) -> list[Entry]:
    curves = [panel["exact"] for panel in panels if panel["exact"] is not None]
    lines = []
    if curves:
        lines.append(Entry("shape of a loss surface at fixed compute", stroke(**_EXACT)))
        known = any(curve["low"] is not None for curve in curves)
        sign: tuple[Any, ...] = (mark(style.ARROWS["bar"], style.INK, markersize=9),)
        sign = (block(), *sign) if known else sign
        lines.append(Entry("its minimum" + (", with 95 % interval" if known else ": interval unknown"), sign))
    if any(panel["parabola"] is not None for panel in panels):
        lines.append(
            Entry(
                "parabola, and its minimum",
                (stroke(**_PARABOLA), mark("D", style.ACCENT, filled=False, markersize=3.2)),
            )
        )
    if any(panel["bound"] in style.SIDEWAYS for panel in panels):
        sign = mark(style.SIDEWAYS["above"], style.INK, markersize=12), mark("o", style.INK)
        lines.append(Entry("best size at the edge of those tried: the optimum lies that way", sign))
    return lines
