"""Error after fine-tuning against pre-training loss: runs of equal pre-training compute joined, from small to large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, key, mark, stroke
from scalelaw.figures.numbers import Numbers, plain, thinned, with_interval
from scalelaw.runs import RunTable
from scalelaw.text import counted
from scalelaw.transfer import Starts, Transfer, compare_starts
from scalelaw.transfer.groups import FEWEST, WITHIN, groups_of

LOWEST, BEST = "o", "D"
ALONE = "#9a9a9a"
SMALLEST, LARGEST = 2.4, 5.4
"""Points of the markers of the smallest and of the largest model."""
RING = 3.2
"""Points by which a ring is wider than its marker."""
RINGED = 3
"""Runs from which on a group's lowest loss and lowest error are ringed: of two every one is an extreme."""


def collect(runs: RunTable) -> Numbers:
    """Every pre-training run at its best fine-tuning, in groups of equal pre-training compute.

    Args:
        runs: fine-tuned runs; see `scalelaw.transfer.starts_of`.

    Raises:
        UserError: when fewer than two runs were fine-tuned.
    """
    found = compare_starts(runs)
    starts = found.starts
    if len(starts) < 2:
        raise UserError(f"{runs.source}: {len(starts)} pre-training runs were fine-tuned; the figure needs two")
    numbers = groups_of(starts.core_hours)
    members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    sizes = _marker_sizes(starts)
    groups = [_group(starts, sizes, group) for group in members if len(group) > 1]
    pooled = found.pooled
    result: Numbers = {
        "figure": "error after fine-tuning against pre-training loss",
        "compute": "core_hours of pre-training alone",
        "within": WITHIN,
        "groups": groups,
        "alone": [_point(starts, sizes, int(group[0])) for group in members if len(group) == 1],
        "rank_correlation": {**vars(pooled), "verdict": pooled.verdict},
        "regret": dict(vars(found.regret)),
        "differences": [{**vars(one), "verdict": one.verdict} for one in found.differences],
        "notes": list(starts.notes),
        "caption": _caption(found, groups),
    }
    return dict(plain(result))


def _group(starts: Starts, sizes: list[float], members: NDArray[np.int64]) -> Numbers:
    """A group of equal compute, by rising size, with the places of its lowest loss and lowest error."""
    ranked = members[np.lexsort((starts.epochs[members], starts.size[members]))]
    cost = starts.core_hours[ranked]
    return {
        "core_hours": [cost.min(), cost.max()],
        "points": [_point(starts, sizes, int(place)) for place in ranked],
        "lowest_loss": int(np.argmin(starts.loss[ranked])),
        "lowest_error": int(np.argmin(starts.error[ranked])),
    }


def _point(starts: Starts, sizes: list[float], place: int) -> Numbers:
    return {
        "model": starts.variants[place],
        "epochs": starts.epochs[place],
        "core_hours": starts.core_hours[place],
        "val_loss": starts.loss[place],
        "top1_error": starts.error[place],
        "marker_size": sizes[place],
    }


def _marker_sizes(starts: Starts) -> list[float]:
    """Points by the rank of each start's size; the same for all where sizes are unknown."""
    known = np.unique(starts.size[np.isfinite(starts.size)])
    if len(known) < 2:
        return [style.PAPER["lines.markersize"]] * len(starts)
    ladder = np.linspace(SMALLEST, LARGEST, len(known))
    return [float(np.interp(size, known, ladder)) if np.isfinite(size) else SMALLEST for size in starts.size]


def _caption(found: Transfer, groups: list[Numbers]) -> str:
    large = sum(len(group["points"]) >= FEWEST for group in groups)
    words = (f"Top-1 error after fine-tuning against held-out loss in pre-training: {len(found.starts)} pre-training "
             f"runs, each at the best of its fine-tuning settings. Lines join runs whose pre-training cost the same "
             f"within {WITHIN:.0%}, from the smallest model to the largest. Rank correlation given compute: "
             f"{with_interval(found.pooled.estimate, found.pooled.interval)}: {found.pooled.verdict}.")  # fmt: skip
    if not large:
        return f"{words} No group has {FEWEST} runs: these data cannot tell what choosing by loss costs."
    said = [f"{one.what} {one.verdict}" for one in found.differences if one.verdict != "cannot tell"]
    rest = f"; the best differ from the lowest-loss runs: {', '.join(said)}" if said else ""
    regret = with_interval(found.regret.mean, found.regret.interval)
    over = f"over {counted(large, 'group')} of {FEWEST} runs or more"
    return f"{words} Choosing by loss costs {regret} of error, {over}{rest}."


def draw(ax: Axes, numbers: Numbers) -> Axes:
    """Draws what `collect` returned."""
    shades = style.colours(numbers["groups"])
    for point in numbers["alone"]:
        _dot(ax, point, ALONE)
    for shade, group in zip(shades, numbers["groups"], strict=True):
        points = group["points"]
        x, y = ([point[name] for point in points] for name in ("val_loss", "top1_error"))
        ax.plot(x, y, color=shade, linewidth=0.8, alpha=0.75, zorder=3)
        for point in points:
            _dot(ax, point, shade)
    for group in [group for group in numbers["groups"] if len(group["points"]) >= RINGED]:
        for marker, which in ((LOWEST, "lowest_loss"), (BEST, "lowest_error")):
            point = group["points"][group[which]]
            place = [point["val_loss"]], [point["top1_error"]]
            ax.plot(*place, linestyle="", marker=marker, markersize=point["marker_size"] + RING, color=style.INK,
                    mfc="none", markeredgewidth=0.7, zorder=6)  # fmt: skip
    _frame(ax, [*numbers["alone"], *(point for group in numbers["groups"] for point in group["points"])])
    key(ax, _groups(numbers, shades), _lines(numbers))
    return ax


def _dot(ax: Axes, point: Numbers, shade: str) -> None:
    place = [point["val_loss"]], [point["top1_error"]]
    ax.plot(*place, linestyle="", marker="o", markersize=point["marker_size"], color=shade, markeredgewidth=0, zorder=5)


def _frame(ax: Axes, points: Sequence[Numbers]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ends = [style.log_limits([point[name] for point in points], 0.06) for name in ("val_loss", "top1_error")]
    ax.set_xlim(*ends[0])
    ax.set_ylim(*ends[1])
    style.plain_axis(ax.xaxis, style.plain_ticks(*style.inner(*ends[0]), most=6))
    style.plain_axis(ax.yaxis, style.plain_ticks(*style.inner(*ends[1])), lambda share: f"{100 * share:g}")
    ax.set_xlabel("Held-out loss in pre-training (nats)")
    ax.set_ylabel("Top-1 error after fine-tuning (%)")


def _groups(numbers: Numbers, shades: list[str]) -> list[Group]:
    named = [_cost(group["core_hours"]) for group in numbers["groups"]]
    kept = thinned([str(place) for place in range(len(named))])
    entries = [Entry(named[int(place)], stroke(shades[int(place)], linewidth=1.4)) for place in kept]
    signs = [
        Entry("lowest loss", mark(LOWEST, style.INK, filled=False, markersize=5.5)),
        Entry("lowest error", mark(BEST, style.INK, filled=False, markersize=5.0)),
    ]
    if numbers["alone"]:
        signs.append(Entry("no other run", mark("o", ALONE)))
    return [Group("Pre-training, core-hours", entries), Group("Of equal compute", signs)]


def _cost(ends: Sequence[float]) -> str:
    return style.scientific(float(f"{np.sqrt(ends[0] * ends[1]):.2g}"))


def _lines(numbers: Numbers) -> list[Entry]:
    pooled = numbers["rank_correlation"]
    told = f"{with_interval(pooled['estimate'], pooled['interval'])}: {pooled['verdict']}"
    return [
        Entry("larger dots: larger models"),
        Entry("rank correlation of loss and error given compute:"),
        Entry(told),
    ]
