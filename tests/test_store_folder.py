"""A results folder in an object store reads and writes as one on disk does, from any machine, in few requests."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, Run, RunTable, open_results
from scalelaw.runs.store import claim, folder
from scalelaw.runs.store.folder import StoredFolder
from scalelaw.runs.store.place import Place, StoreError

IDS = [f"{k:08x}" for k in range(6)]
CONFIG = {"data": {"source": "hierarchy"}, "model": {"variant": "N0"}, "train": {"images": 600, "peak_lr": 1.0}}


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(folder, "REFRESH_SECONDS", 0.0)


class World:
    """A store, and machines with a cache folder of their own."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bucket, self.tmp_path, self.monkeypatch = tmp_path / "bucket", tmp_path, monkeypatch
        self.uri = (self.bucket / "sweeps" / "tiny").as_uri()
        self.stored = self.bucket / "sweeps" / "tiny"

    def on(self, machine: str, *, new: bool = False) -> StoredFolder:
        self.monkeypatch.setenv("SCALELAW_CACHE", str(self.tmp_path / machine))
        found = open_results(self.uri, new=new)
        assert isinstance(found, StoredFolder)
        return found

    def begun(self) -> StoredFolder:
        results = self.on("a", new=True)
        results.begin({"name": "tiny", "runs": IDS}, dict.fromkeys(IDS, CONFIG))
        return results


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    return World(tmp_path, monkeypatch)


def commit(results: ResultsFolder, run_id: str, **more: Any) -> None:
    facts = {"run_id": run_id, "status": "finished", "val_loss": 0.5, "core_hours": 1.0, **more}
    with results.lease(run_id) as held:
        assert held is not None
        results.commit_row(Run(**facts), held)


def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the store is asked for what."""
    counts: Counter[str] = Counter()

    def watch(name: str) -> None:
        act = getattr(Place, name)

        def asked(self: Place, *args: Any, **more: Any) -> Any:
            counts[name] += 1
            return act(self, *args, **more)

        monkeypatch.setattr(Place, name, asked)

    for name in ("listing", "buffer", "marks", "writing", "remove"):
        watch(name)
    return counts


def test_rows_of_one_machine_are_read_on_another(world):
    here = world.begun()
    commit(here, IDS[0])
    commit(here, IDS[1], status="diverged", val_loss=None)
    commit(here, IDS[2], status="failed", error="no luck")
    there = world.on("b")
    assert there.statuses(IDS) == {
        **dict.fromkeys(IDS, "pending"), IDS[0]: "finished", IDS[1]: "diverged", IDS[2]: "failed"
    }  # fmt: skip
    assert there.run_ids() == IDS
    assert there.config(IDS[3]) == CONFIG
    assert there.row_status(IDS[1]) == "diverged"
    table = RunTable.load(world.uri)
    assert table.source == world.uri
    assert table.is_results
    assert list(table.run_id) == IDS[:3]
    assert len(table.finished()) == 1
    commit(here, IDS[2], val_loss=0.25)
    assert there.statuses(IDS[:3]) == {IDS[0]: "finished", IDS[1]: "diverged", IDS[2]: "finished"}
    assert RunTable.load(world.uri).val_loss[2] == 0.25


def test_what_is_stored_is_a_results_folder_as_on_disk(world):
    here = world.begun()
    commit(here, IDS[0])
    here.compact()
    on_disk = ResultsFolder(world.stored)
    assert on_disk.statuses(IDS) == here.statuses(IDS)
    assert on_disk.read_rows()[0].to_pylist() == here.read_rows()[0].to_pylist()
    assert on_disk.config(IDS[0]) == CONFIG
    assert not [path for path in world.stored.rglob("*") if path.name.startswith(".") or path.name == "lease.json"]


def test_reading_takes_one_listing_and_only_rows_that_are_newer(world, monkeypatch):
    here = world.begun()
    for run_id in IDS[:4]:
        commit(here, run_id)
    here.compact()
    commit(here, IDS[4])
    counts = counted(monkeypatch)
    world.on("b").read_rows()
    assert counts == {"marks": 1, "listing": 1, "buffer": 1 + 1 + 1}  # sweep.json, runs.parquet, the newer row
    counts.clear()
    commit(here, IDS[5])
    counts.clear()
    world.on("b").read_rows()
    assert counts == {"marks": 1, "listing": 1, "buffer": 1}
    counts.clear()
    RunTable.load(world.uri)
    assert counts == {"marks": 1, "listing": 1}


def test_a_worker_of_few_runs_lists_nothing(world, monkeypatch):
    here = world.begun()
    commit(here, IDS[0])
    counts = counted(monkeypatch)
    there = world.on("b")
    there.config(IDS[0])
    there.stamp(IDS[0])
    assert there.statuses(IDS[:2], held=False) == {IDS[0]: "finished", IDS[1]: "pending"}
    assert counts["listing"] == 0


def test_a_leased_run_is_running_everywhere_and_nobody_elses(world):
    here = world.begun()
    there = world.on("b")
    with here.lease(IDS[0]) as held:
        assert held is not None
        assert there.statuses(IDS[:2]) == {IDS[0]: "running", IDS[1]: "pending"}
        assert here.statuses(IDS[:1]) == {IDS[0]: "running"}
        for other in (here, there):
            with other.lease(IDS[0]) as again:
                assert again is None
    assert there.statuses(IDS[:1]) == {IDS[0]: "pending"}


def test_the_first_finished_row_stays_and_one_that_differs_is_said(world, capfd):
    here = world.begun()
    commit(here, IDS[0], train_seconds=1.0, started_at=datetime.now(UTC), attempts=1, hardware="cpu")
    first = (world.stored / IDS[0] / "row.parquet").read_bytes()
    there = world.on("b")
    commit(there, IDS[0], train_seconds=9.0, started_at=None, attempts=2, hardware="gpu")
    assert "trained twice" not in capfd.readouterr().err
    commit(there, IDS[0], val_loss=0.75)
    assert "differs in val_loss; the first row is kept" in capfd.readouterr().err
    assert (world.stored / IDS[0] / "row.parquet").read_bytes() == first


def test_damaged_rows_are_named_and_nothing_else_is_lost(world):
    here = world.begun()
    for run_id in IDS[:3]:
        commit(here, run_id)
    (world.stored / IDS[1] / "row.parquet").write_bytes(b"PAR1 torn")
    pq.write_table(pq.read_table(world.stored / IDS[0] / "row.parquet"), world.stored / IDS[2] / "row.parquet")
    for _ in range(2):
        table, problems = world.on("b").read_rows()
        assert table["run_id"].to_pylist() == IDS[:1]
        assert len(problems) == 2
        assert f"{world.uri}/{IDS[1]}/row.parquet: is not a whole Parquet file" in problems[0]
        assert f"holds the run {IDS[0]!r}" in problems[1]
    (world.stored / "runs.parquet").write_bytes(b"no table")
    table, problems = world.on("c").read_rows()
    assert table["run_id"].to_pylist() == IDS[:1]
    assert len(problems) == 3


def test_rows_that_go_from_the_store_go_here(world):
    here = world.begun()
    commit(here, IDS[0])
    commit(here, IDS[1])
    assert set(here.read_rows()[0]["run_id"].to_pylist()) == {IDS[0], IDS[1]}
    (world.stored / IDS[0] / "row.parquet").unlink()
    assert here.read_rows()[0]["run_id"].to_pylist() == [IDS[1]]
    assert here.statuses(IDS[:2]) == {IDS[0]: "pending", IDS[1]: "finished"}


def test_a_table_alone_is_read_too(world, tmp_path):
    here = world.begun()
    commit(here, IDS[0])
    here.compact()
    alone = tmp_path / "bucket" / "alone"
    alone.mkdir()
    (alone / "runs.parquet").write_bytes((world.stored / "runs.parquet").read_bytes())
    for uri in (alone.as_uri(), (alone / "runs.parquet").as_uri()):
        assert list(RunTable.load(uri).run_id) == [IDS[0]]
    assert open_results(alone.as_uri()).statuses(IDS[:2], held=False) == {IDS[0]: "finished", IDS[1]: "pending"}


def test_several_threads_and_mirrors_read_one_store(world):
    here = world.begun()
    for run_id in IDS:
        commit(here, run_id)
    found: list[list[str]] = []
    folders = [world.on("b") for _ in range(4)]  # four processes of one machine
    threads = [threading.Thread(target=lambda one=one: found.append(one.read_rows()[0]["run_id"].to_pylist()))
               for one in folders]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [IDS] * 4


def test_what_is_no_results_folder_is_refused(world, tmp_path):
    with pytest.raises(UserError, match="no such folder; a sweep makes it"):
        world.on("a")
    (world.stored / "photos").mkdir(parents=True)
    (world.stored / "photos" / "x.jpg").write_bytes(b"x")
    for new in (True, False):
        with pytest.raises(UserError, match="is not a results folder"):
            world.on("a", new=new)
    with pytest.raises(UserError, match="no such file"):
        RunTable.load((tmp_path / "none.parquet").as_uri())


def test_a_store_that_refuses_a_sweep_is_left_as_it_was(world, monkeypatch):
    results = world.on("a", new=True)

    def refuse(self: Place, name: str, content: bytes) -> None:
        raise StoreError(f"{self.shown}: {name} cannot be written (read-only); mend that")

    with monkeypatch.context() as patch:
        patch.setattr(Place, "write", refuse)
        with pytest.raises(StoreError):
            results.begin({"name": "tiny", "runs": IDS}, dict.fromkeys(IDS, CONFIG))
    assert not world.stored.exists()
    with pytest.raises(UserError, match="no such folder"):
        world.on("a")
    assert world.begun().run_ids() == IDS


def test_a_row_waits_for_a_store_that_is_away_for_a_moment(world, monkeypatch, capfd):
    here = world.begun()
    monkeypatch.setattr(folder, "PATIENCE_SECONDS", 2.0)
    write, tries = Place.write, iter([True, True])

    def away(self: Place, name: str, content: bytes) -> None:
        if name.endswith("row.parquet") and next(tries, False):
            raise StoreError("away")
        write(self, name, content)

    monkeypatch.setattr(Place, "write", away)
    commit(here, IDS[0])
    assert here.row_status(IDS[0]) == "finished"
    assert capfd.readouterr().err.count("is tried again") == 2
