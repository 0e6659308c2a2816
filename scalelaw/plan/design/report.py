"""The table that `scalelaw plan` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.plan.design.result import NextRuns

NAMES = {"size": "ln best size", "loss": "ln lowest loss", "exponent": "exponent of the best size"}


def table(plan: NextRuns) -> str:
    """Status, runs with their costs, and how sure each answer is before and after."""
    per_hour = plan.flop_per_core_hour

    def cost(flop: float) -> str:
        return f"{flop:.3g} FLOP" if per_hour is None else f"{flop / per_hour:.3g}"

    unit = "" if per_hour is None else " TPU-v4 core-hours"
    lines = [
        f"{plan.status}: {plan.sentence}",
        f"asked: {NAMES[plan.want]} at {cost(plan.target_flop)}{unit} ({plan.extrapolation_factor:.3g} x the largest "
        f"finished run); spend up to {cost(plan.spend_flop)}{unit}",
    ]
    if plan.runs:
        lines.append("")
        rows: list[tuple[str, ...]] = [("model", "images", "epochs", "learning rate", "seeds", "each", "together", "")]
        for run in plan.runs:
            epochs, rate = ("unknown" if value is None else f"{value:.3g}" for value in (run.epochs, run.peak_lr))
            costs = cost(run.flop), cost(run.seeds * run.flop)
            note = "further seeds" if run.replicates else ""
            rows.append((run.variant, f"{run.images:,}", epochs, rate, str(run.seeds), *costs, note))
        lines += [*columns(rows, left=(0,)), f"all together {cost(plan.cost_flop)}{unit}"]
    lines.append("")
    rows = [("", "estimate", "stderr now", "then", "of it chance", "smallest effect now", "then")]
    for name, one in plan.expected.items():
        numbers = (one.estimate, one.before, one.after, one.chance_after, one.smallest_before, one.smallest_after)
        rows.append((NAMES[name], *("unknown" if value is None else f"{value:.3g}" for value in numbers)))
    lines += [
        *columns(rows, left=(0,)),
        "stderr: what noise, effects of size and an error of the form may do, as expected before the runs. Smallest",
        "effect: a difference from a known value that is seen with 80 % power (5 %, two-sided); 1.41 times as much",
        'between two such sweeps. The lowest loss is to be read as the mean over forms, predict\'s "other forms".',
    ]
    known = "unknown" if plan.noise is None else f"{plan.noise:.3g} of ln loss ({plan.noise_replicates} replicates)"
    shared = "unknown" if plan.size_effect is None else f"about {plan.size_effect:.2g}"
    lines.append(f"noise of a run: {known}; effects that runs of one size share: {shared}")
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines)
