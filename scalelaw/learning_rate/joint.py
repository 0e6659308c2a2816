"""Rate and batch size together: one basin for all cells, its optimum a power law in size and length.

    ln loss = l_cell + p phi(u; k) + 2 q u v + r phi(v; m)
    u = ln rate - (a + b ln N + c ln D),  v = ln batch - (d + e ln N + f ln D)

The basin's shape p, q, r and skews k, m are shared; every cell has a level of its own, which is projected out. q tells
how the best rate moves with the batch. Without batch sizes the terms in v are absent. Intervals come
from leaving out one cell at a time (jackknife), as does the choice between the parabola (k = m = 0) and the lopsided
basin. The deeper the runs taken, the more the basin's form decides: compare two depths before trusting the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.errors import UserError
from scalelaw.fitting import Band
from scalelaw.fitting.checks import points
from scalelaw.learning_rate.basin import phi, phi_by_skew
from scalelaw.learning_rate.jackknife import RateLaw, jackknife
from scalelaw.learning_rate.rows import Rows, rows_of
from scalelaw.runs import RunTable

Array = NDArray[np.float64]

DEPTH = 0.01
"""Runs whose loss is within this share of their cell's lowest make the basin."""
_STEPS = 200
_SKEW = 2.5
_VAGUE = 0.5
"""Standard error of an exponent above which the basin is called not identified."""


@dataclass(frozen=True, eq=False)
class JointOptimum:
    """The optimal rate and batch size.

    Attributes:
        rate: law of the optimal rate at the optimal batch size.
        batch: law of the optimal batch size; None without batch sizes.
        shape: p, q, r (ln loss per squared ln), k, m (skews, 0 for the parabola); those in v absent without batches.
        lopsided: whether the lopsided basin predicts left-out cells better than the parabola.
        gain: share by which its squared error there is lower.
        noise: standard deviation of ln loss about the basin.
        runs, cells: that make it.
        depth: share above the cell's lowest loss up to which runs were taken.
    """

    rate: RateLaw
    batch: RateLaw | None
    shape: dict[str, float]
    lopsided: bool
    gain: float
    noise: float
    runs: int
    cells: int
    depth: float

    def predict(self, N: ArrayLike, D: ArrayLike, level: float = 0.95) -> tuple[Band, Band | None]:
        """Best rate and best batch size at a size and length, each in its own unit."""
        return self.rate.predict(N, D, level), None if self.batch is None else self.batch.predict(N, D, level)

    def rate_at(self, batch: ArrayLike, N: ArrayLike, D: ArrayLike) -> Array:
        """The best rate at a batch size that need not be the best one: the basin's floor at that v.

        Raises:
            UserError: when the law was fitted without batch sizes; for what is no positive, finite number.
        """
        if self.batch is None:
            raise UserError("rate_at: these runs have no batch sizes to differ by")
        v = np.log(points("rate_at", {"batch": batch})["batch"]) - np.log(self.batch.predict(N, D).mid)
        # p phi'(u) + 2 q v = 0 with phi' = 2 (exp(k u) - 1) / k; far off a lopsided floor ends: there it is held
        k, t = self.shape["k"], -self.shape["q"] * v / self.shape["p"]
        u = np.log1p(np.maximum(k * t, -0.99)) / k if k else t
        return np.asarray(self.rate.predict(N, D).mid * np.exp(u))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        names = ("shape", "lopsided", "gain", "noise", "runs", "cells", "depth")
        laws = {"rate": self.rate.to_dict(), "batch": None if self.batch is None else self.batch.to_dict()}
        return {**laws, **{name: getattr(self, name) for name in names}}


def joint_optimum(runs: RunTable, *, depth: float = DEPTH) -> JointOptimum:
    """Fits optimal rate and batch size together, by least squares in ln loss over all cells.

    Args:
        runs: at several rates in several cells of size and length, best at several batch sizes too. A table of other
            people's runs names its columns as `RunTable.load(path, columns={"N": ..., "D": ..., "loss": ...})`.
        depth: runs within this share of their cell's lowest loss are taken.

    Raises:
        UserError: when columns are missing, or the cells do not determine the laws.
    """
    if not depth > 0:
        raise UserError(f"depth: {depth} must be above 0; it is a share of the loss")
    rows = rows_of(runs)
    near = rows.take(rows.above_best() <= np.log1p(depth))
    enough = np.bincount(near.cell)[near.cell] >= 2  # a cell with one run tells its level and nothing else
    near = near.take(enough) if enough.any() else near
    if near.batch is not None and np.ptp(near.batch) < 0.01:
        near = replace(near, batch=None)
    if np.linalg.matrix_rank(near.X - near.X.mean(axis=0) * [0, 1, 1]) < 3 or near.cells < 5:
        raise UserError(f"{runs.source}: {near.cells} cells do not determine a law in size and length; give 5 or more")
    fits = {lopsided: _Fitted.of(near, lopsided) for lopsided in (False, True)}
    gain = 1 - fits[True].left_out / fits[False].left_out if fits[False].left_out > 0 else 0.0
    best = fits[gain > 0]
    laws = {name: _law(near, best, name, depth) for name in (("rate",) if near.batch is None else ("rate", "batch"))}
    return JointOptimum(
        rate=laws["rate"],
        batch=laws.get("batch"),
        shape=best.problem.shape(best.theta),
        lopsided=gain > 0,
        gain=float(gain),
        noise=best.noise,
        runs=len(near.N),
        cells=near.cells,
        depth=depth,
    )


def _law(rows: Rows, fitted: _Fitted, name: str, depth: float) -> RateLaw:
    at = slice(0, 3) if name == "rate" else slice(3, 6)
    rule = f"lowest point of one basin through the runs within {100 * depth:g} % of their cell's best"
    left = fitted.raw(fitted.left)[:, at]
    law = jackknife(fitted.raw(fitted.theta)[at], left, rows.columns, "basin", rule, len(rows.N))
    bowl = fitted.problem.shape(fitted.theta)
    open_to = bowl["p"] <= 0 or (fitted.problem.both and bowl["p"] * bowl["r"] <= bowl["q"] ** 2)
    vague = law.covariance is not None and np.sqrt(np.diag(law.covariance)[1:]).max() > _VAGUE
    if not (open_to or vague):
        return law
    return replace(law, status="not_identified", covariance=None, interval=dict.fromkeys(law.interval, (None, None)))


@dataclass(frozen=True)
class _Fitted:
    """theta, theta with each cell left out (cells, size), squared error at the cells left out, noise."""

    problem: _Problem
    theta: Array
    left: Array
    left_out: float
    noise: float

    @staticmethod
    def of(rows: Rows, lopsided: bool) -> _Fitted:
        problem = _Problem(rows, lopsided)
        everyone = np.ones(len(rows.N), bool)
        theta = problem.solve(problem.start(), everyone)
        left, squares = [], 0.0
        for cell in range(rows.cells):
            out = rows.cell == cell
            found = problem.solve(theta, ~out)
            left.append(found)
            squares += float((problem.residuals(found)[out] ** 2).sum())
        dof = len(rows.N) - rows.cells - len(theta)
        total = float((problem.residuals(theta) ** 2).sum())
        return _Fitted(
            problem, theta, np.array(left), squares, float(np.sqrt(total / dof)) if dof > 0 else float("nan")
        )

    def raw(self, theta: Array) -> Array:
        """Law coefficients for raw logs: intercepts moved back from the means."""
        theta = np.array(theta)
        means = self.problem.means
        for at, mean in zip((0, 3)[: 1 + self.problem.both], self.problem.middles, strict=True):
            theta[..., at] += mean - theta[..., at + 1] * means[0] - theta[..., at + 2] * means[1]
        return theta


class _Problem:
    """Residuals of centred logs and their derivatives."""

    def __init__(self, rows: Rows, lopsided: bool) -> None:
        self.rows, self.lopsided, self.both = rows, lopsided, rows.batch is not None
        self.means = np.array([rows.N.mean(), rows.D.mean()])
        self.X = rows.X - np.append(0, self.means)
        logs = [rows.rate] if rows.batch is None else [rows.rate, rows.batch]
        self.middles = [float(one.mean()) for one in logs]
        self.logs = [one - mean for one, mean in zip(logs, self.middles, strict=True)]
        self.hot, self.sizes = np.eye(rows.cells)[rows.cell], np.bincount(rows.cell)

    def _projected(self, values: Array) -> Array:
        """values (..., runs) less their cell's mean."""
        return np.asarray(values - (values @ self.hot / self.sizes) @ self.hot.T)

    def _parts(self, theta: Array) -> tuple[list[Array], Array]:
        """Distances from the optimum in ln rate and ln batch, each (runs,), and the skews."""
        apart = [log - self.X @ theta[3 * i : 3 * i + 3] for i, log in enumerate(self.logs)]
        count = len(apart)
        return apart, theta[3 * count : 4 * count] if self.lopsided else np.zeros(count)

    def columns(self, theta: Array) -> Array:
        """Shapes phi(u), 2 u v, phi(v), (terms, runs)."""
        apart, skews = self._parts(theta)
        shapes = [phi(u, k) for u, k in zip(apart, skews, strict=True)]
        return np.stack([shapes[0], 2 * apart[0] * apart[1], shapes[1]] if self.both else shapes)

    def residuals(self, theta: Array) -> Array:
        """ln loss less the basin, levels projected out, (runs,)."""
        columns = self.columns(theta)
        return self._projected(self.rows.loss - theta[-len(columns) :] @ columns)

    def jacobian(self, theta: Array) -> Array:
        """Derivatives of the residuals by theta, (runs, theta)."""
        (apart, skews), columns = self._parts(theta), self.columns(theta)
        bowl = theta[-len(columns) :]
        steep = bowl[[0, 2]] if self.both else bowl
        # d phi / d u = 2 (exp(k u) - 1) / k
        by_u = [2 * h * (np.expm1(k * u) / k if k else u) for h, k, u in zip(steep, skews, apart, strict=True)]
        if self.both:
            by_u = [by_u[0] + 2 * bowl[1] * apart[1], by_u[1] + 2 * bowl[1] * apart[0]]
        rows = [-(self.X * one[:, None]).T for one in by_u]
        if self.lopsided:
            rows.append(np.stack([h * phi_by_skew(u, k) for h, k, u in zip(steep, skews, apart, strict=True)]))
        return -self._projected(np.concatenate([*rows, columns])).T

    def start(self) -> Array:
        """Laws through the runs themselves, no skew, and the basin of least squares for them."""
        laws = [np.linalg.lstsq(self.X, one)[0] for one in self.logs]
        theta = np.concatenate([*laws, np.zeros(len(laws) * self.lopsided)])
        basis = self._projected(self.columns(np.append(theta, np.zeros(2 * len(laws) - 1))))
        bowl = np.linalg.lstsq(basis.T, self._projected(self.rows.loss))[0]
        steep = [0] if not self.both else [0, 2]
        bowl[steep] = np.maximum(bowl[steep], 1e-3)
        return np.append(theta, bowl)

    def shape(self, theta: Array) -> dict[str, float]:
        """Names and values of the basin's own parameters."""
        names = ["p", "q", "r"] if self.both else ["p"]
        values = dict(zip(names, theta[-len(names) :].tolist(), strict=True))
        skews = theta[3 * len(self.logs) : -len(names)].tolist() if self.lopsided else [0.0] * len(self.logs)
        return {**values, **dict(zip(("k", "m"), skews, strict=False))}

    def solve(self, theta: Array, use: NDArray[np.bool_]) -> Array:
        """Levenberg and Marquardt's descent to where steps vanish, on the runs of whole cells."""
        damping = 1e-3
        r = self.residuals(theta)[use]
        for _ in range(_STEPS):
            J = self.jacobian(theta)[use]
            H, g = J.T @ J, J.T @ r
            scale = np.diag(H) + 1e-300
            while damping < 1e12:
                step = -np.linalg.solve(H + damping * np.diag(scale), g)
                new = theta + step
                valid = not self.lopsided or bool(np.abs(self._parts(new)[1]).max() < _SKEW)
                trial = self.residuals(new)[use] if valid else r + np.inf
                tiny = bool(np.abs(step).max() < 1e-9)
                if valid and (trial @ trial <= r @ r or tiny):
                    break
                damping = max(10 * damping, 1e-9)
            else:
                return theta
            theta, r, damping = new, trial, damping / 10 if damping > 1e-14 else 0.0
            if np.abs(step).max() < 1e-13:
                break
        return theta
