"""The results folder: results/<name>/{sweep.json, runs.parquet, <run_id>/{config.json, row.parquet, ...}}.

A run's folder holds `config.json`, `status.json`, `lease`, `trace/part-*.parquet`, while it trains `checkpoint/` and
`held/` (whose it is, and what is being written) and, once done, `final/weights.npz` and `row.parquet`.
`runs.parquet` is a copy of the rows for fast reading, made anew when it is absent; the truth is one folder a run.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw.errors import UserError
from scalelaw.runs import arrow, files, looks, recording, stamps
from scalelaw.runs.claims import HELD, Claim, Watch
from scalelaw.runs.lease import Lease, clear, is_held, lease, must_watch
from scalelaw.runs.schema import Run, Status

PLACES = ("path", "holdout_path", "exclude", "holdout_exclude", "cache")
"""Settings of [data] that are paths; `path` is also where a parent's weights are."""
CHECKPOINTS = "checkpoint"  # in a run's folder, until it has its row
DONE: tuple[Status, ...] = ("finished", "diverged")
"""Statuses of rows that no attempt will replace."""


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
        self.address = self.shown = str(root)  # how other processes name it, and how people do
        self._watch = Watch()
        if root.exists() and not root.is_dir():
            raise UserError(f"{root}: is a file, not a results folder")
        # one listing, for another launcher may be writing sweep.json at this moment: aside first, then in its place
        there = any((root / name).exists() for name in ("sweep.json", "runs.parquet"))  # listing many runs takes long
        names = {entry.name for entry in root.iterdir()} if root.exists() and not there else set()
        empty = all(name.startswith((".sweep.json.", "near-duplicates-")) for name in names)
        if not (there or {"sweep.json", "runs.parquet"} & names or (new and empty)):
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

    def is_there(self) -> bool:
        """Whether it is still a results folder."""
        return (self.root / "sweep.json").exists() or self.table_path.exists()

    def has(self, run_id: str) -> bool:
        """Whether a run has a folder with its configuration."""
        return os.path.exists(f"{self.root}/{run_id}/config.json")

    def run_ids(self, besides: Collection[str] = ()) -> list[str]:
        """The runs that have a folder, sorted; those that the caller knows already are left out, and not looked at."""
        return [name for name in sorted(self._folders()) if name not in besides and self.has(name)]

    def _folders(self) -> list[str]:
        """Names of the folders, by their places on disk: of many, looked at in that order, a cold disk reads faster."""
        try:
            with os.scandir(self.root) as entries:
                return [name for _, name in sorted((one.inode(), one.name) for one in entries if one.is_dir())]
        except OSError as error:
            raise UserError(f"{self.root}: cannot be read ({files.reason(error)})") from error

    def recording(self) -> AbstractContextManager[dict[str, Any]]:
        """For whoever changes `sweep.json`: yields what it holds, and makes other launchers of this machine wait."""
        return recording.turn(self.root)

    def begin(self, record: dict[str, Any], configs: Mapping[str, dict[str, Any]]) -> None:
        """Writes `sweep.json` and the folder of every run; when that fails, all is as it was before.

        Args:
            record: what `sweep.json` is to hold. The folder one is in is added: `config` takes the data's path from it.
            configs: configuration of every run by its id.

        Raises:
            UserError: when the folder cannot be written.
        """
        recording.begin(self.root, record, configs, self.add)

    def add(self, run_id: str, config: dict[str, Any]) -> None:
        """Makes the folder of a run, unless it is there with this configuration (only the data's place may differ)."""
        path = self.run_path(run_id) / "config.json"
        if not path.exists() or files.read_json(path) != config:
            files.write_json(path, config)

    def config(self, run_id: str) -> dict[str, Any]:
        """The configuration of a run, defaults left out, the data's paths as seen from the folder one is in.

        A relative path was written in the folder of `sweep.json`, and is looked for there first.

        Raises:
            UserError: when there is no such run.
        """
        path = self.run_path(run_id) / "config.json"
        if not path.exists():
            raise UserError(f"{self.root}: has no run {run_id!r}; scalelaw status {self.root} lists them")
        config: dict[str, Any] = files.read_json(path)
        for section in (config.get("data", {}), config.get("parent", {})):
            section.update({key: self._from_here(section[key]) for key in PLACES if section.get(key)})
        return config

    def _from_here(self, path: str) -> str:
        record = self.root / "sweep.json"
        written_in = files.read_json(record).get("folder") if record.exists() else None
        if written_in is None or os.path.isabs(path) or os.path.realpath(written_in) == os.path.realpath("."):
            return path
        there = os.path.join(written_in, path)
        return os.path.relpath(there) if os.path.exists(there) or glob.glob(there) else path

    def lease(self, run_id: str) -> AbstractContextManager[Lease | None]:
        """Keeps two launchers apart: yields what makes this process the run's, None when another has it."""
        return lease(self.run_path(run_id) / "lease", self._watch)

    def is_held(self, run_id: str) -> bool:
        """Whether a process holds the run's lease, of another machine: by what was seen of it so far."""
        return is_held(self.run_path(run_id) / "lease", self._watch)

    def clear(self, run_id: str) -> None:
        """Ends a lease whose holder is dead, or was seen silent, so that whoever comes next need not watch it too."""
        clear(self.run_path(run_id) / "lease", self._watch)

    def must_watch(self, run_id: str) -> Claim | None:
        """Another machine's claim on the run, of which only watching can tell whether its holder lives."""
        return must_watch(self.run_path(run_id) / "lease", self._watch)

    def note(self, run_id: str, held: Lease | None = None, **facts: Any) -> None:
        """Writes `status.json`: what a person or the next attempt wants to know of a run that has no row."""
        files.write_json(self.run_path(run_id) / "status.json", facts, None if held is None else held.write)

    def noted(self, run_id: str) -> dict[str, Any]:
        """What `note` wrote last; empty when nothing was, or it cannot be read."""
        try:
            facts: dict[str, Any] = files.read_json(self.run_path(run_id) / "status.json")
        except UserError:
            return {}
        return facts

    def commit_row(self, run: Run, held: Lease | None = None) -> None:
        """Writes the row of a run: the moment from which it is finished, diverged or failed.

        Raises:
            LeaseLost: when the lease, if one is given, is no longer held.
        """
        assert run.run_id is not None
        through = None if held is None else held.write
        files.write_parquet(self.run_path(run.run_id) / "row.parquet", arrow.of_runs([run]), through)

    def drop_torn(self, run_id: str) -> None:
        """Removes what a killed attempt of a run was writing aside; only for whoever holds the run's lease."""
        path = self.run_path(run_id)
        for torn in [*path.glob(".row.parquet.*"), *path.glob(".status.json.*"), *path.glob("final/.*")]:
            torn.unlink(missing_ok=True)

    def has_checkpoints(self, run_id: str) -> bool:
        """Whether a run has a folder of checkpoints."""
        return (self.run_path(run_id) / CHECKPOINTS).exists()

    def is_tidy(self, run_id: str) -> bool:
        """Whether a run that is done has nothing left of the work: no checkpoints, no claim."""
        return not (self.has_checkpoints(run_id) or (self.run_path(run_id) / HELD).exists())

    def drop_checkpoints(self, run_ids: Iterable[str]) -> None:
        """Removes the checkpoints of runs that have their row, which may be killed just before they do it."""
        for run_id in run_ids:
            if self.has_checkpoints(run_id):
                shutil.rmtree(self.run_path(run_id) / CHECKPOINTS, ignore_errors=True)

    def read_rows(self) -> tuple[pa.Table, list[str]]:
        """All rows, sorted by run_id, and a sentence for each file that could not be read.

        Reads the compacted table, and only those rows whose files are no longer as they were when it was made.
        """
        table, problems, _ = self._read()
        return table, problems

    def _read(self) -> tuple[pa.Table, list[str], dict[str, str | None]]:
        """What `read_rows` returns, and the stamp of every row's file as it was before the file was read."""
        problems: list[str] = []
        parts: list[pa.Table] = []
        compacted: dict[str, str | None] = {}
        if self.table_path.exists():
            try:
                table, compacted = stamps.parted(arrow.aligned(files.read_parquet(self.table_path), self.table_path))
                parts.append(table)
            except UserError as error:
                problems += error.messages
        unread: list[str] = []
        fresh: dict[str, str | None] = {}
        names, root = self._folders(), str(self.root)
        for run_id, found in zip(
            names, looks.looked(stamps.stamp, [f"{root}/{name}/row.parquet" for name in names]), strict=True
        ):
            if found is not None and found != compacted.get(run_id):
                path = self.run_path(run_id) / "row.parquet"
                try:
                    parts.append(arrow.one_row(arrow.aligned(files.read_parquet(path), path), run_id, path))
                    fresh[run_id] = found
                except UserError as error:
                    unread += error.messages
        problems += sorted(unread)
        if compacted.keys() & fresh.keys():
            keep = [run_id not in fresh for run_id in parts[0]["run_id"].to_pylist()]
            parts[0] = parts[0].filter(pa.array(keep))
        return arrow.concatenated(parts).sort_by("run_id"), problems, {**compacted, **fresh}

    def bring_traces(self, run_ids: Iterable[str]) -> Path:
        """The folder that the traces of some runs are in; from an object store they are brought first."""
        return self.root

    def compact(self) -> None:
        """Rewrites `runs.parquet` from the rows. Rows that change meanwhile no longer have the stamps noted there."""

        def write(path: Path) -> None:
            now = path.stat().st_mtime_ns  # by the clock of the file system, as the rows' own times
            table, _, found = self._read()
            settled = {run_id: was and stamps.settled(was, now) for run_id, was in found.items()}
            pq.write_table(stamps.joined(table, settled), path, compression="zstd")

        if self.is_there():  # else it was removed meanwhile, and is not to come back with nothing in it
            files.write_atomically(self.table_path, write)

    def stamp(self, run_id: str) -> object:
        """Tells one row of a run from a later one; None when it has none. Far cheaper than reading it."""
        return stamps.stamp(self.run_path(run_id) / "row.parquet")

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

    def twin_shares(self) -> dict[Path, float]:
        """For each data set, by the file of its facts: the share of held-out images that training contains exactly."""
        facts = {path: files.read_json(path) for path in sorted(self.root.glob("*-*.json"))}
        return {path: found["holdout_twin_share"] for path, found in facts.items() if "holdout_twin_share" in found}

    def statuses(
        self, run_ids: Iterable[str], *, held: bool = True, watch: bool = False, rows: pa.Table | None = None
    ) -> dict[str, Status]:
        """The status of every run: finished or diverged by its row; else from its lease, its row, or pending.

        Args:
            run_ids: the runs.
            held: whether to look at leases.
            watch: for whoever asks again and again: another machine's lease is judged by what was seen of it so far.
            rows: what `read_rows` gave, where the caller has it already.
        """
        table = self.read_rows()[0] if rows is None else rows
        known = dict(zip(table["run_id"].to_pylist(), table["status"].to_pylist(), strict=True))
        found: dict[str, Status] = {run_id: known.get(run_id, "pending") for run_id in run_ids}
        watched = self._watch if watch else None
        for run_id, status in found.items():
            if held and status not in DONE and is_held(self.run_path(run_id) / "lease", watched):
                found[run_id] = "running"
        return found
