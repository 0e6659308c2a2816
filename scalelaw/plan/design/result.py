"""NextRuns: what to train next, what it costs, and how sure one would then be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from scalelaw.plan.design.exchange import Known
from scalelaw.plan.design.worlds import Want

NextStatus = Literal["chosen", "seeds_first", "nothing_helps", "nothing_affordable"]
POWER = 0.8
ALPHA = 0.05


@dataclass(frozen=True)
class Expected:
    """How sure an answer is before and after the runs.

    Attributes:
        estimate: the answer now: ln of the best size, ln of the lowest loss, or the exponent; None
            where the fit has none.
        before, after: expected standard error of it: noise, size effects and form.
        chance_before, chance_after: the part of noise and size effects.
        smallest_before, smallest_after: the smallest effect that a two-sided 5 % test sees with 80 % power: a
            difference of the answer from a known value; for the difference of two such sweeps, sqrt(2) times as much.
    """

    estimate: float | None
    before: float
    after: float
    chance_before: float
    chance_after: float
    smallest_before: float | None
    smallest_after: float | None

    @classmethod
    def of(cls, estimate: float | None, before: Known, after: Known, dof: tuple[int, int]) -> Expected:
        """From the information before and after, and the residual degrees of freedom of both."""
        (first, first_chance), (last, last_chance) = (_spread(one) for one in (before, after))
        small = [None if n < 1 else _power(n) * se for n, se in zip(dof, (first, last), strict=True)]
        return cls(estimate, first, last, first_chance, last_chance, *small)

    def unchanged(self) -> Expected:
        """Without any run."""
        return replace(self, after=self.before, chance_after=self.chance_before, smallest_after=self.smallest_before)


def _spread(information: Known) -> tuple[float, float]:
    """Geometric means over the worlds of the standard error and of its part from chance."""
    chance, form = information.errors()
    return float(np.exp(0.5 * np.log(chance + form).mean())), float(np.exp(0.5 * np.log(chance).mean()))


def _power(dof: int) -> float:
    """Standard errors that an effect must have to be seen."""
    from scipy.special import stdtrit

    return float(stdtrit(dof, 1 - ALPHA / 2) + stdtrit(dof, POWER))


@dataclass(frozen=True)
class Purchase:
    """Runs of one setting.

    Attributes:
        variant, params, macs_per_image: the model; params is None when unknown.
        images, epochs: length; epochs is None where the training set's size is unknown.
        seeds: how many runs.
        flop, core_hours: of one run; core_hours is None where the runs have none.
        replicates: whether the setting has been trained and only the seeds are new.
        peak_lr: learning rate; None when unknown.
        first_seed: new seeds count from here; None where the runs have no seeds.
    """

    variant: str
    params: int | None
    macs_per_image: float
    images: int
    epochs: float | None
    seeds: int
    flop: float
    core_hours: float | None
    replicates: bool
    peak_lr: float | None = None
    first_seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return dict(vars(self))


@dataclass(frozen=True)
class NextRuns:
    """What to train next.

    Attributes:
        want: what was asked: size, loss or exponent.
        target_flop, spend_flop: the budget asked about and what may be spent.
        flop_per_core_hour: what a core-hour bought in the runs; None when unknown.
        extrapolation_factor: target over the largest finished run.
        runs: what to train, seeds first, then the dearest first.
        expected: for size, loss and exponent how sure they are before and after.
        noise: standard deviation of ln loss between seeds, from replicates; None when unknown.
        noise_replicates: degrees of freedom behind it.
        size_effect: root mean square of what runs of one size may share, in ln loss; None where it cannot be told.
        status: chosen; seeds_first; nothing_helps (no affordable run lowers the error by 2 %); nothing_affordable.
        sentence: the same in words.
        warnings: caveats.
        toml: a sweep's file with these runs; None where `no_toml` says why.
        no_toml: what is missing for it.
    """

    want: Want
    target_flop: float
    spend_flop: float
    flop_per_core_hour: float | None
    extrapolation_factor: float
    runs: tuple[Purchase, ...]
    expected: dict[Want, Expected]
    noise: float | None
    noise_replicates: int
    size_effect: float | None
    status: NextStatus
    sentence: str
    warnings: tuple[str, ...]
    toml: str | None
    no_toml: str | None

    @property
    def cost_flop(self) -> float:
        """Of all runs together."""
        return float(sum(one.seeds * one.flop for one in self.runs))

    @property
    def cost_core_hours(self) -> float | None:
        """Of all runs together; None where a core-hour's worth is unknown."""
        return None if self.flop_per_core_hour is None else self.cost_flop / self.flop_per_core_hour

    def to_dict(self) -> dict[str, Any]:
        """What `scalelaw plan --json` prints."""
        return {
            "want": self.want,
            "status": self.status,
            "sentence": self.sentence,
            "target_flop": self.target_flop,
            "spend_flop": self.spend_flop,
            "extrapolation_factor": self.extrapolation_factor,
            "cost_flop": self.cost_flop,
            "cost_core_hours": self.cost_core_hours,
            "runs": [one.to_dict() for one in self.runs],
            "expected": {name: dict(vars(one)) for name, one in self.expected.items()},
            "noise": self.noise,
            "noise_replicates": self.noise_replicates,
            "size_effect": self.size_effect,
            "toml": self.toml,
            "warnings": [*self.warnings, *([] if self.no_toml is None else [self.no_toml])],
        }

    def __str__(self) -> str:
        from scalelaw.plan.design.report import table

        return table(self)
