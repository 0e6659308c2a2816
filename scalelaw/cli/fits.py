"""`scalelaw fit`: a law of loss through a table of runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from scalelaw.cli.tables import Column, Json, Points, column_map, load, print_json, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scalelaw.fitting import Fit, Objective
    from scalelaw.laws import Law
    from scalelaw.runs import RunTable

Word = Annotated[
    str,
    arg(
        metavar="LAW",
        help="power, offset, size-data, shifted, m4, broken, broken-2, repetition or kaplan; or any sum of power laws "
        "by its equation, as 'L = E + A N^-alpha + B D^-beta + F U^-c'.",
    ),
]
Pairs = UseAppendAction[tuple[str, ...]]
Delta = Annotated[
    str | None,
    arg(
        metavar="DELTA",
        help="Huber's: residuals within it count as squares, beyond it as absolute values; a number, or a multiple of "
        "the residuals' median absolute deviation as 2mad. 1e-3 unless given.",
    ),
]
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
    results: Positional[Path],
    law: Word = "power",
    objective: Literal["least-squares", "huber", "lad", "lower-envelope"] = "least-squares",
    delta: Delta = None,
    tau: float | None = None,
    space: Literal["log", "linear"] = "log",
    weights: str | None = None,
    fix: Fix = (),
    bound: Bound = (),
    quantity: Quantity = (),
    units: bool = False,
    points: Points | None = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Fits a law of loss: estimates, standard errors, intervals, status.

    Args:
        results: Results folder, Parquet or CSV file.
        law: The law.
        objective: What is minimised, as a sum over runs.
        delta: Huber's.
        tau: Of lower-envelope: the weight of runs above the curve, below .5. .05 unless given.
        space: Residuals of log loss or of loss.
        weights: A column of weights of the runs in the sum.
        fix: Parameters to pin.
        bound: Bounds of parameters.
        quantity: Derived quantities.
        units: Also print standard errors under each resampling unit, side by side.
        points: envelope, best (over learning rates) or all. Laws in C alone take the envelope of a results folder,
            other laws its best runs, a bare table all rows.
        column: A column by its name in the table.
        json: Print one JSON object and nothing else.
    """
    from scalelaw import fitting
    from scalelaw.fitting.report import interval, number

    kind = law_of(law)
    names = column_map(column)
    own = {letter: names.pop(letter, letter) for letter in kind.variables if letter not in "CNDU"}
    held, ranges = _fix(fix), _bounds(bound)
    goal = objective_of(objective, delta, tau)
    wanted = [_quantity(one) for one in quantity]
    runs = load(results, names)
    chosen = select(runs, points, kind.variables)
    columns = {letter: variable(chosen, letter, own) for letter in (*kind.variables, "L")}
    given: dict[str, Any] = {letter: value for letter, (value, _) in columns.items()}
    w = None if weights is None else chosen.column(weights)
    found = fitting.fit(
        kind, objective=goal, space=space, weights=w, fix=held, bounds=ranges, points=chosen.points, **given
    )
    more = [_answer(found, name, at) for name, at in wanted]
    noise = found.noise()
    if json:
        print_json(
            {
                **found.to_dict(data=False),
                "columns": {letter: name for letter, (_, name) in columns.items()},
                "notes": list(chosen.notes),
                "noise": None if noise is None else noise.to_dict(),
                **({"quantities": more} if more else {}),
                **({"units": found.spreads().to_dict()} if units else {}),
            }
        )
        return 0
    print(found)
    for one in more:
        print(f"{one['name']}: {number(one['value'])} (95 % interval {interval(one['low'], one['high'])})")
    if noise is not None:
        print(noise)
    if units:
        print(found.spreads())
    meaning = ", ".join(f"{letter} = {name}" for letter, (_, name) in columns.items())
    print(f"{meaning}; points: {chosen.points} ({len(chosen)} of {len(runs)} rows)")
    for note in chosen.notes:
        print(f"note: {note}")
    return 0


def law_of(word: str) -> type[Law]:
    """A law by its word or its equation."""
    from scalelaw import laws

    return laws.sum_of_powers(word) if "=" in word else laws.law(word)


def variable(runs: RunTable, letter: str, own: dict[str, str]) -> tuple[NDArray[np.float64], str]:
    """The values of a law's variable and the column they come from."""
    from scalelaw.errors import UserError

    if letter not in own:
        return runs.variable(letter)  # type: ignore[arg-type]
    name = own[letter]
    values = runs.column(name)
    try:
        return values.astype(float), name
    except (TypeError, ValueError) as error:
        raise UserError(f"{runs.source}: column {name!r} holds something that is no number; mend it") from error


def objective_of(word: str, delta: str | None, tau: float | None) -> Objective:
    """What `--objective`, `--delta` and `--tau` name."""
    from scalelaw import fitting
    from scalelaw.errors import UserError

    if delta is not None and word != "huber":
        raise UserError(f"--delta {delta}: belongs to --objective huber; leave it out or add that")
    if tau is not None and word != "lower-envelope":
        raise UserError(f"--tau {tau:g}: belongs to --objective lower-envelope; leave it out or add that")
    if word == "lower-envelope":
        return fitting.LowerEnvelope() if tau is None else fitting.LowerEnvelope(tau)
    if word != "huber":
        return fitting.OBJECTIVES[word]()
    text = delta or "1e-3"
    multiple = text.lower().endswith("mad")
    value = _float("--delta", text, text[:-3] if multiple else text)
    return fitting.Huber(mad=value) if multiple else fitting.Huber(value)


def _float(flag: str, text: str, number: str) -> float:
    from scalelaw.errors import UserError

    try:
        return float(number)
    except ValueError:
        raise UserError(f"{flag} {text}: {number.strip()!r} is not a number") from None


def _fix(pairs: tuple[str, ...]) -> dict[str, float]:
    from scalelaw.errors import UserError

    held: dict[str, float] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UserError(f"--fix {pair}: must be NAME=VALUE, as E=0.5")
        if name in held:
            raise UserError(f"--fix {pair}: {name} is given twice")
        held[name] = _float("--fix", pair, value)
    return held


def _bounds(pairs: tuple[str, ...]) -> dict[str, tuple[float | None, float | None]]:
    from scalelaw.errors import UserError

    found: dict[str, tuple[float | None, float | None]] = {}
    for pair in pairs:
        name, equals, ends = pair.partition("=")
        low, colon, high = ends.partition(":")
        if not (name and equals and colon):
            raise UserError(f"--bound {pair}: must be NAME=LOW:HIGH, as alpha=0:1, alpha=:1 or alpha=0:")
        if name in found:
            raise UserError(f"--bound {pair}: {name} is given twice")
        found[name] = (
            _float("--bound", pair, low) if low else None,
            _float("--bound", pair, high) if high else None,
        )
    return found


def _quantity(text: str) -> tuple[str, dict[str, float]]:
    from scalelaw.errors import UserError

    name, *rest = text.split(",")
    at: dict[str, float] = {}
    for pair in rest:
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UserError(f"--quantity {text}: must be NAME or NAME,KEY=VALUE, as optimal_params,C=1e24")
        at[key] = _float("--quantity", text, value)
    return name, at


def _answer(found: Fit, name: str, at: dict[str, float]) -> dict[str, Any]:
    value = found.estimate(name, **at)
    low, high = found.interval(name, **at)
    label = ", ".join([name, *(f"{key} = {given:g}" for key, given in at.items())])
    return {"name": label, "value": value if math.isfinite(value) else None, "low": low, "high": high}
