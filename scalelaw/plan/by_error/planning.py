"""predict_by_error(runs, budget): the pre-training of lowest top-1 error at a budget, beside that of lowest loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.plan.budget import largest_flop, target_flop
from scalelaw.plan.by_error.choice import gain, resampled, size_ratio
from scalelaw.plan.by_error.errors import Errors, errors_of
from scalelaw.plan.by_error.result import ErrorPlan
from scalelaw.plan.caveats import Caveat, gravest_first
from scalelaw.plan.ground import Ground
from scalelaw.plan.interval import LossInterval, loss_interval
from scalelaw.plan.machines import Machines, machines_for
from scalelaw.plan.planning import plan_on
from scalelaw.plan.remarks import HAIR
from scalelaw.plan.result import Plan
from scalelaw.runs import RunTable

FEWEST_STARTS, FEWEST_VALUES = 8, 3
"""A surface of errors is fitted to so many sizes and lengths at least, of so many different ones each."""


def predict_by_error(
    runs: RunTable,
    budget: compute.Budget,
    *,
    on: Machines | None = None,
    monotone: bool = False,
    far: bool = False,
    seed: int = 0,
) -> ErrorPlan:
    """The plan of lowest top-1 error at a budget of pre-training, and what choosing by loss would have given.

    E + A N^-alpha + B D^-beta is fitted to the errors after fine-tuning, each pre-training run at its best fine-tuning
    settings and each size and length at its best pre-training rate, as it is to the losses; both surfaces choose among
    the models that can be built, each with the images that the budget buys. Where no run was fine-tuned the errors are
    those of the pre-training runs on their own held-out images.

    Assumes that fine-tuning was searched alike for all starts and is the same for the planned run, and that errors
    follow the form that losses do, levelling off at the error of guessing as sharply where that shows.

    Args:
        runs: pre-training runs, and fine-tuned ones that name them as parents.
        budget: of pre-training alone.
        on: hardware to say time, memory and dollars of pre-training for.
        monotone, far: as `predict` takes them.
        seed: of the resampling.

    Raises:
        UserError: when errors or the parents' rows are nowhere, runs are too few for a surface of errors, or the budget
            is too far beyond them.
    """
    found = errors_of(runs)
    losses, errors = Ground.of(found.losses), _ground(found)
    target = target_flop(losses.best, budget)
    machines = machines_for(budget, on)
    reach = replace(target, factor=target.flop / largest_flop(errors.best))
    by_error = plan_on(errors, budget, machines=machines, monotone=monotone, far=far, target=reach)
    by_loss = plan_on(losses, budget, machines=None, monotone=monotone, far=True, target=target)
    draws = resampled(losses, errors, seed)
    gained = gain(draws, errors, _design(by_error), _design(by_loss))
    caveats = [*by_error.caveats, *_about(found, losses, errors, by_loss)]
    return ErrorPlan(
        plan=replace(by_error, caveats=gravest_first(caveats)),
        loss=_at(losses, by_error, target.factor),
        by_loss=by_loss,
        error_by_loss=_at(errors, by_loss, reach.factor),
        gain=gained,
        size=size_ratio(draws, losses, errors, target.flop),
        tuning=found.tuning,
    )


def _ground(found: Errors) -> Ground:
    """The surface of errors.

    Raises:
        UserError: with too few sizes or lengths.
    """
    best = found.errors.best_over("peak_lr") if found.errors.has("peak_lr") else found.errors
    what = "were fine-tuned" if found.tuning else "have a top1_error"
    if len(best) and best.has("macs_per_image"):
        values = [len(np.unique(best.column(name).astype(float))) for name in ("macs_per_image", "images_seen")]
        if len(best) < FEWEST_STARTS or min(values) < FEWEST_VALUES:
            raise UserError(
                f"{found.losses.source}: {len(best)} pre-training runs {what}, rates and seeds aside, of {values[0]} "
                f"sizes and {values[1]} lengths; a surface of errors needs {FEWEST_STARTS}, of {FEWEST_VALUES} sizes "
                f"and {FEWEST_VALUES} lengths"
            )
    return Ground.of_errors(found.errors, found.chance)


def _design(plan: Plan) -> tuple[float, float]:
    return plan.macs_per_image, plan.train_flop / (6.0 * plan.macs_per_image)


def _at(ground: Ground, plan: Plan, factor: float) -> LossInterval:
    """What one surface says of the other's choice."""
    return loss_interval(ground.surface, ground.done, ground.flop, *_design(plan), factor)


def _about(found: Errors, losses: Ground, errors: Ground, by_loss: Plan) -> list[Caveat]:
    """What must be said beside the plan's own caveats."""
    said = [Caveat("left out", f"{note.removeprefix('left out: ')}.") for note in found.notes]
    share = largest_flop(errors.best) / largest_flop(losses.best)
    if found.tuning is None:
        said.append(Caveat("own errors", "no run was fine-tuned: errors are the runs' own, on their held-out images."))
    elif share < 1 / HAIR:
        said.append(
            Caveat("left out", f"the largest run that was fine-tuned, of which the budget is a multiple here, had "
                               f"{share:.2g} times the compute of the largest.")
        )  # fmt: skip
    return said + [one for one in by_loss.caveats if one.name in ("loss surface", "no certified optimum")]
