"""draw(sweep, truth, seed): the runs of a sweep with the losses that a truth gives them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.runs import RunTable
from scalelaw.simulate.balance import Layout, layout_of
from scalelaw.simulate.truth import Truth
from scalelaw.sweep import PlannedRun, Spec

Array = NDArray[np.float64]
_RUN, _SIZE, _CELL = range(3)


def draw(sweep: Spec | Sequence[PlannedRun] | Layout, truth: Truth, seed: int | Sequence[int] = 0) -> RunTable:
    """A table of runs as a trained sweep has them, with losses from `truth`.

    A run's noise depends on the seed and the run's id alone, and the effect of a size on the seed and the variant, so
    that two sweeps of one seed agree in the runs that both have. Runs whose rate is too high have status diverged and
    no loss; all others are finished.

    Args:
        sweep: a spec, planned runs, or the layout made of either.
        truth: what losses follow.
        seed: one whole number or several; equal ones draw equal tables.

    Raises:
        UserError: when there are no runs.
    """
    layout = sweep if isinstance(sweep, Layout) else layout_of(sweep)
    entropy = [seed] if isinstance(seed, int) else list(seed)
    frame = layout.frame
    size, images, unique = (layout.column(name) for name in ("macs_per_image", "images_seen", "unique_images"))
    best = truth.best_loss(size, images, unique)
    if truth.rates is None:
        loss = best
    else:
        cells = [f"{variant} {seen}" for variant, seen in zip(frame["variant"], frame["images_seen"], strict=True)]
        shift = truth.rates.scatter * _shared(entropy, _CELL, cells) if truth.rates.scatter else 0.0
        u = np.log(layout.column("peak_lr")) - truth.rates.log_best(size, images / unique) - shift
        loss = truth.at(best, u)
    z = np.zeros(len(frame))
    if truth.noise:
        z = z + truth.noise * np.array([_normal(entropy, _RUN, run_id) for run_id in frame["run_id"]])
    if truth.size_noise:
        z = z + truth.size_noise * size_effects(frame["variant"].tolist(), entropy)
    loss = loss * np.exp(z)
    status = np.where(np.isnan(loss), "diverged", "finished")
    return replace(layout.table, frame=frame.assign(val_loss=loss, status=status))


def size_effects(variants: Sequence[str], seed: Sequence[int]) -> Array:
    """Standard normal effects of the named variants, shape (variants,): equal names, equal effects."""
    return _shared(seed, _SIZE, variants)


def _shared(entropy: Sequence[int], kind: int, labels: Sequence[str]) -> Array:
    known: dict[str, float] = {label: _normal(entropy, kind, label) for label in dict.fromkeys(labels)}
    return np.array([known[label] for label in labels])


def _normal(entropy: Sequence[int], kind: int, label: str) -> float:
    """A standard normal number of its own for every seed, kind and label."""
    return float(generator(entropy, kind, label).standard_normal())


def generator(entropy: Sequence[int], kind: int, label: str) -> Any:
    """The generator of a seed, kind and label. Lengths are part of the key, so that no two keys are alike."""
    return np.random.default_rng([len(entropy), *entropy, kind, *label.encode()])
