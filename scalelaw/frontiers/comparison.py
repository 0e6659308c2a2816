"""Approaches beside one another: what each says of the optimal size, and how far apart they are; never an average."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from scalelaw.frontiers.trend import Trend

APART = 2.0
"""Joint standard errors beyond which two approaches are said to disagree."""


@dataclass(frozen=True)
class Comparison:
    """Two approaches' trends of the optimal size.

    z-scores are differences over the joint standard error, as if the two were independent; they share runs, so true
    disagreement may be larger than z says.

    Attributes:
        approaches: names of the two.
        trends: of the optimal size.
        compute: where sizes are compared: the largest of the runs, in the trends' unit.
        z_exponent: first exponent less the second, in joint standard errors.
        z_size: the same of ln size at `compute`.
    """

    approaches: tuple[str, str]
    trends: tuple[Trend, Trend]
    compute: float
    z_exponent: float
    z_size: float

    @property
    def disagree(self) -> bool:
        """Whether exponents or sizes are more than two joint standard errors apart."""
        return max(abs(self.z_exponent), abs(self.z_size)) > APART

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers: both values with their intervals, and z."""
        bands = [trend.predict(self.compute) for trend in self.trends]
        return {
            "approaches": list(self.approaches),
            "exponent": [trend.slope for trend in self.trends],
            "exponent_interval": [list(trend.interval["alpha"]) for trend in self.trends],
            "z_exponent": self.z_exponent,
            "compute": self.compute,
            "size": [float(band.mid) for band in bands],
            "size_interval": [[_known(band.low), _known(band.high)] for band in bands],
            "z_size": self.z_size,
            "disagree": self.disagree,
        }

    def __str__(self) -> str:
        exponents, sizes = [], []
        for trend in self.trends:
            low, high = trend.interval["alpha"]
            exponents.append(f"C^{trend.slope:.3f} ({low:.3f} to {high:.3f})")
            band = trend.predict(self.compute)
            sizes.append(f"{band.mid:.3g} ({_known(band.low):.3g} to {_known(band.high):.3g})")
        return (
            f"{' and '.join(self.approaches)} {'disagree' if self.disagree else 'agree'}: {self.trends[0].quantity} "
            f"grows as {' and '.join(exponents)}, z = {self.z_exponent:.1f}; at the largest compute it is "
            f"{' and '.join(sizes)}, z = {self.z_size:.1f}"
        )


def _known(value: Any) -> float:
    return float("nan") if value is None else float(value)


def compare(trends: dict[str, Trend], compute: float) -> tuple[Comparison, ...]:
    """Every pair of approaches whose trends have a spread.

    Args:
        trends: approach -> trend of the optimal size.
        compute: where sizes are compared, in the trends' unit.
    """
    found = []
    for (name, one), (other_name, other) in combinations(trends.items(), 2):
        spreads = [trend.log_stderr(compute) for trend in (one, other)]
        slopes = [trend.stderr["alpha"] for trend in (one, other)]
        if None in spreads or None in slopes:
            continue
        joint, joint_slope = (float(np.hypot(*np.array(pair, float))) for pair in (spreads, slopes))
        if not (np.isfinite([joint, joint_slope]).all() and joint > 0 and joint_slope > 0):
            continue
        logs = [trend.log_amplitude + trend.slope * np.log(compute) for trend in (one, other)]
        z_size, z_exponent = float(logs[0] - logs[1]) / joint, (one.slope - other.slope) / joint_slope
        found.append(Comparison((name, other_name), (one, other), compute, z_exponent, z_size))
    return tuple(found)
