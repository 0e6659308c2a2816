"""A table of runs as a law asks for it: values by its letters, and from where they came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scalelaw.cli.tables import Points, column_map, load, select

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scalelaw.runs import RunTable


@dataclass(frozen=True, eq=False)
class Data:
    """Selected runs.

    Attributes:
        values: letter -> (runs,), L among them; for a function that takes them as keywords.
        columns: letter -> the column that it comes from.
        chosen: the runs that `--points` names.
        rows: how many rows the whole table has.
    """

    values: dict[str, Any]
    columns: dict[str, str]
    chosen: RunTable
    rows: int

    def print_source(self) -> None:
        """What each letter is, which runs were taken, and what else is to be known of them."""
        meaning = ", ".join(f"{letter} = {name}" for letter, name in self.columns.items())
        print(f"{meaning}; points: {self.chosen.points} ({len(self.chosen)} of {self.rows} rows)")
        for note in self.chosen.notes:
            print(f"note: {note}")


def read(path: str, letters: tuple[str, ...], column: tuple[str, ...], points: Points | None) -> Data:
    """The runs of a table that a law in `letters` is given; other letters than C, N, D and U are columns of its own."""
    names = column_map(column)
    own = {letter: names.pop(letter, letter) for letter in letters if letter not in "CNDU"}
    runs = load(path, names)
    chosen = select(runs, points, letters)
    found = {letter: variable(chosen, letter, own) for letter in (*letters, "L")}
    return Data(
        values={letter: values for letter, (values, _) in found.items()},
        columns={letter: name for letter, (_, name) in found.items()},
        chosen=chosen,
        rows=len(runs),
    )


def variable(runs: RunTable, letter: str, own: Mapping[str, str]) -> tuple[NDArray[np.float64], str]:
    """The values of a law's variable and the column they come from; `own` names those that are no known letters."""
    from scalelaw.errors import UserError

    if letter not in own:
        return runs.variable(letter)  # type: ignore[arg-type]
    name = own[letter]
    values = runs.column(name)
    try:
        return values.astype(float), name
    except (TypeError, ValueError) as error:
        raise UserError(f"{runs.source}: column {name!r} holds something that is no number; mend it") from error
