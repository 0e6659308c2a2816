"""The IsoFLOP approach: the size of the lowest loss among runs of equal compute (Hoffmann et al. 2022, 3.2).

Through each budget goes the exact shape that a SizeData surface has at fixed compute, not a parabola: in u = ln(size /
optimum), L = L0 + K (beta e^(-alpha u) + alpha e^(beta u)) / (alpha + beta) - K. Its three free parameters are the
optimum, L0 and K; only the two exponents, which set how lopsided the basin is, come from outside.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

TOLERANCE = 0.02
"""Runs whose compute differs by less than this share are of equal compute: at a slope of .1 that is .2 % of loss."""
SYMMETRIC = (0.3, 0.3)
"""Exponents of the shape where no surface gives them: a symmetric basin."""


@dataclass(frozen=True)
class Budget:
    """Runs of equal compute and their minimum.

    Attributes:
        log_compute: mean ln compute.
        log_size: ln size at the minimum; the best tested size when it is not bracketed.
        stderr: standard error of log_size at unit noise in ln L (multiply by the noise); None without a curve.
        loss: at the minimum.
        bracketed: whether the best run and the curve's minimum lie inside the tested sizes.
        squares: sum of squared residuals of ln L.
        sizes: how many different sizes were tested.
        runs: row numbers.
    """

    log_compute: float
    log_size: float
    stderr: float | None
    loss: float
    bracketed: bool
    squares: float
    sizes: int
    runs: tuple[int, ...]

    @property
    def dof(self) -> int:
        """Runs less the three parameters of the curve."""
        return len(self.runs) - 3 if self.stderr is not None else 0


def groups(log_compute: Array, log_size: Array, tolerance: float = TOLERANCE) -> list[Rows]:
    """Row numbers of runs of equal compute, at least three different sizes each, by rising compute.

    Of all windows of compute of relative width `tolerance` the one with the most sizes is taken first (of equal ones
    that with the most runs, then the narrowest), then the next among the runs that are left, so that a stray run does
    not cut a budget in two.
    """
    order = np.argsort(log_compute, kind="stable")
    x, s = log_compute[order], log_size[order]
    ends = np.searchsorted(x, x + tolerance, side="right")
    left = np.ones(len(x), bool)

    def inside(start: int) -> Rows:
        return np.asarray(start + np.flatnonzero(left[start : ends[start]]))

    def rank(start: int, sizes: int, runs: int, stop: int) -> tuple[int, int, float, int]:
        return -sizes, -runs, float(x[stop] - x[start]), start

    counts = enumerate(_distinct(s, ends))
    queue = [rank(k, count, int(ends[k]) - k, int(ends[k]) - 1) for k, count in counts if count >= 3]
    heapq.heapify(queue)
    found: list[Rows] = []
    while queue:
        head = heapq.heappop(queue)
        start = head[-1]
        if not left[start]:
            continue
        rows = inside(start)
        now = rank(start, len(np.unique(s[rows])), len(rows), int(rows[-1]))
        if now == head:
            left[rows] = False
            found.append(order[rows])
        elif now[0] <= -3:  # a budget taken since has a part of this window: it waits for its turn
            heapq.heappush(queue, now)
    return sorted(found, key=lambda rows: float(log_compute[rows].mean()))


def _distinct(values: Array, ends: Rows) -> list[int]:
    """How many different values there are in values[k:ends[k]], for each k; `ends` never fall."""
    counts: Counter[float] = Counter()
    result, stop = [], 0
    for k, end in enumerate(ends):
        counts.update(values[stop:end].tolist())
        stop = int(end)
        result.append(len(counts))
        gone = float(values[k])
        counts[gone] -= 1
        if not counts[gone]:
            del counts[gone]
    return result


def best_tested(log_compute: Array, log_size: Array, loss: Array, rows: Rows) -> tuple[Budget, bool]:
    """The best tested size as a minimum that is not bracketed, and whether smaller and larger ones were tested."""
    sizes, which = np.unique(log_size[rows], return_inverse=True)
    mean = np.bincount(which.ravel(), loss[rows]) / np.bincount(which.ravel())
    lowest = int(np.argmin(mean))
    compute, runs = float(log_compute[rows].mean()), tuple(int(row) for row in rows)
    edge = Budget(compute, float(sizes[lowest]), None, float(mean[lowest]), False, 0.0, len(sizes), runs)
    return edge, 0 < lowest < len(sizes) - 1


def minimum(log_compute: Array, log_size: Array, loss: Array, rows: Rows, shape: tuple[float, float]) -> Budget:
    """Fits the exact shape with exponents `shape` = (alpha, beta) through one budget's runs (arrays over all runs)."""
    edge, inside = best_tested(log_compute, log_size, loss, rows)
    if not inside:
        return edge
    s, y = log_size[rows], loss[rows]
    low, high = float(s.min()), float(s.max())
    at, squares = _descend(s, y, shape, low, high)
    level, scale = (float(found[0]) for found in _linear((s - at)[None], y, shape)[:2])
    if not (low < at < high) or scale <= 0:
        return edge
    h, slope = basin(s - at, shape)
    J = np.stack([np.ones_like(y), h - 1, -scale * slope], axis=1) / y[:, None]
    information = J.T @ J
    if np.linalg.cond(information) > 1e14:
        return edge
    stderr = float(np.sqrt(np.linalg.inv(information)[2, 2]))
    return replace(edge, log_size=at, stderr=stderr, loss=level, bracketed=True, squares=squares)


def basin(u: Array, shape: tuple[float, float]) -> tuple[Array, Array]:
    """h(u) = (beta e^(-alpha u) + alpha e^(beta u)) / (alpha + beta), 1 and flat at u = 0, and h'(u)."""
    alpha, beta = shape
    down, up = np.exp(-alpha * u), np.exp(beta * u)
    return (beta * down + alpha * up) / (alpha + beta), alpha * beta * (up - down) / (alpha + beta)


def _linear(u: Array, y: Array, shape: tuple[float, float]) -> tuple[Array, Array, Array]:
    """L0, K and the sum of squared relative residuals of the best L0 + K (h - 1), for every row of u (places, runs)."""
    flat = 1 / y
    bend = (basin(u, shape)[0] - 1) * flat
    along = bend @ flat / (flat @ flat)
    across = bend - along[:, None] * flat  # what the level cannot follow, so that the two are found one by one
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = across.sum(axis=1) / (across * across).sum(axis=1)
    level = flat.sum() / (flat @ flat) - scale * along
    residual = level[:, None] * flat + scale[:, None] * bend - 1
    return level, scale, (residual * residual).sum(axis=1)


def _descend(s: Array, y: Array, shape: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """The minimum's place within [low, high] and its sum of squares: a grid, refined six times."""
    best, squares = low, np.inf
    for _ in range(6):
        grid = np.linspace(low, high, 41)
        _, scale, total = _linear(s - grid[:, None], y, shape)
        values = np.where(scale > 0, total, np.inf)
        at = int(np.argmin(values))
        best, squares = float(grid[at]), float(values[at])
        low, high = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, 40)])
    return best, squares
