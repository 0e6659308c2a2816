"""What must be said of a plan: where it leaves its runs, and where other readings of them disagree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scalelaw.errors import UserError
from scalelaw.frontiers.columns import best_of, columns_of, one_training_set
from scalelaw.frontiers.equal_compute import TOLERANCE
from scalelaw.frontiers.minima import exact_trends, minima
from scalelaw.frontiers.surface import fit_surface
from scalelaw.plan.budget import extrapolation
from scalelaw.plan.caveats import Caveat
from scalelaw.plan.design.forms import NAMES
from scalelaw.plan.ground import Ground
from scalelaw.plan.interval import LossInterval
from scalelaw.plan.models import Candidate
from scalelaw.plan.other_forms import OtherForms
from scalelaw.plan.repeats import Repeats

ONE_SIDED = 3
"""So many roll-outs that all miss to one side, by more than a run's own spread on average, are called leaning."""
DEARER = 1.05
"""Steps of so many times the FLOP are dearer: counts of multiply-adds differ by less (padded edges)."""
HAIR = 1.001
"""Beyond by more than this factor is beyond: lengths are rounded to whole images."""


def about_distance(factor: float, far: bool) -> list[Caveat]:
    """What is said of a budget so many times the largest run.

    Raises:
        UserError: beyond 100 times, unless `far`.
    """
    form = "the interval supposes that the form's error grows as it did so far"
    return [Caveat(*said.split(": ", 1)) for said in extrapolation(factor, "the budget", far=far, holds=form)]


def about_interval(interval: LossInterval, quantity: str = "loss") -> list[Caveat]:
    """Parts that are unknown or assumed, and roll-outs that miss to one side."""
    found = []
    if unknown := [name for name, part in interval.parts.items() if part is None]:
        found.append(Caveat("interval unknown", f"these runs do not give its part of {' and '.join(unknown)}."))
    form, spread = interval.form_error, interval.spread
    if form is None or spread is None:
        return found
    if not form.roll_outs:
        found.append(Caveat("no roll-outs", "too few cheap runs to fit surfaces that predict the dearer ones."))
    elif form.bias is not None and form.one_sided and form.roll_outs >= ONE_SIDED and abs(form.bias) > spread.seeds:
        side = f"{quantity} {'above' if form.bias > 0 else 'below'}"
        found.append(
            Caveat("roll-outs lean", f"all {form.roll_outs} surfaces fitted to cheaper runs put the dearer ones' "
                                     f"{side} what was measured, by {100 * abs(np.expm1(form.bias)):.0f} % on average.")
        )  # fmt: skip
    return found


def about_other_forms(interval: LossInterval, others: OtherForms | None) -> list[Caveat]:
    """Says when the surface and the mean over forms expect losses that the other's interval does not hold."""
    if others is None:
        return []
    outside = not others.low <= interval.loss <= others.high
    if interval.low is not None and interval.high is not None:
        outside = outside or not interval.low <= others.loss <= interval.high
    if not outside:
        return []
    name = others.likeliest
    likeliest = f"{name} is likeliest ({100 * others.weights[name]:.0f} %)"
    favoured = f"of the forms {likeliest}" if name == NAMES[0] else f"the runs favour another form: {likeliest}"
    return [
        Caveat("other forms disagree", f"the mean over forms of the surface is {others.loss:.4f}, the fitted form's "
                                       f"loss {interval.loss:.4f}; {favoured}.")
    ]  # fmt: skip


def about_ranges(ground: Ground, chosen: Candidate, seen: float) -> list[Caveat]:
    """Where the plan leaves the range of the runs, or the range of what can be built."""
    found = []
    macs, images = ground.macs, ground.images
    if chosen.macs_per_image > HAIR * macs.max() or chosen.macs_per_image < 0.999 * macs.min():
        found.append(Caveat("outside the sizes", f"{chosen.variant} is outside the sizes of the runs."))
    if seen > HAIR * images.max():
        found.append(Caveat("longer than any run", f"{seen:.3g} images are {seen / images.max():.3g} times the longest "
                                                   "run's."))  # fmt: skip
    if seen < images.min() / HAIR:
        found.append(Caveat("shorter than any run", f"{seen:.3g} images are {seen / images.min():.3g} times the "
                                                    "shortest run's."))  # fmt: skip
    sizes = [option.macs_per_image for option in ground.options]
    for word, better, end in (("largest", "larger", max(sizes)), ("smallest", "smaller", min(sizes))):
        if len(sizes) > 1 and chosen.macs_per_image == end:
            found.append(Caveat("edge of the candidates", f"{chosen.variant} is the {word} model to choose from: a "
                                                          f"{better} one might be better."))  # fmt: skip
    return found


def about_steps(ground: Ground) -> list[Caveat]:
    """Says when the runs' steps cost more than a plain one, as sharpness-aware steps do: a plan counts plain ones."""
    if not ground.best.has("train_flop"):
        return []
    over = float(np.nanmedian(ground.best.train_flop.astype(float) / ground.flop))
    if not over > DEARER:
        return []
    return [
        Caveat("dearer steps", f"a step of the runs costs {over:.3g} times a plain one, as sharpness-aware steps do. "
                               "Core-hours are as they were in the runs; FLOP, and what is reckoned from a hardware's "
                               "peak, are those of plain steps.")
    ]  # fmt: skip


def about_disagreement(ground: Ground, chosen: Candidate, flop: float) -> list[Caveat]:
    """Says when equal compute, which assumes no surface, puts the best size elsewhere."""
    notes: list[str] = []
    try:
        best = one_training_set(best_of(ground.best), notes)
        columns = columns_of(best, "train_flop", notes)
        surface = ground.surface
        if len(best) < len(ground.best):  # the basins' shape is then that of fewer runs
            surface = fit_surface(columns.size, columns.data, columns.loss, "best", ground.chance)
    except UserError:
        return []
    trend = exact_trends(columns, minima(columns, surface, TOLERANCE, notes).exact, surface, notes)["size"]
    band = trend.predict(flop)
    if trend.status != "converged" or band.low is None or band.high is None:
        return []
    low, high = float(band.low), float(band.high)
    # variants are up to a factor of about two apart, so the nearest one may lie a little outside
    if low / 1.5 <= chosen.macs_per_image <= 1.5 * high:
        return []
    return [
        Caveat("sizes disagree", f"equal-compute minima put the best size at {low:.3g} to {high:.3g} multiply-adds per "
                                 f"image, the surface chose {chosen.macs_per_image:.3g}.")
    ]  # fmt: skip


def about_epochs(ground: Ground, seen: float) -> list[Caveat]:
    """What epochs refer to, and whether repeats are counted as fresh beyond what was tried: without a law of them."""
    unique = ground.unique_images
    if unique is None:
        return [Caveat("epochs unknown", "the runs do not say how many different images they were trained on.")]
    found = []
    sizes = ground.best.frame["unique_images"].dropna().nunique()
    if sizes > 1:
        sentence = f"the runs have {sizes} sizes of training set; epochs refer to the largest."
        found.append(Caveat("training sets differ", sentence))
    epochs, tried = seen / unique, ground.images.max() / unique
    return found + _beyond_tried(epochs, tried)


def about_repeats(ground: Ground, given: Repeats, macs: float, seen: float) -> list[Caveat]:
    """How far so many passes over the images that are there lie beyond the runs."""
    if given.law is not None:
        return [Caveat("repeated images", said) for said in given.law.beyond(macs, seen, given.unique_images)]
    return _beyond_tried(seen / given.unique_images, ground.most_epochs or 1.0)


def _beyond_tried(epochs: float, tried: float) -> list[Caveat]:
    if epochs <= max(1.0, tried) * HAIR:
        return []
    return [
        Caveat("repeated images", f"{epochs:.3g} epochs, which the surface takes for as many fresh images; the "
                                  f"longest run had {tried:.3g}.")
    ]  # fmt: skip


def about_spending(images: float, most: float, epochs: Sequence[float]) -> list[Caveat]:
    """Says when the best run is shorter than the budget buys: more epochs would raise the loss."""
    if images > most / HAIR:
        return []
    return [
        Caveat("budget not spent", f"{images / most:.0%} of the budget is best: beyond {epochs[0]:.3g} epochs the loss "
                                   f"rises, up to the {epochs[1]:.3g} that it buys.")
    ]  # fmt: skip
