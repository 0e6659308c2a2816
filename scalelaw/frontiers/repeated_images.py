"""More images or more epochs: repetition(best) says what repeated images are worth, or why the runs cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scalelaw.backtest import Candidate, Choice
from scalelaw.errors import UserError
from scalelaw.fitting import Band, Fit, Status
from scalelaw.frontiers.chance import chance_loss
from scalelaw.frontiers.columns import best_of
from scalelaw.frontiers.repetition_forms import ENOUGH_APART, FORMS, FRESH, Forms, form_of, forms
from scalelaw.frontiers.worth import FormGain, Worth
from scalelaw.runs import RunTable

Array = NDArray[np.float64]

_HAIR = 1e-3
"""Numbers of images that differ by less than this share are equal: lengths are rounded to whole images."""


@dataclass(frozen=True, eq=False)
class Repetition:
    """What the runs say of repeated images.

    Attributes:
        status: `not_identified: <why>` where no law was fitted; not_identified where neither back-test nor residuals
            tell the forms apart; else of the chosen form's parameters of repetition: not_identified where the runs
            leave one open, at_bound where one is 0. What is open beside them, as the constant, is said by the fit's own
            status.
        form: repetition or overfit, the one that the back-test puts first; None where none was fitted.
        forms: both, fitted and back-tested; None where none was fitted.
        note: sentences on what was left out, and on what the back-test cannot tell; empty when nothing.
        size: the column that N is: macs_per_image or params.
        training_sets: different numbers of unique images, rising.
        most_epochs: the most passes of any run; None where it is unknown.
    """

    status: str
    form: str | None
    forms: Forms | None = field(repr=False)
    note: str
    size: str
    training_sets: tuple[float, ...]
    most_epochs: float | None

    @property
    def choice(self) -> Choice | None:
        """Both forms ranked by their error on held-out runs; None where none was fitted."""
        return None if self.forms is None else self.forms.choice

    @property
    def everything(self) -> Choice | None:
        """They and the law that counts repeats as fresh, ranked together; None where none was fitted."""
        return None if self.forms is None else self.forms.everything

    @property
    def fits(self) -> dict[str, Fit]:
        """Word -> fit of each form to all runs; empty where none was fitted."""
        return {} if self.choice is None else {form_of(one.law): one.fit for one in self.choice.candidates}

    def loss(self, N: ArrayLike, D: ArrayLike, U: ArrayLike, level: float = 0.95, *, new_run: bool = False) -> Band:
        """Loss of models of size N (in `size`) that see D images of which U are different; arrays broadcast.

        Where neither back-test nor residuals tell the two forms apart it is their weighted mean, and the interval holds
        what they differ by.

        Raises:
            UserError: where no law was fitted.
        """
        return self._chosen().predict(level, new_run=new_run, N=N, D=D, U=U)

    def worth(self, N: float, D: float, U: float, level: float = 0.95) -> Worth:
        """What twice the unique images would buy at the same compute: the same size and as many images seen.

        The interval holds those of all forms that neither the back-test nor residuals reject, with R_N held and free
        where the runs do not tell it, and 0 where images that never wear out predict as well. A form that only the
        residuals reject is named beside them.

        Raises:
            UserError: where no law was fitted, or a number is not positive and finite.
        """
        self._chosen()
        assert self.forms is not None
        used = self.forms.standing
        at = {"N": float(N), "D": float(D), "U": float(U)}
        repeated = D > U * (1 + _HAIR)
        found = tuple(self._gain(one, level if repeated else None, at) for one in used)
        mid = float(sum(one.weight * gain.log_gain for one, gain in zip(used, found, strict=True)))
        low, high = _widest([(gain.low, gain.high) for gain in found])
        if low is not None and self.forms.fresh_as_good:
            low = min(low, 0.0)
        return Worth(
            at["N"],
            at["D"],
            at["U"],
            float(self.loss(at["N"], at["D"], at["U"]).mid),
            log_gain=mid,
            log_gain_low=low,
            log_gain_high=high,
            beyond=self.beyond(N, D, U),
            forms=found,
            left_out=tuple(self._gain(one, None, at) for one in self.forms.only_residuals_reject),
        )

    def _gain(self, one: Candidate, level: float | None, at: dict[str, float]) -> FormGain:
        """By one form; its interval open without a level."""
        assert self.forms is not None
        gain = float(one.fit.estimate("log_gain", **at))
        if level is None:
            return FormGain(form_of(one.law), gain, None, None)
        ends = []
        for found in self.forms.fits_of(one):
            low, high = found.interval("log_gain", level, **at)
            # by either form no unique image harms: an open lower end is at 0
            ends.append((0.0 if low is None and high is not None else low, high))
        return FormGain(form_of(one.law), gain, *_widest(ends))

    def beyond(self, N: float, D: float, U: float) -> tuple[str, ...]:
        """Sentences on how far a run would lie beyond the runs in passes, in unique images and in size."""
        found = []
        used = self._chosen().best
        passes, largest = D / U, self.training_sets[-1]
        if self.most_epochs is not None and passes > self.most_epochs * (1 + _HAIR):
            found.append(f"{passes:.3g} epochs are {passes / self.most_epochs:.3g} times the most of any run.")
        if largest * (1 + _HAIR) < U:
            found.append(f"{U:.3g} unique images are {U / largest:.3g} times the largest training set of the runs.")
        if (top := float(used.data["N"].max())) * (1 + _HAIR) < N:
            found.append(f"{N:.3g} {self.size} are {N / top:.3g} times the largest model of the runs.")
        return tuple(found)

    def _ranked(self) -> list[Candidate]:
        """Both forms, then the law that counts repeats as fresh; empty where none was fitted."""
        if self.choice is None or self.everything is None:
            return []
        return [*self.choice.candidates, *(one for one in self.everything.candidates if form_of(one.law) == FRESH)]

    def _chosen(self) -> Choice:
        if self.choice is None:
            raise UserError(
                f"repetition: {self.status}; train on two training-set sizes at least {ENOUGH_APART:g}x apart"
            )
        return self.choice

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "status": self.status,
            "form": self.form,
            "note": self.note,
            "training_sets": list(self.training_sets),
            "most_epochs": self.most_epochs,
            "fit": None if self.form is None else self.fits[self.form].to_dict(data=False),
            "back_test": [
                {
                    "law": form_of(one.law),
                    "rms": one.rms,
                    "bias": one.bias,
                    "verdict": one.verdict,
                    "weight": one.weight,
                    "hold_outs": [{"by": held.cost, "n": held.n, "rms": held.rms} for held in one.hold_outs],
                }
                for one in self._ranked()
            ],
        }

    def __str__(self) -> str:
        if self.form is None:
            return f"repeated images: {self.status}" + (f"; {self.note}" if self.note else "")
        scores = ", ".join(f"{form_of(one.law)} {one.rms:.4f} ({one.verdict})" for one in self._ranked())
        lines = [
            f"repeated images: {self.form}, {self.fits[self.form].law.equation}; status: {self.status}",
            f"  back-test, rms of ln loss on the dearest runs and the largest training sets: {scores}",
        ]
        return "\n".join(lines + ([f"  {self.note}"] if self.note else []))


def repetition(best: RunTable) -> Repetition:
    """Fits both forms of repetition to the runs and chooses by back-test, where the runs can tell.

    Repetition cannot be told from one training-set size: there U is constant, and the loss of a second pass is the loss
    of more images. So two sizes at least 4x apart are asked for, and runs that repeat.

    Args:
        best: all runs, or the best over learning rates, with sizes, images seen and unique images.

    Raises:
        UserError: when fewer than three runs are finished, or the table has no size, images or loss.
    """
    best = best_of(best)
    size, size_name = best.variable("N")
    images, _ = best.variable("D")
    loss, _ = best.variable("L")
    unique = best.unique_images.astype(float) if best.has("unique_images") else np.full(len(best), np.nan)
    known = np.isfinite(unique) & np.isfinite(images) & np.isfinite(size) & np.isfinite(loss)
    notes = [f"{len(best) - known.sum()} of {len(best)} runs of unknown training-set size left out"] * (not known.all())
    N, D, U, L = (column[known] for column in (size, images, unique, loss))
    sets = tuple(np.unique(U).tolist())
    most = float((D / U).max()) if len(U) else None
    if why := _unidentified(D, U, sets):
        return _nothing(why, notes, size_name, sets, most)
    try:
        found = forms(N, D, U, L, chance_loss(best))
    except UserError as error:
        return _nothing(str(error), notes, size_name, sets, most)
    notes += found.notes()
    form = form_of(found.choice.candidates[0].law)
    return Repetition(_status(found), form, found, "; ".join(notes), size_name, sets, most)


def _status(found: Forms) -> Status:
    """Of the parameters that say what repetition does."""
    chosen = found.choice.best
    if chosen.status in ("failed", "dead_term"):
        return chosen.status
    asked = FORMS[form_of(chosen.law)]
    if not found.told or set(asked) & set(chosen.unidentified):
        return "not_identified"
    return "at_bound" if any(chosen.params[name] == 0 for name in asked) else "converged"


def _unidentified(images: Array, unique: Array, sets: Sequence[float]) -> str | None:
    """Why no law of repetition can be fitted; None where one can."""
    if not len(sets):
        return "unknown training-set size"
    if len(sets) == 1:
        return "one training-set size"
    if sets[-1] < ENOUGH_APART * sets[0] * (1 - _HAIR):
        return f"training-set sizes within a factor {sets[-1] / sets[0]:.3g}, {ENOUGH_APART:g} is needed"
    if not (images > unique * (1 + _HAIR)).any():
        return "no run repeats its images"
    return None


def _nothing(why: str, notes: list[str], size: str, sets: tuple[float, ...], most: float | None) -> Repetition:
    return Repetition(f"not_identified: {why}", None, None, "; ".join(notes), size, sets, most)


def _widest(ends: Sequence[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    """The interval that holds all of them; an end is open where one of theirs is."""
    lows, highs = zip(*ends, strict=True)
    return None if None in lows else min(lows), None if None in highs else max(highs)
