"""The mean of ln L over forms of the surface, and its spread."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from scalelaw.laws import Split
from scalelaw.plan.average.bent import ADDITIVE, MIXING, Bent
from scalelaw.plan.average.posterior import Prior, Runs, posterior
from scalelaw.plan.design.basis import FLATTEST, HIGHEST, STEEPEST
from scalelaw.plan.design.forms import NAMES, PLAIN

Array = NDArray[np.float64]

FLOORED = 0.5
"""Probability, before any run, that the loss has a floor above 0."""
SOUGHT_FROM = (-0.6, 0.0, 0.6)
"""At which the search for a break begins, from the smallest of the runs, -1, to the largest, 1."""


@dataclass(frozen=True)
class MeanOfForms:
    """Of ln L at points, and what the runs say of the forms.

    Attributes:
        log_loss: (rows, points) the mean.
        within: (rows, points) its standard deviation for parameters that are not known, given the form.
        between: (rows, points) its standard deviation over forms.
        weights: (rows, forms) of each form, in the order of `design.forms.NAMES`.
        floor: (rows,) probability of a floor above 0.
    """

    log_loss: Array
    within: Array
    between: Array
    weights: Array
    floor: Array

    @property
    def sd(self) -> Array:
        """(rows, points) standard deviation of ln L, seeds aside."""
        return np.hypot(self.within, self.between)


def mean_of_forms(law: Split, runs: Runs, theta: Array, at: Array) -> MeanOfForms:
    """The mean over forms, each with and without a floor, weighed by prior times evidence.

    Args:
        law: how the loss follows from the sum; its own E, A, B, alpha and beta are not used.
        runs: what was measured.
        theta: (rows, 5) ln E (-inf for none), ln A, ln B, alpha and beta of a fit: where the search for modes begins.
        at: (2, points) ln N and ln D of what is asked.
    """
    loss = np.exp(runs.log_loss)
    prior = Prior.of(np.log(np.minimum(law.sum_of(loss), HIGHEST * loss)), runs.weights)
    centre = (float(runs.x[0].mean()), float(runs.x[1].mean()))
    middle, half = _between(runs)
    told = []
    for form, floored in product(range(len(NAMES)), (True, False)):
        bent = Bent(law, centre, form, middle, half, floored)
        one = posterior(bent, runs, prior, _starts(theta, centre, prior, form))
        log_loss, jacobian = bent.log_loss(one.theta, at)
        variance = np.einsum("rpi,rij,rpj->rp", jacobian, one.covariance, jacobian)
        before = np.log(_share(form) * (FLOORED if floored else 1 - FLOORED))
        told.append(_Told(form, floored, one.log_evidence + before, log_loss, variance))
    logs = np.stack([one.log_weight for one in told], axis=1)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    each = np.stack([one.log_loss for one in told], axis=1)
    share = np.where(np.isfinite(each), weights[:, :, None], 0.0)  # far out a form may leave no surface
    share /= share.sum(axis=1, keepdims=True)
    each, variance = np.nan_to_num(each), np.nan_to_num(np.stack([one.variance for one in told], axis=1))
    mean = (share * each).sum(axis=1)
    forms, floors = np.array([one.form for one in told]), np.array([one.floored for one in told])
    return MeanOfForms(
        log_loss=mean,
        within=np.sqrt((share * variance).sum(axis=1)),
        between=np.sqrt((share * (each - mean[:, None]) ** 2).sum(axis=1)),
        weights=np.stack([weights[:, forms == form].sum(axis=1) for form in range(len(NAMES))], axis=1),
        floor=weights[:, floors].sum(axis=1),
    )


@dataclass(frozen=True)
class _Told:
    """What one form says: ln of prior times evidence (rows,), ln L (rows, points) and its variance."""

    form: int
    floored: bool
    log_weight: Array
    log_loss: Array
    variance: Array


def _share(form: int) -> float:
    """Probability of a form before any run."""
    return PLAIN if form == ADDITIVE else (1 - PLAIN) / (len(NAMES) - 1)


def _starts(theta: Array, centre: tuple[float, float], prior: Prior, form: int) -> list[Array]:
    """(rows, 7) each: the fit; the same with a floor, for without one no step finds it; those with a departure, and
    where that has a place, at several."""
    fit = prior.mean.copy()
    fit[:, :5] = theta
    fit[:, 3:5] = np.clip(fit[:, 3:5], FLATTEST, STEEPEST)
    fit[:, 1:3] -= fit[:, 3:5] * centre
    fit = np.where(np.isfinite(fit), fit, prior.mean)
    raised = fit.copy()
    raised[:, 0] = np.maximum(fit[:, 0], prior.mean[:, 0])
    found = [fit, raised]
    for place in {ADDITIVE: (), MIXING: (0.0,)}.get(form, SOUGHT_FROM):
        away = raised.copy()
        away[:, 5:] = 1.0, place
        found.append(away)
    return found


def _between(runs: Runs) -> tuple[Array, Array]:
    """(rows, 2) the middle of the ln N and of the ln D that each row has runs of, and half of their range."""
    there = (runs.weights > 0)[:, None]
    low, high = np.where(there, runs.x, np.inf).min(axis=2), np.where(there, runs.x, -np.inf).max(axis=2)
    return np.asarray((low + high) / 2), np.asarray((high - low) / 2)
