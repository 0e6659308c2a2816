"""What every reading command does with its table: columns by name, selection of points, JSON.

The flags that several commands take are declared here once, with their help; a command's docstring describes its own.
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from scalelaw.cli.pairs import pairs

if TYPE_CHECKING:
    from scalelaw.runs import RunTable

RESULTS_HELP = "Results folder, Parquet or CSV file: a path, or a URI (s3://, gs://, abfss://, hdfs://, file:///)."
PathOrUri = Positional[Annotated[str, arg(metavar="PATH")]]
Results = Positional[Annotated[str, arg(metavar="PATH", help=RESULTS_HELP)]]
Json = Annotated[bool, arg(help="Print one JSON object and nothing else.")]
Column = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="OURS=THEIRS", help="A column by its name in the table, as N='Model Size'; repeatable."),
]
Points = Literal["envelope", "best", "all"]
PointsFlag = Annotated[
    Points | None,
    arg(
        help="envelope, best (over learning rates) or all. Laws in C alone take the envelope of a results folder, "
        "other laws its best runs, a bare table all rows."
    ),
]
TomlFile = Annotated[Path | None, arg(metavar="FILE")]


def column_map(column: tuple[str, ...]) -> dict[str, str]:
    """Our name -> theirs, of the `--column` flags."""
    return pairs("--column", column, "OURS=THEIRS, as N='Model Size'")


def load(path: str | Path, columns: Mapping[str, str]) -> RunTable:
    """The table, with its problems said on standard error."""
    from scalelaw.errors import UserError
    from scalelaw.runs import RunTable

    runs = RunTable.load(path, columns)
    for problem in runs.problems:
        print(f"warning: {problem}", file=sys.stderr)
    if not len(runs):
        raise UserError(f"{path}: holds no rows yet; run its sweep first")
    return runs


def select(runs: RunTable, points: Points | None, variables: tuple[str, ...]) -> RunTable:
    """The finished runs that `points` names; by default what suits the law's variables."""
    if points is None and not runs.is_results:
        points = "all"
    elif points is None:
        points = "envelope" if variables == ("C",) else "best"
    chosen = runs.finished()
    if points != "all" and chosen.has("peak_lr"):
        chosen = chosen.best_over("peak_lr")
    chosen = chosen.envelope() if points == "envelope" else chosen
    return _noted(chosen)


def _noted(runs: RunTable) -> RunTable:
    """With a note where core-hours were measured in some runs and estimated in others."""
    if not (runs.has("core_hours") and runs.has("core_hours_basis")):
        return runs
    counts = runs.frame["core_hours_basis"].value_counts()
    if len(counts) < 2:
        return runs
    first, *others = [f"{basis} in {count}" for basis, count in counts.items()]
    note = f"core_hours are {first} runs and {' and '.join(others)}"
    return runs.where([True] * len(runs), note)


def refuse_existing(toml: Path | None) -> None:
    """Refuses a file of --toml that is there already, before anything is worked out.

    Raises:
        UserError: naming it.
    """
    from scalelaw.errors import UserError

    if toml is not None and toml.exists():
        raise UserError(f"--toml {toml}: is there already; name another file, or remove it")


def print_json(answer: dict[str, Any]) -> None:
    """One object and nothing else."""
    print(json_module.dumps(answer, allow_nan=False))
