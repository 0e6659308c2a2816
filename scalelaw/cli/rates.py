"""`scalelaw rates`: the best learning rate of every cell, its trend, and what cells at their grid's edge do to fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from scalelaw.cli.tables import Column, Json, Results, column_map, load, print_json
from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.learning_rate import EdgeFits, LearningRates, RateTrend
    from scalelaw.runs import RunTable


def rates(
    results: Results,
    curve: Literal["auto", "parabola", "lopsided", "grid"] = "auto",
    monotone: bool = False,
    column: Column = (),
    json: Json = False,
) -> int:
    """Best learning rate of every cell with its interval or bound, the trend in size and epochs, and its candidates.

    Args:
        curve: Of a cell's losses; auto takes the lopsided one where it is surely better on cells left out; grid takes
            the best tested rate, known to half a step.
        monotone: Hold the trend to rates that never rise with size or epochs.
    """
    from scalelaw.learning_rate import optimal_learning_rates

    runs = load(results, column_map(column))
    found = optimal_learning_rates(runs, curve=curve, monotone=monotone)
    choice = found.candidates(monotone)
    edges, why = _edges(runs, found)
    if json:
        edge_fits = {"fits": None, "why": why} if edges is None else {"fits": edges.to_dict(), "why": None}
        print_json({**found.to_dict(), "candidates": choice.to_dict(), "edges": edge_fits})
        return 0
    print(*columns(_cells(found), left=(0, 7)), sep="\n")
    print("low, high: 95 % interval of the optimum; - where it is open or unknown")
    noise = "unknown" if found.noise is None else f"{found.noise:.3g} in ln loss, from {found.noise_basis}"
    print(
        f"{found.shape.curve} in ln rate; noise of a run {noise}; {found.inside_share:.0%} of optima inside their grid"
    )
    print(*(f"note: {note}" for note in found.notes), sep="\n", end="\n" if found.notes else "")
    print(*_trend(found.trend), sep="\n")
    if found.trend_per_256 is not None and found.trend_per_256.status != "failed":
        print(*_per_256(found.trend, found.trend_per_256), sep="\n")
    print(choice)
    print("loss against size and data, with cells at the edge of their grid of rates as measured, as bounds, left out:")
    print(why if edges is None else edges)
    return 0


def _edges(runs: RunTable, found: LearningRates) -> tuple[EdgeFits | None, str | None]:
    """The loss surface with edge cells treated three ways, or why there is none."""
    from scalelaw.errors import UserError
    from scalelaw.laws import SizeData
    from scalelaw.learning_rate import fits_with_edges

    try:
        return fits_with_edges(SizeData, runs.finished().best_over("peak_lr"), found), None
    except UserError as error:
        return None, f"no surface: {error}"


def _cells(found: LearningRates) -> list[tuple[str, ...]]:
    tuned = found.cells["parent"].notna().any()
    lines: list[tuple[str, ...]] = [
        ("variant", "epochs", "batch", "best lr", "low", "high", "per 256", "known by", "rates", "loss",
         *(["parent"] if tuned else []))
    ]  # fmt: skip
    for row in found.cells.to_dict("records"):
        known = row["kind"] if row["bound"] == "inside" else f"edge: optimum {row['bound']}"
        length = row["epochs"] if _is(row["epochs"]) else row["images_seen"]
        numbers = [_number(row[name], ".3g") for name in ("best_lr", "low", "high", "best_lr_per_256")]
        lines.append(
            (str(row["variant"]) if _is(row["variant"]) else _number(row["macs_per_image"], ".4g"),
             _number(length, ".3g"), _number(row["batch_size"], ".0f"), *numbers, known, str(row["rates"]),
             _number(row["best_loss"], ".4f"), *([str(row["parent"]) if _is(row["parent"]) else "-"] if tuned else []))
        )  # fmt: skip
    return lines


def _is(value: Any) -> bool:
    return value is not None and value == value


def _number(value: Any, spec: str) -> str:
    return format(float(value), spec) if _is(value) else "-"


def _trend(trend: RateTrend) -> list[str]:
    terms = {"a": "", "b": f" + b ln {trend.size}", "c": f" + c ln {trend.length}"}
    lines = [f"trend: ln rate = a{''.join(terms[name] for name in trend.names if name != 'a')}"]
    if trend.status != "failed":
        rows = [("", "estimate", "std. error", "95 % interval")]
        for name, value in trend.params.items():
            error, (low, high) = trend.stderr[name], trend.interval[name]
            ends = "unknown" if low is None or high is None else f"{low:.3f} to {high:.3f}"
            rows.append((name, f"{value:.4f}", "-" if error is None else f"{error:.4f}", ends))
        lines += [f"  {line}" for line in columns(rows)]
        lines.append(f"scatter of cells about it {trend.scatter:.3f}")
    return [*lines, f"status: {trend.status}" + (f"; {trend.note}" if trend.note else "")]


def _per_256(trend: RateTrend, per_256: RateTrend) -> list[str]:
    """The same of rate / batch x 256: another constant where all batches are equal, else all coefficients."""
    same = all(abs(trend.params[name] - per_256.params[name]) < 1e-9 for name in trend.names if name != "a")
    shown = ["a"] if same else list(per_256.names)
    said = ", ".join(f"{name} = {per_256.params[name]:.4f}" for name in shown)
    return [f"per 256 images: {said}" + (", the rest is the same" if same and len(trend.names) > 1 else "")]
