"""Where searches start: grids over the parameters that a law is curved in, small linear problems for the others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scalelaw.laws.base import Array

if TYPE_CHECKING:
    from scalelaw.laws.smooth import Smooth

MOST_POINTS = 300
"""Runs that tell good starts from bad ones; more are thinned, evenly by rank of the first variable."""


def thinned(L: Array, variables: Sequence[Array]) -> tuple[Array, Array]:
    """Logs of the variables (variables, points) and of the loss (points,) of at most `MOST_POINTS` runs."""
    order = np.argsort(variables[0], kind="stable")
    if len(order) > MOST_POINTS:
        order = order[np.linspace(0, len(order) - 1, MOST_POINTS).round().astype(int)]
    return np.log(np.stack([values[order] for values in variables])), np.log(L[order])


def steepest(L: Array, *variables: Array) -> float:
    """An exponent beyond which no power of a variable makes sense for these data."""
    spans = [float(np.ptp(np.log(values))) for values in variables]
    narrowest = min((span for span in spans if span > 0), default=1.0)
    return 5.0 + 20.0 * float(np.ptp(np.log(L))) / narrowest


def regress(features: Array, target: Array, weights: Array) -> Array:
    """Weighted linear regressions side by side, (grid, size).

    Args:
        features: (grid, size, points).
        target: (grid, points).
        weights: (grid, points).
    """
    weighted = features * weights[:, None, :]
    gram = weighted @ features.transpose(0, 2, 1)
    size = np.arange(features.shape[1])
    gram[:, size, size] *= 1 + 1e-10  # exactly collinear columns share their coefficient instead of failing
    gram[:, size, size] += 1e-300
    return np.asarray(np.linalg.solve(gram, (weighted @ target[:, :, None]))[:, :, 0])


def log_amplitudes(log_features: Array, log_target: Array) -> Array:
    """ln A_k (grid, terms) of sum_k A_k e^feature_k that is closest to e^target in relative error.

    Args:
        log_features: (grid, terms, points).
        log_target: (grid, points) or (points,).
    """
    relative = log_features - np.expand_dims(np.broadcast_to(log_target, log_features[:, 0].shape), 1)
    peaks = relative.max(axis=2)
    features = np.exp(relative - peaks[:, :, None])
    ones = np.ones((len(features), features.shape[2]))
    found = regress(features, ones, ones)
    # a term that should be negative starts where it is at most a hundredth of the target anywhere
    return np.asarray(np.log(np.where(found > 0, np.maximum(found, 1e-12), 1e-2)) - peaks)


def ranked(
    law: type[Smooth],
    candidates: Array,
    kinds: Sequence[Hashable],
    L: Array,
    variables: Mapping[str, Array],
    keep: int = 24,
) -> Array:
    """The best candidate theta of each kind by mean absolute residual in log space, best first: (at most keep, size).

    They are brought into the law's box. Of candidates within 1e-6 of each other the earlier wins, whatever rounding
    says.
    """
    logs, y = thinned(L, [variables[letter] for letter in law.variables])
    candidates = np.clip(candidates, *law.box(L, **variables))
    with np.errstate(all="ignore"):
        misfit = np.abs(law.log_curve(candidates, logs) - y).mean(axis=1)
    misfit = np.where(np.isfinite(misfit), misfit, np.inf)
    scale = max(float(np.abs(y - y.mean()).mean()), 1e-12)
    order = np.argsort(np.round(misfit / scale, 6), kind="stable")
    seen: dict[Hashable, int] = {}
    for at in order:
        seen.setdefault(kinds[at], int(at))
    return candidates[list(seen.values())[:keep]]
