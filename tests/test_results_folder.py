"""The results folder: rows that survive bad neighbours, clocks and kills."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from result_rows import losses, row

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, RunTable, files
from scalelaw.runs.schema import arrow_schema

OLD = time.time() - 100


@pytest.fixture
def results(tmp_path):
    folder = ResultsFolder(tmp_path / "results", new=True)
    folder.begin(
        {"name": "t", "runs": ["a", "b", "c"]}, {run_id: {"train": {"seed": i}} for i, run_id in enumerate("abc")}
    )
    return folder


# Rows


def test_rows_come_from_their_folders_and_from_the_compacted_table(results):
    assert losses(results) == ({}, [])
    results.commit_row(row("b"))
    results.commit_row(row("a", 3.0))
    assert losses(results) == ({"a": 3.0, "b": 2.0}, [])
    results.compact()
    assert RunTable.load(results.root).val_loss.tolist() == [3.0, 2.0]
    assert results.run_ids() == ["a", "b", "c"]
    for folder in ("a", "b"):  # the compacted table is enough ...
        (results.root / folder / "row.parquet").unlink()
    assert losses(results) == ({"a": 3.0, "b": 2.0}, [])
    results.commit_row(row("c", 1.0))  # ... for all but newer rows
    results.commit_row(row("a", 2.5))
    assert losses(results) == ({"a": 2.5, "b": 2.0, "c": 1.0}, [])
    results.table_path.unlink()
    assert losses(results) == ({"a": 2.5, "c": 1.0}, [])


def test_old_rows_are_not_opened_again(results, monkeypatch):
    results.commit_row(row("a"))
    results.commit_row(row("b"))
    os.utime(results.root / "a" / "row.parquet", (OLD, OLD))
    results.compact()
    opened, read = [], files.read_parquet
    monkeypatch.setattr(files, "read_parquet", lambda path: opened.append(path.parent.name) or read(path))
    assert losses(results) == ({"a": 2.0, "b": 2.0}, [])
    assert opened == [results.root.name, "b"], "b changed so late that its time may not tell it from a later one"


def test_a_row_that_changes_while_the_table_is_compacted_is_newer_than_it(results, monkeypatch):
    results.commit_row(row("a"))
    monkeypatch.setattr("scalelaw.runs.stamps.COARSE_NS", -1)
    read = ResultsFolder._read

    def read_then_change(folder):
        rows = read(folder)
        results.commit_row(row("a", 1.0))
        return rows

    monkeypatch.setattr(ResultsFolder, "_read", read_then_change)
    results.compact()
    monkeypatch.setattr(ResultsFolder, "_read", read)
    assert losses(results) == ({"a": 1.0}, [])


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_a_clock_that_is_set_neither_hides_rows_nor_brings_back_old_ones(results, hours):
    """File times of what is written after the jump are by another clock, as of another machine's."""
    then, later = time.time() - 1e4, time.time() - 1e4 + hours * 3600

    def commit(run, clock):
        results.commit_row(run)
        os.utime(results.root / run.run_id / "row.parquet", (clock, clock))

    commit(replace(row("a", None), status="failed"), then)
    commit(row("b", 3.0), then)
    results.compact()
    os.utime(results.table_path, (then + 10, then + 10))
    commit(row("a", 2.0), later + 20)
    commit(row("c", 1.0), later + 20)
    expected = {"a": 2.0, "b": 3.0, "c": 1.0}
    assert losses(results) == (expected, [])
    assert set(results.statuses("abc").values()) == {"finished"}
    results.compact()
    os.utime(results.table_path, (later, later))
    assert losses(results) == (expected, [])


def test_a_table_without_stamps_gives_way_to_the_rows_and_stamps_are_no_column_of_runs(results):
    results.commit_row(row("a", 2.0))
    pq.write_table(pa.table({"run_id": ["a", "z"], "val_loss": [9.0, 1.0]}), results.table_path)
    assert losses(results) == ({"a": 2.0, "z": 1.0}, [])
    results.compact()
    assert "row_stamp" in pq.read_schema(results.table_path).names
    for path in (results.root, results.table_path):
        assert "row_stamp" not in RunTable.load(path).frame


def test_damaged_and_foreign_files_are_named_and_the_others_read(results):
    for run_id in "abc":
        results.commit_row(row(run_id))
    whole = (results.root / "a" / "row.parquet").read_bytes()
    (results.root / "a" / "row.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"x": [1]}), results.root / "b" / "row.parquet")
    found, problems = losses(results)
    assert found == {"c": 2.0}
    assert len(problems) == 2
    assert problems[0].startswith(f"{results.root / 'a' / 'row.parquet'}: is not a whole Parquet file")
    assert problems[1].startswith(f"{results.root / 'b' / 'row.parquet'}: is not a table of runs")
    assert RunTable.load(results.root).problems == tuple(problems)
    wrong = {"a": pa.table({"run_id": ["z"]}), "b": pa.table({"run_id": ["b"], "params": [2.5]}),
             "c": pa.table({"run_id": ["c", "d"]})}  # fmt: skip
    for run_id, table in wrong.items():
        pq.write_table(table, results.root / run_id / "row.parquet")
    found, problems = losses(results)
    assert found == {}
    assert [problem.split(": ", 1)[1] for problem in problems] == [
        "holds the run 'z', not the one row of its folder's run; remove it",
        "column 'params' is not of type int64; mend or remove it",
        "holds 2 rows, not the one row of its folder's run; remove it",
    ]
    assert results.statuses("abc") == dict.fromkeys("abc", "pending")


def test_a_damaged_compacted_table_is_named_and_rebuilt(results):
    results.commit_row(row("a"))
    results.table_path.write_bytes(b"PAR1")
    found, problems = losses(results)
    assert found == {"a": 2.0}
    assert len(problems) == 1
    assert str(results.table_path) in problems[0]
    results.compact()
    assert losses(results) == ({"a": 2.0}, [])


def test_rows_of_older_and_newer_versions_are_read(results):
    older = {"run_id": ["a"], "val_loss": pa.array([2.0], pa.float32()), "params": pa.array([3], pa.int32())}
    pq.write_table(pa.table(older), results.root / "a" / "row.parquet")
    field = pa.field("energy", pa.float64(), metadata={"unit": "kWh"})
    newer = pa.table({"run_id": ["b"]}).append_column(field, [[1.5]])
    pq.write_table(newer, results.root / "b" / "row.parquet")
    results.commit_row(row("c"))
    for _ in range(2):
        table, problems = results.read_rows()
        assert problems == []
        assert table.schema.field("params").type == pa.int64()
        assert table["energy"].to_pylist() == [None, 1.5, None]
        assert table.schema.field("energy").metadata == {b"unit": b"kWh"}
        assert table.column_names[:-1] == arrow_schema().names
        assert table.schema.field("core_hours").metadata[b"unit"] == b"TPU-v4 core-hours"
        results.compact()
    pq.write_table(pa.table({"run_id": ["c"], "energy": ["low"]}), results.root / "c" / "row.parquet")
    assert results.read_rows()[0]["energy"].to_pylist() == [None, "1.5", "low"]


def test_statuses(results):
    results.commit_row(row("a"))
    results.commit_row(replace(row("b"), status="failed"))
    with results.lease("c") as mine:
        assert mine
        assert results.statuses("abc") == {"a": "finished", "b": "failed", "c": "running"}
        assert results.statuses("c", held=False) == {"c": "pending"}
    assert results.statuses("c") == {"c": "pending"}
    assert [results.row_status(run_id) for run_id in "abc"] == ["finished", "failed", "pending"]


def test_notes_and_configurations(results):
    assert results.noted("a") == {}
    results.note("a", attempts=2)
    assert results.noted("a") == {"attempts": 2}
    assert results.config("b") == {"train": {"seed": 1}}
    with pytest.raises(UserError, match="has no run 'z'; scalelaw status"):
        results.config("z")
    table = pa.table({"run_id": ["b"], "val_loss": ["low"]})
    pq.write_table(table, results.root / "b" / "row.parquet")
    assert "column 'val_loss' is not of type double" in results.read_rows()[1][0]
    (results.root / "b" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"b/config.json: is not JSON"):
        results.config("b")


def test_data_is_found_from_another_folder(tmp_path, monkeypatch):
    home, away = tmp_path / "home", tmp_path / "away" / "far"
    home.mkdir()
    away.mkdir(parents=True)
    (home / "x.npz").write_bytes(b"")
    monkeypatch.chdir(home)
    ResultsFolder(Path("results"), new=True).begin(
        {}, {"a": {"data": {"path": "x.npz"}}, "b": {"data": {"path": "no.npz"}}}
    )
    assert ResultsFolder(Path("results")).config("a")["data"]["path"] == "x.npz"
    monkeypatch.chdir(away)
    (away / "x.npz").write_bytes(b"another file of the same name")
    folder = ResultsFolder(home / "results")
    assert folder.config("a")["data"]["path"] == "../../home/x.npz"
    assert folder.config("b")["data"]["path"] == "no.npz"
    folder.begin(
        {}, {"a": {"data": {"path": str(home / "x.npz")}}}
    )  # planned anew: the same run, the data named otherwise
    assert folder.config("a")["data"]["path"] == str(home / "x.npz")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p.write_text(""), "is a file"),
        (lambda p: p.mkdir(), "is not a results folder"),
        (lambda p: None, "no such folder"),
    ],
)
def test_other_folders_are_refused(tmp_path, make, words):
    path = tmp_path / "x"
    make(path)
    if path.is_dir():
        (path / "letter.txt").write_text("")
        with pytest.raises(UserError, match="is not a results folder"):
            ResultsFolder(path, new=True)
    with pytest.raises(UserError, match=words) as caught:
        ResultsFolder(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_status_json_is_plain(results):
    results.note("a", attempts=1, started_at="now")
    assert json.loads((results.root / "a" / "status.json").read_text()) == {"attempts": 1, "started_at": "now"}
    assert json.loads((results.root / "sweep.json").read_text())["name"] == "t"


def test_a_folder_that_another_launcher_is_just_beginning_may_be_begun_too(tmp_path):
    """Between making the folder and the rename of sweep.json only the file that is written aside is there."""
    (tmp_path / ".sweep.json.k3jd8").write_text("{", encoding="utf-8")
    ResultsFolder(tmp_path, new=True)
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not a results folder"):
        ResultsFolder(tmp_path, new=True)


def test_what_a_kill_left_aside_is_removed_and_nothing_else(tmp_path):
    results = ResultsFolder(tmp_path / "out", new=True)
    results.add("ab", {"train": {}})
    run = results.run_path("ab")
    (run / "final").mkdir()
    kept = ["row.parquet", "status.json", "final/weights.npz", ".config.json.x"]  # another launcher may write the last
    for name in [*kept, ".row.parquet.x1", ".status.json.x2", "final/.weights.npz.x3"]:
        (run / name).write_text("x")
    results.drop_torn("ab")
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == {*kept, "config.json"}
    (run / "checkpoint" / "5").mkdir(parents=True)
    results.drop_checkpoints(["ab", "none"])
    assert not (run / "checkpoint").exists()
