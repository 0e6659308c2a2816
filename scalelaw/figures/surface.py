"""The loss surface in size and images: contours, the runs, lines of equal compute and the efficient path."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, banded, key, mark, model_key, stroke
from scalelaw.figures.numbers import Numbers, model_of_run, models, plain, status_text, tick_words, with_interval
from scalelaw.figures.panels import Layout
from scalelaw.frontiers import Frontier, Trend, frontier
from scalelaw.frontiers.columns import Columns, best_of, columns_of, one_training_set
from scalelaw.laws import Split
from scalelaw.runs import RunTable

Array = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]

LINE_POINTS = 48
CONTOURS = 10
"""Contours drawn at most."""
_CONTOUR: dict[str, Any] = {"color": "#9a9a9a", "linewidth": 0.6}
_EQUAL: dict[str, Any] = {"color": style.ACCENT, "linewidth": 0.7, "linestyle": (0, (4, 2)), "alpha": 0.7}
_PATH: dict[str, Any] = {"color": style.INK, "linewidth": 1.1}


def collect(runs: RunTable) -> Numbers:
    """The fitted surface's contours over the range of the runs, the runs, and the path of lowest loss at each compute.

    Raises:
        UserError: when the runs allow no surface, or one that has no optimum.
    """
    best = best_of(runs)
    notes = list(best.notes)
    best = one_training_set(best, notes)
    columns = columns_of(best, None, notes)
    front = frontier(best)
    if front.surface is None:
        why = next((note for note in front.notes if note.startswith("no surface")), "no surface could be fitted")
        raise UserError(f"{runs.source}: {why}")
    path = front.approaches["surface"]["size"]
    law = front.surface.fitted
    assert isinstance(law, Split)
    if path.status == "failed" or path.status == "dead_term":
        raise UserError(f"{runs.source}: the loss surface has no path of lowest loss: {path.note}")
    box = (*style.log_limits(columns.size.tolist(), 0.07), *style.log_limits(columns.data.tolist(), 0.07))
    lowest = front.points[front.points["approach"].eq("equal_compute") & front.points["bracketed"].astype(bool)]
    interval = path.interval["alpha"]
    numbers: Numbers = {
        "figure": "loss surface",
        "size": columns.size_name,
        "data": columns.data_name,
        "counts_images": columns.unique is not None,
        "compute": columns.compute_name,
        "unique_images": columns.unique,
        "models": models(runs),
        "surface": {
            "law": front.surface.law.equation,
            "params": front.surface.params,
            "interval": {name: front.surface.interval(name) for name in front.surface.params},
            "status": front.surface.status,
            "warnings": front.surface.warnings,
        },
        "box": box,
        "contours": _contours(law, (float(columns.loss.min()), float(columns.loss.max())), box),
        "equal_compute": _equal_compute(columns, _budgets(front), box),
        "path": {**_path(path, columns), "exponent": path.slope, "interval": interval, "status": path.status},
        "minima": {"size": lowest[columns.size_name].tolist(), "data": lowest["data"].tolist()},
        "runs": {
            "model": model_of_run(best), "size": columns.size, "data": columns.data, "val_loss": columns.loss,
        },
        "notes": notes,
    }  # fmt: skip
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _contours(law: Split, losses: tuple[float, float], box: Box) -> list[Numbers]:
    """Lines of equal loss, from the left to the right of the box (low size, high size, low data, high data).

    Each is exact: with S the sum that gives the loss, data at a size are ((S - E - A N^-alpha) / B)^(-1/beta), and size
    likewise.
    """
    left, right, bottom, top = box
    corner = float(law.at(np.array(right), np.array(top)))
    found = []
    for level in style.plain_ticks(max(corner, 0.9 * losses[0]), 1.1 * losses[1], most=CONTOURS):
        whole = float(law.sum_of(np.array(level)))

        def size_at(data: float, whole: float = whole) -> float:
            rest = whole - law.E - law.B * data**-law.beta
            return math.inf if rest <= 0 else float((rest / law.A) ** (-1 / law.alpha))

        start, end = max(left, size_at(top)), min(right, size_at(bottom))
        if not start < end:
            continue
        size = np.geomspace(start, end, LINE_POINTS)
        data = ((whole - law.E - law.A * size**-law.alpha) / law.B) ** (-1 / law.beta)
        data = np.clip(data, bottom, top)  # the ends up to rounding
        ends = "right" if end == right else "top" if start > left else ""
        found.append({"loss": level, "ends": ends, "size": size, "data": data})
    return found


def _budgets(front: Frontier) -> list[float]:
    """The compute of the equal-compute budgets."""
    there = front.points[front.points["approach"] == "equal_compute"]
    return [float(value) for value in there[front.size.compute]]


def _equal_compute(columns: Columns, budgets: Sequence[float], box: Box) -> list[Numbers]:
    """Straight lines of equal compute: the runs' own budgets, or powers of ten, or round values where these are few."""
    low, high = float(columns.compute.min()), float(columns.compute.max())
    powers = [10.0**k for k in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    round_values = powers if len(powers) > 1 else style.plain_ticks(low, high, most=4)
    values = budgets if 2 <= len(budgets) <= 5 else round_values
    ends = np.array(box[:2])
    return [{"compute": value, "size": ends, "data": math.exp(columns.log_unit) * value / ends} for value in values]


def _path(path: Trend, columns: Columns) -> Numbers:
    """Optimal size and data over the compute of the runs; the band's edges lie on the same lines of equal compute."""
    C = np.geomspace(columns.compute.min(), columns.compute.max(), LINE_POINTS)
    band, product = path.predict(C), math.exp(columns.log_unit) * C
    numbers: Numbers = {"compute": C, "size": band.mid, "data": product / band.mid, "smaller": None, "larger": None}
    for name, edge in (("smaller", band.low), ("larger", band.high)):
        if edge is not None and np.isfinite(edge).all() and (edge > 0).all():
            numbers[name] = {"size": edge, "data": product / edge}
    return numbers


def _caption(numbers: Numbers) -> str:
    path, runs = numbers["path"], numbers["runs"]
    size = "parameters" if numbers["size"] == "params" else "multiply-adds per image"
    exponent = with_interval(path["exponent"], path["interval"]) + status_text(path["status"])
    band = "its band is 95 %" if path["smaller"] else "its interval is unknown"
    return (
        f"Loss surface {numbers['surface']['law']} in {size} and data, fitted to {len(runs['size'])} runs"
        f"{status_text(numbers['surface']['status'])}: contours of held-out loss. The path of lowest loss at given "
        f"compute has size growing with compute to the power {exponent}; {band}."
    )


def layout(_: Numbers) -> Layout:
    """One panel."""
    return Layout(3.0)


def draw(ax: Axes, numbers: Numbers) -> Axes:
    """Draws what `collect` returned; the contours' losses stand at their ends, on the right and above."""
    shades = style.shades(numbers["models"])
    ax.set_xscale("log")
    ax.set_yscale("log")
    left, right, bottom, top = numbers["box"]
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    path = numbers["path"]
    if path["smaller"] and path["larger"]:
        edge = [path["smaller"][what] + path["larger"][what][::-1] for what in ("size", "data")]
        ax.fill(*edge, color=style.BAND, linewidth=0, alpha=0.6, zorder=0)
    for line in numbers["equal_compute"]:
        ax.plot(line["size"], line["data"], zorder=1, **_EQUAL)
    for line in numbers["contours"]:
        ax.plot(line["size"], line["data"], zorder=2, **_CONTOUR)
    ax.plot(path["size"], path["data"], zorder=3, **_PATH)
    runs = numbers["runs"]
    for name, size, data in zip(runs["model"], runs["size"], runs["data"], strict=True):
        ax.plot([size], [data], linestyle="", marker="o", color=shades[name], zorder=4)
    lowest = numbers["minima"]
    ax.plot(lowest["size"], lowest["data"], linestyle="", marker="D", color=style.INK, mfc="white", zorder=5)
    style.plain_axis(ax.xaxis, style.plain_ticks(left, right, most=5), tick_words)
    style.plain_axis(ax.yaxis, style.plain_ticks(*style.inner(bottom, top), most=6), tick_words)
    ax.set_xlabel("Parameters" if numbers["size"] == "params" else "Multiply-adds per image")
    ax.set_ylabel("Training images" if numbers["counts_images"] else "Data")
    _losses(ax, numbers)
    key(ax, [model_key(shades, set(runs["model"]))], _signs(numbers))
    return ax


def _losses(ax: Axes, numbers: Numbers) -> None:
    """The losses of the contours: beside those that leave on the right, above those that leave at the top alone."""
    left, right, bottom, top = numbers["box"]
    aside = ax.secondary_yaxis("right")
    _mark_ends(aside.yaxis, [(c["data"][-1], c["loss"]) for c in numbers["contours"] if c["ends"] == "right"],
               bottom, top, gap=0.055)  # fmt: skip
    aside.set_ylabel("Held-out loss (nats)")
    over = [(c["size"][0], c["loss"]) for c in numbers["contours"] if c["ends"] == "top"]
    ax.tick_params(axis="both", which="both", top=False, right=False)
    if over:
        _mark_ends(ax.secondary_xaxis("top").xaxis, over, left, right, gap=0.08)


def _mark_ends(axis: Any, ends: Sequence[tuple[float, float]], low: float, high: float, gap: float) -> None:
    """Ticks with losses at places of a log axis, as many as keep `gap` of it apart."""
    kept: list[tuple[float, float]] = []
    for place, loss in sorted(ends):
        if not kept or math.log(place / kept[-1][0]) >= gap * math.log(high / low):
            kept.append((place, loss))
    axis.set_major_locator(FixedLocator([place for place, _ in kept]))
    decimals = max((len(f"{loss:g}".partition(".")[2]) for _, loss in kept), default=0)
    axis.set_major_formatter(FixedFormatter([f"{loss:.{decimals}f}" for _, loss in kept]))
    axis.set_minor_locator(NullLocator())


def _signs(numbers: Numbers) -> list[Entry]:
    path = numbers["path"]
    estimate = f"$a$ = {with_interval(path['exponent'], path['interval'])}{status_text(path['status'])}"
    swatch = banded(**_PATH) if path["smaller"] and path["larger"] else (stroke(**_PATH),)
    symbol = "N" if numbers["size"] == "params" else "M"
    lines = [
        Entry(
            "lowest loss at given compute, with 95 % band" if len(swatch) > 1 else "lowest loss at given compute",
            swatch,
        ),
        Entry(rf"${symbol}^* \propto C^{{\,a}}$, {estimate}", ()),
        Entry("contours of the fitted surface", stroke(**_CONTOUR)),
    ]
    if numbers["minima"]["size"]:
        lines.append(Entry("minima at equal compute, bracketed", mark("D", style.INK, filled=False)))
    values = [style.scientific(float(f"{line['compute']:.2g}")) for line in numbers["equal_compute"]]
    if values:
        lines.append(Entry(f"equal compute, in {style.COMPUTE_UNITS[numbers['compute']]}:", stroke(**_EQUAL)))
        lines.append(Entry(", ".join(values), ()))
    return lines
