"""The results folder: results/<name>/{sweep.json, runs.parquet, <run_id>/{config.json, row.parquet, ...}}.

A run's folder holds `config.json`, `status.json`, `lease`, `trace/part-*.parquet` and, once done, `row.parquet`.
`runs.parquet` is a copy of the rows for fast reading, made anew when it is absent; the truth is one folder a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from scalelaw.errors import UserError
from scalelaw.runs import files
from scalelaw.runs.lease import is_held, lease
from scalelaw.runs.schema import Run, Status, arrow_schema

_SLACK_NS = 2_000_000_000  # file times may be this coarse


class ResultsFolder:
    """One sweep's results on disk.

    Args:
        root: the folder; it must hold `sweep.json` or `runs.parquet`, or be new.
        new: whether it may be made.

    Raises:
        UserError: when the folder is something else.
    """

    def __init__(self, root: Path, *, new: bool = False) -> None:
        self.root = root
        known = (root / "sweep.json").exists() or (root / "runs.parquet").exists()
        empty = not root.exists() or (root.is_dir() and not any(root.iterdir()))
        if root.exists() and not root.is_dir():
            raise UserError(f"{root}: is a file, not a results folder")
        if not known and not (new and empty):
            if not root.exists():
                raise UserError(f"{root}: no such folder; a sweep makes it: scalelaw sweep SPEC.toml")
            raise UserError(f"{root}: is not a results folder (it holds neither sweep.json nor runs.parquet); "
                            "name another folder")  # fmt: skip

    @property
    def table_path(self) -> Path:
        """The compacted rows."""
        return self.root / "runs.parquet"

    def run_path(self, run_id: str) -> Path:
        """The folder of one run."""
        return self.root / run_id

    def run_ids(self) -> list[str]:
        """The runs that have a folder, sorted."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(e.name for e in entries if e.is_dir() and os.path.exists(f"{e.path}/config.json"))
        except OSError as error:
            raise UserError(f"{self.root}: cannot be read ({error.strerror})") from error

    def add(self, run_id: str, config: dict[str, Any]) -> None:
        """Makes the folder of a run, unless it is there."""
        path = self.run_path(run_id) / "config.json"
        if not path.exists():
            files.write_json(path, config)

    def config(self, run_id: str) -> dict[str, Any]:
        """The configuration of a run, defaults left out.

        Raises:
            UserError: when there is no such run.
        """
        path = self.run_path(run_id) / "config.json"
        if not path.exists():
            raise UserError(f"{self.root}: has no run {run_id!r}; scalelaw status {self.root} lists them")
        config: dict[str, Any] = files.read_json(path)
        return config

    def lease(self, run_id: str) -> AbstractContextManager[bool]:
        """Keeps two launchers apart: yields whether this process may work on the run."""
        return lease(self.run_path(run_id) / "lease")

    def note(self, run_id: str, **facts: Any) -> None:
        """Writes `status.json`: what a person or the next attempt wants to know of a run that has no row."""
        files.write_json(self.run_path(run_id) / "status.json", facts)

    def noted(self, run_id: str) -> dict[str, Any]:
        """What `note` wrote last; empty when nothing was, or it cannot be read."""
        try:
            facts: dict[str, Any] = files.read_json(self.run_path(run_id) / "status.json")
        except UserError:
            return {}
        return facts

    def commit_row(self, run: Run) -> None:
        """Writes the row of a run: the moment from which it is finished, diverged or failed."""
        assert run.run_id is not None
        files.write_parquet(self.run_path(run.run_id) / "row.parquet", rows_to_arrow([run]))

    def read_rows(self) -> tuple[pa.Table, list[str]]:
        """All rows, sorted by run_id, and a sentence for each file that could not be read.

        Reads the compacted table and only those rows that are newer than it.
        """
        problems: list[str] = []
        parts: list[pa.Table] = []
        compacted: set[str] = set()
        since = 0
        if self.table_path.exists():
            try:
                since = self.table_path.stat().st_mtime_ns - _SLACK_NS
                parts.append(_aligned(files.read_parquet(self.table_path)))
                compacted = set(parts[0]["run_id"].to_pylist())
            except UserError as error:
                problems += error.messages
        fresh: set[str] = set()
        for run_id in self.run_ids():
            path = self.run_path(run_id) / "row.parquet"
            try:
                newer = path.stat().st_mtime_ns >= since
            except OSError:
                continue
            if newer or run_id not in compacted:
                try:
                    parts.append(_aligned(files.read_parquet(path)))
                    fresh.add(run_id)
                except UserError as error:
                    problems += error.messages
        if compacted & fresh:
            keep = [run_id not in fresh for run_id in parts[0]["run_id"].to_pylist()]
            parts[0] = parts[0].filter(pa.array(keep))
        table = pa.concat_tables(parts, promote_options="default") if parts else arrow_schema().empty_table()
        return table.sort_by("run_id"), problems

    def compact(self) -> None:
        """Rewrites `runs.parquet` from the rows."""
        table, _ = self.read_rows()
        files.write_parquet(self.table_path, table)

    def row_status(self, run_id: str) -> Status:
        """The status in a run's own row; pending when it has none that can be read."""
        path = self.run_path(run_id) / "row.parquet"
        if not path.exists():
            return self.statuses([run_id], held=False)[run_id]
        try:
            status: Status = files.read_parquet(path)["status"][0].as_py()
        except (UserError, KeyError, IndexError):
            return "pending"
        return status

    def statuses(self, run_ids: Iterable[str], *, held: bool = True) -> dict[str, Status]:
        """The status of every run: from its lease (unless `held` is false), else from its row, else pending."""
        table, _ = self.read_rows()
        rows = dict(zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True))
        found: dict[str, Status] = {}
        for run_id in run_ids:
            if held and is_held(self.run_path(run_id) / "lease"):
                found[run_id] = "running"
            else:
                found[run_id] = rows.get(run_id, "pending")
        return found


def rows_to_arrow(runs: list[Run]) -> pa.Table:
    """An Arrow table of runs with the schema of `Run`."""
    return pa.Table.from_pylist([asdict(run) for run in runs], schema=arrow_schema())


def _aligned(table: pa.Table) -> pa.Table:
    """The table with every known column typed as now, whatever version wrote it; others are kept."""
    if "run_id" not in table.column_names:
        raise UserError("a Parquet file without a run_id column lies among the rows; move it away")
    schema = arrow_schema()
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    known = [table[field.name].cast(field.type) for field in schema]
    others = [name for name in table.column_names if name not in schema.names]
    columns = known + [table[name] for name in others]
    return pa.Table.from_arrays(columns, schema=pa.schema([*schema, *(table.schema.field(n) for n in others)]))
