"""`scalelaw fit`: a law of loss through a table of runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import UseAppendAction, arg

from scalelaw.cli.data import read
from scalelaw.cli.pairs import as_number, numbers, pairs
from scalelaw.cli.tables import Column, Json, PointsFlag, Results, print_json
from scalelaw.cli.words import Delta, LawWord, ObjectiveWord, SpaceWord, Tau, law_of, objective_of

if TYPE_CHECKING:
    from scalelaw.fitting import Fit

Pairs = UseAppendAction[tuple[str, ...]]
Fix = Annotated[Pairs, arg(metavar="NAME=VALUE", help="A parameter to pin, as E=0.5; repeatable.")]
Bound = Annotated[
    Pairs,
    arg(metavar="NAME=LOW:HIGH", help="Bounds of a parameter, as alpha=0:1, either end may be empty; repeatable."),
]
Quantity = Annotated[
    Pairs,
    arg(
        metavar="NAME[,KEY=VALUE]",
        help="A derived quantity to print with its interval, as optimal_params,C=1e24; repeatable.",
    ),
]


def fit(
    results: Results,
    law: LawWord = "power",
    objective: ObjectiveWord = "least-squares",
    delta: Delta = None,
    tau: Tau = None,
    space: SpaceWord = "log",
    weights: str | None = None,
    fix: Fix = (),
    bound: Bound = (),
    quantity: Quantity = (),
    units: bool = False,
    points: PointsFlag = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Fits a law of loss: estimates, standard errors, intervals, status.

    Args:
        law: The law.
        weights: A column of weights of the runs in the sum.
        fix: Parameters to pin.
        bound: Bounds of parameters.
        quantity: Derived quantities.
        units: Also print standard errors under each resampling unit, side by side.
    """
    from scalelaw import fitting
    from scalelaw.fitting.report import quantity_lines

    kind = law_of(law)
    held, ranges = numbers("--fix", fix, "NAME=VALUE, as E=0.5"), _bounds(bound)
    goal = objective_of(objective, delta, tau)
    wanted = [_quantity(one) for one in quantity]
    data = read(results, kind.variables, column, points)
    found = fitting.fit(
        kind,
        objective=goal,
        space=space,
        weights=None if weights is None else data.chosen.column(weights),
        fix=held,
        bounds=ranges,
        points=data.chosen.points,
        **data.values,
    )
    more = [_answer(found, name, at) for name, at in wanted]
    noise = found.noise()
    if json:
        print_json(
            {
                **found.to_dict(data=False),
                "columns": data.columns,
                "notes": list(data.chosen.notes),
                "noise": None if noise is None else noise.to_dict(),
                **({"quantities": more} if more else {}),
                **({"units": found.spreads().to_dict()} if units else {}),
            }
        )
        return 0
    print(found)
    for one in more:
        print(quantity_lines(one))
    if noise is not None:
        print(noise)
    if units:
        print(found.spreads())
    data.print_source()
    return 0


def _bounds(given: tuple[str, ...]) -> dict[str, tuple[float | None, float | None]]:
    from scalelaw.errors import UserError

    shape = "NAME=LOW:HIGH, as alpha=0:1, alpha=:1 or alpha=0:"
    found: dict[str, tuple[float | None, float | None]] = {}
    for name, ends in pairs("--bound", given, shape).items():
        place = f"--bound {name}={ends}"
        low, colon, high = ends.partition(":")
        if not colon:
            raise UserError(f"{place}: must be {shape}")
        found[name] = as_number(place, low) if low else None, as_number(place, high) if high else None
    return found


def _quantity(text: str) -> tuple[str, dict[str, float]]:
    name, *rest = text.split(",")
    return name, numbers("--quantity", rest, "NAME or NAME,KEY=VALUE, as optimal_params,C=1e24", whole=text)


def _answer(found: Fit, name: str, at: dict[str, float]) -> dict[str, Any]:
    value = found.estimate(name, **at)
    low, high = found.interval(name, **at)
    label = ", ".join([name, *(f"{key} = {given:g}" for key, given in at.items())])
    beyond = found.beyond(name, **at)
    return {
        "name": label,
        "value": value if math.isfinite(value) else None,
        "low": low,
        "high": high,
        "beyond": None if beyond is None or not math.isfinite(beyond) else float(beyond),
        "warnings": list(found.cautions(name, **at)),
    }
