"""study(sweep, truth): many draws through the whole chain, scored against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.learning_rate import RateTrend
from scalelaw.plan import Plan
from scalelaw.simulate.balance import Layout, layout_of
from scalelaw.simulate.chain import Reading, passed
from scalelaw.simulate.rows import draw, generator, size_effects
from scalelaw.simulate.scores import Score, score
from scalelaw.simulate.targets import Target, optimum, targets
from scalelaw.simulate.truth import Truth
from scalelaw.sweep import PlannedRun, Spec

_NEW_RUN = 3
"""Kind of the noise that a run of the plan has; rows.py numbers those of the sweep."""


@dataclass(frozen=True)
class Study:
    """Coverage and bias of everything that the chain reports.

    Attributes:
        scores: one a quantity and source.
        draws, runs: sweeps drawn, and runs in each.
        diverged: mean share of runs that diverged.
        truth: the law's parameters.
        times, flop: the budget that was predicted for: multiple of the dearest run, and FLOP.
        regret: mean and 95th percentile of ln(true loss of the plan as it stands / lowest true loss at its budget);
            None where no plan was made.
        refusals: reason -> share of draws, of stages that gave nothing.
    """

    scores: tuple[Score, ...]
    draws: int
    runs: int
    diverged: float
    truth: dict[str, float]
    times: float
    flop: float
    regret: tuple[float, float] | None
    refusals: dict[str, float] = field(default_factory=dict)

    def __getitem__(self, key: tuple[str, str]) -> Score:
        """The score of (quantity, source)."""
        for one in self.scores:
            if (one.quantity, one.source) == key:
                return one
        raise KeyError(key)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        regret = None if self.regret is None else dict(zip(("mean", "p95"), self.regret, strict=True))
        return {**vars(self), "scores": [one.to_dict() for one in self.scores], "regret": regret}


def study(
    sweep: Spec | Sequence[PlannedRun] | Layout,
    truth: Truth,
    draws: int = 100,
    *,
    seed: int = 0,
    times: float = 4.0,
    each: Callable[[int], None] | None = None,
) -> Study:
    """Draws sweeps from a truth and scores every number that the chain reports of them.

    Args:
        sweep: a spec, planned runs, or the layout made of either.
        truth: what losses follow.
        draws: how many sweeps.
        seed: equal seeds give equal studies; draw k of a study is `draw(sweep, truth, (seed, k))`.
        times: the budget that is predicted for, as a multiple of the dearest finished run.
        each: called with the number of draws that are done, after each.

    Raises:
        UserError: when there are no runs, the truth has no best size, or a number lies outside its range.
    """
    if draws < 1:
        raise UserError(f"simulate: draws = {draws} must be at least 1")
    if not 0 < times < np.inf:
        raise UserError(f"simulate: times = {times!r} must be positive and finite")
    if seed < 0:
        raise UserError(f"simulate: seed = {seed} must be 0 or more")
    layout = sweep if isinstance(sweep, Layout) else layout_of(sweep)
    flop = times * float(layout.column("train_flop").max())
    wanted = targets(truth, layout, flop)
    found: dict[tuple[str, str], list[tuple[Reading, Target]]] = {}
    reasons: Counter[str] = Counter()
    regrets: list[float] = []
    diverged = 0.0
    for k in range(draws):
        runs = draw(layout, truth, (seed, k))
        diverged += float((runs.status == "diverged").mean()) / draws
        answer = passed(runs, times)
        reasons.update(answer.refusals.values())
        readings = [(one, wanted[one.quantity]) for one in answer.readings if one.quantity in wanted]
        if answer.plan is not None:
            readings += _rate_of_plan(answer.plan, answer.rates, truth)
            unique = _unique(answer.plan, layout)
            true = _of_plan(answer.plan, truth, unique)
            if np.isfinite(true):  # else the plan's rate diverges
                readings.append(_outcome(answer.plan, truth, true, (seed, k)))
                regrets.append(float(np.log(true / optimum(truth, layout, answer.plan.train_flop, unique)[1])))
        for one, target in readings:
            found.setdefault((one.quantity, one.source), []).append((one, target))
        if each is not None:
            each(k + 1)
    return Study(
        scores=tuple(_scored(found[key], draws) for key in found),
        draws=draws,
        runs=len(layout.frame),
        diverged=diverged,
        truth=truth.law.params,
        times=times,
        flop=flop,
        regret=(float(np.mean(regrets)), float(np.quantile(regrets, 0.95))) if regrets else None,
        refusals={reason: count / draws for reason, count in reasons.most_common()},
    )


def _scored(pairs: list[tuple[Reading, Target]], draws: int) -> Score:
    return score([one for one, _ in pairs], pairs[0][1], draws)


def _unique(plan: Plan, layout: Layout) -> float:
    """The training set that the plan's epochs refer to: of those in the layout, for planned images are rounded."""
    if plan.epochs is None:
        return layout.unique_images
    sets = np.unique(layout.column("unique_images"))
    return float(sets[np.argmin(np.abs(np.log(sets * plan.epochs / plan.images)))])


def _of_plan(plan: Plan, truth: Truth, unique: float) -> float:
    """The true loss of the planned run at the planned learning rate, or at the best where none is named."""
    if truth.rates is None or plan.peak_lr is None:
        return float(truth.best_loss(plan.macs_per_image, plan.images, unique))
    return float(truth.loss(plan.macs_per_image, plan.images, unique, plan.peak_lr))


def _rate_of_plan(plan: Plan, rates: RateTrend | None, truth: Truth) -> list[tuple[Reading, Target]]:
    """The planned learning rate over the best one there, with the trend's interval; none where nothing is planned."""
    if truth.rates is None or rates is None or plan.peak_lr is None or plan.epochs is None:
        return []
    best = float(np.exp(truth.rates.log_best(plan.macs_per_image, plan.epochs)))
    low, high = None, None
    if (rates.size, rates.length) == ("macs_per_image", "epochs") and rates.status == "converged":
        band = rates.predict(plan.macs_per_image, plan.epochs)
        low, high = (None if end is None else float(end) / best for end in (band.low, band.high))
    reading = Reading("rate_of_plan", "predict", plan.peak_lr / best, low, high, rates.status)
    return [(reading, Target(1.0, True))]


def _outcome(plan: Plan, truth: Truth, true: float, seed: tuple[int, int]) -> tuple[Reading, Target]:
    """What the plan says of its loss, relative to a run of the plan.

    Plans differ between draws, so loss, interval and outcome are divided by the plan's true loss, and by what the new
    run's own noise makes of it: bias is the noise's mean (0) away from that of the plan, coverage that of one run.
    """
    z = truth.noise * float(generator(seed, _NEW_RUN, "").standard_normal())
    z += truth.size_noise * float(size_effects([plan.variant], seed)[0])
    outcome = true * float(np.exp(z))
    low, high = (None if end is None else end / outcome for end in (plan.loss_low, plan.loss_high))
    status = "converged" if plan.status in ("converged", "at_bound") else str(plan.status)
    return Reading("loss_of_plan", "predict", plan.loss / outcome, low, high, status), Target(1.0, True)
