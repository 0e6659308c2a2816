"""The fit linearised at its optimum: standard errors of any quantity, with runs independent or in clusters.

To first order an estimate moves by H^-1 sum_i J_i psi_i, where psi is the objective's derivative at the residual, J the
derivative of the residual by the parameters and H the Hessian. Whatever the objective, the rest is least squares: the
rows J are whitened (W^T W = 1), and a quantity is its gradient in whitened coordinates.

Clusters (all runs of one size) take the bias-reduced estimator CR2 with the degrees of freedom of Bell and McCaffrey
(2002, Survey Methodology 28, 169-181); few clusters take delete-one-cluster (CR3, the jackknife to first order) with as
many degrees of freedom as clusters less one. All work is on parameters x parameters blocks, so cost is linear in runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalelaw import newton
from scalelaw.fitting import spread
from scalelaw.fitting.objectives import LeastSquares
from scalelaw.fitting.point import Point

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

CERTAIN = 1e-7
"""A direction that one cluster alone determines (to this share) says nothing about the spread between clusters."""


@dataclass(frozen=True)
class Linear:
    """A linearised fit of runs with weights above 0.

    Attributes:
        free: (size,) parameters of the solver's theta that may move.
        back: (free, free) takes a gradient by the free parameters to whitened coordinates.
        design: (runs, free) whitened derivatives of the residuals, W^T W = 1.
        scores: (runs,) residuals, or the objective's derivative there, times the root of the weight.
        pooled: whether all scores have one variance; else each run its own.
        kept: (all runs,) which have a weight above 0.
    """

    free: newton.Mask
    back: Array
    design: Array
    scores: Array
    pooled: bool
    kept: newton.Mask

    @property
    def dof(self) -> int:
        """Runs less parameters."""
        return int(len(self.scores) - self.free.sum())

    @property
    def decided_by_one(self) -> bool:
        """Whether one run alone determines something: no other run shows how far that run may be off."""
        return bool(((self.design**2).sum(axis=1) > 1.0 - CERTAIN).any())

    def whitened(self, gradients: Array) -> Array:
        """(quantities, free) of gradients (quantities, size) by the solver's theta."""
        return np.asarray(gradients[:, self.free] @ self.back.T)

    def variance(self, gradients: Array, clusters: Clusters | None = None) -> tuple[Array, Array]:
        """Variance and degrees of freedom (quantities,) of quantities with the given gradients (quantities, size)."""
        c = self.whitened(gradients)
        if clusters is not None:
            return clusters.variance(c), clusters.dof(c)
        if not self.pooled:
            return self.alone.variance(c), self.alone.dof(c)
        noise = float(self.scores @ self.scores) / self.dof
        return noise * (c * c).sum(axis=1), np.full(len(c), float(self.dof))

    def covariance(self, clusters: Clusters | None = None) -> Array:
        """(size, size) covariance of the solver's theta; NaN for what may not move."""
        if clusters is None and not self.pooled:
            clusters = self.alone
        if clusters is None:
            middle = np.eye(len(self.back)) * float(self.scores @ self.scores) / self.dof
        else:
            middle = clusters.middle
        full = np.full((len(self.free), len(self.free)), np.nan)
        full[np.ix_(self.free, self.free)] = self.back.T @ middle @ self.back
        return full

    @cached_property
    def alone(self) -> Clusters:
        """Every run a cluster of its own: HC2, with its degrees of freedom."""
        return Clusters(self, np.arange(len(self.scores)), False)

    def clusters(self, labels: Labels, *, delete_one: bool = False) -> Clusters:
        """Clusters of runs, by labels (all runs,)."""
        return Clusters(self, np.unique(labels[self.kept], return_inverse=True)[1].ravel(), delete_one)


class Clusters:
    """Spread between clusters of runs.

    Attributes:
        count: how many clusters.
        usable: False where leaving one cluster out leaves some parameter undetermined, which delete-one cannot bear.
        middle: (free, free) covariance of the whitened parameters.
    """

    def __init__(self, linear: Linear, labels: Labels, delete_one: bool) -> None:
        """Args: labels (runs with weight,) from 0 to count - 1; delete_one: CR3 instead of CR2."""
        W = linear.design
        order = np.argsort(labels, kind="stable")
        begins = np.flatnonzero(np.diff(labels[order], prepend=-1))
        self.count = len(begins)
        self.delete_one = delete_one
        sums = np.add.reduceat(W[order] * linear.scores[order, None], begins)
        blocks = np.add.reduceat(W[order, :, None] * W[order, None, :], begins)
        leverage, vectors = np.linalg.eigh(blocks)
        leverage = np.clip(leverage, 0.0, 1.0)
        left = 1.0 - leverage
        self.usable = not delete_one or bool((left > CERTAIN).all())
        power = -1.0 if delete_one else -0.5
        stretch = np.where(left > CERTAIN, np.maximum(left, CERTAIN) ** power, 0.0)
        along = np.einsum("gij,gi->gj", vectors, sums)
        moved = np.einsum("gij,gj->gi", vectors, stretch * along)
        self.middle = moved.T @ moved * ((self.count - 1) / self.count if delete_one else 1.0)
        root = np.where(left > CERTAIN, np.maximum(left, CERTAIN) ** -0.5, 0.0)
        self._vectors, self._own, self._shared = vectors, leverage * root**2, leverage * root

    def variance(self, c: Array) -> Array:
        """(quantities,) of whitened gradients (quantities, free)."""
        return np.asarray(np.einsum("qi,ij,qj->q", c, self.middle, c))

    def dof(self, c: Array) -> Array:
        """(quantities,): count - 1 for delete-one, else those of Bell and McCaffrey, at least 1.

        They match the first two moments of the variance estimate, a quadratic form of independent residuals of one
        variance, to a multiple of chi-square: trace^2 / squared norm of the matrix of products between clusters.
        """
        if self.delete_one:
            return np.full(len(c), float(max(self.count - 1, 1)))
        along = np.einsum("gij,qi->qgj", self._vectors, c)
        own = (self._own * along**2).sum(axis=2)  # (quantities, clusters)
        shared = np.einsum("gij,qgj->qgi", self._vectors, self._shared * along)
        both = (shared * shared).sum(axis=2)
        cross = np.einsum("qgi,qgj->qij", shared, shared)
        trace = (own - both).sum(axis=1)
        norm = (own**2 - 2 * own * both).sum(axis=1) + (cross**2).sum(axis=(1, 2))
        with np.errstate(invalid="ignore", divide="ignore"):
            found = trace**2 / norm
        return np.maximum(np.where(np.isfinite(found), found, 1.0), 1.0)


def linearised(
    point: Point, *, robust: bool, theta: Array | None = None, alive: newton.Mask | None = None
) -> Linear | None:
    """Linearises at the solution, or at another theta (size,) with terms (terms,) alive.

    Args:
        point: the solution.
        robust: with the exact Hessian and each run's own score (a sandwich); else scores of one variance, over the mean
            curvature of the objective.
        theta, alive: another place; all its living parameters that are not pinned then may move.

    Returns:
        None where the parameters are not determined or leave no run over.
    """
    problem, kept = point.problem, point.weights > 0
    if theta is None or alive is None:
        theta, alive, free = point.theta, point.alive, point.free
    else:
        free = problem.owned(alive[None])[0]
    if not free.any() or kept.sum() <= free.sum():
        return None
    found = problem.curve(theta[None], alive[None])
    r, first = problem.residuals(found.f[0], point.y)
    J = (found.jacobian[0] * first)[free][:, kept]
    w = point.weights[kept]
    X = J * np.sqrt(w)
    gram = X @ X.T
    root = _inverse_root(gram)
    if root is None:
        return None
    objective = problem.objective
    back = root.T
    if isinstance(objective, LeastSquares):
        scores = np.sqrt(w) * r[kept]
    elif robust:
        hessian = newton.derivatives(problem, theta[None], point.weights[None], alive[None], exact=True).hessian[0]
        inverse = spread.inverse(hessian[np.ix_(free, free)])
        if inverse is None:
            return None
        scores, back = np.sqrt(w) * objective.psi(r[kept]), root.T @ gram @ inverse
    else:
        psi, bend = spread.slopes(point, r)
        scores = np.sqrt(w) * psi[kept] / bend
    return Linear(free, back, X.T @ root, scores, isinstance(objective, LeastSquares) or not robust, kept)


def _inverse_root(gram: Array) -> Array | None:
    """R with R^T gram R = 1; None when gram is singular to working precision at unit diagonal."""
    scale = np.sqrt(np.diag(gram))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    if values[0] < 1e-12:
        return None
    return np.asarray(vectors / np.sqrt(values) / scale[:, None])
