"""Is the lowest pre-training loss the best start? All that a table of fine-tuned runs says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scalelaw.runs import RunTable
from scalelaw.text import columns, counted
from scalelaw.transfer import association, choice
from scalelaw.transfer.association import Association
from scalelaw.transfer.choice import Difference, Regret
from scalelaw.transfer.copies import alike
from scalelaw.transfer.groups import FEWEST, WITHIN, Ends, groups_of
from scalelaw.transfer.starts import Starts, starts_of

NOISE = "; noise of single runs adds to it"


@dataclass(frozen=True)
class Group:
    """Starts of equal compute: (low, high) core-hours, their rank correlation, the two picks and their errors."""

    core_hours: tuple[float, float]
    association: Association
    lowest_loss: str
    error_of_lowest_loss: float
    best: str
    best_error: float


@dataclass(frozen=True)
class Transfer:
    """The answer of `compare_starts`.

    Attributes:
        starts: what was compared.
        pooled: rank correlation of loss and error given compute, over all starts.
        groups: of equal compute, cheapest first, each of two starts or more.
        regret: of choosing by loss, over groups of `FEWEST` starts or more.
        differences: of the best start from the lowest-loss one, over the same groups.
    """

    starts: Starts
    pooled: Association
    groups: tuple[Group, ...]
    regret: Regret
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            "starts": len(self.starts),
            "association": _said(self.pooled),
            "regret": asdict(self.regret),
            "differences": [_said(difference) for difference in self.differences],
            "groups": [{**asdict(group), "association": _said(group.association)} for group in self.groups],
            "notes": list(self.starts.notes),
        }

    def __str__(self) -> str:
        many = sum(group.association.starts >= FEWEST for group in self.groups)
        pooled, regret = self.pooled, self.regret
        starts = f"{counted(len(self.starts), 'pre-training run')} {'was' if len(self.starts) == 1 else 'were'}"
        lines = [f"{starts} fine-tuned; {counted(len(self.groups), 'group')} of equal compute (within {WITHIN:.0%}), "
                 f"{many} of at least {FEWEST} starts"]  # fmt: skip
        lines.append(f"rank correlation of loss and error given compute: {_number(pooled.estimate, '.2f')} "
                     f"({_ends(pooled.interval, '.2f')}): {pooled.verdict}")  # fmt: skip
        lines.append(
            f"error that choosing by loss costs: {_number(regret.mean, '.4f')} "
            f"({_ends(regret.interval, '.4f')}), over {counted(regret.groups, 'group')}{NOISE if regret.groups else ''}"
        )
        for difference in self.differences:
            lines.append(f"{difference.what} of the best start over the lowest-loss one's: "
                         f"{_number(difference.ratio, '.2f')} ({_ends(difference.interval, '.2f')}): "
                         f"{difference.verdict}")  # fmt: skip
        if self.groups:
            rows: list[tuple[str, ...]] = [
                ("core-hours", "starts", "correlation", "95 %", "by loss", "error", "best", "error")
            ]
            rows += [_row(group) for group in self.groups]
            lines += columns(rows, left=(3, 4, 6))
        return "\n".join([*lines, *(f"note: {note}" for note in self.starts.notes)])


def compare_starts(runs: RunTable, seed: int = 0) -> Transfer:
    """Whether the lowest pre-training loss is the best start for fine-tuning, at matched compute.

    Assumes that starts are independent and that fine-tuning settings were searched alike for all; noise of single
    fine-tuning runs draws correlations towards 0.

    Args:
        runs: fine-tuned runs, with the rows of their parents or the columns that carry their facts.
        seed: of the resampling.

    Raises:
        UserError: when no run was fine-tuned, or the parents' losses are nowhere.
    """
    starts = starts_of(alike(runs))
    numbers = groups_of(starts.core_hours)
    members = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    groups = []
    for group in members:
        if len(group) > 1:
            lowest, best = (int(group[np.argmin(key[group])]) for key in (starts.loss, starts.error))
            costs = starts.core_hours[group]
            groups.append(
                Group(
                    (float(costs[0]), float(costs[-1])),
                    association.within(starts.loss, starts.error, group, seed),
                    starts.names[lowest],
                    float(starts.error[lowest]),
                    starts.names[best],
                    float(starts.error[best]),
                )
            )
    large = [group for group in members if len(group) >= FEWEST]
    return Transfer(
        starts,
        association.pooled(starts.loss, starts.error, starts.core_hours, seed),
        tuple(groups),
        choice.regret(starts, large, seed),
        tuple(choice.difference(starts, what, large, seed) for what in choice.SIDES),
    )


def _said(found: Association | Difference) -> dict[str, Any]:
    return {**asdict(found), "verdict": found.verdict}


def _number(value: float | None, form: str) -> str:
    return "unknown" if value is None else format(value, form)


def _ends(ends: Ends, form: str) -> str:
    return "interval unknown" if ends is None else f"{ends[0]:{form}} to {ends[1]:{form}}"


def _row(group: Group) -> tuple[str, ...]:
    low, high = group.core_hours
    found = group.association
    return (
        f"{low:.3g}" if high < low * 1.005 else f"{low:.3g} to {high:.3g}", str(found.starts),
        "-" if found.estimate is None else f"{found.estimate:.2f}",
        f"cannot tell, below {FEWEST}" if found.starts < FEWEST else _ends(found.interval, ".2f"),
        group.lowest_loss[:8], f"{group.error_of_lowest_loss:.4f}", group.best[:8], f"{group.best_error:.4f}",
    )  # fmt: skip
