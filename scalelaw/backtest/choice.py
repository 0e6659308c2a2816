"""choose(laws, ...) -> Choice: laws ranked by what they say of the largest runs, and which cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.backtest.hold_out import HoldOut, held_out
from scalelaw.backtest.trial import Trial
from scalelaw.errors import UserError
from scalelaw.fitting import Band, Fit, Objective
from scalelaw.fitting.straightness import t_quantile
from scalelaw.laws import LAWS, Law
from scalelaw.laws import law as law_of
from scalelaw.newton import Space
from scalelaw.text import columns

Verdict = Literal["best", "as good", "worse"]

FEWEST_HELD_OUT = 4
"""Held-out runs below which nothing is chosen."""
SURE = 0.95
"""Level of the paired test that tells two laws apart."""
WORTH_TELLING = 0.01, 1e-6
"""Laws whose errors differ by less than this share, or less than this, are as good as each other."""
ROUNDING = 1e-12
"""Errors below it are arithmetic's."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One law's record.

    Attributes:
        law: its class.
        verdict: best; as good where the data cannot tell it from the best; else worse.
        weight: in the stack: in proportion to 1 / mean square error (Bates and Granger 1969), 0 for the worse.
        hold_outs: one for each origin, the largest first.
        fit: of all runs.
    """

    law: type[Law]
    verdict: Verdict
    weight: float
    hold_outs: tuple[HoldOut, ...] = field(repr=False)
    fit: Fit = field(repr=False)

    @property
    def rms(self) -> float:
        """Root mean square over the origins of the error of ln loss."""
        return float(np.sqrt(np.mean([one.rms**2 for one in self.hold_outs])))

    @property
    def bias(self) -> float:
        """Mean over the origins of the mean error of ln loss."""
        return float(np.mean([one.bias for one in self.hold_outs]))


@dataclass(frozen=True, eq=False)
class Choice:
    """Laws ranked by hold-out error.

    Attributes:
        candidates: the best first.
        cost: what runs are ranked by.
        factor: runs within this factor below each origin were held out.
        level: of the intervals.
    """

    candidates: tuple[Candidate, ...]
    cost: str
    factor: float
    level: float

    @property
    def best(self) -> Fit:
        """The fit of the best law to all runs."""
        return self.candidates[0].fit

    @property
    def told(self) -> bool:
        """Whether the best law can be told from every other."""
        return all(one.verdict == "worse" for one in self.candidates[1:])

    def predict(self, level: float | None = None, *, new_run: bool = False, **variables: ArrayLike) -> Band:
        """The stack: the weighted mean of ln loss over the laws that are not worse, each fitted to all runs.

        The interval's square half-width is the weighted mean of the laws' own, plus what the laws differ by.

        Args:
            level: of the interval, by default that of the choice.
            new_run: whether the interval is for a single run with its own noise, or for the mean.
            variables: what the stacked laws ask for, by letter.
        """
        level = self.level if level is None else level
        stacked = [one for one in self.candidates if one.weight > 0]
        wanted = sorted({letter for one in stacked for letter in one.law.variables})
        if missing := [letter for letter in wanted if letter not in variables]:
            raise UserError(f"predict: {', '.join(missing)} missing; the stacked laws ask for {', '.join(wanted)}")
        bands = [
            one.fit.predict(level, new_run=new_run, **{letter: variables[letter] for letter in one.law.variables})
            for one in stacked
        ]
        logs = np.stack([np.log(band.mid) for band in bands])
        distances = [band.beyond for band in bands if band.beyond is not None]
        beyond = np.maximum.reduce(distances) if len(distances) == len(bands) else None
        weight = np.array([one.weight for one in stacked]).reshape(-1, *[1] * (logs.ndim - 1))
        mid = (weight * logs).sum(0)
        ends = [(band.low, band.high) for band in bands]
        if any(low is None or high is None for low, high in ends):
            return Band(np.exp(mid), None, None, level, beyond)
        own = np.stack([np.log(np.asarray(high) / np.asarray(low)) / 2 for low, high in ends])
        apart = t_quantile(level, max(self.best.n - len(self.best.params), 1)) * (logs - mid)
        half = np.sqrt((weight * (own**2 + apart**2)).sum(0))
        return Band(np.exp(mid), np.exp(mid - half), np.exp(mid + half), level, beyond)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "cost": self.cost,
            "factor": self.factor,
            "level": self.level,
            "told": self.told,
            "candidates": [
                {
                    "law": one.law.word,
                    "equation": one.law.equation,
                    "verdict": one.verdict,
                    "weight": one.weight,
                    "rms": one.rms,
                    "bias": one.bias,
                    "hold_outs": [held.to_dict() for held in one.hold_outs],
                }
                for one in self.candidates
            ],
        }

    def __str__(self) -> str:
        first = self.candidates[0].hold_outs
        below = [first[0].top / held.top for held in first[1:]]
        header = ["law", "rms", "bias", "largest", *(f"1/{ratio:.3g}" for ratio in below), "weight", "verdict"]
        rows = [header]
        for one in self.candidates:
            origins = [f"{held.rms:.4f}" for held in one.hold_outs]
            name = one.law.word if LAWS.get(one.law.word) is one.law else one.law.equation
            rows.append([name, f"{one.rms:.4f}", f"{one.bias:+.4f}", *origins, f"{one.weight:.2f}", one.verdict])
        lines = [*columns(rows, left=range(len(header)))]
        counts = ", ".join(str(held.n) for held in first)
        lines.append(f"rms of ln loss, runs within a factor {self.factor:g} held out by {self.cost}: {counts} runs")
        if len(self.candidates) > 1:
            lines.append("the best law is told apart" if self.told else "the data cannot tell the best laws apart")
        if len(first) == 1:
            lines.append("one origin only: errors of its runs move together, so read the verdicts with care")
        return "\n".join(lines)


def choose(
    laws: Sequence[type[Law] | str],
    factor: float = 10.0,
    *,
    origins: int = 3,
    compute: ArrayLike | None = None,
    labels: ArrayLike | None = None,
    level: float = 0.95,
    objective: Objective | None = None,
    space: Space = "log",
    weights: ArrayLike | None = None,
    **variables: ArrayLike,
) -> Choice:
    """Ranks laws by their error of ln loss on the largest runs, each fitted without them.

    The first origin holds out the runs within `factor` of the largest. Each further one lies a root of `factor` lower:
    what costs more is left out altogether, and the next factor is held out. Origins that hold out fewer than 4 runs, or
    leave too few to fit, are skipped. A law is worse than the best when its error is larger in every origin, and its
    square errors are, run by run, by more than Student's t allows at 95 %; errors of one origin move together, so that
    test alone would be too sure.

    Args:
        laws: classes from `scalelaw.laws`, or their words.
        factor: how far below the largest the held-out runs begin.
        origins: at most so many.
        compute: (runs,) what ranks runs, in any unit; by default C, or N D, or the laws' only variable.
        labels: (runs,) rows with the same label are one run.
        level: of the intervals.
        objective, space, weights: as `scalelaw.fit` takes them, for every law.
        variables: L and what the laws ask for, by letter; C too where it should rank the runs.

    Raises:
        UserError: for fewer than 4 held-out runs, no laws, or what `fit` refuses.
    """
    kinds = [law_of(one) if isinstance(one, str) else one for one in laws]
    if not kinds:
        raise UserError("choose: no laws; pass a list of classes or words, as ['power', 'offset']")
    if len(set(kinds)) < len(kinds):
        raise UserError("choose: a law is named twice; name each once")
    if origins < 1:
        raise UserError(f"choose: origins = {origins}; at least one is needed")
    letters = tuple(dict.fromkeys(letter for kind in kinds for letter in kind.variables))
    if surplus := [letter for letter in variables if letter not in (*letters, "L", "C")]:
        raise UserError(f"choose: no law asks for {', '.join(surplus)} (they ask for {', '.join(letters)})")
    trial = Trial.of(
        kinds,
        variables,
        factor=factor,
        compute=compute,
        labels=labels,
        level=level,
        objective=objective,
        space=space,
        weights=weights,
    )
    sizes = [len(kind.names()) for kind in kinds]
    records: list[list[HoldOut]] = []
    for top in _origins(trial, max(sizes), origins):
        try:
            records.append([held_out(kind, trial, top) for kind in kinds])
        except UserError:
            if not records:
                raise
    columns = [tuple(record[k] for record in records) for k in range(len(kinds))]
    score = [max(float(np.sqrt(np.mean([one.rms**2 for one in column]))), ROUNDING) for column in columns]
    # of laws that agree to six digits (one may be a case of the other) the one with fewer parameters
    order = sorted(range(len(kinds)), key=lambda k: (float(f"{np.nan_to_num(score[k], nan=np.inf):.5e}"), sizes[k]))
    best = columns[order[0]]
    worse = [k != order[0] and told_apart(best, columns[k]) for k in range(len(kinds))]
    trust = np.array([0.0 if worse[k] else 1 / score[k] ** 2 for k in range(len(kinds))])
    candidates = [
        Candidate(
            law=kinds[k],
            verdict="best" if k == order[0] else "worse" if worse[k] else "as good",
            weight=float(trust[k] / trust.sum()),
            hold_outs=columns[k],
            fit=trial.fitted(kinds[k]),
        )
        for k in order
    ]
    return Choice(tuple(candidates), trial.ranked.name, trial.factor, level)


def _origins(trial: Trial, size: int, most: int) -> list[float]:
    """Costs of the origins, the largest first; `size` parameters are to be fitted below each."""
    ranked, factor = trial.ranked, trial.factor
    largest = float(ranked.values.max())
    tops: list[float] = []
    for step in range(most):
        top = largest / factor ** (step / 2)
        seen, hidden = ranked.split(top, factor)
        held = len(np.unique(trial.cluster[hidden]))
        if step == 0 and held < FEWEST_HELD_OUT:
            raise UserError(
                f"choose: {held} run{'s' * (held != 1)} within a factor {factor:g} of the largest in {ranked.name}; "
                f"{FEWEST_HELD_OUT} must be held out to choose by, so raise the factor or add runs"
            )
        if step == 0 and seen.sum() < size:
            raise UserError(
                f"choose: {int(seen.sum())} runs are left to fit {size} parameters; lower the factor, or choose among "
                "laws with fewer"
            )
        if held >= FEWEST_HELD_OUT and seen.sum() > size:
            tops.append(top)
    return tops or [largest]


def told_apart(best: tuple[HoldOut, ...], other: tuple[HoldOut, ...]) -> bool:
    """Whether `other` is worse: in every origin, and by a paired test over runs."""
    share, least = WORTH_TELLING
    if any(b.rms * (1 + share) + least >= o.rms for b, o in zip(best, other, strict=True)):
        return False
    excess = np.concatenate([o.errors**2 - b.errors**2 for b, o in zip(best, other, strict=True)])
    cluster = np.concatenate([b.cluster for b in best])
    if not np.isfinite(excess).all():
        return True
    _, place = np.unique(cluster, return_inverse=True)
    mean = np.bincount(place, excess) / np.bincount(place)
    stderr = float(mean.std(ddof=1)) / np.sqrt(len(mean))
    return bool(mean.mean() > t_quantile(SURE, len(mean) - 1) * stderr)
