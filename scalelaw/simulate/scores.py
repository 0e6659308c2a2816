"""Score: how often a reported quantity's interval holds the truth, and how far its estimates lie from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.simulate.chain import Reading
from scalelaw.simulate.targets import Target

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Score:
    """One line of a study. Errors of exponents are differences; those of sizes and losses, of logarithms.

    Attributes:
        quantity, source: what, and the stage or approach that reports it.
        truth: its true value.
        draws: how many sweeps were drawn.
        answered: share of draws that report it as converged.
        bias, spread: mean and standard deviation of the error among the answered; None where none or one is.
        coverage: share of the answered intervals that hold the truth; None where no interval was answered.
        intervals: how many those are; one end may be open, not both.
        bias_all, coverage_all: the same among all draws with an estimate, or an interval, whatever their status.
        statuses: status -> share of draws; `refused` where a stage gave nothing.
    """

    quantity: str
    source: str
    truth: float
    draws: int
    answered: float
    bias: float | None
    spread: float | None
    coverage: float | None
    intervals: int
    bias_all: float | None
    coverage_all: float | None
    statuses: dict[str, float] = field(repr=False)

    @property
    def coverage_stderr(self) -> float | None:
        """Standard error of `coverage` by its number of intervals; not 0 without misses (Agresti and Coull 1998)."""
        if self.coverage is None:
            return None
        p = (self.coverage * self.intervals + 2) / (self.intervals + 4)
        return float(np.sqrt(p * (1 - p) / (self.intervals + 4)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {**vars(self), "coverage_stderr": self.coverage_stderr}


def score(readings: Sequence[Reading], target: Target, draws: int) -> Score:
    """Scores the readings of one quantity from one source over `draws` draws; missing ones were refused."""
    kept = [reading for reading in readings if np.isfinite(reading.estimate)]
    answered = [reading for reading in kept if reading.status == "converged"]
    statuses = Counter(reading.status for reading in readings)
    statuses["refused"] += draws - len(readings)
    held, all_held = _held(answered, target), _held(kept, target)
    errors, all_errors = _errors(answered, target), _errors(kept, target)
    return Score(
        quantity=readings[0].quantity,
        source=readings[0].source,
        truth=target.value,
        draws=draws,
        answered=len(answered) / draws,
        bias=float(errors.mean()) if len(errors) else None,
        spread=float(errors.std(ddof=1)) if len(errors) > 1 else None,
        coverage=float(np.mean(held)) if held else None,
        intervals=len(held),
        bias_all=float(all_errors.mean()) if len(all_errors) else None,
        coverage_all=float(np.mean(all_held)) if all_held else None,
        statuses={name: count / draws for name, count in sorted(statuses.items()) if count},
    )


def _errors(readings: Sequence[Reading], target: Target) -> Array:
    values = np.array([reading.estimate for reading in readings], float)
    return np.log(values / target.value) if target.log else values - target.value


def _held(readings: Sequence[Reading], target: Target) -> list[bool]:
    """Whether each interval holds the truth, where there is one."""
    held = []
    for reading in readings:
        if reading.low is None and reading.high is None:
            continue
        low = -np.inf if reading.low is None else reading.low
        high = np.inf if reading.high is None else reading.high
        held.append(bool(low <= target.value <= high))
    return held
