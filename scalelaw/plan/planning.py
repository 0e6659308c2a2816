"""predict(runs, budget): the best model, its epochs and learning rate at a budget, and the loss to expect there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.fitting import Fit, Status
from scalelaw.frontiers import frontier
from scalelaw.frontiers.surface import fit_surface
from scalelaw.learning_rate import LearningRates, optimal_learning_rates
from scalelaw.plan.models import Candidate, candidates
from scalelaw.runs import RunTable

Array = NDArray[np.float64]
PlanStatus = Status | Literal["far_extrapolation"]

WARN_BEYOND = 10.0
REFUSE_BEYOND = 100.0
"""A prediction this many times beyond the largest finished run warns, or is refused unless asked for."""


@dataclass(frozen=True)
class Plan:
    """What to train with a budget, and what to expect of it.

    Attributes:
        variant, params, macs_per_image: the model.
        epochs: passes over `unique_images`; None when the training set's size is unknown.
        images: training images shown.
        peak_lr: learning rate from the trend over cells (for the batch size of the runs); None when unknown.
        core_hours: TPU-v4 core-hours of the budget; None when the runs do not say what one buys.
        train_flop: FLOP of the budget.
        loss: expected held-out loss.
        loss_low, loss_high: 95 % prediction interval of a single run; None when unknown.
        extrapolation_factor: budget over the largest finished run's compute.
        status: far_extrapolation, or the surface's fit status.
        warnings: caveats, the gravest first.
        alternatives: the next best models and their expected losses.
    """

    variant: str
    params: int | None
    macs_per_image: float
    epochs: float | None
    images: float
    peak_lr: float | None
    core_hours: float | None
    train_flop: float
    loss: float
    loss_low: float | None
    loss_high: float | None
    extrapolation_factor: float
    status: PlanStatus
    warnings: tuple[str, ...]
    alternatives: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What `scalelaw predict --json` prints."""
        names = (
            "variant", "params", "epochs", "images", "peak_lr", "core_hours", "train_flop", "loss", "loss_low",
            "loss_high", "extrapolation_factor", "status",
        )  # fmt: skip
        return {**{name: getattr(self, name) for name in names}, "warnings": list(self.warnings)}

    def __str__(self) -> str:
        hours = "" if self.core_hours is None else f"{self.core_hours:.4g} TPU-v4 core-hours, "
        ends = "interval unknown"
        if self.loss_low is not None and self.loss_high is not None:
            ends = f"95 % of runs between {self.loss_low:.4f} and {self.loss_high:.4f}"
        params = "" if self.params is None else f", {self.params:,} parameters"
        others = ", ".join(f"{name} {loss:.4f}" for name, loss in self.alternatives)
        rows = {
            "budget": f"{hours}{self.train_flop:.4g} FLOP: {self.extrapolation_factor:.3g} x the largest finished run",
            "model": f"{self.variant}{params}",
            "epochs": "unknown" if self.epochs is None else f"{self.epochs:.3g} ({self.images:,.0f} images)",
            "learning rate": "unknown" if self.peak_lr is None else f"{self.peak_lr:.3g}",
            "loss": f"{self.loss:.4f} ({ends})",
            "next best": others or "no other model",
            "status": self.status,
        }
        lines = [f"{name:>13}  {value}" for name, value in rows.items()]
        if self.status == "far_extrapolation":
            lines.insert(0, self.warnings[0])
            return "\n".join(lines + [f"      warning  {warning}" for warning in self.warnings[1:]])
        return "\n".join(lines + [f"      warning  {warning}" for warning in self.warnings])


def predict(runs: RunTable, budget: compute.Budget, *, far: bool = False) -> Plan:
    """The plan for a budget.

    The loss surface in multiply-adds and images is fitted to the best runs over learning rates; every buildable model
    gets the images that the budget buys at its own cost, and the one of lowest expected loss is chosen.

    Args:
        runs: all runs of a sweep (the learning-rate trend needs more than the best).
        budget: core-hours, FLOP, or a multiple of the largest finished run.
        far: allow budgets more than 100 times the largest finished run.

    Raises:
        UserError: when columns are missing, no surface can be fitted, or the budget is too far beyond the data.
    """
    done = runs.finished()
    best = done.best_over("peak_lr") if done.points == "all" and done.has("peak_lr") else done
    if not len(best):
        raise UserError(f"{runs.source}: has no finished run to predict from")
    if not best.has("macs_per_image"):
        raise UserError(f"{runs.source}: has no macs_per_image; a plan needs each model's cost per image")
    macs = best.macs_per_image.astype(float)
    images = best.images_seen.astype(float)
    flop = 6.0 * macs * images
    target, hours, factor = _target(best, budget, flop)
    warnings: list[str] = []
    if factor > REFUSE_BEYOND:
        sentence = f"far extrapolation: the budget is {factor:.3g} times the largest finished run"
        if not far:
            raise UserError(f"{sentence}, beyond {REFUSE_BEYOND:g} times; pass --far (far=True) to see it all the same")
        warnings.append(f"{sentence}; nothing in these runs says that the laws hold so far out.")
    elif factor > WARN_BEYOND:
        warnings.append(
            f"extrapolation: the budget is {factor:.3g} times the largest finished run; the interval holds only if the "
            "law's form does."
        )
    surface = fit_surface(macs, images, best.val_loss.astype(float), "best")
    warnings += [f"loss surface: {warning}" for warning in surface.warnings]
    if surface.status == "failed":
        warnings.append("the surface has no certified optimum: take nothing here as a prediction.")
    options, remark = candidates(best)
    warnings += remark
    chosen, others = _choose(surface, options, target)
    seen = target / (6.0 * chosen.macs_per_image)
    band = surface.predict(new_run=True, N=chosen.macs_per_image, D=seen)
    warnings += _disagreement(best, chosen, target)
    warnings += _range_warnings(chosen, options, surface, macs, images, seen)
    if band.low is None:
        warnings.append("the loss has no interval: the surface's spread is unknown.")
    unique = _unique(best, warnings)
    epochs = None if unique is None else seen / unique
    if epochs is not None and unique is not None and epochs > max(1.0, images.max() / unique) * 1.001:
        warnings.append(
            f"{epochs:.3g} epochs: the surface counts repeated images like fresh ones, beyond what was tried."
        )
    rate = _rate(runs, chosen, seen, epochs, warnings)
    status: PlanStatus = "far_extrapolation" if factor > REFUSE_BEYOND else surface.status
    return Plan(
        variant=chosen.variant,
        params=chosen.params,
        macs_per_image=chosen.macs_per_image,
        epochs=epochs,
        images=float(round(seen)),
        peak_lr=rate,
        core_hours=hours,
        train_flop=target,
        loss=float(band.mid),
        loss_low=None if band.low is None else float(band.low),
        loss_high=None if band.high is None else float(band.high),
        extrapolation_factor=factor,
        status=status,
        warnings=tuple(dict.fromkeys(warnings)),
        alternatives=others,
    )


def _target(best: RunTable, budget: compute.Budget, flop: Array) -> tuple[float, float | None, float]:
    """Training FLOP and core-hours of the budget, and how far it lies beyond the largest finished run.

    A core-hour buys the FLOP that it bought in the runs (their geometric mean).
    """
    per_hour = None
    if best.has("core_hours"):
        hours = best.core_hours.astype(float)
        known = np.isfinite(hours) & (hours > 0)
        per_hour = float(np.exp(np.mean(np.log(flop[known] / hours[known]))))
    largest = float(flop.max())
    if budget.flop is not None:
        target = budget.flop
    elif budget.times is not None:
        target = budget.times * largest
    else:
        if per_hour is None:
            raise UserError(f"{best.source}: has no core_hours, so the budget cannot be converted; give it in FLOP")
        assert budget.core_hours is not None
        target = budget.core_hours * per_hour
    factor = target / largest
    return target, None if per_hour is None else target / per_hour, factor


def _choose(surface: Fit, options: Sequence[Candidate], flop: float) -> tuple[Candidate, tuple[tuple[str, float], ...]]:
    """The candidate of lowest expected loss at its own cost per image, and the next two."""
    macs = np.array([option.macs_per_image for option in options])
    loss = surface.predict(N=macs, D=flop / (6.0 * macs)).mid
    order = np.argsort(loss, kind="stable")
    return options[order[0]], tuple((options[i].variant, float(loss[i])) for i in order[1:3])


def _range_warnings(
    chosen: Candidate, options: Sequence[Candidate], surface: Fit, macs: Array, images: Array, seen: float
) -> list[str]:
    """Where the plan leaves the range of the runs, or the range of what can be built."""
    found = []
    if chosen.macs_per_image > 1.001 * macs.max() or chosen.macs_per_image < 0.999 * macs.min():
        found.append(f"{chosen.variant} is outside the sizes of the runs.")
    if seen > 1.001 * images.max():
        found.append(f"{seen:.3g} images are {seen / images.max():.3g} times the longest run's.")
    sizes = [option.macs_per_image for option in options]
    if len(sizes) > 1 and chosen.macs_per_image == max(sizes):
        found.append(f"{chosen.variant} is the largest model to choose from: a larger one might be better.")
    if len(sizes) > 1 and chosen.macs_per_image == min(sizes):
        found.append(f"{chosen.variant} is the smallest model to choose from: a smaller one might be better.")
    return found


def _disagreement(best: RunTable, chosen: Candidate, flop: float) -> list[str]:
    """Says when equal compute, which assumes no surface, puts the best size elsewhere."""
    try:
        trend = frontier(best, basis="train_flop").approaches["equal_compute"]["size"]
    except UserError:
        return []
    band = trend.predict(flop)
    if trend.status != "converged" or band.low is None or band.high is None:
        return []
    low, high = float(band.low), float(band.high)
    # variants are up to a factor of about two apart, so the nearest one may lie a little outside
    if low / 1.5 <= chosen.macs_per_image <= 1.5 * high:
        return []
    return [
        f"equal-compute minima put the best size at {low:.3g} to {high:.3g} multiply-adds per image, "
        f"the surface chose {chosen.macs_per_image:.3g}."
    ]


def _unique(best: RunTable, warnings: list[str]) -> float | None:
    """Size of the training set: the runs' own, the largest where they differ."""
    if not best.has("unique_images"):
        warnings.append("the size of the training set is unknown, and so are the epochs.")
        return None
    sizes = best.frame["unique_images"].dropna().unique()
    if len(sizes) > 1:
        warnings.append(f"the runs have {len(sizes)} sizes of training set; epochs refer to the largest.")
    return float(sizes.max())


def _rate(runs: RunTable, chosen: Candidate, seen: float, epochs: float | None, warnings: list[str]) -> float | None:
    """The trend's rate; the nearest cell's where there is no trend."""
    try:
        rates = optimal_learning_rates(runs)
    except UserError as error:
        warnings.append(f"no learning rate: {error}.")
        return None
    trend = rates.trend
    size = chosen.macs_per_image if trend.size == "macs_per_image" else chosen.params
    length = epochs if trend.length == "epochs" else seen
    if trend.status == "failed" or size is None or length is None:
        warnings.append(f"learning rate: {trend.note or 'no trend'}; it is that of the nearest cell.")
        return _nearest_rate(rates, chosen, seen)
    if trend.status != "converged":
        warnings.append("learning rate: the trend has no interval, too few optima lie inside their grid.")
    if rates.inside_share < 0.8:
        warnings.append(
            f"learning rate: only {100 * rates.inside_share:.0f} % of optima lie inside their grid; widen it."
        )
    rate = float(trend.predict(size, length).mid)
    low, high = runs.frame["peak_lr"].min(), runs.frame["peak_lr"].max()
    if not low <= rate <= high:
        warnings.append(f"learning rate: {rate:.3g} lies outside the rates tried, {low:g} to {high:g}.")
    return rate


def _nearest_rate(rates: LearningRates, chosen: Candidate, seen: float) -> float | None:
    """Best rate of the cell nearest in ln size and ln images."""
    cells = rates.cells.dropna(subset=["macs_per_image", "images_seen"])
    if cells.empty:
        return None
    away = np.hypot(
        np.log(cells["macs_per_image"].astype(float) / chosen.macs_per_image),
        np.log(cells["images_seen"].astype(float) / seen),
    )
    return float(cells["best_lr"].iloc[int(np.argmin(away))])
