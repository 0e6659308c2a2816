"""predict(runs, budget): the best model, its epochs and learning rate at a budget, and the loss to expect there.

`predict_for` is its inverse: it asks for the budget that a loss takes, and plans with that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.plan.budget import REFUSE_BEYOND, Target, flop_per_core_hour, target_flop
from scalelaw.plan.caveats import Caveat, gravest_first
from scalelaw.plan.ground import Ground
from scalelaw.plan.interval import loss_interval
from scalelaw.plan.inverse import Needed, compute_for
from scalelaw.plan.lifetime import lifetime
from scalelaw.plan.machines import Machines, cost_on, machines_for
from scalelaw.plan.neighbours import neighbours
from scalelaw.plan.other_forms import OtherForms, other_forms
from scalelaw.plan.rates import planned_rate
from scalelaw.plan.recipe import Recipe, recipe_of
from scalelaw.plan.remarks import (
    about_disagreement,
    about_distance,
    about_epochs,
    about_interval,
    about_other_forms,
    about_ranges,
    about_repeats,
    about_spending,
    about_steps,
)
from scalelaw.plan.repeats import Repeats, repeats
from scalelaw.plan.result import Plan, PlanStatus, Surface
from scalelaw.runs import RunTable

Array = NDArray[np.float64]


def predict(
    runs: RunTable,
    budget: compute.Budget,
    *,
    on: Machines | None = None,
    inference_images: float | None = None,
    unique_images: float | None = None,
    monotone: bool = False,
    far: bool = False,
) -> Plan:
    """The plan for a budget.

    The loss surface in multiply-adds and images is fitted to the best runs over learning rates; every buildable model
    gets the images that the budget buys at its own cost, and the one of lowest expected loss is chosen.

    Args:
        runs: all runs of a sweep (the learning-rate trend needs more than the best).
        budget: core-hours, FLOP, a multiple of the largest finished run, device-hours or dollars.
        on: hardware to say time, memory and dollars for; that of a budget in its hours unless given.
        inference_images: images that the model will be asked about: says which model costs least over its life.
        unique_images: that are available: epochs then refer to them, and where the runs tell what repeated images are
            worth, losses are those of that law, and the plan says what twice as many would buy.
        monotone: holds the learning rate's trend to rates that never rise with size or epochs.
        far: allow budgets more than 100 times the largest finished run.

    Raises:
        UserError: when columns are missing, no surface can be fitted, the budget is too far beyond the data or
            pays no image, or `inference_images` and `unique_images` are asked for at once.
    """
    if inference_images is not None and unique_images is not None:
        raise UserError("predict: what use costs is worked out for fresh images; leave inference or unique images out")
    machines = machines_for(budget, on)
    return plan_on(
        Ground.of(runs),
        budget,
        machines=machines,
        inference_images=inference_images,
        unique_images=unique_images,
        monotone=monotone,
        far=far,
    )


def predict_for(
    runs: RunTable,
    loss: float,
    *,
    on: Machines | None = None,
    inference_images: float | None = None,
    monotone: bool = False,
    far: bool = False,
) -> tuple[Needed, Plan | None]:
    """The least compute at which a model reaches a loss, and the plan there; None where none reaches it,
    or guessing does.

    Args:
        runs: all runs of a sweep.
        loss: held-out loss to reach, by the mean of runs like the plan's.
        on, inference_images, monotone, far: as `predict` takes them.

    Raises:
        UserError: as `predict`; for a loss that is not positive and finite.
    """
    ground = Ground.of(runs)
    needed = compute_for(
        ground.surface,
        loss,
        ground.options,
        flop_per_core_hour=flop_per_core_hour(ground.best),
        draws=ground.draws,
        far=far,
    )
    if not needed.train_flop:  # nothing that can be trained reaches it, or nothing need be trained
        return needed, None
    plan = plan_on(
        ground,
        compute.Budget(flop=needed.train_flop),
        machines=on,
        inference_images=inference_images,
        unique_images=None,
        monotone=monotone,
        far=far,
    )
    return needed, replace(plan, needed=needed)


def plan_on(
    ground: Ground,
    budget: compute.Budget,
    *,
    machines: Machines | None,
    inference_images: float | None = None,
    unique_images: float | None = None,
    monotone: bool,
    far: bool,
    target: Target | None = None,
) -> Plan:
    """The plan for a budget on what a table gives; of errors, where the ground is of errors.

    Args:
        ground: what the plan stands on.
        budget, machines, inference_images, unique_images, monotone, far: as `predict` takes them.
        target: what the budget buys, where other runs than the ground's say so.

    Raises:
        UserError: as `predict`.
    """
    target = target_flop(ground.best, budget) if target is None else target
    caveats = about_distance(target.factor, far)
    caveats += [Caveat("budget converted", sentence) for sentence in target.sentences]
    given: Repeats | None = None
    if unique_images is not None:
        given, said = repeats(ground, unique_images)
        caveats += said
    told = given is not None and given.law is not None
    surface = given.fit if given is not None and given.fit is not None else ground.surface
    caveats += [Caveat(f"{ground.quantity} surface", str(warning)) for warning in surface.warnings]
    if surface.status == "failed":
        caveats.append(Caveat("no certified optimum", "take nothing here as a prediction."))
    caveats += [Caveat("sizes not built", remark) for remark in ground.remarks]
    caveats += about_steps(ground)
    if ground.tuned:
        caveats.append(Caveat("fine-tuned runs left out", f"{ground.tuned} runs name a parent and play no part."))

    options = ground.options
    macs = np.array([option.macs_per_image for option in options])
    most = target.flop / (6.0 * macs)
    images, losses = given.best_length(macs, most) if given is not None and told else (most, _mean(ground, macs, most))
    order = np.argsort(losses, kind="stable")
    chosen, seen = options[order[0]], float(images[order[0]])
    if seen < 1:
        raise UserError(
            f"predict: {target.flop:.3g} FLOP pay less than one image of {chosen.variant}, the best model for them; "
            "ask for more"
        )
    if given is not None:
        given = given.at(options, most, int(order[0]), seen)
    unique = ground.unique_images if given is None else given.unique_images
    epochs = None if unique is None else seen / unique

    cost = ground.flop if not told else 6.0 * surface.data["N"] * surface.data["D"]
    interval = loss_interval(surface, ground.done, cost, chosen.macs_per_image, seen, target.factor, unique)
    near = neighbours(surface, options, chosen, seen, unique)
    if given is not None and told:
        interval = given.interval(interval, chosen.macs_per_image, seen)
        near = given.among(near, {option.variant: option.macs_per_image for option in options}, interval.loss)
    caveats += about_interval(interval, ground.quantity)
    others: OtherForms | None = None
    if ground.quantity == "loss" and not told:
        others = other_forms(ground, interval.spread, chosen.macs_per_image, seen)
        caveats += about_other_forms(interval, others)
    caveats += about_ranges(ground, chosen, seen)
    if given is None:
        caveats += about_epochs(ground, seen)
    else:
        buys = float(most[order[0]])
        caveats += about_repeats(ground, given, chosen.macs_per_image, seen)
        caveats += about_spending(seen, buys, (seen / given.unique_images, buys / given.unique_images))
    if not told:
        caveats += about_disagreement(ground, chosen, target.flop)

    own = ground.unique_images  # the rate's trend is in passes over the runs' own images
    passes = None if own is None else seen / own
    rate, about_rate = planned_rate(ground.runs, chosen, seen, passes, ground.batch_size, monotone=monotone)
    recipe, about_recipe = recipe_of(ground.done, own, ground.batch_size)
    if given is not None and recipe.data:
        recipe = _with_images(recipe, given.unique_images)
    spent = None
    if machines is not None:
        spent, about_cost = cost_on(machines, ground, budget, 6.0 * chosen.macs_per_image * seen, chosen)
        caveats += about_cost
    used = None
    if inference_images is not None:
        used = lifetime(ground.surface, target.flop, options, inference_images, draws=ground.draws)
    status: PlanStatus = surface.status if given is None or given.status != "not_identified" else "not_identified"
    if target.factor > REFUSE_BEYOND:
        status = "far_extrapolation"
    return Plan(
        variant=chosen.variant,
        params=chosen.params,
        macs_per_image=chosen.macs_per_image,
        epochs=epochs,
        images=float(round(seen)),
        batch_size=ground.batch_size,
        rate=rate,
        core_hours=target.core_hours,
        train_flop=target.flop,
        interval=interval,
        extrapolation_factor=target.factor,
        status=status,
        caveats=gravest_first([*caveats, *about_rate, *about_recipe]),
        surface=Surface.of(surface),
        neighbours=near,
        alternatives=tuple((options[i].variant, float(losses[i])) for i in order[1:3]),
        recipe=recipe,
        source=ground.runs.source,
        cost=spent,
        lifetime=used,
        repeats=given,
        quantity=ground.quantity,
        other_forms=others,
    )


def _mean(ground: Ground, macs: Array, images: Array) -> Array:
    """Expected losses, at dead terms too, where the law's own numbers are NaN; without intervals, which take long."""
    return ground.surface.mean(ground.surface.centred({"N": macs, "D": images})[0])


def _with_images(recipe: Recipe, unique_images: float) -> Recipe:
    return replace(recipe, data={**recipe.data, "train_images": int(unique_images)})
