"""`scalelaw choose` and `scalelaw extrapolate`: what laws say of runs they have not seen, and how a curve goes on."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import UseAppendAction, arg

from scalelaw.cli.data import read, variable
from scalelaw.cli.tables import Column, Json, PathOrUri, PointsFlag, Results, load, print_json
from scalelaw.cli.words import Delta, ObjectiveWord, SpaceWord, Tau, law_of, objective_of

Laws = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="LAW", help="A law to compare, as `scalelaw fit --law` takes it; repeat it for each."),
]
Places = Annotated[
    UseAppendAction[tuple[float, ...]], arg(metavar="X", help="Where to continue the curve to; repeatable.")
]


def choose(
    results: Results,
    law: Laws = (),
    factor: float = 10.0,
    objective: ObjectiveWord = "least-squares",
    delta: Delta = None,
    tau: Tau = None,
    space: SpaceWord = "log",
    points: PointsFlag = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Ranks laws by their error on the largest runs, fitted without them.

    Args:
        law: The laws to compare.
        factor: Runs within this factor of the largest compute are held out.
    """
    from scalelaw import backtest
    from scalelaw.errors import UserError

    if len(law) < 2:
        raise UserError("choose: name at least two laws, as --law power --law offset")
    kinds = [law_of(word) for word in law]
    letters = tuple(dict.fromkeys(letter for kind in kinds for letter in kind.variables))
    goal = objective_of(objective, delta, tau)
    data = read(results, letters, column, points)
    found = backtest.choose(kinds, factor, objective=goal, space=space, **data.values)
    if json:
        taken = {"points": data.chosen.points, "n": len(data.chosen), "columns": data.columns}
        print_json({**found.to_dict(), **taken})
        return 0
    print(found)
    data.print_source()
    return 0


def extrapolate(
    table: PathOrUri,
    x: str,
    y: str,
    to: Places = (),
    level: float = 0.95,
    json: Json = False,
) -> int:
    """Continues one learning curve: loss or error at more examples, steps or compute, with intervals.

    Args:
        table: Parquet or CSV file with a row a point of the curve.
        x: Its column of examples, steps or compute.
        y: Its column of losses or error rates.
        to: Where to continue the curve to; by default twice and ten times its largest x.
        level: Probability that each interval is meant to cover.
    """
    from scalelaw import backtest
    from scalelaw.fitting.report import interval, number
    from scalelaw.runs.schema import LETTERS

    runs = load(table, {})
    own = {name: given if given in runs.frame else LETTERS.get(given, given) for name, given in (("x", x), ("y", y))}
    values = {letter: variable(runs, letter, own)[0] for letter in own}
    places = list(to) or [2 * float(values["x"].max()), 10 * float(values["x"].max())]
    band = backtest.extrapolate(values["x"], values["y"], places, level=level)
    if json:
        print_json({"x": places, "y": y, "n": len(runs), **band.to_dict()})
        return 0
    for i, place in enumerate(places):
        low = None if band.low is None else float(band.low[i])
        high = None if band.high is None else float(band.high[i])
        ends = f"{100 * level:g} % of points {interval(low, high)}"
        print(f"{y} at {x} = {place:.4g}: {number(float(band.mid[i]))} ({ends})")
    return 0
