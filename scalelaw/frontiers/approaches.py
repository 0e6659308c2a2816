"""frontier(runs): how the best size and the best amount of data grow with compute, four ways side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scalelaw.errors import UserError, nearest
from scalelaw.fitting import Curvature, Fit, curvature
from scalelaw.frontiers import comparison, surface
from scalelaw.frontiers.columns import Basis, Columns, best_of, columns_of, one_training_set
from scalelaw.frontiers.comparison import Comparison
from scalelaw.frontiers.envelope import envelope_rows, envelope_trends, loss_trend
from scalelaw.frontiers.equal_compute import TOLERANCE, Budget
from scalelaw.frontiers.minima import exact_trends, minima, noise_of, parabola_trends
from scalelaw.frontiers.one_half import SameRate, same_rate
from scalelaw.frontiers.parabola import Bias
from scalelaw.frontiers.points import budget_points, envelope_points, params_trend
from scalelaw.frontiers.repeated_images import Repetition, repetition
from scalelaw.frontiers.single_pass import OnePass, one_pass
from scalelaw.frontiers.trend import Trend, nothing
from scalelaw.laws import ChanceSizeData
from scalelaw.runs import RunTable
from scalelaw.text import columns

Array = NDArray[np.float64]
ENOUGH_BUDGETS = 4
"""Bracketed budgets from which equal compute makes the headline: it assumes no law for the whole surface."""
HONEST = "surface", "equal_compute"
"""The two approaches without a known bias: how they compare is always said."""


@dataclass(frozen=True)
class Frontier:
    """Optimal size, data and epochs, and the lowest loss, against compute.

    Attributes:
        size, data, epochs: headline trends, from `headline`; epochs failed where the training set's size is unknown.
        params_trend: the same for the parameter count, None where it is unknown.
        loss: the envelope's power law.
        curvature: quadratic term of ln loss in ln C along the envelope, None with fewer than three runs.
        headline: the approach that gives size and data: equal_compute or surface.
        approaches: name -> {"size": Trend, "data": Trend, and where known "params" and "epochs"} for surface (Hoffmann
            et al.'s approach 3), equal_compute (2, with the exact shape), parabola (2, as published) and envelope (1).
        comparisons: every two approaches' optimal sizes, with intervals and z-scores.
        bias: of the parabolas, by theory and as found; None where no budget has a minimum by both shapes.
        points: the envelope's runs and the minima of every budget, those of equal_compute with 95 % intervals of size,
            data and epochs.
        surface: SizeData, or the same below the loss of guessing, None when the runs do not allow one.
        envelope: the fitted power law, None when the runs do not allow one.
        notes: sentences: what was left out, what is biased, where approaches disagree.
        unique_images: training-set size that epochs refer to (the largest of several), None when unknown.
        runs: the best runs of all training sets.
        your_images: what one pass is about; the runs' own training set when None.
    """

    size: Trend
    data: Trend
    epochs: Trend
    params_trend: Trend | None
    loss: Trend
    curvature: Curvature | None
    headline: str
    approaches: dict[str, dict[str, Trend]]
    comparisons: tuple[Comparison, ...]
    bias: Bias | None
    points: pd.DataFrame = field(repr=False)
    surface: Fit | None = field(repr=False)
    envelope: Fit | None = field(repr=False)
    notes: tuple[str, ...] = ()
    unique_images: float | None = None
    runs: RunTable = field(default_factory=lambda: RunTable(pd.DataFrame()), repr=False)
    your_images: float | None = None

    @cached_property
    def same_rate(self) -> tuple[SameRate, ...]:
        """The test that size and images grow alike, by each approach without a known bias."""
        return same_rate({name: self.approaches[name]["size"] for name in HONEST}, self.surface)

    @cached_property
    def repetition(self) -> Repetition:
        """What the runs say of repeated images; not_identified with one training-set size."""
        return repetition(self.runs)

    def one_pass(self, unique_images: float | None = None) -> OnePass | None:
        """The budget at which the optimal number of images is `unique_images`, by default `your_images`.

        None where neither is known.

        Raises:
            UserError: for a number of images that is not positive and finite.
        """
        given = (unique_images, self.your_images, self.unique_images)
        images = next((number for number in given if number is not None), None)
        return None if images is None else one_pass(self.data, images, *self.reach)

    @property
    def reach(self) -> tuple[float, float]:
        """Compute of the cheapest and of the dearest run, in the unit of the trends."""
        if self.runs.has(self.size.compute):
            cost = self.runs.column(self.size.compute).astype(float)
        else:
            cost = self.points[self.size.compute].to_numpy(float)
        return float(np.nanmin(cost)), float(np.nanmax(cost))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        bend = self.curvature
        records = self.points.astype(object).where(self.points.notna(), None).to_dict("records")
        return {
            "size": self.size.to_dict(),
            "data": self.data.to_dict(),
            "epochs": self.epochs.to_dict(),
            "loss": {
                **self.loss.to_dict(),
                "curvature": None if bend is None else {"value": bend.value, "interval": [bend.low, bend.high]},
            },
            "params": None if self.params_trend is None else self.params_trend.to_dict(),
            "points": records,
            "headline": self.headline,
            "approaches": {
                name: {quantity: trend.to_dict() for quantity, trend in pair.items()}
                for name, pair in self.approaches.items()
            },
            "comparisons": [one.to_dict() for one in self.comparisons],
            "same_rate": [one.to_dict() for one in self.same_rate],
            "one_pass": None if (single := self.one_pass()) is None else single.to_dict(),
            "repetition": self.repetition.to_dict(),
            "parabola_bias": None if self.bias is None else self.bias.to_dict(),
            "surface": None if self.surface is None else self.surface.to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        brief = ("size", "data" if self.unique_images is None else "epochs")
        full = ("size", "params", "data", "epochs")
        named = [
            (approach, trends[key])
            for approach, trends in self.approaches.items()
            for key in (full if approach in HONEST else brief)
            if key in trends
        ]
        rows = [("optimum", "grows with compute as", "95 % interval", "status", "approach")]
        for approach, trend in named:
            power = f"C^{trend.slope:.3f}" if np.isfinite(trend.slope) else "-"
            rows.append((trend.quantity, power, _ends(trend), trend.status, approach))
        falls = f"C^{-self.loss.params['alpha']:.3f}"
        rows.append(("loss", falls, _ends(self.loss, falls=True), self.loss.status, "envelope"))
        lines = [*columns(rows, left=range(len(rows[0])))]
        lines.append(f"headline: {self.headline}; C in {self.size.compute}")
        if self.curvature is not None:
            lines.append(str(self.curvature))
        lines.append(f"the same rate is an exponent of one half in {self.size.quantity}:")
        lines += [f"  {one}" for one in self.same_rate]
        if (single := self.one_pass()) is not None:
            lines.append(str(single))
        lines.append(str(self.repetition))
        reasons = {trend.note: f"{approach}: {trend.note}" for approach, trend in named if trend.note}
        return "\n".join([*lines, *(f"note: {note}" for note in (*reasons.values(), *self.notes))])


def _ends(trend: Trend, *, falls: bool = False) -> str:
    """The interval of a trend's exponent, as text; `falls` for a law in C^-alpha, whose exponent is -alpha."""
    low, high = trend.interval["alpha"]
    if low is None or high is None or not np.isfinite(low):
        return "unknown"
    return f"{-high:.3f} to {-low:.3f}" if falls else f"{low:.3f} to {high:.3f}"


def frontier(
    runs: RunTable, *, basis: Basis | None = None, mixed: bool = False, equal_within: float = TOLERANCE
) -> Frontier:
    """Optimal size, data, epochs and loss against compute, by the three approaches of Hoffmann et al. 2022.

    Size is `macs_per_image` where known (then C = 6 N D exactly and the exponents of size and data sum to 1), else
    `params`. Exponents of size and data come from bracketed equal-compute minima when at least four budgets are
    bracketed, else from the surface. The envelope's are shown, with status set_by_grid where it ends in a corner of
    the grid; so are those of parabolas, with their bias. Where approaches disagree it is said, and nothing is averaged.

    Args:
        runs: all runs, or the best over learning rates.
        basis: the compute column that trends refer to; when None core_hours, or train_flop where these are unknown.
        mixed: take core-hours that were measured in some runs and estimated in others together.
        equal_within: relative difference up to which runs are of equal compute; wider (.1) for values read off a
            figure.

    Raises:
        UserError: when needed columns are missing, fewer than three runs are finished, or core-hours rest on several
            bases.
    """
    if basis is not None and basis not in ("core_hours", "train_flop"):
        raise UserError(f"frontier: unknown basis {basis!r}{nearest(str(basis), ['core_hours', 'train_flop'])}")
    if not 0 < equal_within <= 1:
        raise UserError(f"frontier: equal_within = {equal_within!r} must be above 0 and at most 1, as .02 for 2 %")
    everything = best_of(runs)
    notes = list(everything.notes)
    best = one_training_set(everything, notes)
    columns = columns_of(best, basis, notes, mixed=mixed)
    fitted = _surface(columns, notes)
    found = minima(columns, fitted, equal_within, notes)
    approaches = {
        "surface": surface.trends(fitted, columns),
        "equal_compute": exact_trends(columns, found.exact, fitted, notes),
        "parabola": parabola_trends(columns, found),
        "envelope": envelope_trends(columns),
    }
    _with_params_and_epochs(approaches, columns, best)
    headline = _headline(approaches, found.exact)
    trends = approaches[headline]
    compared = comparison.compare({name: pair["size"] for name, pair in approaches.items()}, columns.compute.max())
    notes += [str(one) for one in compared if one.disagree or one.approaches == HONEST]
    power, loss = loss_trend(columns)
    points = [
        budget_points(columns, best, "equal_compute", found.exact, noise_of(found.exact, fitted)),
        budget_points(columns, best, "parabola", found.parabola),
        envelope_points(columns, best),
    ]
    front = envelope_rows(columns)
    unknown = nothing("epochs", columns.compute_name, "the training set's size is unknown: see data")
    return Frontier(
        size=trends["size"],
        data=trends["data"],
        epochs=trends.get("epochs", unknown),
        params_trend=trends.get("params"),
        loss=loss,
        curvature=curvature(columns.compute[front], columns.loss[front]) if len(front) >= 3 else None,
        headline=headline,
        approaches=approaches,
        comparisons=compared,
        bias=found.bias,
        points=pd.concat(points, ignore_index=True),
        surface=fitted,
        envelope=power,
        notes=tuple(dict.fromkeys(notes)),
        unique_images=columns.unique,
        runs=everything,
    )


def _surface(columns: Columns, notes: list[str]) -> Fit | None:
    try:
        found = surface.fit_surface(columns.size, columns.data, columns.loss, "best", columns.chance)
    except UserError as error:
        notes.append(f"no surface: {error}")
        return None
    if isinstance(found.fitted, ChanceSizeData):
        top, turn = found.fitted.L0, found.fitted.p
        notes.append(
            f"the surface levels off at the loss of guessing, {top:.3f} (law {found.law.word}, p = {turn:g}): so it "
            "misses the runs by less than without"
        )
    return found


def _headline(approaches: dict[str, dict[str, Trend]], budgets: Sequence[Budget]) -> str:
    bracketed = sum(budget.bracketed for budget in budgets)
    equal, surface = approaches["equal_compute"]["size"], approaches["surface"]["size"]
    if bracketed >= ENOUGH_BUDGETS and equal.status == "converged":
        return "equal_compute"
    if surface.status == "converged" or not np.isfinite(equal.slope):
        return "surface"
    if equal.status == "converged" or not np.isfinite(surface.slope):
        return "equal_compute"
    return "equal_compute" if (equal.stderr["alpha"] or np.inf) < (surface.stderr["alpha"] or np.inf) else "surface"


def _with_params_and_epochs(approaches: dict[str, dict[str, Trend]], columns: Columns, best: RunTable) -> None:
    """Adds the trends of parameters, and of epochs, data over the training set's size, where these are known."""
    for trends in approaches.values():
        if (params := params_trend(columns, best, trends["size"])) is not None:
            trends["params"] = params
        if columns.unique is not None:
            trends["epochs"] = trends["data"].over("epochs", columns.unique)
