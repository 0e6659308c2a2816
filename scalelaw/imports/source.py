"""What every reader of a format hands on: one row a run in the source's own words, and the traces it had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa

Fields = Mapping[str, Mapping[bytes, bytes]]

STEP, RUNTIME = "_step", "_runtime"
"""W&B's names for the step of a history's row and the seconds since its run began; other histories get them too."""


@dataclass(frozen=True)
class History:
    """What one run logged on the way: a row a moment, mostly unknown, for not all is logged at every step.

    Attributes:
        run_id: the run.
        table: columns by the source's names, by rising `step`. NaN is a value that was logged, null none.
        step: the name of the column of steps.
        facts: what the source says of the run as a whole, by the source's names.
    """

    run_id: str
    table: pa.Table = field(repr=False)
    step: str = STEP
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One source, read.

    Attributes:
        name: as the user gave it.
        kind: the format, in words.
        frame: one row a run, object columns by the source's names; unknown is None.
        places: of each row, for messages.
        meanings: our name -> the source's, where the format itself says so.
        histories: by run id, where the source has them.
        files: what was read.
        notes: what the reader wants to be said.
        logged: whether rows are the last points of histories, where an explicit NaN means a loss that diverged.
        untyped: whether every cell is text, whatever it says, as in CSV.
        fields: Parquet field metadata of the source's columns.
    """

    name: str
    kind: str
    frame: pd.DataFrame = field(repr=False)
    places: tuple[str, ...] = field(repr=False)
    meanings: Mapping[str, str] = field(default_factory=dict)
    histories: Mapping[str, History] = field(default_factory=dict, repr=False)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    logged: bool = False
    untyped: bool = False
    fields: Fields = field(default_factory=dict, repr=False)


def objects(columns: Mapping[str, list[object]]) -> pd.DataFrame:
    """A frame of Python values as they are: no type is guessed, so that 7 stays a number and "007" a text."""
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def of_records(records: list[dict[str, object]]) -> pd.DataFrame:
    """A frame of rows that need not name every column; what a row does not name is None."""
    names = dict.fromkeys(name for record in records for name in record)
    return objects({name: [record.get(name) for record in records] for name in names})
