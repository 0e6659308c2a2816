"""Plans with so many unique images: losses by the law of repetition where the runs tell it, and what more would buy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.fitting import Fit
from scalelaw.frontiers import frontier
from scalelaw.frontiers.columns import Basis
from scalelaw.frontiers.repeated_images import Repetition, repetition
from scalelaw.frontiers.single_pass import OnePass
from scalelaw.frontiers.worth import Worth
from scalelaw.plan.caveats import Caveat
from scalelaw.plan.ground import Ground
from scalelaw.plan.interval import LossInterval, Part
from scalelaw.plan.models import Candidate
from scalelaw.plan.neighbours import Neighbour, ratios

Array = NDArray[np.float64]

UNUSABLE = "failed", "dead_term"
"""Statuses of a law of repetition on which no plan is made."""
SAME = 0.01
"""Lengths of one model that differ by less than this share are the same run."""
SHORTEST, LENGTHS = 1 / 64, 97
"""Where loss may rise with epochs: the shortest run that is considered, as a share of the budget, and how many."""


@dataclass(frozen=True)
class Anew:
    """The best run at the same budget with twice the unique images: another model, or another length.

    Attributes:
        variant: its model.
        images: it sees.
        epochs: over twice the unique images.
        loss: expected.
        difference: its expected loss less the plan's.
        low, high: 95 % interval of that difference, over the forms that nothing rejects; None when open
            or unknown.
    """

    variant: str
    images: float
    epochs: float
    loss: float
    difference: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return dict(vars(self))

    def __str__(self) -> str:
        low, high = ("open" if end is None else f"{end:+.4f}" for end in (self.low, self.high))
        return (
            f"{self.loss:.4f}: {self.difference:+.4f} ({low} to {high}), {self.variant}, {self.epochs:.3g} epochs of "
            "twice the images at the same budget"
        )


@dataclass(frozen=True)
class Repeats:
    """What so many unique images mean for a plan.

    Attributes:
        unique_images: that are available.
        law: of repetition; None where none can be fitted and repeated images count as fresh.
        status: of the law's parameters of repetition, or why there is none.
        worth: what twice as many would buy the plan; None without a law.
        anew: what they would buy a plan made for them; None without a law, or where that is the same run.
        one_pass: the budget at which the best length is one pass over them; None where that is unknown.
    """

    unique_images: float
    law: Repetition | None = field(repr=False)
    status: str
    worth: Worth | None = None
    anew: Anew | None = None
    one_pass: OnePass | None = None

    @property
    def fit(self) -> Fit | None:
        """The law's, of the form that the back-test puts first."""
        return None if self.law is None or self.law.choice is None else self.law.choice.best

    @property
    def weighed(self) -> tuple[tuple[Fit, float], ...]:
        """The fits of the forms that count, with their weights; two where nothing tells the forms apart."""
        if self.law is None or self.law.choice is None:
            return ()
        return tuple((one.fit, one.weight) for one in self.law.choice.candidates if one.weight > 0)

    def loss(self, macs: Array, images: Array) -> Array:
        """Expected loss at sizes and images seen (arrays broadcast): as the law's own, without its interval."""
        logs = []
        for fit, weight in self.weighed:
            x, shape = fit.centred({"N": macs, "D": images, "U": self.unique_images})
            logs.append(weight * np.log(fit.mean(x)).reshape(shape))
        return np.asarray(np.exp(np.sum(logs, axis=0)))

    def best_length(self, macs: Array, most: Array) -> tuple[Array, Array]:
        """(models,) images of at most `most` of lowest loss, and that loss: fewer where more epochs only harm."""
        shares = np.geomspace(1.0, SHORTEST, LENGTHS)
        images = most[:, None] * shares
        loss = self.loss(macs[:, None], images)
        at = np.argmin(loss, axis=1)
        rows = np.arange(len(macs))
        return images[rows, at], loss[rows, at]

    def interval(self, base: LossInterval, macs: float, images: float) -> LossInterval:
        """`base`, by the first form alone, with the loss and the parameters' part of the law where it weighs both."""
        if self.law is None or len(self.weighed) < 2:
            return base
        band = self.law.loss(macs, images, self.unique_images)
        loss, low, high = float(band.mid), band.low, band.high
        if low is None or high is None or not (float(low) > 0 and np.isfinite(float(high))):
            return replace(base, loss=loss, parameters=None)
        below, above = float(np.log(loss / float(low))), float(np.log(float(high) / loss))
        basis = base.parameters.basis if base.parameters is not None else "the law of repetition"
        return replace(base, loss=loss, parameters=Part(below, above, basis))

    def among(self, neighbours: tuple[Neighbour, ...], macs: dict[str, float], loss: float) -> tuple[Neighbour, ...]:
        """Neighbours by the first form; where the law weighs both, with its losses, and without intervals."""
        if len(self.weighed) < 2:
            return neighbours
        found = []
        for one in neighbours:
            theirs = float(self.loss(np.array(macs[one.variant]), np.array(one.images)))
            found.append(replace(one, loss=theirs, difference=theirs - loss, low=None, high=None))
        return tuple(found)

    def at(self, options: Sequence[Candidate], most: Array, chosen: int, images: float) -> Repeats:
        """With what twice the images would buy a plan, and one that is made for them.

        Args:
            options: the models to choose from.
            most: (models,) images that the budget buys each.
            chosen: place of the plan's model.
            images: that it sees.
        """
        if self.law is None:
            return self
        worth = self.law.worth(options[chosen].macs_per_image, images, self.unique_images)
        return replace(self, worth=worth, anew=self._anew(self.law, options, most, chosen, images))

    def _anew(
        self, law: Repetition, options: Sequence[Candidate], most: Array, chosen: int, images: float
    ) -> Anew | None:
        if law.forms is None or images <= self.unique_images:
            return None
        macs = np.array([option.macs_per_image for option in options])
        twice = replace(self, unique_images=2 * self.unique_images)
        lengths, losses = twice.best_length(macs, most)
        best = int(np.argmin(losses))
        if best == chosen and abs(np.log(lengths[best] / images)) < SAME:
            return None
        loss = float(self.loss(macs[[chosen]], np.array([images]))[0])
        pair = {"N": macs[[chosen, best]], "D": np.array([images, lengths[best]])}
        pair["U"] = np.array([self.unique_images, twice.unique_images])
        fits = [fit for one in law.forms.standing for fit in law.forms.fits_of(one)]
        ends = np.array([ratios(fit, fit.centred(pair)[0]) for fit in fits])[:, :, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            low, high = loss * np.expm1(ends[:, 0].min()), loss * np.expm1(ends[:, 1].max())
        return Anew(
            options[best].variant,
            float(round(lengths[best])),
            float(lengths[best] / twice.unique_images),
            float(losses[best]),
            float(losses[best] - loss),
            float(low) if np.isfinite(ends[:, 0]).all() else None,
            float(high) if np.isfinite(ends[:, 1]).all() else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "unique_images": self.unique_images,
            "status": self.status,
            "form": None if self.law is None else self.law.form,
            "worth": None if self.worth is None else self.worth.to_dict(),
            "planned_anew": None if self.anew is None else self.anew.to_dict(),
            "one_pass": None if self.one_pass is None else self.one_pass.to_dict(),
        }

    def rows(self) -> list[tuple[str, str]]:
        """For a person."""
        form = "counted as fresh" if self.law is None else f"law {self.law.form}"
        found = [("repeated images", f"{self.unique_images:,.0f} unique; {form}; status: {self.status}")]
        if self.worth is not None:
            found.append(("twice as many", str(self.worth)))
        if self.anew is not None:
            found.append(("planned for them", str(self.anew)))
        if self.one_pass is not None:
            found.append(("one pass", str(self.one_pass)))
        return found


def repeats(ground: Ground, unique_images: float) -> tuple[Repeats, list[Caveat]]:
    """What the runs say of so many unique images, and what must be said of it.

    Raises:
        UserError: for a number that is not positive and finite, or whole.
    """
    number = isinstance(unique_images, (int, float)) and not isinstance(unique_images, bool)
    if not number or not 0 < unique_images < float("inf") or unique_images != int(unique_images):
        raise UserError(f"unique images = {unique_images!r} must be a positive, whole number")
    single = _one_pass(ground, unique_images)
    try:
        law = repetition(ground.best)
        why = law.status
    except UserError as error:
        law, why = None, str(error)
    if law is not None and law.forms is not None and law.size == "macs_per_image" and why not in UNUSABLE:
        name = "repetition not identified" if why == "not_identified" else "forms of repetition"
        said = [Caveat(name, f"{law.note}.")] if law.note else []
        return Repeats(float(unique_images), law, why, one_pass=single), said
    rest = "repeated images are counted as fresh, and what more unique ones would buy is not said"
    caveat = Caveat("repetition not identified", f"{why.removeprefix('not_identified: ')}; {rest}.")
    return Repeats(float(unique_images), None, why, one_pass=single), [caveat]


def _one_pass(ground: Ground, unique_images: float) -> OnePass | None:
    """In core-hours where they rest on one basis, else in FLOP; None without a frontier."""
    bases: tuple[Basis | None, ...] = (None, "train_flop")
    for basis in bases:
        try:
            return frontier(ground.best, basis=basis).one_pass(unique_images)
        except UserError:
            continue
    return None
