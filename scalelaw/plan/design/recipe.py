"""Learning rates and seeds of the chosen runs, and the sweep's TOML that trains them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scalelaw.errors import UserError
from scalelaw.learning_rate import LearningRates, optimal_learning_rates
from scalelaw.plan.design.result import Purchase
from scalelaw.plan.rates import nearest_rate, trend_for
from scalelaw.plan.recipe import Setting, recipe_of, toml_of
from scalelaw.runs import RunTable


def recipes(runs: RunTable, chosen: Sequence[Purchase]) -> tuple[tuple[Purchase, ...], list[str]]:
    """The chosen runs with learning rates by the trend over cells (unless they have one) and their first seeds."""
    notes: list[str] = []
    rates = None
    if any(one.peak_lr is None for one in chosen):
        try:
            rates = optimal_learning_rates(runs)
        except UserError as error:
            notes.append(f"no learning rates: {error}.")
    found = []
    for one in chosen:
        rate = one.peak_lr if one.peak_lr is not None or rates is None else _rate(runs, rates, one)
        found.append(replace(one, peak_lr=rate, first_seed=_first_seed(runs, one)))
    tried = runs.frame["peak_lr"] if runs.has("peak_lr") else None
    if tried is not None:
        outside = [one.variant for one in found if one.peak_lr and not tried.min() <= one.peak_lr <= tried.max()]
        if outside:
            notes.append(f"learning rates of {', '.join(dict.fromkeys(outside))} lie outside those tried.")
    return tuple(found), notes


def _rate(runs: RunTable, rates: LearningRates, one: Purchase) -> float | None:
    """The trend's rate for the batch of the sweep, rounded to 3 digits; the nearest cell's where there is no trend."""
    trend, unit = trend_for(runs, rates, _batch(runs))
    size = one.macs_per_image if trend.size == "macs_per_image" else one.params
    length = one.epochs if trend.length == "epochs" else one.images
    if trend.status != "failed" and size is not None and length is not None:
        return float(f"{unit * float(trend.predict(size, length).mid):.3g}")
    return nearest_rate(rates, one.macs_per_image, one.images)


def _batch(runs: RunTable) -> float | None:
    """The batch size of most runs, which the sweep has; None where they do not say."""
    return float(runs.frame["batch_size"].mode()[0]) if runs.has("batch_size") else None


def _first_seed(runs: RunTable, one: Purchase) -> int | None:
    """The lowest number above the seeds that this size and length have had."""
    if not runs.has("seed"):
        return None
    frame = runs.frame
    same = np.isclose(frame["macs_per_image"].astype(float), one.macs_per_image, rtol=1e-6)
    same &= frame["images_seen"].astype(float) == one.images
    used = frame.loc[same, "seed"].dropna()
    return int(used.max()) + 1 if len(used) else 0


def next_sweep(
    runs: RunTable, chosen: Sequence[Purchase], unique: float | None, head: Sequence[str]
) -> tuple[str | None, list[str]]:
    """A sweep's TOML with one grid a setting, and what must be said of it; None where nothing is chosen.

    Args:
        runs: all runs.
        chosen: with their learning rates and first seeds.
        unique: size of their training set; None when unknown.
        head: lines of comment above it.

    Raises:
        UserError: with one line for everything that is missing, or that a sweep refuses.
    """
    if not chosen:
        return None, []
    batch = _batch(runs)
    recipe, caveats = recipe_of(runs.finished(), unique, batch)
    planned = [Setting(one.variant, one.images, one.peak_lr, _seeds(one)) for one in chosen]
    return toml_of(recipe, "next", planned, batch, head), [str(caveat) for caveat in caveats]


def _seeds(one: Purchase) -> tuple[int, ...]:
    start = one.first_seed or 0
    return tuple(range(start, start + one.seeds))
