"""The forms of repetition, fitted and back-tested: which of them the runs reject, and what each of them leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.backtest import Candidate, Choice, HoldOut, hold_out_largest
from scalelaw.backtest.choice import told_apart
from scalelaw.errors import UserError
from scalelaw.fitting import Fit, fit
from scalelaw.fitting.straightness import t_quantile
from scalelaw.frontiers.chance import BELOW, levelled
from scalelaw.laws import DataRepetition, Law, Overfit, SizeData

Array = NDArray[np.float64]

FORMS: dict[str, tuple[str, ...]] = {"repetition": ("R_D", "R_N"), "overfit": ("P", "delta", "kappa")}
"""Words of the two laws, repeated images are worth less or they also harm, and the parameters that say so."""
FRESH = "size-data"
"""The law for which a repeated image is as good as a fresh one."""
ENOUGH_APART = 4.0
"""Training-set sizes must differ by this factor: with less, what U does cannot be told from what D does."""
HELD_OUT = 4.0
"""The back-test holds out the dearest runs within this factor, once, and the largest training sets within it where two
sizes as far apart are left. More runs or further origins would leave too few repeats to fit: on simulated sweeps of 60
cells three origins of compute chose wrongly in 2 of 7 draws in which loss rises."""
FEWEST_HELD_OUT = 4
"""Held-out runs below which nothing is chosen."""
SURELY = 0.95
"""Level of the tests by which residuals are said to be larger than another's, and R_N to be told from infinity."""
ENDLESS = 1e6
"""R_N where models do not wear out: so many times the best size for the unique images, which no model is."""


@dataclass(frozen=True, eq=False)
class Forms:
    """Both forms of repetition and the law that counts repeats as fresh, each below the loss of guessing where that
    shows.

    Attributes:
        choice: both forms; weight 0 for the one that the back-test, or the residuals of all runs, find worse.
        everything: they and the law of fresh images, by the back-test alone.
        without_limit: `repetition` with R_N free where `choice` holds it at infinity, for the runs do not tell the two
            apart; None where R_N is told, and free in `choice`.
    """

    choice: Choice
    everything: Choice
    without_limit: Fit | None = field(repr=False)

    @property
    def told(self) -> bool:
        """Whether one form alone counts."""
        return len(self.standing) == 1

    @property
    def standing(self) -> tuple[Candidate, ...]:
        """The forms that neither the back-test nor the residuals of all runs reject."""
        return tuple(one for one in self.choice.candidates if one.weight > 0)

    @property
    def only_residuals_reject(self) -> tuple[Candidate, ...]:
        """The form that leaves surely larger residuals, where the back-test does not reject it as well."""
        first, second = self.choice.candidates
        return (second,) if self.told and not told_apart(first.hold_outs, second.hold_outs) else ()

    @property
    def fresh_as_good(self) -> bool:
        """Whether images that never wear out predict as well, and leave residuals that are no larger."""
        fresh = next(one for one in self.everything.candidates if form_of(one.law) == FRESH)
        best = self.choice.candidates[0]
        return fresh.verdict == "best" or (fresh.verdict == "as good" and not misfits(fresh.fit, best.fit))

    def fits_of(self, one: Candidate) -> tuple[Fit, ...]:
        """A form's fit, and the same with R_N free where it is held only because it cannot be told."""
        free = self.without_limit
        return (one.fit,) if free is None or free.law is not one.law else (one.fit, free)

    def notes(self) -> list[str]:
        """What the runs leave open, in sentences."""
        first, second = self.choice.candidates
        found = []
        if not self.told:
            found.append("the two forms cannot be told apart: losses are their weighted mean")
        elif self.only_residuals_reject:
            found.append(
                f"{form_of(second.law)} misses all runs by surely more than {form_of(first.law)}; the held-out runs "
                "alone do not tell the two apart"
            )
        if misfits(first.fit, second.fit):
            worse, better = form_of(first.law), form_of(second.law)
            found.append(f"{worse} foresees the held-out runs better, but {better} fits all runs better")
        if self.without_limit is not None and self.without_limit.law in {one.law for one in self.standing}:
            found.append("R_N cannot be told from infinity, where it is held: intervals cover both")
        if self.fresh_as_good:
            fresh = next(one for one in self.everything.candidates if form_of(one.law) == FRESH)
            found.append(
                "images that never wear out predict the held-out runs at least as well"
                if fresh.verdict == "best"
                else "this cannot be told from images that never wear out"
            )
        return found


def form_of(law: type[Law]) -> str:
    """The word of a law, or of the law that it is below the loss of guessing."""
    plain = {bent: law for law, bent in BELOW.items()}
    return plain.get(law, law).word


def forms(N: Array, D: Array, U: Array, L: Array, chance: float | None) -> Forms:
    """Fits and back-tests the forms.

    R_N is free only where holding it at infinity leaves surely larger residuals or foresees held-out runs worse: else a
    parameter that nothing determines would make every estimate noisier.

    Args:
        N, D, U, L: (runs,) size, images seen, unique images, loss.
        chance: the loss of guessing, None where it is unknown.

    Raises:
        UserError: where the runs are too few or too alike to fit or to hold out.
    """
    data: dict[str, Any] = {"N": N, "D": D, "U": U, "L": L}
    free = levelled(DataRepetition, chance, **data)
    fits = [free, levelled(Overfit, chance, **data), levelled(SizeData, chance, N=N, D=D, L=L)]
    records = [_hold_outs(one, data) for one in fits]
    held = fit(free.law, fix={**free.fix, "R_N": ENDLESS}, **data)
    record = _hold_outs(held, data)
    endless = held.status != "failed" and not _surely_larger(held, free) and not told_apart(records[0], record)
    if endless:
        fits[0], records[0] = held, record
    everything = _ranked(fits, records)
    return Forms(_of_forms(everything), everything, free if endless else None)


def misfits(one: Fit, other: Fit) -> bool:
    """Whether the residuals of `one` are surely larger than those of `other`, by their variances' ratio."""
    from scipy.special import fdtri

    dof = [float(max(fit.point.dof, 1)) for fit in (one, other)]
    variances = [float(fit.residuals @ fit.residuals) / n for fit, n in zip((one, other), dof, strict=True)]
    return variances[0] > float(fdtri(dof[0], dof[1], SURELY)) * variances[1]


def _surely_larger(held: Fit, free: Fit) -> bool:
    """Whether a fit with one parameter held leaves surely more than with it free (Student's t of that parameter)."""
    squares = float(free.residuals @ free.residuals)
    rise = float(held.residuals @ held.residuals) - squares
    dof = max(free.point.dof, 1)
    return rise * dof > t_quantile(SURELY, dof) ** 2 * squares


def _hold_outs(found: Fit, data: dict[str, Any]) -> tuple[HoldOut, ...]:
    """Without the dearest runs; and without the largest training sets, where sets far enough apart are left."""
    own: dict[str, Any] = {letter: data[letter] for letter in (*found.law.variables, "L")}
    first = hold_out_largest(found.law, HELD_OUT, fix=found.fix, **own)
    if first.n < FEWEST_HELD_OUT:
        raise UserError(
            f"{first.n} run{'s' * (first.n != 1)} within a factor {HELD_OUT:g} of the largest in {first.cost}; "
            f"{FEWEST_HELD_OUT} must be held out to choose by, so add runs"
        )
    unique = data["U"]
    left = unique[unique <= unique.max() / HELD_OUT * (1 + 1e-9)]
    enough = len(left) > len(found.law.names()) and len(unique) - len(left) >= FEWEST_HELD_OUT
    if not enough or left.max() < ENOUGH_APART * left.min() * (1 - 1e-3):
        return (first,)
    try:
        return first, hold_out_largest(found.law, HELD_OUT, compute=unique, fix=found.fix, **own)
    except UserError:  # the smaller sets have one size of model, say
        return (first,)


def _ranked(fits: Sequence[Fit], records: Sequence[tuple[HoldOut, ...]]) -> Choice:
    """The laws by their errors on held-out runs, the best first; of equal ones that with fewer parameters."""
    common = min(len(record) for record in records)
    records = [record[:common] for record in records]
    score = [float(np.sqrt(np.mean([one.rms**2 for one in record]))) for record in records]
    free = [len(one.params) - len(one.fix) for one in fits]
    order = sorted(range(len(fits)), key=lambda k: (float(f"{np.nan_to_num(score[k], nan=np.inf):.5e}"), free[k]))
    best = records[order[0]]
    worse = [k != order[0] and told_apart(best, records[k]) for k in range(len(fits))]
    trust = np.array([0.0 if worse[k] else 1 / max(score[k], 1e-12) ** 2 for k in range(len(fits))])
    candidates = [
        Candidate(
            law=fits[k].law,
            verdict="best" if k == order[0] else "worse" if worse[k] else "as good",
            weight=float(trust[k] / trust.sum()),
            hold_outs=records[k],
            fit=fits[k],
        )
        for k in order
    ]
    return Choice(tuple(candidates), best[0].cost, HELD_OUT, 0.95)


def _of_forms(everything: Choice) -> Choice:
    """The two forms alone; the second counts unless the back-test or the residuals of all runs find it worse."""
    first, second = (one for one in everything.candidates if form_of(one.law) in FORMS)
    told = told_apart(first.hold_outs, second.hold_outs) or misfits(second.fit, first.fit)
    share = 1.0 if told else 1 / (1 + (first.rms / max(second.rms, 1e-12)) ** 2)
    forms = (replace(first, weight=share), replace(second, weight=1 - share, verdict="worse" if told else "as good"))
    return replace(everything, candidates=forms)
