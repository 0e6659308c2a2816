"""RunTable: finished schedules as rows, from a results folder, a file or a DataFrame."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from scalelaw.errors import UserError, nearest
from scalelaw.runs import arrow, checks, files, folder, stamps, store, traces
from scalelaw.runs.schema import COLUMNS, LETTERS, TEXTS

Points = Literal["all", "best", "envelope"]
Letter = Literal["C", "N", "D", "U", "L"]

EQUAL_COMPUTE = 0.02
"""Relative difference up to which two runs count as equally expensive."""

_LENGTHS = ("epochs", "images_seen", "train_flop", "config")
_CELL = ("dataset", "family", "variant", "params", "macs_per_image", "resolution", "unique_images", "epochs",
         "images_seen", "train_flop", "batch_size", "parent")  # fmt: skip
"""Columns that tell cells apart: runs that agree in all of them differ in learning rate or seed alone."""

_MEANINGS: dict[Letter, tuple[str, ...]] = {
    "C": ("core_hours", "train_flop"),
    "N": ("macs_per_image", "params"),
    "D": ("images_seen",),
    "U": ("unique_images",),
    "L": ("val_loss",),
}


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
        metadata: of Parquet columns that are not ours, kept for writing.
    """

    frame: pd.DataFrame
    source: str = "a DataFrame"
    points: Points = "all"
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = field(default=())
    is_results: bool = False
    metadata: arrow.Metadata = field(default_factory=dict, repr=False)

    @staticmethod
    def load(path: str | Path, columns: Mapping[str, str] | None = None) -> RunTable:
        """Reads a results folder, a Parquet file or a CSV file, on disk or in an object store.

        Args:
            path: the folder or file, or its URI (s3://, gs://, abfss://, hdfs://, file:///).
            columns: known name -> the table's own name, as {"N": "Model Size"}. Known names are the columns of a run
                and C (training FLOP), N (parameters), D (images or tokens seen), U (different ones among them), loss.

        Raises:
            UserError: when there is nothing to read there, naming the path and the mend.
        """
        if store.is_uri(path):
            return store.table_of(str(path), columns)
        path = Path(path)
        if path.is_dir():
            return of_arrow(*folder.ResultsFolder(path).read_rows(), str(path), columns)
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give a results folder, a .parquet or a .csv file")
        if path.suffix.lower() == ".parquet":
            return of_arrow(stamps.without(files.read_parquet(path)), [], str(path), columns)
        if path.suffix.lower() == ".csv":
            return _of_frame(_csv(path), str(path), columns)
        raise UserError(f"{path}: neither a results folder nor a .parquet or .csv file")

    @staticmethod
    def from_frame(frame: pd.DataFrame, columns: Mapping[str, str] | None = None) -> RunTable:
        """Takes the rows of a DataFrame; `columns` as in `load`."""
        return _of_frame(frame, "a DataFrame", columns)

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

        C is core_hours, else train_flop; N is macs_per_image, else params; D is images_seen; U is unique_images; L is
        val_loss.
        """
        names = _MEANINGS[letter]
        there = [name for name in names if self.has(name)] or [name for name in names if name in self.frame]
        name = there[0] if there else names[-1]
        return self.column(name).astype(np.float64), name

    def where(self, mask: npt.ArrayLike, note: str | None = None) -> RunTable:
        """The rows at which `mask`, shape (runs,), is true; `note` says what was left out."""
        kept = self.frame[np.asarray(mask, dtype=bool)].reset_index(drop=True)
        return replace(self, frame=kept, notes=self.notes + ((note,) if note else ()))

    def finished(self, *, fine_tuned: bool = False) -> RunTable:
        """The finished runs; every other status is counted in `notes`. Without a status column, all rows.

        Args:
            fine_tuned: keep runs that began at others beside those that did not. Else only the latter are kept of a
                table that holds both: they learnt other tasks from another start, and no one law is that of both.
        """
        runs = self
        if self.has("status") and not (done := (self.frame["status"] == "finished").to_numpy()).all():
            counts = self.frame["status"][~done].value_counts(dropna=False)
            runs = self.where(done, "left out: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
        return runs if fine_tuned else runs.of_one_start()

    def of_one_start(self) -> RunTable:
        """Without the runs that began at others, where the table holds runs that did not; `notes` counts them."""
        if not self.has("parent") or (began := self.frame["parent"].notna().to_numpy()).all():
            return self
        return self.where(~began, f"left out: {began.sum()} fine-tuned runs, which scalelaw transfer reads")

    def cells(self) -> pd.Series:
        """For each run the number of its cell: runs of a cell differ in learning rate or seed alone."""
        keys = {name: self.frame[name] for name in _CELL if self.has(name)}
        if self.has("config"):
            keys["config"] = self.frame["config"].map(lambda config: _settings(config) or config, na_action="ignore")
        if not keys.keys() & set(_LENGTHS) and self.has("core_hours"):
            keys["core_hours"] = self.frame["core_hours"]
        if not keys:
            return pd.Series(np.zeros(len(self), dtype=np.int64), index=self.frame.index)
        return self.frame.groupby(list(keys.values()), dropna=False, sort=False).ngroup()

    def scheduled_cells(self) -> pd.Series:
        """As `cells`, with every diverged run in the cell of the finished ones that its configuration was to join.

        Its own columns say how far it came, and so are those of no cell.
        """
        lengths = [name for name in ("epochs", "images_seen", "train_flop") if self.has(name)]
        if not (lengths and self.has("config") and self.has("status")):
            return self.cells()
        told = self.frame["config"].map(_settings, na_action="ignore")
        early = (self.frame["status"] == "diverged") & told.notna()
        whole = (self.frame["status"] == "finished") & told.notna()
        known = self.frame[whole].groupby(told[whole])[lengths].first()
        meant = {name: self.frame[name].mask(early, told.map(known[name])) for name in lengths}
        return replace(self, frame=self.frame.assign(**meant)).cells()

    def best_over(self, column: str = "peak_lr") -> RunTable:
        """One run a cell (a variant and a length): the one at the best value of `column`.

        The best value is the one of lowest mean loss over its seeds (of equal ones the lowest); of the runs at it the
        one of median loss is kept, so that more seeds do not mean a luckier draw. Runs without a loss take no part.
        """
        if column not in self.frame:
            raise MissingColumn(f"{self.source}: has no column {column!r} to take the best over; pass --points all")
        known = self.where(~np.isnan(self.column("val_loss").astype(np.float64)))
        frame = known.frame.assign(_cell=known.cells())
        frame["_mean"] = frame.groupby(["_cell", column], dropna=False)["val_loss"].transform("mean")
        first = frame.sort_values(["_mean", column], kind="stable").drop_duplicates("_cell").set_index("_cell")[column]
        value = frame["_cell"].map(first)
        at_best = frame[(frame[column] == value) | (frame[column].isna() & value.isna())]
        ranked = at_best.sort_values(["_cell", "val_loss"], kind="stable")
        place = ranked.groupby("_cell").cumcount()
        middle = (ranked.groupby("_cell")["val_loss"].transform("size") - 1) // 2
        kept = frame.index.isin(ranked.index[place == middle])
        notes = self._without_loss(known)
        if not kept.all():
            notes = (*notes, f"best over {column}: {int(kept.sum())} of {len(known)} runs kept")
        return replace(known.where(kept), points="best", notes=(*self.notes, *notes))

    def envelope(self) -> RunTable:
        """The lower envelope: the runs that no cheaper or equally cheap run matches in loss, by rising compute.

        Compute within `EQUAL_COMPUTE` counts as equal: images are whole, so equal budgets differ a little by size.
        Runs without a loss or a cost take no part.
        """
        cost, _ = self.variable("C")
        loss, _ = self.variable("L")
        order = np.lexsort((loss, cost))
        order = order[~np.isnan(cost[order]) & ~np.isnan(loss[order])]
        cost, loss = cost[order], loss[order]
        within = np.searchsorted(cost, cost * (1 + EQUAL_COMPUTE), side="right")
        lowest = np.minimum.accumulate(loss)
        before = np.concatenate([[np.inf], lowest])[:-1]
        on_it = (loss < before) & (loss <= lowest[within - 1])
        frame = self.frame.iloc[order[on_it]].reset_index(drop=True)
        note = f"envelope: {len(frame)} of {len(order)} runs are matched by no cheaper one"
        known = self.where(np.isin(np.arange(len(self)), order))
        return replace(self, frame=frame, points="envelope", notes=(*self.notes, *self._without_loss(known), note))

    def _without_loss(self, known: RunTable) -> tuple[str, ...]:
        lost = len(self) - len(known)
        return (f"left out: {lost} {'run' if lost == 1 else 'runs'} of unknown loss or cost",) if lost else ()

    def traces(self) -> Any:
        """The traces of these runs: a pyarrow.dataset.Dataset, of which nothing is read before it is asked.

        `runs.finished().traces().to_table(columns=["run_id", "step", "train_loss"])` reads three columns of the part
        files of finished runs. Rows are in no promised order: sort by run_id and step.

        Raises:
            UserError: when the rows come from no results folder, or have no run_id.
        """
        if not store.is_uri(self.source) and not Path(self.source).is_dir():
            raise UserError(f"{self.source}: has no traces; they lie in a results folder, load that")
        run_ids = self.column("run_id")
        root = store.traces_of(self.source, run_ids) if store.is_uri(self.source) else Path(self.source)
        return traces.traces(root, run_ids)

    def write(self, path: str | Path) -> None:
        """Writes the rows as Parquet, units and meanings in the field metadata."""
        files.write_parquet(Path(path), arrow.from_frame(self.frame, self.metadata))


def _settings(config: str) -> str | None:
    """What a configuration sets beside learning rate, seed and the data's place; None of another's configuration."""
    try:
        settings = json.loads(config)
        settings["train"] = {k: v for k, v in settings["train"].items() if k not in ("peak_lr", "seed")}
        settings["data"] = {k: v for k, v in settings["data"].items() if k != "path"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return files.canonical(settings)


def of_arrow(table: pa.Table, problems: Sequence[str], source: str, columns: Mapping[str, str] | None) -> RunTable:
    runs = _of_frame(table.to_pandas(), source, columns)
    return replace(runs, problems=(*problems, *runs.problems), metadata=arrow.metadata(table))


def _csv(path: Path) -> pd.DataFrame:
    """A CSV table, whose header must name every cell of a row once: pandas alone would shift or rename columns."""
    try:
        names = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna()
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, dtype=TEXTS, index_col=False)
    except pd.errors.ParserWarning as error:
        raise UserError(f"{path}: is not a CSV table: rows have more cells than the header has names; write numbers "
                        "without commas, or name every column") from error  # fmt: skip
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: is not a CSV table with a header line ({files.reason(error)})") from error
    if again := list(names[names.duplicated()].unique()):
        raise UserError(*(f"{path}: has two columns {name!r}; rename one" for name in again))
    return frame


def _of_frame(frame: pd.DataFrame, source: str, columns: Mapping[str, str] | None) -> RunTable:
    frame, problems = checks.checked(checks.renamed(frame, source, columns or {}), source)
    is_results = {"run_id", "config", "core_hours_basis"} <= set(frame)
    return RunTable(frame, source=source, problems=tuple(problems), is_results=is_results)
