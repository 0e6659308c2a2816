"""The mode of a form's posterior given runs, and the evidence of the form, for many rows at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scalelaw.plan.average.bent import Bent
from scalelaw.plan.design.basis import FLATTEST, STEEPEST

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

STEPS = 200
"""At most; a row of the recorded demo takes about twenty, one along a curved valley a hundred."""
LONGEST = 1.0
"""No parameter moves further in a step."""
STILL = 1e-6
"""A row whose cost falls by less has arrived."""
STUCK = 1e6
"""So has one that must be damped as much."""
NO_FLOOR = 12.0
"""How far below the prior's mean ln E may come, whatever the loss's unit."""


@dataclass(frozen=True)
class Prior:
    """Independent normal distributions of ln E, ln A, ln B, alpha, beta, a departure's factor and its place.

    Attributes:
        mean: (rows, 7).
        sd: (7,).
    """

    mean: Array
    sd: Array

    def only(self, rows: Rows) -> Prior:
        """Of some rows."""
        return replace(self, mean=self.mean[rows])

    @classmethod
    def of(cls, log_sum: Array, weights: Array) -> Prior:
        """Before runs of ln S (rows, runs) where weights are above 0.

        E is as likely anywhere between 0 and the lowest S: ln E then has its mean 1 below and deviation 1. A and B are
        all but free. Exponents of published sweeps lie between .1 and .8. A place is as likely anywhere between the
        smallest and the largest of the runs, -1 and 1: its deviation is that of an even distribution.
        """
        lowest = np.where(weights > 0, log_sum, np.inf).min(axis=1)
        middle = (weights * log_sum).sum(axis=1) / weights.sum(axis=1) - np.log(2)
        rest = np.broadcast_to([0.4, 0.4, 0.0, 0.0], (len(lowest), 4))
        mean = np.concatenate([np.stack([lowest - 1, middle, middle], axis=1), rest], axis=1)
        return cls(mean, np.array([1.0, 3.0, 3.0, 0.3, 0.3, 1.0, 0.6]))


@dataclass(frozen=True)
class Runs:
    """What was measured.

    Attributes:
        x: (2, runs) ln N and ln D.
        log_loss: (rows, runs).
        weights: (rows, runs) how many runs each stands for; 0 for none.
        noise: (rows,) standard deviation of ln L of one run.
    """

    x: Array
    log_loss: Array
    weights: Array
    noise: Array

    def only(self, rows: Rows) -> Runs:
        """Of some rows."""
        return Runs(self.x, self.log_loss[rows], self.weights[rows], self.noise[rows])


@dataclass(frozen=True)
class Posterior:
    """About its mode.

    Attributes:
        theta: (rows, 7) the mode.
        cost: (rows,) twice the negative log posterior there, but for constants.
        log_evidence: (rows,) of the form, but for a constant that forms share; -inf where there is no surface.
        covariance: (rows, 7, 7) by Laplace.
    """

    theta: Array
    cost: Array
    log_evidence: Array
    covariance: Array


def posterior(bent: Bent, runs: Runs, prior: Prior, starts: list[Array]) -> Posterior:
    """The best of what damped Gauss-Newton steps reach from several starts (rows, 7) each."""
    reached = [_mode(bent, runs, prior, start) for start in starts]
    costs = np.stack([cost for _, cost in reached])
    rows = np.arange(costs.shape[1])
    theta = np.stack([theta for theta, _ in reached])[costs.argmin(axis=0), rows]
    cost = costs.min(axis=0)
    curvature = _curvature(bent, runs, prior, theta)[0]
    free = bent.free
    block = np.ix_(rows, np.array(free), np.array(free))
    log_det = np.linalg.slogdet(curvature[block])[1] + 2 * np.log(prior.sd[free]).sum()
    covariance = np.zeros_like(curvature)
    covariance[block] = np.linalg.inv(curvature[block])
    return Posterior(theta, cost, -0.5 * (cost + log_det), covariance)


def _cost(bent: Bent, runs: Runs, prior: Prior, theta: Array) -> Array:
    """(rows,) twice the negative log posterior; inf where there is no surface."""
    off = np.where(runs.weights > 0, runs.log_loss - bent.log_loss(theta, runs.x)[0], 0.0)
    cost = (runs.weights * off**2).sum(axis=1) / runs.noise**2
    cost = cost + (((theta - prior.mean) / prior.sd) ** 2).sum(axis=1)
    return np.asarray(np.where(np.isfinite(cost), cost, np.inf))


def _curvature(bent: Bent, runs: Runs, prior: Prior, theta: Array) -> tuple[Array, Array]:
    """(rows, 7, 7) Gauss-Newton curvature of half the cost, and (rows, 7) its descent."""
    fit, jacobian = bent.log_loss(theta, runs.x)
    held = runs.weights / runs.noise[:, None] ** 2
    off = np.where(held > 0, np.nan_to_num(runs.log_loss - fit), 0.0)
    jacobian = np.nan_to_num(jacobian)
    weighted = np.swapaxes(jacobian * held[:, :, None], 1, 2)
    curvature = weighted @ jacobian + np.diag(prior.sd**-2.0)
    descent = (weighted @ off[:, :, None])[:, :, 0] - (theta - prior.mean) / prior.sd**2
    return curvature, descent


def _mode(bent: Bent, runs: Runs, prior: Prior, start: Array) -> tuple[Array, Array]:
    """(rows, 7) where damped steps end, and (rows,) the cost there."""
    theta = prior.mean.copy()  # where what a form lacks stays: it adds nothing to the cost
    theta[:, bent.free] = start[:, bent.free]
    cost = _cost(bent, runs, prior, theta)
    damping = np.full(len(theta), 1e-3)
    low = np.tile([-np.inf, -np.inf, -np.inf, FLATTEST, FLATTEST, -np.inf, -1.0], (len(theta), 1))
    low[:, 0] = prior.mean[:, 0] - NO_FLOOR
    high = np.array([np.inf, np.inf, np.inf, STEEPEST, STEEPEST, np.inf, 1.0])
    moving = np.arange(len(theta))  # a row moves no more than it would alone
    for _ in range(STEPS):
        told = bent.only(moving), runs.only(moving), prior.only(moving)
        curvature, descent = _curvature(*told, theta[moving])
        damped = curvature * (1 + damping[moving, None, None] * np.eye(7))
        step = np.clip(np.linalg.solve(damped, descent[:, :, None])[:, :, 0], -LONGEST, LONGEST)
        tried = np.clip(theta[moving] + step, low[moving], high)
        then = _cost(*told, tried)
        better = then < cost[moving]
        arrived = better & (then > cost[moving] - STILL)
        theta[moving[better]], cost[moving[better]] = tried[better], then[better]
        damping[moving] = np.clip(damping[moving] * np.where(better, 1 / 5, 5), 1e-9, 1e9)
        moving = moving[~arrived & (damping[moving] < STUCK)]
        if not len(moving):
            break
    return theta, cost
