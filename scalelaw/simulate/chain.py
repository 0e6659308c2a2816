"""One drawn sweep through the whole chain: what every stage reports, as readings that can be scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scalelaw.compute import Budget
from scalelaw.errors import UserError
from scalelaw.frontiers import Frontier, frontier
from scalelaw.learning_rate import RateTrend, optimal_learning_rates
from scalelaw.plan import Plan, predict
from scalelaw.runs import RunTable

Ends = tuple[float | None, float | None]
APPROACHES = "surface", "equal_compute", "parabola", "envelope"


@dataclass(frozen=True)
class Reading:
    """One reported number.

    Attributes:
        quantity: a key of `targets`.
        source: the stage or approach that reports it.
        estimate: NaN when there is none.
        low, high: its 95 % interval; None for an open or unknown end.
        status: a fit's status word; only `converged` is an answer.
    """

    quantity: str
    source: str
    estimate: float
    low: float | None
    high: float | None
    status: str


@dataclass(frozen=True)
class Passed:
    """What the chain made of one draw.

    Attributes:
        readings: every reported number that has one true value; the plan's own are judged by whoever knows the truth.
        rates: the trend of learning rates, None where it was refused.
        plan: of the budget, None where it was refused.
        refusals: stage -> the reason, of stages that gave nothing.
    """

    readings: tuple[Reading, ...]
    rates: RateTrend | None
    plan: Plan | None
    refusals: dict[str, str]


def passed(runs: RunTable, times: float) -> Passed:
    """Sends a table of runs through best_over, frontier, optimal_learning_rates and predict.

    Args:
        runs: all runs of a sweep.
        times: the budget to predict for, as a multiple of the largest finished run.
    """
    readings: list[Reading] = []
    refusals: dict[str, str] = {}
    rates, plan = None, None
    done = runs.finished()
    best = done.best_over("peak_lr")
    try:
        found = frontier(best, basis="train_flop")
        readings += _of_frontier(found, times * float(best.train_flop.max()))
    except UserError as error:
        refusals["frontier"] = error.messages[0]
    try:
        rates = optimal_learning_rates(runs).trend
        for name, quantity in (("b", "rate_by_size"), ("c", "rate_by_epochs")):
            if name in rates.names:
                ends = rates.interval[name]
                readings.append(Reading(quantity, "learning_rate", rates.params[name], *ends, rates.status))
    except UserError as error:
        refusals["learning_rate"] = error.messages[0]
    try:
        plan = predict(runs, Budget(times=times))
    except UserError as error:
        refusals["predict"] = error.messages[0]
    return Passed(tuple(readings), rates, plan, refusals)


def _of_frontier(found: Frontier, flop: float) -> list[Reading]:
    readings = []
    by_source = {**{name: found.approaches[name] for name in APPROACHES}, "headline": found.approaches[found.headline]}
    for source, trends in by_source.items():
        for quantity in ("size", "epochs"):
            if quantity in trends:
                trend = trends[quantity]
                ends = trend.interval["alpha"]
                readings.append(Reading(f"{quantity}_exponent", source, trend.slope, *ends, trend.status))
        size = trends["size"]
        band = size.predict(flop)
        ends = (_number(band.low), _number(band.high))
        readings.append(Reading("size_at_budget", source, float(band.mid), *ends, size.status))
    loss = found.loss
    readings.append(Reading("loss_exponent", "envelope", loss.params["alpha"], *loss.interval["alpha"], loss.status))
    surface = found.surface
    if surface is not None:
        for name in ("alpha", "beta", "E"):
            readings.append(
                Reading(name, "surface", surface.params[name], *surface.interval(name), _judged(surface.status, name))
            )
        at = surface.estimate("optimal_loss", C=flop, k=6.0)
        ends = surface.interval("optimal_loss", C=flop, k=6.0)
        readings.append(Reading("loss_at_budget", "surface", at, *ends, surface.status))
    return readings


def _judged(status: str, name: str) -> str:
    """E at 0, its bound, is an answer with an interval of its own."""
    return "converged" if name == "E" and status == "at_bound" else status


def _number(value: np.ndarray | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
