"""RateLaw: ln optimum = a + b ln N + c ln D by a named rule, with an interval from leaving out cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.fitting import Band, Status
from scalelaw.fitting.checks import check_level, points
from scalelaw.fitting.straightness import t_quantile

Array = NDArray[np.float64]
Rule = Literal["near", "lowest", "basin"]
NAMES = ("a", "b", "c")
Interval = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class RateLaw:
    """ln rate (or batch size) = a + b ln N + c ln D.

    Attributes:
        rule: near, lowest or basin.
        rule_text: what the rule takes as optimal.
        columns: of the table, behind N and D.
        coefficients: (3,) a, b, c.
        covariance: (3, 3), by the jackknife over cells; None with fewer than five cells.
        n: runs that the rule takes.
        cells: that they come from.
        status: converged, or not_identified where the spread is unknown.
        interval: coefficient -> 95 % interval. By `rate_law` it also covers the other rules' estimates, each with its
            own interval; by `joint_optimum` it is this rule's own.
        other_rules: coefficient estimates by the other rules.
    """

    rule: Rule
    rule_text: str
    columns: tuple[str, str]
    coefficients: Array = field(repr=False)
    covariance: Array | None = field(repr=False)
    n: int
    cells: int
    status: Status
    interval: dict[str, Interval]
    other_rules: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def params(self) -> dict[str, float]:
        """Coefficient -> estimate."""
        return dict(zip(NAMES, self.coefficients.tolist(), strict=True))

    @property
    def stderr(self) -> dict[str, float | None]:
        """Coefficient -> standard error by this rule, None when unknown."""
        if self.covariance is None:
            return dict.fromkeys(NAMES)
        return dict(zip(NAMES, np.sqrt(np.diag(self.covariance)).tolist(), strict=True))

    @property
    def own_interval(self) -> dict[str, Interval]:
        """Coefficient -> 95 % interval by this rule alone."""
        return _intervals(self.coefficients, self.covariance, self.cells)

    def predict(self, N: ArrayLike, D: ArrayLike, level: float = 0.95) -> Band:
        """The optimum at a size and length (arrays broadcast), with this rule's own interval.

        Raises:
            UserError: for values that are not positive, finite numbers, shapes that do not broadcast, or a level that
                is no probability.
        """
        check_level("predict", level)
        x, y = map(np.log, points("predict", {"N": N, "D": D}).values())
        design = np.stack([np.ones(x.shape), x, y], axis=-1)
        mid = np.asarray(np.exp(design @ self.coefficients))
        if self.covariance is None:
            return Band(mid, None, None, level)
        variance = np.einsum("...i,ij,...j->...", design, self.covariance, design)
        half = t_quantile(level, self.cells - 3) * np.sqrt(np.maximum(variance, 0))
        return Band(mid, np.asarray(mid * np.exp(-half)), np.asarray(mid * np.exp(half)), level)

    def __str__(self) -> str:
        lines = [f"ln optimum = {self.params['a']:.4g} {self.params['b']:+.4f} ln N {self.params['c']:+.4f} ln D"]
        lines.append(f"rule: {self.rule_text} ({self.n} runs of {self.cells} cells, {self.status})")
        for name in NAMES[1:]:
            low, high = self.interval[name]
            if low is not None and high is not None:
                covers = ", whichever rule is taken" if self.other_rules else ""
                lines.append(f"{name}: 95 % interval {low:.3f} to {high:.3f}{covers}")
        for word, params in self.other_rules.items():
            lines.append(f"by the rule {word!r}: b {params['b']:.4f}, c {params['c']:.4f}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "rule": self.rule,
            "rule_text": self.rule_text,
            "columns": list(self.columns),
            "params": self.params,
            "stderr": self.stderr,
            "interval": {name: list(ends) for name, ends in self.interval.items()},
            "own_interval": {name: list(ends) for name, ends in self.own_interval.items()},
            "n": self.n,
            "cells": self.cells,
            "status": self.status,
            "other_rules": self.other_rules,
        }


def jackknife(whole: Array, left: Array, columns: tuple[str, str], rule: Rule, text: str, n: int) -> RateLaw:
    """The law from its coefficients (3,) and those with each cell left out (cells, 3) (Tukey 1958)."""
    cells = len(left)
    covariance = None
    if cells >= 5 and np.isfinite(left).all():
        away = left - left.mean(axis=0)
        covariance = (cells - 1) / cells * away.T @ away
    status: Status = "converged" if covariance is not None else "not_identified"
    interval = _intervals(whole, covariance, cells)
    return RateLaw(rule, text, columns, whole, covariance, n, cells, status, interval)


def _intervals(coefficients: Array, covariance: Array | None, cells: int) -> dict[str, Interval]:
    if covariance is None:
        return dict.fromkeys(NAMES, (None, None))
    half = t_quantile(0.95, cells - 3) * np.sqrt(np.diag(covariance))
    return {n: (float(v - h), float(v + h)) for n, v, h in zip(NAMES, coefficients, half, strict=True)}
