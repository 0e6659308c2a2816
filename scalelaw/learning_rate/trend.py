"""The trend of the optimal rate in ln size and ln epochs, bounds entering as bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scalelaw.fitting import Band, Status
from scalelaw.fitting.straightness import t_quantile
from scalelaw.learning_rate.basin import Optimum

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RateTrend:
    """ln rate = a + b ln size + c ln epochs.

    Attributes:
        names: of the coefficients that the cells determine: a, then b, c where size and epochs vary.
        size, length: columns behind b and c (macs_per_image or params; epochs or images_seen).
        coefficients: (names,).
        covariance: (names, names); None when unknown.
        scatter: standard deviation of a cell's ln optimum about the trend, beyond its own error.
        dof: for Student's t.
        status: converged, not_identified (an interval is unknown) or failed (no cells).
        note: what a reader must know.
    """

    names: tuple[str, ...]
    size: str
    length: str
    coefficients: Array = field(repr=False)
    covariance: Array | None = field(repr=False)
    scatter: float
    dof: float
    status: Status
    note: str

    @property
    def params(self) -> dict[str, float]:
        """Coefficient -> estimate."""
        return dict(zip(self.names, self.coefficients.tolist(), strict=True))

    @property
    def stderr(self) -> dict[str, float | None]:
        """Coefficient -> standard error, None when unknown."""
        if self.covariance is None:
            return dict.fromkeys(self.names)
        return dict(zip(self.names, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    @property
    def interval(self) -> dict[str, tuple[float | None, float | None]]:
        """Coefficient -> 95 % interval, (None, None) when unknown."""
        if self.covariance is None:
            return dict.fromkeys(self.names, (None, None))
        half = t_quantile(0.95, self.dof) * np.sqrt(np.diag(self.covariance))
        return {n: (float(v - h), float(v + h)) for n, v, h in zip(self.names, self.coefficients, half, strict=True)}

    def predict(self, size: ArrayLike, length: ArrayLike, level: float = 0.95) -> Band:
        """The trend's rate at a size and length (arrays broadcast), in the units of its columns."""
        logs = {"a": np.zeros(()), "b": np.log(np.asarray(size, float)), "c": np.log(np.asarray(length, float))}
        shape = np.broadcast_shapes(logs["b"].shape, logs["c"].shape)
        design = np.stack([np.broadcast_to(logs[n] if n != "a" else np.ones(()), shape) for n in self.names], axis=-1)
        mid = np.exp(design @ self.coefficients)
        if self.covariance is None:
            return Band(np.asarray(mid), None, None, level)
        variance = np.einsum("...i,ij,...j->...", design, self.covariance, design)
        half = t_quantile(level, self.dof) * np.sqrt(np.maximum(variance, 0))
        return Band(np.asarray(mid), np.asarray(mid * np.exp(-half)), np.asarray(mid * np.exp(half)), level)


def fit_trend(cells: pd.DataFrame, optima: list[Optimum], noise: float | None) -> RateTrend:
    """Maximum likelihood with bounds as censored observations (Tobin 1958).

    A cell inside its grid is normal about the trend with variance stderr^2 + scatter^2; a bound says that the optimum
    lies beyond the midpoint of the edge and the rate next to it, where the edge becomes the best tested rate.
    """
    size = "macs_per_image" if cells["macs_per_image"].notna().all() else "params"
    length = "epochs" if cells["epochs"].notna().all() else "images_seen"
    names, columns = ["a"], [np.ones(len(cells))]
    notes = []
    for name, column in (("b", size), ("c", length)):
        known = cells[column].notna().all()
        logs = np.log(cells[column].astype(float).to_numpy()) if known else np.zeros(len(cells))
        if known and np.ptp(logs) > 0.01:
            names.append(name)
            columns.append(logs)
        else:
            notes.append(f"{column} does not vary, so its coefficient {name} is left out")
    design = np.stack(columns, axis=1)
    centre = design.mean(axis=0) * (np.arange(len(names)) > 0)
    X = design - centre
    inside = np.array([found.bound == "inside" for found in optima])
    if inside.sum() < len(names) or np.linalg.matrix_rank(X[inside]) < len(names):
        note = f"{int(inside.sum())} optima inside their grid do not determine a trend in {len(names)} terms"
        return RateTrend(tuple(names), size, length, np.full(len(names), np.nan), None, float("nan"), 1, "failed", note)
    censored = int((~inside).sum())
    if censored:
        notes.append(f"{censored} of {len(cells)} optima are bounds at the grid's edge and enter as such")
    if censored > 0.2 * len(cells):
        notes.append("so many bounds pull the slopes towards 0; widen the grid of rates")
    coefficients, covariance, scatter = _censored_line(X, optima, noise)
    back = np.eye(len(names))
    back[0] -= centre
    dof = float(inside.sum() - len(names))
    known_spread = dof >= 1 and covariance is not None
    return RateTrend(
        names=tuple(names),
        size=size,
        length=length,
        coefficients=back @ coefficients,
        covariance=back @ covariance @ back.T if known_spread and covariance is not None else None,
        scatter=scatter,
        dof=max(dof, 1.0),
        status="converged" if known_spread else "not_identified",
        note="; ".join(notes),
    )


def _censored_line(X: Array, optima: list[Optimum], noise: float | None) -> tuple[Array, Array | None, float]:
    """Coefficients, their covariance and the scatter, by Newton-like descent on the censored likelihood."""
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    k = X.shape[1]
    y = np.array([found.best for found in optima])
    inside = np.array([found.bound == "inside" for found in optima])
    above = np.array([found.bound == "above" for found in optima])
    bends = [found.bend for found in optima if found.bend is not None and found.bend > 0]
    bend = float(np.median(bends)) if bends else None
    own = np.array([_own_error(found, noise, bend) for found in optima])
    limit = np.array([_limit(found) for found in optima])
    start, *_ = np.linalg.lstsq(X[inside], y[inside], rcond=None)
    spread = max(float(np.std(y[inside] - X[inside] @ start)), 0.05)

    def negative(z: Array) -> float:
        """Minus the log likelihood; z is the coefficients and ln scatter."""
        mean, variance = X @ z[:k], own**2 + np.exp(2 * np.clip(z[k], -12.0, 5.0))
        sd = np.sqrt(variance)
        r = (y - mean) / sd
        beyond = np.where(above, mean - limit, limit - mean) / sd
        terms = np.where(inside, 0.5 * r * r + np.log(sd), -log_ndtr(beyond))
        return float(terms.sum()) + 1e-3 * float(z[k] - np.log(spread)) ** 2  # keeps ln scatter finite when it is 0

    found = minimize(negative, np.append(start, np.log(spread)), method="Nelder-Mead",
                     options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 20_000, "maxfev": 20_000})  # fmt: skip
    z = found.x
    # at given scatter, for where it is near 0 the likelihood is flat in its logarithm
    hessian = _second_differences(lambda coefficients: negative(np.append(coefficients, z[k])), z[:k])
    values = np.linalg.eigvalsh(hessian)
    scatter = float(np.exp(z[k]))
    if values[0] <= 0:
        return z[:k], None, scatter
    free = float(inside.sum())
    inflate = free / (free - k) if free > k else 1.0  # maximum likelihood divides by n, not by n - k
    return z[:k], np.asarray(np.linalg.inv(hessian) * inflate), scatter


def _own_error(found: Optimum, noise: float | None, bend: float | None) -> float:
    """Standard error of a cell's optimum; for a bound, of the midpoint at which the edge becomes the best rate.

    Edge and neighbour differ by 2 bend step (midpoint - optimum) in ln loss, with noise sqrt(2) times that of a run.
    """
    if found.stderr is not None:
        return found.stderr
    neighbour = found.low if found.bound == "above" else found.high
    if found.bound == "inside" or neighbour is None or noise is None or bend is None:
        return 0.0
    return float(np.sqrt(2) * noise / (2 * bend * abs(found.best - neighbour)))


def _limit(found: Optimum) -> float:
    """Half-way (in ln rate) from the edge to its neighbour: from there on the edge is the best tested rate."""
    neighbour = found.low if found.bound == "above" else found.high
    return found.best if neighbour is None else 0.5 * (found.best + neighbour)


def _second_differences(f: Callable[[Array], float], z: Array) -> Array:
    """Hessian by central differences."""
    n = len(z)
    h = 1e-4 * np.eye(n)
    hessian = np.empty((n, n))
    for i in range(n):
        for j in range(i, n):
            total = f(z + h[i] + h[j]) - f(z + h[i] - h[j]) - f(z - h[i] + h[j]) + f(z - h[i] - h[j])
            hessian[i, j] = hessian[j, i] = total / 4e-8
    return hessian
