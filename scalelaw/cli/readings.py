"""The commands that read results: fit, frontier, predict, figures."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from tyro.conf import Positional, UseAppendAction, arg

if TYPE_CHECKING:
    from scalelaw.runs import RunTable
    from scalelaw.runs.table import Letter

Json = Annotated[bool, arg(help="Print one JSON object and nothing else.")]
Column = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="OURS=THEIRS", help="A column by its name in the table, as N='Model Size'; repeatable."),
]
Points = Literal["envelope", "best", "all"]


def fit(
    results: Positional[Path],
    law: Literal["power", "offset", "size-data"] = "power",
    objective: Literal["least-squares", "huber"] = "least-squares",
    delta: float | None = None,
    space: Literal["log", "linear"] = "log",
    points: Points | None = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Fits a law of loss: estimates, standard errors, intervals, status.

    Args:
        results: Results folder, Parquet or CSV file.
        law: power: L = A C^-alpha; offset: L = E + A C^-alpha; size-data: L = E + A N^-alpha + B D^-beta.
        objective: What is minimised, as a sum over runs.
        delta: Huber's: residuals within it count as squares, beyond it as absolute values. 1e-3 unless given.
        space: Residuals of log loss or of loss.
        points: envelope, best (over learning rates) or all. Laws in C alone take the envelope of a results folder,
            other laws its best runs, a bare table all rows.
        column: A column by its name in the table.
        json: Print one JSON object and nothing else.
    """
    from scalelaw import fitting, laws
    from scalelaw.errors import UserError

    if delta is not None and objective != "huber":
        raise UserError(f"--delta {delta:g}: belongs to --objective huber; leave it out or add that")
    kind = laws.LAWS[law]
    runs = _load(results, column)
    chosen = _select(runs, points or _default_points(runs, kind.variables))
    columns = {letter: chosen.variable(cast("Letter", letter)) for letter in (*kind.variables, "L")}
    goal = fitting.Huber(1e-3 if delta is None else delta) if objective == "huber" else fitting.LeastSquares()
    values = {letter: value for letter, (value, _) in columns.items()}
    found = fitting.fit(kind, objective=goal, space=space, points=chosen.points, **values)
    meaning = ", ".join(f"{letter} = {name}" for letter, (_, name) in columns.items())
    if json:
        _print_json({**found.to_dict(), "columns": {letter: name for letter, (_, name) in columns.items()}})
        return 0
    print(found)
    print(f"{meaning}; points: {chosen.points} ({len(chosen)} of {len(runs)} rows)")
    for note in chosen.notes:
        print(f"note: {note}")
    return 0


def frontier(results: Positional[Path], column: Column = (), json: Json = False) -> int:
    """Optimal model size and epochs against compute, with intervals and status.

    Args:
        results: Results folder, Parquet or CSV file.
        column: A column by its name in the table.
        json: Print one JSON object and nothing else.
    """
    from scalelaw import frontiers

    runs = _load(results, column)
    found = frontiers.frontier(_select(runs, "best"))
    if json:
        _print_json(found.to_dict())
    else:
        print(found)
    return 0


def predict(
    results: Positional[Path],
    core_hours: float | None = None,
    flop: float | None = None,
    times: float | None = None,
    far: bool = False,
    column: Column = (),
    json: Json = False,
) -> int:
    """Says which model, how many epochs and which learning rate are best for a budget, and the loss to expect.

    Args:
        results: Results folder, Parquet or CSV file.
        core_hours: The budget in TPU-v4 core-hours.
        flop: The budget in training FLOP.
        times: The budget as a multiple of the largest finished run.
        far: Allow a budget more than 100 times the largest finished run.
        column: A column by its name in the table.
        json: Print one JSON object and nothing else.
    """
    from scalelaw import compute, plan
    from scalelaw.errors import UserError

    given = {"--core-hours": core_hours, "--flop": flop, "--times": times}
    count = sum(value is not None for value in given.values())
    if count != 1:
        raise UserError(f"predict: give exactly one of {', '.join(given)}; {count} were given")
    budget = compute.Budget(core_hours=core_hours, flop=flop, times=times)
    found = plan.predict(_load(results, column), budget, far=far)
    if json:
        _print_json(found.to_dict())
    else:
        print(found)
    return 0


def figures(
    results: Positional[Path],
    out: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")] = Path("figures"),
    column: Column = (),
    json: Json = False,
) -> int:
    """Draws Figure 2, Figure 3 and the frontier: PDF, PNG and every number as JSON.

    Args:
        results: Results folder, Parquet or CSV file.
        out: Folder for the figures.
        column: A column by its name in the table.
        json: Print one JSON object and nothing else.
    """
    from scalelaw import figures as drawing

    paths, skipped = drawing.write(_load(results, column), out)
    if json:
        _print_json({"written": [str(path) for path in paths], "skipped": list(skipped)})
        return 0
    for path in paths:
        print(path)
    for reason in skipped:
        print(f"skipped: {reason}")
    return 0


def _load(path: Path, column: tuple[str, ...]) -> RunTable:
    """The table, with its problems said on standard error."""
    from scalelaw.errors import UserError
    from scalelaw.runs import RunTable

    columns: dict[str, str] = {}
    for pair in column:
        ours, equals, theirs = pair.partition("=")
        if not (ours and equals and theirs):
            raise UserError(f"--column {pair}: must be OURS=THEIRS, as N='Model Size'")
        if ours in columns:
            raise UserError(f"--column {ours}: given twice")
        columns[ours] = theirs
    runs = RunTable.load(path, columns)
    for problem in runs.problems:
        print(f"warning: {problem}", file=sys.stderr)
    if not len(runs):
        raise UserError(f"{path}: holds no rows yet; run its sweep first")
    return runs


def _default_points(runs: RunTable, variables: tuple[str, ...]) -> Points:
    if not runs.is_results:
        return "all"
    return "envelope" if variables == ("C",) else "best"


def _select(runs: RunTable, points: Points) -> RunTable:
    """The finished runs that `points` names."""
    chosen = runs.finished()
    if points != "all" and chosen.has("peak_lr"):
        chosen = chosen.best_over("peak_lr")
    return chosen.envelope() if points == "envelope" else chosen


def _print_json(answer: dict[str, Any]) -> None:
    print(json_module.dumps(answer, allow_nan=False))
