"""Figure 1: top-1 error after fine-tuning against pre-training compute, a colour a model, with the law of its front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, banded, key, mark, model_key
from scalelaw.figures.numbers import Numbers, models, plain, status_text, with_interval
from scalelaw.figures.panels import Layout
from scalelaw.runs import RunTable
from scalelaw.transfer import Starts, error_law, starts_of
from scalelaw.transfer.copies import copies_of

LINE_POINTS = 48
APART = 100.0
"""References so many times dearer or cheaper than all runs get a panel of their own."""
ONE_COPY, COPIES = "o", "*"
REFERENCE, ESTIMATE = "D", "s"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def collect(runs: RunTable, references: Sequence[Numbers] = ()) -> Numbers:
    """The best-tuned point of every pre-training run, those with repeated augmentation apart, and their law.

    Args:
        runs: fine-tuned runs; see `scalelaw.transfer.starts_of`.
        references: published points, each with `name`, `core_hours`, `top1_error` (a share), `estimated` (whether its
            compute is an estimate of its authors), `source` and, where images were augmented repeatedly, `repeated`.

    Raises:
        UserError: when fewer than two runs were fine-tuned.
    """
    copies = copies_of(runs)
    plainly, repeated = (
        _starts(runs.where(mask), needed) for mask, needed in ((copies <= 1, True), (copies > 1, False))
    )
    assert plainly is not None
    if len(plainly) < 2:
        raise UserError(f"{runs.source}: {len(plainly)} pre-training runs were fine-tuned; Figure 1 needs two")
    numbers: Numbers = {
        "figure": "error after fine-tuning against pre-training compute",
        "compute": "core_hours of pre-training alone; total_core_hours adds the fine-tuning",
        "models": models(runs),
        "points": _points(plainly),
        "repeated_augmentation": [] if repeated is None else _points(repeated),
        "front": None,
        "references": list(references),
        "notes": list(plainly.notes),
    }
    try:
        numbers["front"] = _front(plainly)
    except UserError as error:
        numbers["notes"].append(f"no law for the errors: {error.messages[0]}")
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _starts(runs: RunTable, needed: bool) -> Starts | None:
    try:
        return starts_of(runs)
    except UserError:
        if needed:
            raise
        return None


def _points(starts: Starts) -> list[Numbers]:
    return [
        {"model": model, "core_hours": cost, "total_core_hours": total, "top1_error": error, "val_loss": loss}
        for model, cost, total, error, loss in zip(
            starts.variants, starts.core_hours, starts.total_core_hours, starts.error, starts.loss, strict=True
        )
    ]


def _front(starts: Starts) -> Numbers:
    """The law through the starts whose error no cheaper one matches, and its line with the 95 % band."""
    law = error_law(starts)
    cost = starts.core_hours[law.front]
    line = np.geomspace(cost.min(), cost.max(), LINE_POINTS)
    band = law.bootstrap.predict(C=line)
    names = law.fit.params
    return {
        "law": law.fit.law.word,
        "params": names,
        "interval": {name: law.bootstrap.interval(name) for name in names},
        "resampled": "pre-training runs",
        "status": law.fit.status,
        "warnings": law.fit.warnings,
        "runs": len(cost),
        "line": {"core_hours": line, "mid": band.mid, "low": band.low, "high": band.high},
    }


def _caption(numbers: Numbers) -> str:
    words = (f"Top-1 error after fine-tuning against the core-hours of pre-training alone: {len(numbers['points'])} "
             "pre-training runs, each at the best of its fine-tuning settings.")  # fmt: skip
    front = numbers["front"]
    if front is not None:
        alpha = with_interval(front["params"]["alpha"], front["interval"]["alpha"])
        floor = ""
        if "E" in front["params"]:
            floor = f" and a floor of {with_interval(front['params']['E'], front['interval']['E'])}"
        words += (f" The law of the {front['runs']} that no cheaper one matches has alpha = {alpha}{floor} (95 %, "
                  f"resampling pre-training runs{status_text(front['status'])}).")  # fmt: skip
    if numbers["repeated_augmentation"]:
        words += " Stars: several augmented copies of an image in one batch."
    if numbers["references"]:
        words += " Open signs: published values, on ImageNet; squares cost what their authors' speed says."
    return words


def separate(numbers: Numbers) -> bool:
    """Whether the references stand in a panel of their own: another task's, at compute far from the runs'."""
    theirs = [point["core_hours"] for point in numbers["references"]]
    ours = [point["core_hours"] for point in numbers["points"]]
    return bool(theirs) and (min(theirs) > APART * max(ours) or max(theirs) * APART < min(ours))


def layout(numbers: Numbers) -> Layout:
    """One panel, or a second one for references."""
    return Layout(2.6, 2, 2, style.FULL_WIDTH) if separate(numbers) else Layout(2.6)


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned; references in the last panel."""
    shades = style.shades(numbers["models"])
    mine = axes[0]
    points = [*numbers["points"], *numbers["repeated_augmentation"]]
    front = numbers["front"]
    if front is not None:
        line = front["line"]
        if line["low"] is not None and line["high"] is not None:
            mine.fill_between(line["core_hours"], line["low"], line["high"], color=style.BAND, linewidth=0, zorder=1)
        mine.plot(line["core_hours"], line["mid"], color=style.INK, linestyle=(0, (4, 1.6)), linewidth=1.0, zorder=4)
    for marker, group in ((ONE_COPY, numbers["points"]), (COPIES, numbers["repeated_augmentation"])):
        size = style.PAPER["lines.markersize"] * (1.6 if marker == COPIES else 1.0)
        for point in group:
            mine.plot([point["core_hours"]], [point["top1_error"]], linestyle="", marker=marker, markersize=size,
                      color=shades[point["model"]], zorder=5)  # fmt: skip
    references = numbers["references"]
    other = axes[1] if separate(numbers) else mine
    for point in references:
        place = [point["core_hours"]], [point["top1_error"]]
        other.plot(*place, linestyle="", marker=_sign(point), color=style.INK, mfc="white", zorder=6)
    signs = [Entry("several augmented copies", mark(COPIES, style.INK))] if numbers["repeated_augmentation"] else []
    _frame(mine, points if separate(numbers) else [*points, *references], 0.08)
    published = [Group("Published", [_entry(*pair) for pair in zip(LETTERS, references, strict=False)])]
    if separate(numbers):
        _frame(other, references, 0.3)
        other.set_title("ImageNet, published", fontsize=style.PAPER["axes.labelsize"])
        key(other, published)
    _letters(other, references)
    ours = [model_key(shades, {point["model"] for point in points})]
    key(mine, [*ours, *(published if references and other is mine else [])], [*signs, *_lines(numbers)])
    return axes


def _entry(letter: str, reference: Numbers) -> Entry:
    how = " (compute from speed)" if reference["estimated"] else ""
    return Entry(f"{letter}: {reference['name']}{how}", mark(_sign(reference), style.INK, filled=False))


def _sign(reference: Numbers) -> str:
    """Its marker: a star as for our own runs, a square where its compute is an estimate, else a diamond."""
    if reference.get("repeated"):
        return COPIES
    return ESTIMATE if reference["estimated"] else REFERENCE


def _letters(ax: Axes, references: Sequence[Numbers]) -> None:
    """Writes each reference's letter beside it."""
    for letter, point in zip(LETTERS, references, strict=False):
        ax.annotate(
            letter,
            (point["core_hours"], point["top1_error"]),
            xytext=(4, 3),
            textcoords="offset points",
            fontsize=7.0,
            style="italic",
            color=style.INK,
            zorder=7,
        )


def _frame(ax: Axes, points: Sequence[Numbers], margin: float) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    low, high = style.log_limits([point["top1_error"] for point in points], 0.08)
    ax.set_ylim(low, high)
    ax.set_xlim(*style.log_limits([point["core_hours"] for point in points], margin))
    style.plain_axis(ax.yaxis, style.plain_ticks(low, high), lambda share: f"{100 * share:g}")
    ax.set_ylabel("Top-1 error (%)")
    style.decades(ax.xaxis, *ax.get_xlim())
    ax.set_xlabel("Pre-training, TPU-v4 core-hours")


def _lines(numbers: Numbers) -> list[Entry]:
    front = numbers["front"]
    if front is None:
        return []
    form = r"E + A\,C^{-\alpha}" if "E" in front["params"] else r"A\,C^{-\alpha}"
    alpha = with_interval(front["params"]["alpha"], front["interval"]["alpha"])
    law = rf"front: ${form}$, $\alpha$ = {alpha}{status_text(front['status'])}"
    return [Entry(law, banded(style.INK, linestyle=(0, (4, 1.6)), linewidth=1.0))]
