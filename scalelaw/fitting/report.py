"""A fit as a table that a paper could use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.fitting.result import Fit


def number(value: float | None) -> str:
    """Five significant digits; a dash for what is unknown."""
    if value is None or value != value:
        return "-"
    return f"{value:.5g}"


def interval(low: float | None, high: float | None) -> str:
    """`1 to 2`, `above 1`, `below 2`, or `unknown`."""
    if low is None and high is None:
        return "unknown"
    if high is None:
        return f"above {number(low)}"
    return f"below {number(high)}" if low is None else f"{number(low)} to {number(high)}"


def quantity_lines(answer: Mapping[str, Any]) -> str:
    """A derived quantity with its interval, how far beyond the runs it was asked, and what to know of it there.

    Args:
        answer: name, value, low, high, beyond (None where it is not defined) and warnings.
    """
    text = f"{answer['name']}: {number(answer['value'])} (95 % interval {interval(answer['low'], answer['high'])})"
    factor = answer["beyond"]
    if factor is not None:
        text += f", {factor:.3g} times beyond the runs" if factor > 1 else ", inside the runs"
    return "\n".join([text, *(f"warning: {one}" for one in answer["warnings"])])


def table(fit: Fit, level: float = 0.95) -> str:
    """Header, one line a parameter, what was minimised, the status and the warnings."""
    rows = [["", "estimate", "std. error", f"{100 * level:g} % interval"]]
    for name, value in fit.params.items():
        ends = "pinned" if name in fit.fix else interval(*fit.interval(name, level))
        rows.append([name, number(value), number(fit.stderr[name]), ends])
    lines = [f"{fit.law.__name__}: {fit.law.equation}"]
    lines += [f"  {line}" for line in columns(rows)]
    chosen = f" ({fit.points})" if fit.points else ""
    total = f"{fit.objective_value:.6g}, a sum over runs"
    lines.append(f"{fit.n} runs{chosen}; {fit.objective} in {fit.space} space: {total}")
    if fit.objective.word == "huber":
        lines.append(f"{100 * fit.inside:.0f} % of residuals inside delta")
    unit = "" if fit.basis in ("unknown", "bootstrap") else f", {fit.unit.word}s independent"
    lines.append(f"standard errors: {fit.basis}{unit}")
    lines.append(f"{fit.agreed} of {fit.starts} starts agree; Newton decrement {fit.decrement:.0e} of the objective")
    if fit.trade_offs:
        lines.append(f"estimates move together: {', '.join(map(str, fit.trade_offs))}")
    lines.append(f"status: {fit.status}")
    lines += [f"warning: {warning}" for warning in fit.warnings]
    return "\n".join(lines)
