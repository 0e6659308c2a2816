"""A prediction and its outcome: the front out to a budget, the loss predicted there, and runs trained afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from scalelaw import compute as budgets
from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, banded, mark, model_key, shared_key, stroke
from scalelaw.figures.loss_vs_compute import flop_per_core_hour
from scalelaw.figures.numbers import Numbers, model_of_run, models, plain, status_words, tags, with_known
from scalelaw.figures.panels import Layout
from scalelaw.frontiers import frontier
from scalelaw.frontiers.columns import best_of, columns_of, one_training_set
from scalelaw.plan import Plan, predict
from scalelaw.runs import RunTable

Array = npt.NDArray[np.float64]

TIMES = 4.0
"""Budget over the largest run's compute where neither a budget nor outcomes say one."""
EQUAL = 0.02
"""Outcomes whose compute lies within this share of the budget are set beside the prediction."""
LINE_POINTS = 24
_FRONT: dict[str, Any] = {"color": style.INK, "linewidth": 1.0}
_BEYOND: dict[str, Any] = {"color": style.INK, "linewidth": 1.0, "linestyle": (0, (3, 1.6))}


def collect(runs: RunTable, outcomes: RunTable | None = None, budget: budgets.Budget | None = None) -> Numbers:
    """The plan for a budget, the front of lowest loss out to it, and what runs at that budget reached.

    Args:
        runs: what the prediction is made from.
        outcomes: runs trained afterwards; they play no part in the prediction.
        budget: of the prediction; by default the outcomes' median compute, or `TIMES` the largest run without outcomes.

    Raises:
        UserError: when no prediction can be made, or outcomes do not say their FLOP.
    """
    after = None if outcomes is None else with_known(outcomes.finished(), ["train_flop", "val_loss"])
    if after is not None and not len(after):
        raise UserError(f"{after.source}: no finished run with train_flop and val_loss to set beside the prediction")
    if budget is None:
        median = None if after is None else float(np.median(after.column("train_flop").astype(float)))
        budget = budgets.Budget(times=TIMES) if median is None else budgets.Budget(flop=median)
    plan = predict(runs, budget)
    best = best_of(runs)
    notes = list(best.notes)
    best = one_training_set(best, notes)
    columns = columns_of(best, None, notes)
    unit = float(np.exp(np.mean(np.log(columns.compute / columns.flop))))  # of the compute axis a FLOP
    known = models(runs)
    names = {plan.variant, *(model_of_run(after) if after is not None else ())} - {row["name"] for row in known}
    cost = np.array([]) if after is None else after.column("train_flop").astype(float) * unit
    target = plan.train_flop * unit
    numbers: Numbers = {
        "figure": "prediction and outcome",
        "compute": columns.compute_name,
        "flop_per_core_hour": flop_per_core_hour(best),
        "models": known,
        "other_models": sorted(names),
        "runs": {"model": model_of_run(best), "compute": columns.compute, "val_loss": columns.loss},
        "front": _front(runs, target),
        "prediction": {
            "model": plan.variant,
            "compute": target,
            "times": plan.extrapolation_factor,
            "loss": plan.loss,
            "low": plan.loss_low,
            "high": plan.loss_high,
            "status": plan.status,
            "warnings": plan.warnings,
        },
        "outcomes": None if after is None else {
            "model": model_of_run(after),
            "compute": cost,
            "val_loss": after.column("val_loss"),
            "at_budget": np.abs(cost / target - 1) <= EQUAL,
        },
        "notes": notes,
    }  # fmt: skip
    numbers["caption"] = _caption(dict(plain(numbers)), plan)
    return dict(plain(numbers))


def _front(runs: RunTable, target: float) -> Numbers:
    """Lowest loss at given compute on the fitted surface, over the runs and out to the budget, with its 95 % band."""
    best = one_training_set(best_of(runs), [])
    columns = columns_of(best, None, [])
    front = frontier(best)
    path, surface = front.approaches["surface"]["size"], front.surface
    if surface is None or not np.isfinite(path.slope):
        raise UserError(f"{runs.source}: no path of lowest loss: {path.note}")
    largest = float(columns.compute.max())
    inside = np.geomspace(columns.compute.min(), largest, LINE_POINTS)
    beyond = np.geomspace(largest, max(target, largest), LINE_POINTS // 2)[1:]
    C = np.concatenate([inside, beyond])
    size = path.predict(C).mid
    band = surface.predict(N=size, D=math.exp(columns.log_unit) * C / size)
    known = band.low is not None and band.high is not None and bool(np.isfinite(band.high).all())
    return {
        "largest": largest,
        "compute": C,
        "loss": band.mid,
        "low": band.low if known else None,
        "high": band.high if known else None,
        "status": surface.status,
    }


def _caption(numbers: Numbers, plan: Plan) -> str:
    predicted, found = numbers["prediction"], numbers["outcomes"]
    ends = "interval unknown"
    if plan.loss_low is not None and plan.loss_high is not None:
        ends = f"95 % of runs between {plan.loss_low:.3f} and {plan.loss_high:.3f}"
    words = (
        "Lowest loss at given compute on the surface fitted to the runs, with its 95 % band, dashed beyond them; and "
        f"the loss predicted at {plan.extrapolation_factor:.3g} times the largest run: {predicted['model']}, "
        f"{plan.loss:.3f} ({ends}; surface {status_words(plan.status)})."
    )
    if found is None:
        return f"{words} Nothing was trained there yet."
    mine = [loss for name, loss, there in zip(found["model"], found["val_loss"], found["at_budget"], strict=True)
            if there and name == predicted["model"]]  # fmt: skip
    if not mine:
        return f"{words} {len(found['model'])} runs were trained afterwards, none of {predicted['model']} there."
    inside = ""
    if plan.loss_low is not None and plan.loss_high is not None:
        inside = f", {sum(plan.loss_low <= loss <= plan.loss_high for loss in mine)} inside the interval"
    return (
        f"{words} Of {len(found['model'])} runs trained afterwards {len(mine)} are of that model and budget: "
        f"mean {np.mean(mine):.3f}{inside}."
    )


def layout(numbers: Numbers) -> Layout:
    """The front; beside it, where there are outcomes at the budget, these model by model."""
    if _beside(numbers):
        return Layout(2.5, 2, 2, style.FULL_WIDTH, (1.6, 1.0))
    return Layout(2.6)


def _beside(numbers: Numbers) -> bool:
    return numbers["outcomes"] is not None and any(numbers["outcomes"]["at_budget"])


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned, on one panel or two, as `layout` says."""
    shades = style.shades(numbers["models"])
    shades |= dict.fromkeys(numbers["other_models"], style.INK)  # the runs' models keep the colours of other figures
    _draw_front(axes[0], numbers, shades)
    if _beside(numbers):
        _draw_outcomes(axes[1], numbers, shades)
    drawn = {
        *numbers["runs"]["model"],
        *(numbers["outcomes"] or {"model": ()})["model"],
        numbers["prediction"]["model"],
    }
    shared_key(axes, model_key(shades, drawn), Group("Loss", _signs(numbers, shades)))
    return axes


def _draw_front(ax: Axes, numbers: Numbers, shades: dict[str, str]) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    front, runs, predicted, found = (numbers[name] for name in ("front", "runs", "prediction", "outcomes"))
    C, loss = np.array(front["compute"]), np.array(front["loss"])
    if front["low"] is not None:
        ax.fill_between(C, front["low"], front["high"], color=style.BAND, linewidth=0, alpha=0.6, zorder=0)
    for part, look in ((front["largest"] * (1 + 1e-4) >= C, _FRONT), (front["largest"] * (1 - 1e-4) <= C, _BEYOND)):
        ax.plot(C[part], loss[part], zorder=2, **look)
    for name, x, y in zip(runs["model"], runs["compute"], runs["val_loss"], strict=True):
        ax.plot([x], [y], linestyle="", marker="o", markersize=2.8, color=shades[name], mfc="white", zorder=3)
    ends = [end for end in (predicted["low"], predicted["high"]) if end is not None]
    _draw_predicted(ax, predicted["compute"], predicted, shades)
    costs, losses = [*C, *runs["compute"], predicted["compute"]], [*loss, *runs["val_loss"], predicted["loss"], *ends]
    if found is not None:
        for name, x, y in zip(found["model"], found["compute"], found["val_loss"], strict=True):
            ax.plot([x], [y], linestyle="", marker="o", markersize=2.8, color=shades[name], zorder=4)
        costs, losses = [*costs, *found["compute"]], [*losses, *found["val_loss"]]
    low, high = style.log_limits(losses, 0.06)
    ax.set_ylim(low, high)
    ax.set_xlim(*style.log_limits(costs, 0.06))
    style.plain_axis(ax.yaxis, style.plain_ticks(*style.inner(low, high)))
    ax.set_ylabel("Held-out loss (nats)")
    style.compute_axis(ax, numbers["compute"])
    style.flop_axis(ax, numbers["compute"], numbers["flop_per_core_hour"])


def _draw_predicted(ax: Axes, x: float, predicted: Numbers, shades: dict[str, str]) -> None:
    shade = shades.get(predicted["model"], style.INK)
    if predicted["low"] is not None and predicted["high"] is not None:
        ax.vlines([x], [predicted["low"]], [predicted["high"]], color=style.INK, linewidth=1.0, zorder=4)
    ax.plot([x], [predicted["loss"]], linestyle="", marker="D", markersize=4.6, color=style.INK, mfc=shade, zorder=5)


def _draw_outcomes(ax: Axes, numbers: Numbers, shades: dict[str, str]) -> None:
    """The budget's runs model by model, and the prediction beside those of its own model."""
    found, predicted = numbers["outcomes"], numbers["prediction"]
    pairs = [(n, y) for n, y, there in zip(found["model"], found["val_loss"], found["at_budget"], strict=True) if there]
    names = [name for name in shades if name in {predicted["model"], *(name for name, _ in pairs)}]
    for name, loss in pairs:
        ax.plot([names.index(name)], [loss], linestyle="", marker="o", color=shades[name], zorder=3)
    place = names.index(predicted["model"])
    ends = [end for end in (predicted["low"], predicted["high"]) if end is not None]
    aside = ScaledTranslation(-10 / 72, 0, ax.figure.dpi_scale_trans)
    shade = shades[predicted["model"]]
    moved = ax.transData + aside
    if len(ends) == 2:
        ax.vlines([place], [ends[0]], [ends[1]], color=style.INK, linewidth=1.0, transform=moved, zorder=4)
    ax.plot([place], [predicted["loss"]], linestyle="", marker="D", markersize=4.6, color=style.INK, mfc=shade,
            transform=moved, zorder=5)  # fmt: skip
    ax.set_yscale("log")
    low, high = style.log_limits([*(loss for _, loss in pairs), predicted["loss"], *ends], 0.08)
    ax.set_ylim(low, high)
    style.plain_axis(ax.yaxis, style.plain_ticks(*style.inner(low, high), most=7))
    ax.set_xlim(-0.7, len(names) - 0.3)
    ax.xaxis.set_major_locator(FixedLocator(list(range(len(names)))))
    ax.xaxis.set_major_formatter(FixedFormatter([_tags(numbers)[name] for name in names]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("Model, at the predicted budget")
    ax.set_ylabel("Held-out loss (nats)")
    ax.tick_params(axis="x", which="both", top=False)


def _tags(numbers: Numbers) -> dict[str, str]:
    others = [{"name": name, "macs_per_image": None, "params": None} for name in numbers["other_models"]]
    return tags([*numbers["models"], *others])


def _signs(numbers: Numbers, shades: dict[str, str]) -> list[Entry]:
    predicted, front = numbers["prediction"], numbers["front"]
    swatch = banded(**_FRONT) if front["low"] is not None else stroke(**_FRONT)
    words = "lowest at given compute" + (", 95 % band" if front["low"] is not None else "")
    signs = [
        Entry("a run", mark("o", style.INK, filled=False, markersize=2.8)),
        Entry(words, swatch),
        Entry("the same beyond the runs", stroke(**_BEYOND)),
    ]
    shade = shades.get(predicted["model"], style.INK)
    point = mark("D", style.INK, markersize=4.6)
    point.set_markerfacecolor(shade)
    bar = mark(style.ARROWS["bar"], style.INK, markersize=10)
    known = predicted["low"] is not None and predicted["high"] is not None
    says = f"predicted at {predicted['times']:.3g}×: {_tags(numbers)[predicted['model']]}"
    says += ", 95 % of runs" if known else ", interval unknown"
    signs.append(Entry(says, (bar, point) if known else point))
    if numbers["outcomes"] is not None:
        signs.append(Entry("trained afterwards", mark("o", style.INK)))
    return signs
