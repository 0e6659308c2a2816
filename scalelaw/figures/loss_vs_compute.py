"""Figure 2: held-out loss against compute, one curve a model, with the law of its front."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from scalelaw import laws
from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, banded, key, mark, shortened, stroke
from scalelaw.figures.numbers import (
    JOINED,
    NAMELESS,
    Numbers,
    model_of_run,
    models,
    plain,
    series,
    shared_budgets,
    status_text,
    thinned,
    with_interval,
    with_known,
)
from scalelaw.fitting import curvature, fit
from scalelaw.runs import RunTable

LINE_POINTS = 48
MOST_MODELS_NAMED = 8


def collect(runs: RunTable) -> Numbers:
    """The numbers of Figure 2: each model's best runs by length, and the power law L = A C^-alpha of their front.

    The best run of a cell is the one at the learning rate of lowest mean loss; the front holds those that no cheaper
    run matches. Where the front is too short for a law there is none, and a note says why.

    Raises:
        UserError: when fewer than two runs have both compute and loss.
    """
    finished = runs.finished()
    cost_column = finished.variable("C")[1]
    known = with_known(finished, [cost_column, "val_loss"])
    if len(known) < 2:
        raise UserError(
            f"{runs.source}: {len(known)} finished runs with {cost_column} and val_loss; Figure 2 needs two"
        )
    best = known.best_over("peak_lr") if known.has("peak_lr") else known
    numbers: Numbers = {
        "figure": "loss against compute",
        "compute": cost_column,
        "flop_per_core_hour": flop_per_core_hour(best),
        "models": models(runs),
        "epoch_budgets": shared_budgets(best, len(style.MARKERS)),
        "curves": _curves(best, cost_column),
        "front": None,
        "notes": list(best.notes),
    }
    try:
        numbers["front"] = _front(best, cost_column)
    except UserError as error:
        numbers["notes"].append(f"no law for the front: {error.messages[0]}")
    numbers["caption"] = _caption(numbers, best)
    return dict(plain(numbers))


def _curves(best: RunTable, cost_column: str) -> list[Numbers]:
    """One entry a model: its runs by rising compute, and whether each is on the front."""
    cost, loss = best.column(cost_column).astype(float), best.column("val_loss").astype(float)
    epochs = best.column("epochs").astype(float) if best.has("epochs") else np.full(len(best), np.nan)
    front = set(zip(*(best.envelope().column(name).tolist() for name in (cost_column, "val_loss")), strict=True))
    names, joined = np.array(model_of_run(best)), np.array(series(best.frame))
    curves = []
    for model in [row["name"] for row in models(best)]:
        order = np.flatnonzero(names == model)
        order = order[np.argsort(cost[order], kind="stable")]
        curves.append({
            "model": model,
            "epochs": epochs[order],
            cost_column: cost[order],
            "val_loss": loss[order],
            "on_front": [(cost[i], loss[i]) in front for i in order],
            "series": joined[order],
        })  # fmt: skip
    return curves


def _front(best: RunTable, cost_column: str) -> Numbers:
    """The front's fitted law, its straightness, and its line with the 95 % band."""
    front = best.envelope()
    cost, loss = front.column(cost_column).astype(float), front.column("val_loss").astype(float)
    result = fit(laws.PowerLaw, C=cost, L=loss)
    line = np.geomspace(cost.min(), cost.max(), LINE_POINTS)
    band = result.predict(C=line)
    bend = curvature(cost, loss)
    return {
        "law": "power",
        "params": result.params,
        "stderr": result.stderr,
        "interval": {name: result.interval(name) for name in result.params},
        "status": result.status,
        "warnings": result.warnings,
        "runs": len(front),
        "quadratic_term": bend and {"value": bend.value, "low": bend.low, "high": bend.high},
        "line": {cost_column: line, "mid": band.mid, "low": band.low, "high": band.high},
    }


def flop_per_core_hour(best: RunTable) -> Numbers | None:
    """Training FLOP that a core-hour bought: median over runs, and its range, which is a point when utilisation is."""
    if not (best.has("core_hours") and best.has("train_flop")):
        return None
    ratio = best.column("train_flop").astype(float) / best.column("core_hours").astype(float)
    ratio = ratio[np.isfinite(ratio)]
    return {"median": np.median(ratio), "low": ratio.min(), "high": ratio.max()} if len(ratio) else None


def _caption(numbers: Numbers, best: RunTable) -> str:
    """What the figure shows, in two or three sentences."""
    parts = [f"Held-out loss against training compute: {len(best)} runs of {len(numbers['curves'])} models"]
    parts[0] += ", each at the best of its learning rates." if best.points == "best" else "."
    front = numbers["front"]
    if front is not None:
        alpha = with_interval(front["params"]["alpha"], front["interval"]["alpha"])
        parts.append(
            f"Filled markers are the front, the {front['runs']} runs that no cheaper run matches; its law is "
            f"L = A C^-alpha with alpha = {alpha}, 95 % interval{status_text(front['status'])}."
        )
        bend = front["quadratic_term"]
        if bend is not None:
            term = with_interval(bend["value"], (bend["low"], bend["high"]))
            parts.append(f"Its quadratic term in log-log, 0 for a straight front, is {term}.")
    if len({number for curve in numbers["curves"] for number in curve["series"]}) > 1:
        parts.append(JOINED)
    if best.has("core_hours_basis"):
        bases = sorted({str(basis) for basis in best.column("core_hours_basis")})
        parts.append(f"Core-hours are {' and '.join(bases)}.")
    return " ".join(parts)


def draw(ax: Axes, numbers: Numbers) -> Axes:
    """Draws what `collect` returned; the key stands below the axes, the second compute axis above."""
    compute = numbers["compute"]
    shades = style.shades(numbers["models"])
    markers = dict(zip(numbers["epoch_budgets"], style.MARKERS, strict=False))
    everything: list[float] = []
    ax.set_xscale("log")
    ax.set_yscale("log")
    front = numbers["front"]
    if front is not None:
        line = front["line"]
        if line["low"] is not None and line["high"] is not None:
            ax.fill_between(line[compute], line["low"], line["high"], color=style.BAND, linewidth=0, zorder=1)
        ax.plot(line[compute], line["mid"], color=style.INK, linestyle=(0, (4, 1.6)), linewidth=1.0, zorder=4)
        everything += line["mid"]
    for curve in numbers["curves"]:
        shade = shades[curve["model"]]
        if curve["model"] != NAMELESS:
            for one in dict.fromkeys(curve["series"]):
                points = zip(curve["series"], curve[compute], curve["val_loss"], strict=True)
                line = np.array([(x, y) for number, x, y in points if number == one])
                ax.plot(*line.T, color=shade, linewidth=0.8, alpha=0.75, zorder=2)
        for x, y, epochs, is_front in zip(
            curve[compute], curve["val_loss"], curve["epochs"], curve["on_front"], strict=True
        ):
            marker, scale = (markers[epochs], 1.0) if epochs in markers else ("o", 0.55)
            size = style.PAPER["lines.markersize"] * scale
            face = shade if is_front else "white"
            above = 5 if is_front else 3
            ax.plot([x], [y], linestyle="", marker=marker, markersize=size, color=shade, mfc=face, zorder=above)
        everything += curve["val_loss"]
    low, high = style.log_limits(everything, 0.05)
    ax.set_ylim(low, high)
    ax.set_xlim(*style.log_limits([x for curve in numbers["curves"] for x in curve[compute]]))
    style.plain_axis(ax.yaxis, style.plain_ticks(low, high))
    ax.set_ylabel("Held-out loss (nats)")
    style.compute_axis(ax, compute)
    style.flop_axis(ax, compute, numbers["flop_per_core_hour"])
    key(ax, _groups(numbers, shades, markers), _lines(numbers))
    return ax


def _groups(numbers: Numbers, shades: dict[str, str], markers: dict[float, str]) -> list[Group]:
    names = [curve["model"] for curve in numbers["curves"]]
    named = thinned(names, MOST_MODELS_NAMED)
    heading = "Model" if len(named) == len(names) else f"Model ({len(named)} of {len(names)})"
    strokes = [Entry(shortened(name), stroke(shades[name], linewidth=1.6)) for name in named if name != NAMELESS]
    groups = [Group(heading, strokes)] if strokes else []
    signs = zip(style.lengths(list(markers)), markers.values(), strict=True)
    budgets = [Entry(words, mark(sign, style.INK, filled=False, x=4), 8) for words, sign in signs]
    seen = {epochs for curve in numbers["curves"] for epochs in curve["epochs"] if epochs is not None}
    if seen - set(markers):
        size = style.PAPER["lines.markersize"] * 0.55
        budgets.append(Entry("other", mark("o", style.INK, filled=False, x=4, markersize=size), 8))
    return [*groups, Group("Epochs", budgets)] if markers else groups


def _lines(numbers: Numbers) -> list[Entry]:
    front = numbers["front"]
    if front is None:
        return []
    alpha = with_interval(front["params"]["alpha"], front["interval"]["alpha"])
    law = rf"front: $L = A\,C^{{-\alpha}}$, $\alpha$ = {alpha}{status_text(front['status'])}"
    return [Entry(law, banded(style.INK, linestyle=(0, (4, 1.6)), linewidth=1.0))]
