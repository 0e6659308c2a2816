"""RunTable: finished schedules as rows, from a results folder, a file or a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scalelaw import compute
from scalelaw.errors import UserError, nearest
from scalelaw.runs import files, folder
from scalelaw.runs.schema import COLUMNS, LETTERS, arrow_field, python_type

Points = Literal["all", "best", "envelope"]
Letter = Literal["C", "N", "D", "L"]

EQUAL_COMPUTE = 0.02
"""Relative difference up to which two runs count as equally expensive."""

_CELL = ("dataset", "family", "variant", "params", "macs_per_image", "resolution", "unique_images", "epochs",
         "images_seen", "train_flop", "batch_size", "parent")  # fmt: skip
"""Columns that tell cells apart: runs that agree in all of them differ in learning rate or seed alone."""

_MEANINGS: dict[Letter, tuple[str, ...]] = {
    "C": ("core_hours", "train_flop"),
    "N": ("macs_per_image", "params"),
    "D": ("images_seen",),
    "L": ("val_loss",),
}

_POSITIVE = ("params", "macs_per_image", "unique_images", "epochs", "images_seen", "batch_size", "peak_lr",
             "train_flop", "core_hours", "utilisation", "val_loss")  # fmt: skip


class MissingColumn(UserError, AttributeError):
    """A known column that this table does not have."""


@dataclass(frozen=True)
class RunTable:
    """Rows of runs; `table.core_hours` is the column as a NumPy array of shape (runs,).

    Attributes:
        frame: the rows. Known columns have the names of `scalelaw.runs.Run`; others keep theirs.
        source: where the rows come from.
        points: how they were selected: all, best (over learning rates) or envelope (of the best).
        notes: one sentence for everything that a selection left out.
        problems: one sentence for every value that cannot be right, naming the row; nothing is dropped for it.
        is_results: whether the rows come from a results folder (or a table written by one).
    """

    frame: pd.DataFrame
    source: str = "a DataFrame"
    points: Points = "all"
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    is_results: bool = False

    @staticmethod
    def load(path: str | Path, columns: Mapping[str, str] | None = None) -> RunTable:
        """Reads a results folder, a Parquet file or a CSV file.

        Args:
            path: the folder or file.
            columns: known name -> the table's own name, as {"N": "Model Size"}. Known names are the columns of a run
                and C (training FLOP), N (parameters), D (images or tokens seen), loss.

        Raises:
            UserError: when there is nothing to read there, naming the path and the mend.
        """
        path = Path(path)
        if path.is_dir():
            table, problems = folder.ResultsFolder(path).read_rows()
            return _checked(table.to_pandas(), str(path), columns, problems)
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give a results folder, a .parquet or a .csv file")
        if path.suffix == ".parquet":
            return _checked(files.read_parquet(path).to_pandas(), str(path), columns)
        if path.suffix == ".csv":
            try:
                frame = pd.read_csv(path)
            except (ValueError, OSError) as error:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise UserError(f"{path}: is not a CSV table with a header line ({reason})") from error
            return _checked(frame, str(path), columns)
        raise UserError(f"{path}: neither a results folder nor a .parquet or .csv file")

    @staticmethod
    def from_frame(frame: pd.DataFrame, columns: Mapping[str, str] | None = None) -> RunTable:
        """Takes the rows of a DataFrame; `columns` as in `load`."""
        return _checked(frame, "a DataFrame", columns)

    def __len__(self) -> int:
        return len(self.frame)

    def __getattr__(self, name: str) -> npt.NDArray[Any]:
        if name in COLUMNS:
            return self.column(name)
        raise AttributeError(f"a RunTable has no column or attribute {name!r}{nearest(name, list(COLUMNS))}")

    def has(self, name: str) -> bool:
        """Whether the column is there and known in at least one row."""
        return name in self.frame and bool(self.frame[name].notna().any())

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column as an array of shape (runs,).

        Raises:
            MissingColumn: when the table lacks it, naming what it has.
        """
        if name not in self.frame:
            have = [str(column) for column in self.frame.columns]
            letter = next((letter for letter, known in LETTERS.items() if known == name), name)
            raise MissingColumn(
                f"{self.source}: has no column {name!r}{nearest(name, have)}; name it with --column {letter}='...' "
                f"(columns: {', '.join(have)})"
            )
        return self.frame[name].to_numpy()

    def variable(self, letter: Letter) -> tuple[npt.NDArray[np.float64], str]:
        """The values of a law's variable, shape (runs,), and the column they come from.

        C is core_hours, else train_flop; N is macs_per_image, else params; D is images_seen; L is val_loss.
        """
        for name in _MEANINGS[letter]:
            if self.has(name):
                return self.column(name).astype(np.float64), name
        return self.column(_MEANINGS[letter][-1]).astype(np.float64), _MEANINGS[letter][-1]

    def where(self, mask: npt.ArrayLike, note: str | None = None) -> RunTable:
        """The rows at which `mask`, shape (runs,), is true; `note` says what was left out."""
        kept = self.frame[np.asarray(mask, dtype=bool)].reset_index(drop=True)
        return replace(self, frame=kept, notes=self.notes + ((note,) if note else ()))

    def finished(self) -> RunTable:
        """The finished runs; every other status is counted in `notes`. Without a status column, all rows."""
        if not self.has("status"):
            return self
        done = (self.frame["status"] == "finished").to_numpy()
        if done.all():
            return self
        counts = self.frame["status"][~done].value_counts(dropna=False)
        return self.where(done, "left out: " + ", ".join(f"{n} {status}" for status, n in counts.items()))

    def cells(self) -> pd.Series:
        """For each run the number of its cell: runs of a cell differ in learning rate or seed alone."""
        columns = [name for name in _CELL if name in self.frame]
        if not columns:
            return pd.Series(np.zeros(len(self), dtype=np.int64), index=self.frame.index)
        return self.frame.groupby(columns, dropna=False, sort=False).ngroup()

    def best_over(self, column: str = "peak_lr") -> RunTable:
        """One run a cell (a variant and a length): the one at the best value of `column`.

        The best value is the one of lowest mean loss over its seeds; of the runs at it the one of median loss is kept,
        so that more seeds do not mean a luckier draw.
        """
        if column not in self.frame:
            raise MissingColumn(f"{self.source}: has no column {column!r} to take the best over; pass --points all")
        keys = [self.cells(), self.frame[column]]
        mean = self.frame.groupby(keys, dropna=False)["val_loss"].transform("mean")
        best = mean.groupby(keys[0]).transform("min")
        at_best = self.frame[mean == best]
        ranked = at_best.assign(_cell=keys[0]).sort_values(["_cell", "val_loss"], kind="stable")
        place = ranked.groupby("_cell").cumcount()
        middle = (ranked.groupby("_cell")["val_loss"].transform("size") - 1) // 2
        kept = self.frame.index.isin(ranked.index[place == middle])
        lost = len(self) - int(kept.sum())
        note = f"best over {column}: {int(kept.sum())} of {len(self)} runs kept" if lost else None
        return replace(self.where(kept, note), points="best")

    def envelope(self) -> RunTable:
        """The lower envelope: the runs that no cheaper or equally cheap run matches in loss, by rising compute.

        Compute within `EQUAL_COMPUTE` counts as equal: images are whole, so equal budgets differ a little by size.
        """
        cost, _ = self.variable("C")
        loss, _ = self.variable("L")
        order = np.lexsort((loss, cost))
        cost, loss = cost[order], loss[order]
        within = np.searchsorted(cost, cost * (1 + EQUAL_COMPUTE), side="right")
        lowest = np.minimum.accumulate(loss)
        before = np.concatenate([[np.inf], lowest[:-1]])
        on_it = (loss < before) & (loss <= lowest[within - 1])
        frame = self.frame.iloc[order[on_it]].reset_index(drop=True)
        note = f"envelope: {len(frame)} of {len(self)} runs are matched by no cheaper one"
        return replace(self, frame=frame, points="envelope", notes=(*self.notes, note))

    def write(self, path: str | Path) -> None:
        """Writes the rows as Parquet, units and meanings in the field metadata."""
        files.write_parquet(Path(path), to_arrow(self.frame))


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """An Arrow table whose known columns have their types, units and meanings."""
    known = [name for name in COLUMNS if name in frame]
    others = [str(name) for name in frame if name not in COLUMNS]
    arrays, fields = [], []
    for name in known:
        arrow = arrow_field(name)
        arrays.append(pa.Array.from_pandas(frame[name], type=arrow.type))
        fields.append(arrow)
    for name in others:
        array = pa.Array.from_pandas(frame[name])
        arrays.append(array)
        fields.append(pa.field(str(name), array.type))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _renamed(frame: pd.DataFrame, source: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Gives the table's columns our names: first by the caller's map, then by the field's letters."""
    have = [str(name) for name in frame.columns]
    known = [*COLUMNS, *LETTERS, "L"]
    mistakes = [
        f"--column {ours}: is no known column{nearest(ours, known)} (known: {', '.join(known)})"
        for ours in columns
        if ours not in known
    ] + [
        f"{source}: has no column {theirs!r}{nearest(theirs, have)} (columns: {', '.join(have)})"
        for theirs in columns.values()
        if theirs not in have
    ]
    if mistakes:
        raise UserError(*mistakes)
    letters = {**LETTERS, "L": "val_loss"}
    names = {theirs: letters.get(ours, ours) for ours, theirs in columns.items()}
    taken = set(names.values())
    frame = frame.drop(columns=[name for name in have if name in taken and name not in names])
    for letter, ours in letters.items():
        if letter in frame and letter not in names and ours not in taken and ours not in frame:
            names[letter] = ours
            taken.add(ours)
    return frame.rename(columns=names)


def _checked(
    frame: pd.DataFrame, source: str, columns: Mapping[str, str] | None, problems: Sequence[str] = ()
) -> RunTable:
    """Names, types and checks: every value that cannot be right is named, none is dropped."""
    frame = _renamed(frame, source, columns or {}).reset_index(drop=True)
    found = list(problems)
    names = frame.get("run_id")

    def name_rows(rows: npt.NDArray[np.bool_], column: str, was: pd.Series, mend: str) -> None:
        for row in np.flatnonzero(rows):
            run = f" (run {names.iloc[row]})" if names is not None else ""
            found.append(f"{source}: row {row + 1}{run}: {column} is {was.iloc[row]!r}; {mend}")

    judged = (frame["status"] == "finished").to_numpy() if "status" in frame else np.ones(len(frame), dtype=bool)
    for column in [name for name in COLUMNS if name in frame and python_type(name) in (int, float)]:
        was = frame[column]
        numbers = pd.to_numeric(was, errors="coerce")
        values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        name_rows(was.notna().to_numpy() & np.isnan(values), column, was, "it must be a number")
        if column in _POSITIVE:
            name_rows(judged & ~(values > 0) & ~np.isnan(values), column, was, "it must be positive")
            name_rows(judged & np.isinf(values), column, was, "it must be finite")
        if column == "val_loss":
            name_rows(judged & was.isna().to_numpy(), column, was, "a finished run has a loss")
        frame[column] = numbers
    if {"core_hours", "train_flop", "utilisation"} <= set(frame):
        implied = frame["train_flop"] / (frame["utilisation"] * compute.FLOP_PER_CORE_HOUR)
        off = (implied / frame["core_hours"] - 1).abs().to_numpy(dtype=np.float64, na_value=np.nan)
        name_rows(off > 1e-6, "core_hours", frame["core_hours"], "train_flop and utilisation imply another value")
    is_results = {"run_id", "config", "core_hours_basis"} <= set(frame)
    return RunTable(frame, source=source, problems=tuple(found), is_results=is_results)
