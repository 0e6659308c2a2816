"""Rows and traces of a results folder in an object store: few requests, nothing lost, nothing that is gone."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_sweep import IDS, World, commit, quick_world

from scalelaw.launch.compaction import compact_by_lot
from scalelaw.runs import ResultsFolder, RunTable, files, open_results, traces
from scalelaw.runs.store.place import Place


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    return quick_world(tmp_path, monkeypatch)


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
    files.write_parquet(world.stored / "runs.parquet", ResultsFolder(world.stored).read_rows()[0])  # without marks
    counts.clear()
    assert len(RunTable.load(world.uri)) == len(IDS)
    assert counts == {"marks": 1, "listing": 1, "buffer": 1}  # that table alone: the rows are here


def test_runs_that_shells_start_are_compacted_now_and_then_without_a_listing_after_each(world, monkeypatch):
    here = world.begun()
    for run_id in IDS[:2]:
        commit(here, run_id)
    counts = counted(monkeypatch)
    compact_by_lot(here, IDS[1:2])
    assert counts == {}
    compact_by_lot(here, IDS[:2])  # the first one's id is 0
    assert counts["listing"] == 1
    assert (world.stored / "runs.parquet").exists()


def test_a_worker_of_few_runs_lists_nothing(world, monkeypatch):
    here = world.begun()
    commit(here, IDS[0])
    counts = counted(monkeypatch)
    there = world.on("b")
    there.config(IDS[0])
    there.stamp(IDS[0])
    assert there.statuses(IDS[:2], held=False) == {IDS[0]: "finished", IDS[1]: "pending"}
    assert counts["listing"] == 0


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


def test_traces_of_chosen_runs_are_read_when_they_are_asked_for(world, monkeypatch):
    here = world.begun()
    for k, run_id in enumerate(IDS[:3]):
        (here.run_path(run_id) / "trace").mkdir(parents=True)
        rows = [{"step": step, "train_loss": float(k)} for step in range(4)]
        for part in range(2):
            part_rows = pa.Table.from_pylist(rows[2 * part : 2 * part + 2], schema=traces.schema())
            pq.write_table(part_rows, here.run_path(run_id) / "trace" / f"part-{part:05d}.parquet")
        commit(here, run_id)
        assert not (here.run_path(run_id) / "trace").exists()
    world.on("b")
    table = RunTable.load(world.uri)
    counts = counted(monkeypatch)
    found = table.where(table.run_id != IDS[1]).traces().to_table(columns=["run_id", "step", "train_loss"]).to_pandas()
    assert sorted(set(found.run_id)) == [IDS[0], IDS[2]]
    assert found.groupby("run_id").step.apply(list).to_dict() == {IDS[0]: [0, 1, 2, 3], IDS[2]: [0, 1, 2, 3]}
    assert counts["buffer"] == 4
    counts.clear()
    assert len(table.traces().to_table()) == 12
    assert counts["buffer"] == 2
