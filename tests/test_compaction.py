"""`runs.parquet` is kept nearly whole while a sweep goes on."""

from __future__ import annotations

import pytest
from result_rows import losses, row

from scalelaw.errors import UserError
from scalelaw.launch import compaction
from scalelaw.launch.compaction import compact_if_due, compacting
from scalelaw.runs import ResultsFolder, files


@pytest.fixture
def folder(tmp_path):
    found = ResultsFolder(tmp_path / "r", new=True)
    found.begin({"name": "many", "runs": []}, {})
    return found


def commit(folder: ResultsFolder, ids: range) -> None:
    for k in ids:
        folder.add(f"{k:04d}", {})
        folder.commit_row(row(f"{k:04d}", 1.0 + k))


def compacted(folder: ResultsFolder) -> int:
    return len(files.read_parquet(folder.table_path)) if folder.table_path.exists() else 0


def test_a_launcher_compacts_when_enough_is_new(folder, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS", 3)
    heard = []
    emit = compacting(folder, heard.append)
    sizes = []
    for k in range(8):
        commit(folder, range(k, k + 1))
        for event in ("started", "progress", "done"):
            emit({"event": event, "run_id": f"{k:04d}"})
        sizes.append(compacted(folder))
    assert sizes == [0, 0, 3, 3, 3, 6, 6, 6]
    assert len(heard) == 24
    assert losses(folder) == ({f"{k:04d}": 1.0 + k for k in range(8)}, [])


def test_the_more_rows_there_are_the_more_must_be_new(folder, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS", 1)
    monkeypatch.setattr(compaction, "SHARE", 0.5)
    emit = compacting(folder, lambda event: None)
    sizes = []
    for k in range(8):
        commit(folder, range(k, k + 1))
        emit({"event": "done", "run_id": f"{k:04d}"})
        sizes.append(compacted(folder))
    assert sizes == [1, 2, 3, 3, 5, 5, 7, 7]


def test_runs_started_one_by_one_are_compacted_too(folder, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS", 4)
    commit(folder, range(3))
    compact_if_due(folder)
    assert compacted(folder) == 0
    commit(folder, range(3, 4))
    compact_if_due(folder)
    assert compacted(folder) == 4
    folder.table_path.write_bytes(b"damaged")
    compact_if_due(folder)
    assert compacted(folder) == 4


def test_what_cannot_be_compacted_ends_no_sweep(folder, monkeypatch):
    monkeypatch.setattr(compaction, "ROWS", 1)
    commit(folder, range(1))

    def full(self):
        raise UserError("the disk is full")

    monkeypatch.setattr(ResultsFolder, "compact", full)
    compacting(folder, lambda event: None)({"event": "done", "run_id": "0000"})
    compact_if_due(folder)
