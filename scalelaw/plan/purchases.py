"""next_runs(runs, target, spend): the runs that would tell most about a target for their cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.plan.budget import extrapolation, flop_of, flop_per_core_hour, largest_flop
from scalelaw.plan.design import seeds
from scalelaw.plan.design.basis import Basis, basis_of
from scalelaw.plan.design.beside_one_run import BesideOneRun
from scalelaw.plan.design.cells import Cells, cells
from scalelaw.plan.design.estimated import Estimated
from scalelaw.plan.design.exchange import Counts, choose, with_counts
from scalelaw.plan.design.one_run import about_one_run
from scalelaw.plan.design.questions import Questions
from scalelaw.plan.design.recipe import next_sweep, recipes
from scalelaw.plan.design.result import Expected, NextRuns, NextStatus, Purchase
from scalelaw.plan.design.seeds import Seeds
from scalelaw.plan.design.worlds import WANTED, Want
from scalelaw.plan.models import candidates
from scalelaw.runs import RunTable
from scalelaw.text import counted

Array = NDArray[np.float64]

MOST_RUNS = 96
"""Runs bought at once; the results of these say better than today's fit what to buy after them."""
WORTH = 0.02
"""Share by which the expected error must fall, else no run is said to help."""


def next_runs(
    runs: RunTable,
    target: compute.Budget,
    spend: compute.Budget,
    want: Want = "size",
    *,
    most: int = MOST_RUNS,
    far: bool = False,
    seed: int = 0,
) -> NextRuns:
    """The runs that most lower the error of what is asked at a target, within a spend.

    Args:
        runs: all runs of a sweep.
        target: the budget that is asked about.
        spend: what the runs may cost together.
        want: the best size at the target, the lowest loss there, or the exponent of the best size in compute.
        most: at most so many runs.
        far: allow targets more than 100 times the largest finished run.
        seed: of the surfaces that the design is averaged over.

    Raises:
        UserError: for a word or number out of range, missing columns, too few settings, or a target too far out.
    """
    if want not in WANTED:
        raise UserError(f"next_runs: want = {want!r} must be one of {', '.join(WANTED)}")
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise UserError(f"next_runs: most = {most!r} must be a whole number, at least 1")
    known = basis_of(runs, seed)
    per_hour, largest = flop_per_core_hour(known.runs), largest_flop(known.runs)
    (aim, about_aim), (budget, about_spend) = flop_of(known.runs, target, "target"), flop_of(known.runs, spend, "spend")
    warnings = [*extrapolation(aim / largest, "the target", far=far, holds=None), *about_aim, *about_spend]
    warnings += _about_surface(known)
    models, remark = candidates(known.runs)
    unique = _unique(known.runs)
    images = np.exp(known.x[1])
    grid = cells(models, float(images.min()), float(images.max()), unique, budget)
    questions = Questions.of(known, grid, float(np.log(aim / 6)))
    if not questions.sized:
        warnings.append("effects that runs of one size share are unknown: fewer than 3 sizes have 2 lengths.")

    before = {one: questions.information(one) for one in WANTED}
    first = seeds.first(known, budget, most)
    begun = before if first is None else {one: questions.with_seeds(before[one], first) for one in WANTED}
    left = budget if first is None else budget - first.count * first.flop
    told, room = begun[want], most - (0 if first is None else first.count)
    if isinstance(told, Estimated):
        beside = BesideOneRun.of(told.typical(), grid.flop, left)
        chosen = choose(beside, grid.flop, left, room, together=1, wide=True)
    else:
        chosen = choose(told, grid.flop, left, room)
    after = {one: with_counts(begun[one], chosen.counts) for one in WANTED}

    n = known.x.shape[1] - 5
    dof = n, n + int(chosen.counts.sum()) + (0 if first is None else first.count)
    expected = {one: Expected.of(known.estimate(one, aim), before[one], after[one], dof) for one in WANTED}
    status, sentence = _judged(expected[want], want, first, chosen.counts, grid, budget, per_hour)
    purchases: tuple[Purchase, ...] = ()
    if status in ("nothing_helps", "nothing_affordable"):
        expected = {name: one.unchanged() for name, one in expected.items()}
    else:
        if want == "loss":  # whose best purchase may be one run, as anybody would have it
            single = about_one_run(told, grid, chosen.counts, left, most, want)
            sentence += "" if single is None else f"; {single}"
        purchases, notes = recipes(runs, _purchases(known, grid, chosen.counts, first, per_hour, unique))
        warnings += notes
    toml, no_toml, asked = None, None, f"Asked: {want} at {aim:.4g} FLOP, spend {budget:.4g} FLOP."
    try:
        toml, notes = next_sweep(runs, purchases, unique, [sentence, asked])
        warnings += notes
    except UserError as error:
        no_toml = "; ".join(error.messages)
    return NextRuns(
        want=want,
        target_flop=aim,
        spend_flop=budget,
        flop_per_core_hour=per_hour,
        extrapolation_factor=aim / largest,
        runs=purchases,
        expected=expected,
        noise=known.replicates.sd,
        noise_replicates=known.replicates.dof,
        size_effect=float(np.sqrt(np.mean(questions.scales.size**2))) if questions.sized else None,
        status=status,
        sentence=sentence,
        warnings=tuple(dict.fromkeys([*warnings, *remark])),
        toml=toml,
        no_toml=no_toml,
    )


def _about_surface(known: Basis) -> list[str]:
    """What the surface's own fit says, and how much of the choice rests on assumed ones."""
    found = []
    if known.left_out:
        found.append(
            f"left out: {counted(known.left_out, 'finished run')} without a positive, finite size, number of images "
            "and loss."
        )
    if known.assumed:
        found.append(
            f"the runs do not determine a surface: {known.assumed} of {len(known.worlds)} surfaces that the choice is "
            "averaged over are assumed; buy in small steps."
        )
    found += [f"loss surface: {warning}" for warning in known.surface.warnings]
    return found


def _unique(runs: RunTable) -> float | None:
    """Size of the training set, the largest where there are several; None where unknown."""
    return float(runs.frame["unique_images"].dropna().max()) if runs.has("unique_images") else None


def _judged(
    asked: Expected, want: Want, first: Seeds | None, counts: Counts, grid: Cells, budget: float, per_hour: float | None
) -> tuple[NextStatus, str]:
    """The status and its sentence."""
    if first is None and (not len(grid.flop) or grid.flop.min() > budget):
        return "nothing_affordable", "the spend does not pay one run of the smallest model; raise it"
    fall = 1 - asked.after / asked.before
    if first is None and (not counts.any() or fall < WORTH):
        return (
            "nothing_helps",
            f"no affordable run would lower the expected error of the {want} by {100 * WORTH:g} % or more; raise the "
            "spend, or take what is known",
        )
    count = int(counts.sum()) + (0 if first is None else first.count)
    sentence = f"{count} {'run lowers' if count == 1 else 'runs lower'} the expected error of the {want} "
    sentence += f"by {100 * fall:.0f} %, from {asked.before:.3g} to {asked.after:.3g}"
    return ("chosen", sentence) if first is None else ("seeds_first", f"{first.why}; {sentence}")


def _purchases(
    known: Basis, grid: Cells, counts: Counts, first: Seeds | None, per_hour: float | None, unique: float | None
) -> list[Purchase]:
    """Seeds first, then the dearest runs first."""
    found = []
    if first is not None:
        row = known.runs.frame.iloc[first.run]
        macs, images = (float(row[name]) for name in ("macs_per_image", "images_seen"))
        params, rate = (row[name] if known.runs.has(name) else None for name in ("params", "peak_lr"))
        found.append(
            Purchase(
                variant=str(row["variant"]) if known.runs.has("variant") else f"{macs:.4g} multiply-adds",
                params=None if params is None or params != params else int(params),
                macs_per_image=macs,
                images=int(images),
                epochs=None if unique is None else images / unique,
                seeds=first.count,
                flop=first.flop,
                core_hours=None if per_hour is None else first.flop / per_hour,
                replicates=True,
                peak_lr=None if rate is None or rate != rate else float(rate),
            )
        )
    for cell in sorted(np.flatnonzero(counts), key=lambda k: -grid.flop[k]):
        model, images = grid.models[grid.model[cell]], float(grid.images[cell])
        found.append(
            Purchase(
                variant=model.variant,
                params=model.params,
                macs_per_image=model.macs_per_image,
                images=int(images),
                epochs=None if unique is None else images / unique,
                seeds=int(counts[cell]),
                flop=float(grid.flop[cell]),
                core_hours=None if per_hour is None else float(grid.flop[cell]) / per_hour,
                replicates=False,
            )
        )
    return found
