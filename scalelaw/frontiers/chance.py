"""The loss of guessing, where the runs say how many classes there are, and laws that level off there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from scalelaw import architecture
from scalelaw.fitting import Fit, fit
from scalelaw.laws import ChanceOverfit, ChanceRepetition, ChanceSizeData, DataRepetition, Law, Overfit, SizeData
from scalelaw.runs import RunTable

NEAR_CHANCE = 0.5
"""From this share of the loss of guessing on a run may feel it."""
TURN = 4.0
"""How sharply a law turns below the loss of guessing: p of `ChanceSizeData`, held because few runs determine it. On
the recorded demo least squares puts it at 5.2 +- 1.1; its roll-outs are best at 4 (LOG.md)."""
BELOW: dict[type[Law], type[Law]] = {
    SizeData: ChanceSizeData,
    DataRepetition: ChanceRepetition,
    Overfit: ChanceOverfit,
}
"""A law -> the same below the loss of guessing."""
NEEDED = ("family", "variant", "params", "params_body")


def classes_of(best: RunTable) -> int | None:
    """Classes of the runs, by the parameters of the last layer; None where they differ or are unknown."""
    if not all(best.has(name) for name in NEEDED):
        return None
    found = set()
    rows: list[Any] = list(best.frame[list(NEEDED)].drop_duplicates().itertuples())
    for row in rows:
        model = architecture.FAMILIES.get(str(row.family), {}).get(str(row.variant))
        if model is None or row.params != row.params or row.params_body != row.params_body:  # NaN: unknown
            return None
        classes, rest = divmod(int(row.params) - int(row.params_body), model.head_channels + 1)
        found.add(0 if rest else classes)
    return found.pop() if len(found) == 1 and max(found) > 1 else None


def chance_loss(best: RunTable) -> float | None:
    """ln of the number of classes, the loss of guessing among equally frequent ones; None where it is unknown."""
    classes = classes_of(best)
    return None if classes is None else math.log(classes)


def levelled(
    law: type[Law],
    chance: float | None,
    *,
    points: str | None = None,
    fix: Mapping[str, float] | None = None,
    **data: Any,
) -> Fit:
    """A law by least squares in log space, levelling off at the loss of guessing where that shows.

    With runs that end above half of it, the same law below that ceiling is fitted too, with as many free parameters,
    and the one with the smaller residuals is taken.

    Args:
        law: one of `BELOW`.
        chance: the loss of guessing, None where it is unknown.
        points: how the runs were selected, for the record.
        fix: parameters that are held.
        data: letter -> (runs,) the law's variables and L.

    Raises:
        UserError: as `fit`.
    """
    plain = fit(law, points=points, fix=fix, **data)
    if chance is None or data["L"].max() < NEAR_CHANCE * chance:
        return plain
    bent = fit(BELOW[law], points=points, fix={**(fix or {}), "L0": chance, "p": TURN}, **data)
    return bent if bent.status != "failed" and bent.objective_value < plain.objective_value else plain
