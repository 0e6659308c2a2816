"""What is worth knowing of planned runs before they train, beyond their cost: a sentence each."""

from __future__ import annotations

from collections.abc import Sequence

from scalelaw.sweep.expand import PlannedRun
from scalelaw.sweep.recipes import Recipe, rules_of

LONG_WARMUP = 0.5  # share of a run's steps


def remarks(planned: Sequence[PlannedRun]) -> list[str]:
    """Sentences on the runs' schedules and steps, each once."""
    found = []
    rules = {run.run_id: rules_of(run.config) for run in planned}
    long = [(wanted, steps) for run in planned for wanted, steps in [_warmup(run, rules[run.run_id])]
            if wanted > LONG_WARMUP * steps]  # fmt: skip
    if long:
        wanted, steps = max(long, key=lambda one: one[0] / one[1])
        cut = ", so that the rate peaks in the last step" if wanted >= steps else ""
        found.append(
            f"warm-up takes over half of the steps of {len(long)} of {len(planned)} runs: {wanted:,} of {steps:,} in "
            f"the shortest{cut}; warmup_share or warmup_steps in [train] shortens it"
        )
    passes = sorted({rules[run.run_id].passes(run.config.train.batch_size) for run in planned} - {1.0})
    if passes:
        found.append(f"sharpness-aware steps go over a batch {' or '.join(f'{one:.4g}' for one in passes)} times; "
                     "core-hours count it")  # fmt: skip
    copies = sorted({run.config.train.repeats for run in planned} - {1})
    if copies:
        found.append(f"{' or '.join(map(str, copies))} copies of an image in a batch; each counts as an image: in "
                     "epochs, images and core-hours")  # fmt: skip
        if any(run.config.train.repeats > 1 and _alike(run, rules[run.run_id]) for run in planned):
            found.append("copies are alike in some runs: nothing augments their images ([data] augment) or drops "
                         "anything at random ([train] dropout, stochastic_depth)")  # fmt: skip
    return found


def _warmup(run: PlannedRun, rules: Recipe) -> tuple[int, int]:
    """Steps of the warm-up that are asked for, and all steps."""
    train = run.config.train
    steps = -(-train.images // train.batch_size)
    return rules.asked_warmup(steps, run.cost.facts.train_images / train.batch_size), steps


def _alike(run: PlannedRun, rules: Recipe) -> bool:
    """Whether nothing tells two copies of an image apart."""
    data = run.config.data
    augment = data.augment or ("none" if data.source in ("hierarchy", "npz") else "crop-flip")
    return augment == "none" and not (rules.dropout or rules.stochastic_depth)
