"""hold_out_largest(law, ...) -> HoldOut: what a law says of the largest runs when it is fitted without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.backtest.trial import Trial
from scalelaw.errors import UserError
from scalelaw.fitting import Band, Fit, Objective
from scalelaw.fitting.checks import check_level
from scalelaw.fitting.constraints import Bounds, by_parameter
from scalelaw.laws import Law
from scalelaw.newton import Space

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HoldOut:
    """A law fitted without the largest runs, and how far off it is on them.

    Errors are ln prediction - ln loss: positive where the law promises too little. Rows of one cluster count together
    as one run.

    Attributes:
        fit: of the runs that were left.
        cost: what runs are ranked by: C, N D, a law's only variable, or compute when it was given.
        factor: runs within this factor of the largest were held out.
        top: cost of the largest held-out run.
        reach: how far it went: `top` over the cost of the largest fitted run.
        level: of the intervals.
        errors: (held,) ln prediction - ln loss.
        cluster: (held,) number of the run that each held-out row belongs to.
        data: letter -> (held,) values, L among them.
    """

    fit: Fit = field(repr=False)
    cost: str
    factor: float
    top: float
    reach: float
    level: float
    errors: Array = field(repr=False)
    cluster: NDArray[np.int64] = field(repr=False)
    data: dict[str, Array] = field(repr=False)

    @property
    def n(self) -> int:
        """Held-out runs: clusters, not rows."""
        return len(np.unique(self.cluster))

    @property
    def rms(self) -> float:
        """Root mean square error of ln loss."""
        return float(np.sqrt(self._mean(self.errors**2)))

    @property
    def bias(self) -> float:
        """Mean error of ln loss."""
        return self._mean(self.errors)

    @cached_property
    def band(self) -> Band:
        """(held,) the predictions, with intervals for single runs."""
        variables = {letter: self.data[letter] for letter in self.fit.law.variables}
        return self.fit.predict(level=self.level, new_run=True, **variables)

    @property
    def covered(self) -> float | None:
        """Share of the held-out runs inside their interval; None where the fit has none."""
        if self.band.low is None or self.band.high is None:
            return None
        inside = (self.band.low <= self.data["L"]) & (self.data["L"] <= self.band.high)
        return self._mean(inside.astype(float))

    def _mean(self, values: Array) -> float:
        """Mean over clusters of their means."""
        _, place = np.unique(self.cluster, return_inverse=True)
        return float(np.mean(np.bincount(place, values) / np.bincount(place)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "law": self.fit.law.word,
            "equation": self.fit.law.equation,
            "params": {name: value if np.isfinite(value) else None for name, value in self.fit.params.items()},
            "status": self.fit.status,
            "cost": self.cost,
            "factor": self.factor,
            "reach": self.reach,
            "n_fit": self.fit.n,
            "n_held_out": self.n,
            "rms": self.rms,
            "bias": self.bias,
            "level": self.level,
            "covered": self.covered,
        }

    def __str__(self) -> str:
        covered = self.covered
        inside = "intervals unknown" if covered is None else f"{100 * covered:.0f} % inside"
        left_out = f"{self.n} run{'s' * (self.n != 1)} within a factor {self.factor:g} of the largest in {self.cost}"
        return "\n".join(
            [
                f"{self.fit.law.__name__}: {self.fit.law.equation}, fitted without {left_out}",
                f"  fitted to        {self.fit.n} runs, status {self.fit.status}",
                f"  reaches          {self.reach:.3g} times beyond them",
                f"  error of ln loss {self.rms:.4f} rms, {self.bias:+.4f} mean (prediction above the loss: +)",
                f"  {100 * self.level:g} % intervals  {inside}",
            ]
        )


def hold_out_largest(
    law: type[Law],
    factor: float = 10.0,
    *,
    compute: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    level: float = 0.95,
    objective: Objective | None = None,
    space: Space = "log",
    weights: ArrayLike | None = None,
    fix: Mapping[str, float] | None = None,
    bounds: Bounds | None = None,
    **variables: ArrayLike,
) -> HoldOut:
    """Fits a law without the runs within `factor` of the largest and compares it with them.

    Args:
        law: a class from `scalelaw.laws`.
        factor: runs that cost more than the largest over this are held out.
        compute: (runs,) what ranks runs, in any unit; by default C, or N D, or the law's only variable.
        labels: (runs,) rows with the same label are one run (checkpoints of a run, repeats of a model): the errors of
            its held-out rows are averaged; its rows below the cut stay in the fit.
        level: of the intervals for single runs.
        objective, space, weights, fix, bounds: as `scalelaw.fit` takes them.
        variables: the law's and L, by letter; C too where it should rank the runs.

    Raises:
        UserError: for what `fit` refuses, a factor that is not above 1, or too few runs left to fit.
    """
    check_level("hold_out_largest", level)
    trial = Trial.of(
        [law],
        variables,
        factor=factor,
        compute=compute,
        labels=labels,
        level=level,
        objective=objective,
        space=space,
        weights=weights,
        held=frozenset(by_parameter("fix", fix)),
    )
    return held_out(law, trial, float(trial.ranked.values.max()), fix, bounds)


def held_out(
    law: type[Law],
    trial: Trial,
    largest: float,
    fix: Mapping[str, float] | None = None,
    bounds: Bounds | None = None,
) -> HoldOut:
    """`hold_out_largest` with runs dearer than `largest` left out altogether."""
    ranked, factor = trial.ranked, trial.factor
    seen, hidden = ranked.split(largest, factor)
    size = len(law.names()) - len(fix or {})
    if seen.sum() < max(size, 1):
        raise UserError(
            f"hold out: {int(seen.sum())} runs cost less than 1 / {factor:g} of the largest in {ranked.name}, too few "
            f"to fit {law.word} ({size} parameters); choose a smaller factor or a law with fewer parameters"
        )
    found = trial.fitted(law, seen, fix, bounds)
    rest = trial.of_law(law, hidden)
    logs, _ = found.centred({letter: rest[letter] for letter in law.variables})
    return HoldOut(
        fit=found,
        cost=ranked.name,
        factor=factor,
        top=float(ranked.values[hidden].max()),
        reach=float(ranked.values[hidden].max() / ranked.values[seen].max()),
        level=trial.level,
        errors=np.log(found.mean(logs)) - np.log(rest["L"]),
        cluster=trial.cluster[hidden],
        data=rest,
    )
