"""The plan's own learning rate: the trend of the cells' optima at its size and length, with an interval.

Of the trend's candidates (constant, power law, constant then falling) the simplest that the back-test cannot tell from
the best gives the rate. The interval is that of a new cell's optimum about the power law, and reaches as far as every
candidate that cannot be told from the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.fitting.straightness import t_quantile
from scalelaw.learning_rate import LearningRates, RateTrend, TrendChoice, optimal_learning_rates
from scalelaw.learning_rate.trend import PER
from scalelaw.plan.caveats import Caveat
from scalelaw.plan.models import Candidate
from scalelaw.runs import RunTable

LEVEL = 0.95
ENOUGH_INSIDE = 0.8
"""Share of cells with their optimum inside their grid below which a caveat says so."""


@dataclass(frozen=True)
class PlannedRate:
    """A learning rate.

    Attributes:
        rate: peak learning rate, for the plan's batch size.
        low, high: 95 % interval of the optimum; None when unknown.
        per_256: the rate over the batch size, times 256; None where the batch size is unknown.
        trend: which candidate gives it, or `nearest cell`.
        told: whether the back-test tells the best candidate from all others; None without a back-test.
        candidates: rate by each candidate that cannot be told from the best.
    """

    rate: float
    low: float | None
    high: float | None
    per_256: float | None
    trend: str
    told: bool | None
    candidates: dict[str, float]

    def __str__(self) -> str:
        ends = "interval unknown" if self.low is None else f"95 % interval {self.low:.3g} to {self.high:.3g}"
        return f"{self.rate:.3g} ({ends}; {self.trend})"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return dict(vars(self))


def planned_rate(
    runs: RunTable,
    chosen: Candidate,
    images: float,
    epochs: float | None,
    batch: float | None,
    *,
    monotone: bool = False,
) -> tuple[PlannedRate | None, list[Caveat]]:
    """The rate of a plan, and what must be said about it.

    Args:
        runs: all runs, diverged ones among them.
        chosen: the model.
        images, epochs: its length.
        batch: its batch size; None when unknown.
        monotone: holds the trend to rates that never rise with size or epochs.
    """
    try:
        rates = optimal_learning_rates(runs, monotone=monotone)
    except UserError as error:
        return None, [Caveat("no learning rate", f"{error}.")]
    trend, unit = trend_for(runs, rates, batch)
    mixed = runs.has("batch_size") and runs.frame["batch_size"].nunique() > 1
    found = []
    if batch is not None and trend is not rates.trend:
        found.append(
            Caveat("mixed batches", f"the rate is for batches of {batch:g}, in proportion to those of other batches.")
        )
    size = chosen.macs_per_image if trend.size == "macs_per_image" else chosen.params
    length = epochs if trend.length == "epochs" else images
    if trend.status == "failed" or size is None or length is None:
        why = trend.note or "the plan's size or length is unknown in the trend's terms"
        rate = nearest_rate(rates, chosen.macs_per_image, images)
        if rate is None:
            return None, [Caveat("no learning rate", f"{why}.")]
        found.append(Caveat("nearest cell's rate", f"{why}; the rate is that of the nearest cell."))
        found += _about_grid(runs, rates, rate)
        return PlannedRate(rate, None, None, _per_256(rate, batch), "nearest cell", None, {}), found
    choice = None if mixed else rates.candidates(monotone)  # candidates take rates as they are
    alike = _alike(choice, size, length)
    word = "power law" if choice is None or not choice.candidates else choice.chosen.word
    power = unit * float(trend.predict(size, length).mid)
    rate = alike.get(word, power)
    low, high = _interval(trend, size, length, unit, list(alike.values()))
    if low is None:
        found.append(Caveat("rate without interval", "too few optima lie inside their grid of rates."))
    if len(alike) > 1:
        listed = ", ".join(f"{name} {value:.3g}" for name, value in alike.items())
        found.append(Caveat("trends not told apart", f"{listed} fit the cells' optima alike."))
    found += _about_grid(runs, rates, rate)
    told = None if choice is None or not choice.candidates else choice.told
    return PlannedRate(rate, low, high, _per_256(rate, batch), word, told, alike), found


def trend_for(runs: RunTable, rates: LearningRates, batch: float | None) -> tuple[RateTrend, float]:
    """The trend of the rate, and what to multiply it by for batches of `batch`: with several batch sizes that of the
    rate per 256 images, for a trend through all of them would be of a batch in between."""
    mixed = runs.has("batch_size") and runs.frame["batch_size"].nunique() > 1
    if mixed and batch is not None and rates.trend_per_256 is not None:
        return rates.trend_per_256, batch / PER
    return rates.trend, 1.0


def _alike(choice: TrendChoice | None, size: float, length: float) -> dict[str, float]:
    """Rate by every candidate that is not worse than the best, the best first."""
    if choice is None:
        return {}
    return {one.word: float(one.predict(size, length)) for one in choice.candidates if one.verdict != "worse"}


def _interval(
    trend: RateTrend, size: float, length: float, unit: float, others: list[float]
) -> tuple[float | None, float | None]:
    """Where a new cell's optimum lies: the trend's own spread, the cells' scatter about it, and other candidates."""
    band = trend.predict(size, length, LEVEL)
    if band.low is None or band.high is None:
        return None, None
    own = float(np.log(band.high / band.low)) / 2
    half = float(np.hypot(own, t_quantile(LEVEL, trend.dof) * trend.scatter))
    middle = unit * float(band.mid)
    return min([middle * float(np.exp(-half)), *others]), max([middle * float(np.exp(half)), *others])


def _about_grid(runs: RunTable, rates: LearningRates, rate: float) -> list[Caveat]:
    found = []
    if rates.inside_share < ENOUGH_INSIDE:
        share = f"{100 * rates.inside_share:.0f} %"
        found.append(Caveat("optima at the edge", f"only {share} of optima lie inside their grid of rates; widen it."))
    low, high = runs.frame["peak_lr"].min(), runs.frame["peak_lr"].max()
    if not low <= rate <= high:
        found.append(Caveat("rate outside the grid", f"{rate:.3g} lies outside the rates tried, {low:g} to {high:g}."))
    return found


def _per_256(rate: float, batch: float | None) -> float | None:
    return None if batch is None else rate / batch * PER


def nearest_rate(rates: LearningRates, macs_per_image: float, images: float) -> float | None:
    """Best rate of the cell nearest in ln size and ln images; None where no cell knows both."""
    cells = rates.cells.dropna(subset=["macs_per_image", "images_seen"])
    if cells.empty:
        return None
    away = np.hypot(
        np.log(cells["macs_per_image"].astype(float) / macs_per_image),
        np.log(cells["images_seen"].astype(float) / images),
    )
    return float(cells["best_lr"].iloc[int(np.argmin(away))])
