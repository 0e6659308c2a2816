"""What all basins share: the noise of a run, and the skew, chosen against the parabola by leaving cells out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

from scalelaw.fitting.straightness import t_quantile
from scalelaw.learning_rate.basin import WIDE, Basin, phi, phi_by_skew

Array = NDArray[np.float64]
Curve = Literal["parabola", "lopsided", "grid"]

SKEWS = np.linspace(-2.5, 2.5, 101)
"""Skews tried, per unit of ln(rate); 0 is among them."""
FEWEST_CELLS = 5
"""Cells with four rates or more below which a lopsided curve is not tried."""
SURE = 0.9
"""Two-sided level at which the lopsided curve must beat the parabola on left-out cells: one-sided .95."""


@dataclass(frozen=True)
class Shape:
    """The curve of all basins.

    Attributes:
        curve: parabola, lopsided, or grid (no curve: the best tested rate, known to half a step).
        skew: of the curve, per unit of ln(rate); positive where too high a rate costs more than too low a one.
        cells: with four rates or more near the best one: they tell of the shape.
        gain: share by which the lopsided curve's squared residual on left-out cells is below the parabola's, None
            where it was not tried.
    """

    curve: Curve
    skew: float
    cells: int
    gain: float | None

    @property
    def basis(self) -> float | None:
        """The skew for `optimum`: None for the grid."""
        return None if self.curve == "grid" else self.skew


def choose_shape(basins: list[Basin], curve: Curve | Literal["auto"]) -> Shape:
    """The curve asked for, or with "auto" the lopsided one where it is surely better on cells left out.

    A left-out cell takes the skew of the others, so that there both curves spend the same three coefficients.
    """
    wide = [_Cell.of(basin) for basin in basins if basin.near(WIDE).sum() >= 4]
    if curve == "grid" or not wide:
        return Shape("grid" if curve == "grid" else "parabola", 0.0, len(wide), None)
    squares = np.stack([cell.squares(SKEWS) for cell in wide])
    total = squares.sum(axis=0)
    centre = int(np.argmin(np.abs(SKEWS)))
    gain = better = None
    if len(wide) >= FEWEST_CELLS:
        others = np.argmin(total - squares, axis=1)
        left_out = squares[np.arange(len(wide)), others]
        difference = squares[:, centre] - left_out
        spread = float(difference.std(ddof=1)) / np.sqrt(len(wide))
        gain = float(1 - left_out.sum() / total[centre]) if total[centre] > 0 else 0.0
        better = gain > 1e-9 and difference.mean() > t_quantile(SURE, len(wide) - 1) * spread
    if curve == "lopsided" or (curve == "auto" and better):
        return Shape("lopsided", _lowest(wide, int(np.argmin(total))), len(wide), gain)
    return Shape("parabola", 0.0, len(wide), gain)


def pooled_noise(cells: list[pd.DataFrame], basins: list[Basin], shape: Shape) -> tuple[float | None, float, str]:
    """Standard deviation of ln loss between seeds, its degrees of freedom, and where it comes from.

    Seeds where they leave three degrees of freedom or more, else the residuals of the cells' curves. The lopsided curve
    reaches further, so with it the larger of both counts: a curve that misses its points says less than seeds promise.
    """
    curves = _curve_noise(basins, shape)
    squares = dof = 0.0
    for cell in cells:
        done = cell[cell["status"] == "finished"] if "status" in cell else cell
        done = done[np.isfinite(done["val_loss"]) & (done["val_loss"] > 0) & (done["peak_lr"] > 0)]
        logs = np.log(done["val_loss"].to_numpy(float))
        rates, which = np.unique(done["peak_lr"].to_numpy(float), return_inverse=True)
        for number in range(len(rates)):
            values = logs[which.ravel() == number]
            squares += float(((values - values.mean()) ** 2).sum())
            dof += len(values) - 1
    if dof < 3 or not squares:  # copies are no seeds
        return curves
    noise = float(np.sqrt(squares / dof))
    if shape.curve == "lopsided" and curves[0] is not None and curves[0] > noise:
        return curves
    return noise, dof, "seeds"


def _curve_noise(basins: list[Basin], shape: Shape) -> tuple[float | None, float, str]:
    """Residuals of the curves of the cells with four rates or more."""
    wide = [_Cell.of(basin) for basin in basins if basin.near(WIDE).sum() >= 4]
    squares = sum(float(cell.squares(np.array([shape.skew]))[0]) for cell in wide)
    dof = float(sum(len(cell.u) - 3 for cell in wide)) - (shape.curve == "lopsided")
    return (float(np.sqrt(squares / dof)), dof, "curves") if dof >= 1 and squares > 0 else (None, 0.0, "unknown")


@dataclass(frozen=True)
class _Cell:
    """Rates and losses near a cell's best rate: distances, ln losses and runs, each (rates,)."""

    u: Array
    y: Array
    weight: Array

    @staticmethod
    def of(basin: Basin) -> _Cell:
        use = basin.near(WIDE)
        return _Cell(basin.x[use] - basin.x[int(np.argmin(basin.y))], basin.y[use], basin.count[use])

    def residuals(self, skews: Array) -> tuple[Array, Array]:
        """Weighted residuals (skews, rates), and the coefficient of phi (skews,)."""
        root = np.sqrt(self.weight)
        ones = np.ones((len(skews), len(self.u)))
        design = np.stack([ones, ones * self.u, phi(self.u, skews[:, None])], axis=-1) * root[:, None]
        q, r = np.linalg.qr(design)
        along = np.einsum("kij,i->kj", q, root * self.y)
        return root * self.y - np.einsum("kij,kj->ki", q, along), along[:, 2] / r[:, 2, 2]

    def squares(self, skews: Array) -> Array:
        """Weighted sums of squared residuals, (skews,)."""
        residuals, _ = self.residuals(skews)
        return np.asarray((residuals**2).sum(axis=1))

    def slope(self, skew: float) -> float:
        """Derivative of the sum of squares by the skew."""
        residuals, bend = self.residuals(np.array([skew]))
        return float(-2 * bend[0] * (residuals[0] * np.sqrt(self.weight) * phi_by_skew(self.u, skew)).sum())


def _lowest(cells: list[_Cell], best: int) -> float:
    """The skew of least squares beside the best one tried; an end of the range where it lies there."""
    low, high = SKEWS[max(best - 1, 0)], SKEWS[min(best + 1, len(SKEWS) - 1)]

    def slope(skew: float) -> float:
        return sum(cell.slope(skew) for cell in cells)

    if slope(low) >= 0 or slope(high) <= 0:
        return float(SKEWS[best])
    return float(brentq(slope, low, high, xtol=1e-14, rtol=1e-14))
