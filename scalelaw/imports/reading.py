"""From a path to its rows: the format by what is there, and a history's last points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.imports import tables, tensorboard, wandb_api, wandb_offline, wandb_tables
from scalelaw.imports.column_map import DERIVED, ColumnMap, known_name
from scalelaw.imports.history import contradiction, last_points, split
from scalelaw.imports.source import STEP, Fields, History, Source, of_records
from scalelaw.imports.units import own_unit
from scalelaw.runs import COLUMNS
from scalelaw.runs.schema import python_type

Format = Literal["csv", "parquet", "json", "tensorboard", "wandb-offline", "wandb-history", "wandb-api"]
_SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".jsonl": "json",
                                ".ndjson": "json", ".json": "json", ".wandb": "wandb-offline"}  # fmt: skip
_ARTIFACT = re.compile(r"(?:run-)?(?P<run>[\w-]+?)-history(?:[:.-]v\d+)?$")

_DOTTED = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")


@dataclass(frozen=True)
class Options:
    """How to read.

    Attributes:
        map: which column is which.
        format: None to tell it by the path.
        step: the column of steps of a history; W&B's is known without.
        total_steps: how many steps a history's runs should have: a number, or a column.
    """

    map: ColumnMap
    format: Format | None = None
    step: str | None = None
    total_steps: str | None = None


def read(name: str, options: Options) -> Source:
    """One source: a file, a folder, or `wandb:ENTITY/PROJECT`.

    Raises:
        UserError: when there is nothing to read, or it cannot be read.
    """
    if name.startswith(wandb_api.PREFIX) or options.format == "wandb-api":
        frame = wandb_api.read(name)
        return _rows(name, "W&B runs by API", frame, (), {}, wandb=True)
    path = Path(name)
    if not path.exists():
        raise UserError(f"{name}: no such file or folder")
    kind = options.format or _format(path)
    if kind == "tensorboard":
        histories, files, notes = tensorboard.read(path)
        return _points(name, "TensorBoard", histories, options, files, notes)
    if kind == "wandb-offline":
        histories, files, notes = wandb_offline.read(path)
        return _points(name, "W&B offline", histories, options, files, notes)
    if kind == "wandb-history":
        paths = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
        histories = [one for part in paths for one in _histories(part, tables.read_parquet(part)[0], options)]
        return _points(name, "W&B history", _joined(histories), options, paths, [])
    if path.is_dir():
        raise UserError(f"{name}: is a folder, and --format {kind} reads files; name them")
    return _table(name, path, kind, options)


def _table(name: str, path: Path, kind: Format, options: Options) -> Source:
    fields: Fields = {}
    said: list[str] = []
    if kind == "parquet":
        table, fields = tables.read_parquet(path)
        names = table.column_names
        if _is_history(names, options):
            return _points(name, "Parquet history", _histories(path, table, options), options, [path], [])
        frame = tables.frame_of(table)
    elif kind == "csv":
        table = tables.read_csv(path)
        names = table.column_names
        if any(f"{one}__MIN" in names and " - " in one for one in names):
            raise UserError(f"{path}: is the export of a W&B chart, a column for each run; export W&B's table of runs, "
                            "or name wandb:ENTITY/PROJECT")  # fmt: skip
        said = _dotted(name, table, options)
        if _is_history(names, options):
            own = options.map.columns.get("run_id", "run_id")
            typed = {one: tables.typed(tables.read_text(table[one].to_pylist())) for one in names if one != own}
            table = pa.table({one: typed.get(one, table[one]) for one in names})
            return _points(name, "CSV history", _histories(path, table, options), options, [path], said)
        frame = tables.frame_of(table)
    else:
        records = tables.read_json(path)
        names = list(dict.fromkeys(key for record in records for key in record))
        if wandb_tables.is_runs_table(names):
            frame = of_records(records)
        else:
            records = [tables.flattened(record) for record in records]
            frame = of_records(records)
            if _is_history([str(one) for one in frame], options):
                columns = {one: tables.typed(list(frame[one])) for one in frame}
                return _points(name, "JSON history", _histories(path, pa.table(columns), options), options, [path], [])
    title = {"csv": "CSV", "parquet": "Parquet", "json": "JSON"}[kind]
    return _rows(name, title, frame, (path,), fields, wandb=wandb_tables.is_runs_table(list(names)), notes=said)


def _dotted(name: str, table: pa.Table, options: Options) -> list[str]:
    """A sentence for each column of counts in text whose dots may part thousands, as in much of Europe."""
    ours = {theirs: column for column, theirs in options.map.columns.items()}
    notes = []
    for theirs in table.column_names:
        column = ours.get(theirs) or known_name(theirs) or ""
        count = theirs == options.step or column in DERIVED[1:] or (column in COLUMNS and python_type(column) is int)
        if count and options.map.units.get(column) in (None, own_unit(column)):
            cells = enumerate(table[theirs].to_pylist(), start=1)
            found = next((one for one in cells if one[1] and _DOTTED.fullmatch(one[1])), None)
            if found is not None:
                place, read = f"{name} row {found[0]}: {column or theirs}", f"{float(found[1]):g}"
                notes.append(f"{place} is {found[1]!r} and read as {read}; if that dot parts thousands, write the "
                             "numbers without it")  # fmt: skip
    return notes


def _is_history(names: list[str], options: Options) -> bool:
    """Whether rows are moments of runs: the user says so, or they have W&B's steps and are not its table of runs."""
    return options.step is not None or (STEP in names and not wandb_tables.is_runs_table(names))


def _rows(name: str, kind: str, frame: pd.DataFrame, files: tuple[Path, ...], fields: Fields, *, wandb: bool,
          notes: Sequence[str] = ()) -> Source:  # fmt: skip
    if wandb:
        frame = wandb_tables.runs_of(frame, name)
    if not len(frame):
        raise UserError(f"{name}: holds no rows")
    return Source(
        name, f"W&B runs, {kind}" if wandb and files else kind, frame,
        tuple(f"{name} row {row + 1}" for row in range(len(frame))),
        meanings=wandb_tables.meanings([str(one) for one in frame]) if wandb else {}, files=files,
        notes=tuple(notes), logged=wandb, untyped=kind == "CSV", fields=fields,
    )  # fmt: skip


def _histories(path: Path, table: pa.Table, options: Options) -> list[History]:
    names = table.column_names
    if not len(table):
        raise UserError(f"{path}: holds no rows")
    own = options.map.columns.get("run_id")
    run_column = own if own in names else "run_id" if "run_id" in names else None
    histories = split(str(path), table, options.step or STEP, run_column, _run_id(path))
    if run_column is None and (found := contradiction(histories[0], _losses(names, options))) is not None:
        raise UserError(f"{path}: step {found[0]} has two losses, {found[1]}, and no column names the "
                        "runs; name it with --column run_id=..., or remove one of the rows")  # fmt: skip
    return histories


def _run_id(path: Path) -> str:
    """The run of a file that does not say: W&B's artifact folders are named ID-history, others by the file."""
    for word in (path.stem, path.resolve().parent.name):
        if found := _ARTIFACT.match(word):
            return found["run"]
    return path.resolve().parent.name if path.stem.isdigit() else path.stem


def _joined(histories: list[History]) -> list[History]:
    """Parts of one run put together: W&B writes long histories as several files."""
    parts: dict[str, list[History]] = {}
    for history in histories:
        parts.setdefault(history.run_id, []).append(history)
    joined = []
    for run_id, found in parts.items():
        table = pa.concat_tables([one.table for one in found], promote_options="permissive")
        joined.append(History(run_id, tables.by_step(table, found[0].step), found[0].step))
    return joined


def _points(name: str, kind: str, histories: list[History], options: Options, files: list[Path],
            notes: list[str]) -> Source:  # fmt: skip
    names = dict.fromkeys(column for history in histories for column in history.table.column_names)
    facts = dict.fromkeys(column for history in histories for column in history.facts)
    known = wandb_tables.meanings(list(facts)) if kind.startswith("W&B") else {}
    known.pop("run_id", None)
    return last_points(name, kind, histories, losses=_losses(names, options), total_steps=options.total_steps,
                       meanings=known, files=files, notes=notes)  # fmt: skip


def _losses(names: Iterable[str], options: Options) -> list[str]:
    """The columns that are the held-out loss."""
    mapped = options.map.columns.get("val_loss")
    return [one for one in names if one == mapped or (mapped is None and known_name(one) == "val_loss")]


def _format(path: Path) -> Format:
    if path.is_dir():
        if any((path / name).exists() for name in ("sweep.json", "runs.parquet")):
            raise UserError(f"{path}: is a results folder; every reading command takes it as it is")
        if tensorboard.event_files(path):
            return "tensorboard"
        if wandb_offline.log_files(path):
            return "wandb-offline"
        if any(path.rglob("*.parquet")):
            return "wandb-history"
        raise UserError(f"{path}: holds no TensorBoard event files, W&B logs or Parquet histories; name a file in it")
    if ".tfevents." in path.name:
        return "tensorboard"
    kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: of which format? add --format csv, parquet, json, tensorboard or wandb-offline")
    return kind
