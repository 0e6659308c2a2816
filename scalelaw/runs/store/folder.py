"""A results folder in an object store: a folder on this machine's disk that mirrors what is needed of it.

Everything that works on a results folder works on the mirror. Here is what goes to and fro: opening brings
`sweep.json`, reading brings new rows, a lease brings its run's checkpoint and takes new ones away, a row goes last of
all that its run leaves behind. The store holds the same files as a folder on disk does, but for checkpoints
(`snapshots`) and what each launcher has recorded (`records`).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scalelaw import stopping
from scalelaw.errors import UserError
from scalelaw.runs import arrow, files, recording
from scalelaw.runs.claims import Claim, Watch
from scalelaw.runs.folder import CHECKPOINTS, DONE, ResultsFolder
from scalelaw.runs.lease import Lease
from scalelaw.runs.schema import Run, Status
from scalelaw.runs.store import claim, mirror, pushing, records, snapshots
from scalelaw.runs.store import rows as row_table
from scalelaw.runs.store.place import Place, StoreError, at_once, opened, run_of

SWEEP, CONFIG = "sweep.json", "config.json"
FEW = 64
"""Runs up to which each one's row is asked for by itself, and the folder not listed."""
REFRESH_SECONDS = 2.0  # a listing is taken as new for so long, and for three times what it took
PATIENCE_SECONDS = 300.0  # of a finished run whose row the store does not take


class StoredFolder(ResultsFolder):
    """One sweep's results in an object store.

    Args:
        uri: of the folder; it must hold `sweep.json` or `runs.parquet`, or be new.
        new: whether it may be made.

    Attributes:
        root: the mirror on this machine's disk.
        place: the folder in the store.

    Raises:
        StoreError: when the store cannot be reached.
        UserError: when the folder is something else.
    """

    def __init__(self, uri: str, *, new: bool = False) -> None:
        self.place: Place = opened(uri)
        self.address, self.shown = uri, self.place.shown
        self._listing = self.place.marks([SWEEP, row_table.TABLE])
        if not self._listing:
            shown, empty = self.shown, not self.place.listing(recursive=False)
            if empty and not self.place.has_bucket():
                raise StoreError(f"{shown}: there is no such bucket; make it, or mend its name")
            if empty and not new:
                raise UserError(f"{shown}: no such folder; a sweep makes it: scalelaw sweep SPEC.toml -o {shown}")
            if not (empty or (new and records.are_begun(self.place))):
                raise UserError(f"{shown}: is not a results folder (it holds neither sweep.json nor runs.parquet); "
                                "name another folder")  # fmt: skip
        self.root = mirror.made(uri)
        self._watch, self._elsewhere = Watch(), Watch()  # of this machine's processes, of all
        self._listed_at, self._listing_seconds = float("-inf"), 0.0
        self._problems: list[str] = []
        self._pushers: dict[str, pushing.Pusher] = {}
        self._bring_beside()

    def _bring_beside(self) -> None:
        """Brings what lies beside the runs and is new; a sweep that is gone there goes here."""
        if SWEEP not in self._listing:
            (self.root / SWEEP).unlink(missing_ok=True)
        beside = [name for name in self._listing if not run_of(name) and name.endswith(".json")]
        mirror.bring(self.place, self.root, self._listing, beside)

    def refresh(self, *, now: bool = True) -> None:
        """Makes the mirror's table as new as the store's rows: one listing, and the rows that are newer.

        Args:
            now: also when the last listing is a moment old only.
        """
        began = time.monotonic()
        if not now and began - self._listed_at < max(REFRESH_SECONDS, 3 * self._listing_seconds):
            return
        self._listing = self.place.listing()
        self._listing_seconds, self._listed_at = time.monotonic() - began, began
        self._bring_beside()
        self._problems = row_table.refreshed(self.place, self._listing, self.table_path)

    def run_ids(self, besides: Collection[str] = ()) -> list[str]:
        self.refresh(now=False)
        found = (run_of(name) for name in self._listing if name == f"{run_of(name)}/{CONFIG}")
        return sorted(run_id for run_id in found if run_id not in besides)

    def has(self, run_id: str) -> bool:
        return bool(self.place.marks([f"{run_id}/{CONFIG}"]))

    def read_rows(self) -> tuple[pa.Table, list[str]]:
        self.refresh(now=False)
        table, problems = super().read_rows()
        return table, [*problems, *self._problems]

    def compact(self) -> None:
        """Writes the table of all rows to the store, for whoever reads it next."""
        self.refresh()
        self.place.write(row_table.TABLE, self.table_path.read_bytes())

    @contextmanager
    def recording(self) -> Iterator[dict[str, Any]]:
        """As of a folder on disk; what other machines have recorded is brought first. These do not wait (`records`)."""
        with super().recording():
            mirror.bring(self.place, self.root, marks := self.place.marks([SWEEP]), [SWEEP])
            yield files.read_json(self.root / SWEEP) if marks else records.announced(self.place, {})

    def begin(self, record: dict[str, Any], configs: Mapping[str, dict[str, Any]]) -> None:
        """Writes the sweep here, then to the store: `sweep.json` last, with what others record by now."""
        self.refresh()
        mirror.bring(self.place, self.root, self._listing, [f"{run_id}/{CONFIG}" for run_id in configs])
        before = {run_id: self._config_bytes(run_id) for run_id in configs}
        super().begin(record, configs)

        def push(run_id: str) -> None:
            self.place.write(f"{run_id}/{CONFIG}", self._config_bytes(run_id) or b"")

        new = [run_id for run_id in configs if self._config_bytes(run_id) != before[run_id]
               or f"{run_id}/{CONFIG}" not in self._listing]  # fmt: skip
        own = recording.about(record, configs)
        records.announce(self.place, own)  # first and by itself: a store that refuses is left as it was
        at_once(push, new)
        records.write(self.place, record, own)  # not the mirror's: into that others may have brought the store's

    def _config_bytes(self, run_id: str) -> bytes | None:
        path = self.run_path(run_id) / CONFIG
        return path.read_bytes() if path.exists() else None

    def config(self, run_id: str) -> dict[str, Any]:
        content = None if "/" in run_id else self.place.read(f"{run_id}/{CONFIG}")
        if content is None:
            raise UserError(f"{self.shown}: has no run {run_id!r}; scalelaw status {self.shown} lists them")
        if content != self._config_bytes(run_id):
            mirror.put(self.run_path(run_id) / CONFIG, content)
        return super().config(run_id)

    @contextmanager
    def lease(self, run_id: str) -> Iterator[Lease | None]:
        """Keeps launchers on all machines apart, as far as `claim` says, and brings and takes what the run needs."""
        folder = self.run_path(run_id)
        folder.mkdir(parents=True, exist_ok=True)

        def take_up() -> None:
            self._bring_status(run_id)
            row = row_table.read_row(self.place, run_id)
            if row is None or row["status"][0].as_py() not in DONE:
                snapshots.bring(self.place, run_id, folder)

        with super().lease(run_id) as lease:  # among the processes of this machine
            holder = None if lease is None else claim.take(self.place, run_id, self._elsewhere, take_up)
            if lease is None or holder is None:
                yield None
                return
            try:
                pusher = pushing.Pusher(self.place, run_id, folder, holder)
                self._pushers[run_id], holder.beside, holder.when_lost = pusher, pusher.push_notes, lease.lose
                if holder.lost:  # before anybody could be told
                    lease.lose()
                with pusher:
                    yield lease
            finally:
                self._pushers.pop(run_id, None)
                holder.release()

    def is_held(self, run_id: str) -> bool:
        return claim.is_held(self.place, run_id, self._elsewhere)

    def _is_held_here(self, run_id: str) -> bool:
        """Whether a process of this machine holds it, whose files of the mirror are then newer than the store's."""
        return super().is_held(run_id)

    def clear(self, run_id: str) -> None:
        super().clear(run_id)
        if claim.name_of(run_id) in self._listing:
            claim.clear(self.place, run_id, self._elsewhere)

    def must_watch(self, run_id: str) -> Claim | None:
        return claim.must_watch(self.place, run_id, self._elsewhere)

    def _bring_status(self, run_id: str) -> None:
        content = self.place.read(f"{run_id}/{pushing.STATUS}")
        if content is not None:
            mirror.put(self.run_path(run_id) / pushing.STATUS, content)

    def note(self, run_id: str, held: Lease | None = None, **facts: Any) -> None:
        """As of a folder on disk, and at once in the store: attempts count, wherever the next one is."""
        super().note(run_id, held, **facts)
        if run_id in self._pushers:
            with suppress(StoreError):  # the next beat tries again
                self._pushers[run_id].push_notes()

    def noted(self, run_id: str) -> dict[str, Any]:
        if not self._is_held_here(run_id):
            self._bring_status(run_id)
        return super().noted(run_id)

    def commit_row(self, run: Run, held: Lease | None = None) -> None:
        """Writes what the run leaves behind, then its row: only then is it done. A finished row that is there stays."""
        assert run.run_id is not None
        if held is not None:
            held.check()
        run_id, until = run.run_id, time.monotonic() + PATIENCE_SECONDS
        pusher = self._pushers[run_id]
        pusher.stop(push=False)
        while True:
            try:
                self._push_row(run_id, arrow.of_runs([run]), pusher)
                break
            except StoreError as error:
                if time.monotonic() > until or stopping.asked():
                    raise
                print(f"scalelaw: {error}; the row of {run_id} is tried again", file=sys.stderr)
                time.sleep(PATIENCE_SECONDS / 20)
        if run.status in DONE:
            for name in ("final", snapshots.TRACE):  # they are in the store
                shutil.rmtree(self.run_path(run_id) / name, ignore_errors=True)

    def _push_row(self, run_id: str, row: pa.Table, pusher: pushing.Pusher) -> None:
        if row_table.stands(self.place, run_id, row):
            return
        pusher.push_end()
        for path in self.root.glob("*-*.json"):  # facts of data sets
            if not self.place.marks([path.name]):
                self.place.write(path.name, path.read_bytes())
        content = pa.BufferOutputStream()
        pq.write_table(row, content, compression="zstd")
        self.place.write(row_table.row_name(run_id), content.getvalue().to_pybytes())

    def stamp(self, run_id: str) -> object:
        name = row_table.row_name(run_id)
        return self.place.marks([name]).get(name)

    def row_status(self, run_id: str) -> Status:
        return self._few_statuses([run_id])[run_id]

    def has_checkpoints(self, run_id: str) -> bool:
        there = self.place.marks([f"{run_id}/{CHECKPOINTS}/{snapshots.MANIFEST}"])
        return bool(there) or super().has_checkpoints(run_id)

    def drop_checkpoints(self, run_ids: Iterable[str]) -> None:
        asked = list(run_ids)
        super().drop_checkpoints(asked)
        if len(asked) > 1:  # few of many have any
            self.refresh(now=False)
            have = {run_of(name) for name in self._listing if name.startswith(f"{run_of(name)}/{CHECKPOINTS}/")}
            asked = [run_id for run_id in asked if run_id in have]
        at_once(lambda run_id: self.place.remove_folder(f"{run_id}/{CHECKPOINTS}"), asked)

    def statuses(
        self, run_ids: Iterable[str], *, held: bool = True, watch: bool = False, rows: pa.Table | None = None
    ) -> dict[str, Status]:
        asked = list(run_ids)
        if rows is None and not held and len(asked) <= FEW:
            return self._few_statuses(asked)
        statuses = super().statuses(asked, held=False, rows=rows)
        if held:
            open_runs = [run_id for run_id in asked if statuses[run_id] not in DONE]
            far = [run_id for run_id in open_runs if not self._is_held_here(run_id)]  # what runs here says so here
            about = [f"{run_id}/{name}" for run_id in far for name in (CONFIG, *pushing.NOTES)]
            mirror.bring(self.place, self.root, self._listing, about)
            watched = self._elsewhere if watch else None
            leased = [run_id for run_id in open_runs if claim.name_of(run_id) in self._listing]
            found = at_once(lambda run_id: claim.is_held(self.place, run_id, watched), leased)
            statuses.update({run_id: "running" for run_id, is_held in zip(leased, found, strict=True) if is_held})
        return statuses

    def _few_statuses(self, run_ids: list[str]) -> dict[str, Status]:
        """By each run's own row, else by the store's table, without a listing."""
        found = at_once(lambda run_id: row_table.read_row(self.place, run_id), run_ids)
        pairs = zip(run_ids, found, strict=True)
        known = {run_id: row["status"][0].as_py() for run_id, row in pairs if row is not None}
        if len(known) < len(run_ids):
            known = {**row_table.compacted_statuses(self.place), **known}
        return {run_id: known.get(run_id, "pending") for run_id in run_ids}

    def bring_traces(self, run_ids: Iterable[str]) -> Path:
        """Brings the traces of some runs. Returns the folder that they are in, apart from those that are written."""
        self.refresh(now=False)
        wanted, folder = {f"{run_id}/{snapshots.TRACE}/" for run_id in run_ids}, self.root / ".read"
        names = [name for name in self._listing if f"{name.rpartition('/')[0]}/" in wanted]
        mirror.bring(self.place, folder, self._listing, names)
        for name in wanted:  # parts that are there no more
            for part in (folder / name).glob("part-*"):
                if f"{name}{part.name}" not in self._listing:
                    part.unlink(missing_ok=True)
        return folder
