"""A results folder in an object store reads and writes as one on disk does, from any machine, in few requests."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from stored_sweep import CONFIG, IDS, World, commit, quick_world

from scalelaw.errors import UserError
from scalelaw.launch.status import sweep_status
from scalelaw.runs import ResultsFolder, Run, RunTable, claims
from scalelaw.runs.lease import LeaseLost
from scalelaw.runs.store import claim, folder
from scalelaw.runs.store.place import Place, StoreError


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    return quick_world(tmp_path, monkeypatch)


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


def test_what_a_run_left_is_brought_to_go_on_and_not_when_it_is_done(world):
    """A worker may be killed between a run's row and the removal of its checkpoints."""
    here = world.begun()
    for run_id, status in ((IDS[0], "failed"), (IDS[1], "finished")):
        (here.run_path(run_id) / "checkpoint" / "7").mkdir(parents=True)
        (here.run_path(run_id) / "checkpoint" / "7" / "x").write_text("state")
        with here.lease(run_id):
            pass  # a signal: the checkpoint is pushed at the end
        commit(here, run_id, status=status)
    for run_id, brought in ((IDS[0], True), (IDS[1], False)):
        there = world.on("b")
        assert there.has_checkpoints(run_id)
        with there.lease(run_id) as held:
            assert held is not None
            assert (there.run_path(run_id) / "checkpoint" / "7" / "x").exists() == brought
        there.drop_checkpoints([run_id])
        assert not there.has_checkpoints(run_id)
    assert not list(world.stored.glob("*/checkpoint"))


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


def test_who_has_lost_a_run_puts_nothing_of_it_in_place(world, monkeypatch):
    monkeypatch.setattr(claims, "expiry", lambda: 0.3)
    here, there = world.begun(), world.on("b")
    with here.lease(IDS[0]) as held:
        assert held is not None
        other = claim.Holder(there.place, IDS[0])
        until = time.monotonic() + 20
        while not here._pushers[IDS[0]].holder.lost:
            assert time.monotonic() < until
            other.write()
            time.sleep(0.01)
        with pytest.raises(LeaseLost):
            held.check()
        with pytest.raises(LeaseLost):
            here.commit_row(Run(run_id=IDS[0], status="finished"), held)
    assert not (world.stored / IDS[0] / "row.parquet").exists()
    standing = claim.read(there.place, IDS[0])
    assert standing is not None
    assert standing.token == other.token


def test_status_of_a_sweep_in_a_store_says_what_runs_on_another_machine(world):
    here = world.begun()
    commit(here, IDS[0])
    commit(here, IDS[1], status="failed", error="Traceback\nno luck")
    with here.lease(IDS[2]) as held:
        here.note(IDS[2], held, attempts=1)
        assert world.on("b").noted(IDS[2]) == {"attempts": 1}  # at once, for this machine may be gone in a moment
        note = {"images": 300, "images_per_second": 50.0, "at": time.time()}
        (here.run_path(IDS[2]) / "progress.json").write_text(json.dumps(note))
        here._pushers[IDS[2]].push_notes()
        found = sweep_status(world.on("b"))
        assert found.source == world.uri
        assert found.statuses == {**dict.fromkeys(IDS, "pending"), IDS[0]: "finished", IDS[1]: "failed",
                                  IDS[2]: "running"}  # fmt: skip
        (running,) = found.running
        assert running.share == 0.5
        assert running.seconds_left == 6.0
        assert found.failures == ((IDS[1], "no luck"),)
        here.commit_row(Run(run_id=IDS[2], status="finished", core_hours=1.0), held)
    assert not (world.stored / IDS[2] / "progress.json").exists()
    assert sweep_status(world.on("b")).counts["running"] == 0


def test_a_mirrors_older_copy_takes_the_place_of_nothing_that_is_written_here(world):
    """What a process of this machine says of its run is newer than what the store has of it."""
    here = world.begun()
    with here.lease(IDS[0]) as held:
        here.note(IDS[0], held, attempts=1)
        ResultsFolder.note(here, IDS[0], held, attempts=2)  # the store is away
        beside = world.on("a")  # as `scalelaw status` on the same machine
        assert beside.statuses(IDS[:1]) == {IDS[0]: "running"}
        assert beside.noted(IDS[0]) == {"attempts": 2}
        assert here.noted(IDS[0]) == {"attempts": 2}
