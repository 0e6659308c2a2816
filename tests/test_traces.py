"""Traces of many runs: read when asked, of chosen runs, and never to load or filter their rows."""

from __future__ import annotations

import builtins
import os

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from result_rows import row

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, RunTable, files
from scalelaw.runs.traces import schema

IDS = ("a", "b", "c")


@pytest.fixture
def folder(tmp_path):
    """Three runs of 1, 2 and 3 part files of two rows; the loss of row k of run n is n + k / 100."""
    found = ResultsFolder(tmp_path / "r", new=True)
    found.begin({"name": "traced", "runs": list(IDS)}, {run_id: {} for run_id in IDS})
    for n, run_id in enumerate(IDS, 1):
        found.commit_row(row(run_id, float(n), variant=f"N{n}", core_hours=1.0))
        for part in range(n):
            rows = [{"step": 2 * part + k, "train_loss": n + (2 * part + k) / 100} for k in range(2)]
            files.write_parquet(
                found.run_path(run_id) / "trace" / f"part-{part:05d}.parquet", pa.Table.from_pylist(rows, schema())
            )
    found.compact()
    return found


def frame(dataset: ds.Dataset, **how) -> pd.DataFrame:
    return dataset.to_table(**how).to_pandas().sort_values(["run_id", "step"], ignore_index=True)


def test_the_traces_of_all_runs_with_the_run_they_are_of(folder):
    found = frame(RunTable.load(folder.root).traces())
    assert found["run_id"].tolist() == ["a"] * 2 + ["b"] * 4 + ["c"] * 6
    assert found["step"].tolist() == [0, 1, *range(4), *range(6)]
    assert found["train_loss"].iloc[-1] == 3.05
    assert found.columns.tolist() == ["run_id", *schema().names]
    units = RunTable.load(folder.root).traces().schema.field("train_loss").metadata
    assert units[b"unit"] == b"nats"


def test_of_chosen_runs_only_their_files_are_there(folder):
    runs = RunTable.load(folder.root)
    chosen = runs.where(runs.val_loss > 1.5).traces()
    assert {os.path.basename(os.path.dirname(os.path.dirname(path))) for path in chosen.files} == {"b", "c"}
    columns = ["run_id", "step", "train_loss"]
    last = frame(chosen, columns=columns, filter=(ds.field("run_id") == "c") & (ds.field("step") > 3))
    assert last.to_dict("list") == {"run_id": ["c", "c"], "step": [4, 5], "train_loss": [3.04, 3.05]}


def test_rows_are_loaded_and_filtered_without_a_look_at_traces(folder, monkeypatch):
    for path in folder.root.glob("*/trace"):
        path.rename(path.with_name("elsewhere"))
        path.write_text("no folder at all")
    opened = []
    for name, own in (("open", builtins.open), ("listdir", os.listdir), ("scandir", os.scandir), ("stat", os.stat)):
        where = builtins if name == "open" else os
        monkeypatch.setattr(where, name, lambda path=".", *args, own=own, **more: opened.append(str(path)) or own(
            path, *args, **more))  # fmt: skip
    runs = RunTable.load(folder.root)
    assert len(runs.where(runs.val_loss > 1.5).finished().best_over("peak_lr").envelope()) == 1
    assert opened
    assert not [path for path in opened if "trace" in path]


def test_runs_without_a_trace_have_no_rows_and_torn_parts_are_passed_over(folder):
    folder.commit_row(row("d"))
    (folder.run_path("a") / "trace" / ".part-00001.parquet.x1").write_bytes(b"torn")
    assert set(frame(RunTable.load(folder.root).traces())["run_id"]) == set(IDS)
    assert len(frame(RunTable.load(folder.root).where([False] * 4).traces())) == 0


def test_older_parts_with_fewer_columns(folder):
    old = pa.table({"step": pa.array([9]), "train_loss": pa.array([0.5])})
    files.write_parquet(folder.run_path("a") / "trace" / "part-00001.parquet", old)
    found = frame(RunTable.load(folder.root).traces())
    assert found["train_loss"][found["step"] == 9].tolist() == [0.5]
    assert found["val_loss"].isna().all()


def test_a_table_of_rows_alone_has_no_traces(folder, tmp_path):
    RunTable.load(folder.root).write(tmp_path / "alone.parquet")
    with pytest.raises(UserError, match=r"alone.parquet: has no traces; they lie in a results folder"):
        RunTable.load(tmp_path / "alone.parquet").traces()
