"""W&B: its table of runs, histories, offline logs and API."""

import json
import sys
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from event_files import (
    field,
    wandb_exit,
    wandb_history,
    wandb_log,
    wandb_run,
    wandb_summary,
)

from scalelaw.errors import UserError
from scalelaw.imports import Options, column_map, import_runs

NAMES = {"loss": "val/loss", "peak_lr": "lr"}


def read(path, columns=NAMES, **options):
    return import_runs([str(path)], Options(column_map(columns), **options))


# The table of runs

EXPORT = """"Name","State","Created","Runtime","lr","N","val/loss"
"run-1","finished","2024-05-01T10:00:00.000Z","3600","0.1","1000","2.5"
"run-2","crashed","2024-05-01T11:00:00.000Z","1800","0.2","1000",""
"run-3","finished","2024-05-01T12:00:00.000Z","1800","0.4","1000","NaN"
"""


def test_the_page_s_export(tmp_path):
    (tmp_path / "e.csv").write_text(EXPORT)
    found = read(tmp_path / "e.csv")
    runs = found.runs
    assert found.sources[0].kind == "W&B runs, CSV"
    assert runs.run_id.tolist() == ["run-1", "run-2", "run-3"]
    assert runs.status.tolist() == ["finished", "failed", "diverged"]
    assert runs.peak_lr.tolist() == [0.1, 0.2, 0.4]
    assert runs.frame["Runtime"].tolist() == [3600, 1800, 1800]  # more than training steps: no train_seconds
    assert not runs.has("train_seconds")
    assert runs.frame["started_at"][0] == pd.Timestamp("2024-05-01T10:00Z")


RUNS = [
    {"id": "r1", "name": "one", "state": "finished", "config": {"lr": {"value": 0.1}, "model": {"value": {"N": 10}}},
     "summary": {"val/loss": 2.5, "_runtime": 7, "_wandb": {"runtime": 7}}},
    {"id": "r2", "name": "two", "state": "failed", "config": {"lr": 0.2, "model": {"N": 20}},
     "summary": {"val/loss": "NaN"}},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_what_its_api_gives_saved_as_json_or_as_python_prints_it(tmp_path, kind):
    path = tmp_path / f"runs.{kind}"
    if kind == "csv":
        pd.DataFrame(RUNS).to_csv(path, index=False)
    else:
        path.write_text(json.dumps(RUNS) if kind == "json" else "\n".join(map(json.dumps, RUNS)))
    runs = read(path, {**NAMES, "N": "model.N"}).runs
    assert (runs.run_id.tolist(), runs.params.tolist()) == (["r1", "r2"], [10, 20])
    assert (runs.peak_lr.tolist(), runs.status.tolist()) == ([0.1, 0.2], ["finished", "failed"])
    assert not [name for name in runs.frame if "_wandb" in name]


def test_a_dictionary_that_is_code_is_not_run(tmp_path):
    pd.DataFrame({"name": ["a"], "config": ["__import__('os').abort()"], "summary": ["{}"]}).to_csv(tmp_path / "r.csv")
    with pytest.raises(UserError, match="row 1: config is no dictionary"):
        read(tmp_path / "r.csv")


# Histories


def history(folder, losses, every=10, **more):
    steps = [every * i for i in range(1, len(losses) + 1)]
    table = pa.table(
        {"_step": steps, "val/loss": pa.array(losses, pa.float64()), "_runtime": [1.0 * s for s in steps], **more}
    )
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "0000.parquet")


def test_history_parquet_of_several_runs(tmp_path):
    history(tmp_path / "run-abc-history:v0", [3.0, 2.5, None])
    history(tmp_path / "xyz-history:v3", [4.0, float("nan")])
    found = read(tmp_path, {"loss": "val/loss"})
    assert found.runs.run_id.tolist() == ["xyz", "abc"] or found.runs.run_id.tolist() == ["abc", "xyz"]
    rows = found.runs.frame.set_index("run_id")
    assert rows.loc["abc", "val_loss"] == 2.5
    assert pd.isna(rows.loc["xyz", "val_loss"])
    assert "not a finite number" in rows.loc["xyz", "error"]
    assert any("run abc: step 20 of 30" in note for note in found.notes)
    trace = found.traces["xyz"]
    assert trace["val_loss"].to_pylist()[0] == 4.0
    assert trace["val_loss"].null_count == 0  # NaN was logged, which is not the same as nothing


def test_parts_of_one_history_and_total_steps_by_column(tmp_path):
    history(tmp_path / "abc-history", [3.0, 2.5], max_steps=[40, 40])
    pq.write_table(pa.table({"_step": [30, 40], "val/loss": [2.0, 1.5]}), tmp_path / "abc-history" / "0001.parquet")
    found = read(tmp_path, {"loss": "val/loss"}, total_steps="max_steps")
    assert (found.runs.val_loss.tolist(), found.runs.status.tolist()) == ([1.5], ["finished"])
    with pytest.raises(UserError, match="--total-steps steps: is no number"):
        read(tmp_path, {"loss": "val/loss"}, total_steps="steps")
    for none in ("nan", "inf", "0", "-1"):
        with pytest.raises(UserError, match=f"--total-steps {none}: .* positive, finite"):
            read(tmp_path, {"loss": "val/loss"}, total_steps=none)


def test_any_table_of_moments_is_a_history_when_its_steps_are_named(tmp_path):
    (tmp_path / "h.csv").write_text("run,it,loss\n007,20,2.5\n007,10,3\n1e5,10,4\n1e5,20,\n")
    found = read(tmp_path / "h.csv", {"run_id": "run"}, step="it")
    assert found.runs.frame.set_index("run_id")["val_loss"].to_dict() == {"007": 2.5, "1e5": 4.0}
    with pytest.raises(UserError, match="has no column 'itt'; did you mean 'it'"):
        read(tmp_path / "h.csv", {"run_id": "run"}, step="itt")
    (tmp_path / "h.csv").write_text("run,it,loss\na,x,2.5\n")
    with pytest.raises(UserError, match="row 1: it is 'x', and a step must be a whole number"):
        read(tmp_path / "h.csv", {"run_id": "run"}, step="it")


# Offline logs


def log(folder, run_id, *records, config=None):
    return wandb_log(folder / f"offline-run-1-{run_id}" / f"run-{run_id}.wandb", wandb_run(run_id, config), *records)


@pytest.mark.parametrize("nested", [False, True])
def test_offline_logs(tmp_path, nested):
    points = [wandb_history({"val/loss": 4.0 - i, "_step": i}, i, nested) for i in range(3)]
    log(tmp_path, "aaa", *points, wandb_summary({"val/loss": 1.0, "best": 0.5}), wandb_exit(0), config={"lr": 0.1})
    log(tmp_path, "bbb", *points[:2], config={"lr": 0.2})
    found = read(tmp_path)
    rows = found.runs.frame.set_index("run_id")
    assert rows["val_loss"].to_dict() == {"aaa": 2.0, "bbb": 3.0}  # the last point, whatever the summary keeps
    assert rows["status"].to_dict() == {"aaa": "finished", "bbb": "failed"}
    assert rows["peak_lr"].to_dict() == {"aaa": 0.1, "bbb": 0.2}
    assert rows.loc["aaa", "best"] == 0.5
    assert found.traces["aaa"]["val_loss"].to_pylist() == [4.0, 3.0, 2.0]
    assert any("run-bbb.wandb: has no exit record" in note for note in found.notes)


def test_an_offline_log_of_a_run_that_logged_nothing_is_a_failed_run(tmp_path):
    log(tmp_path, "aaa", wandb_history({"val/loss": 2.0}, 9), wandb_exit(0))
    log(tmp_path, "bbb", wandb_exit(1), config={"lr": 0.2})
    found = read(tmp_path, total_steps="10")
    assert found.runs.status.tolist() == ["finished", "failed"]
    assert found.runs.error.tolist() == [None, "nothing was logged"]
    assert list(found.traces) == ["aaa"]


def test_an_offline_log_longer_than_its_blocks(tmp_path):
    rows = [wandb_history({"val/loss": 1.0 / (i + 1), "words": "w" * (i * 37 % 900)}, i) for i in range(300)]
    long = wandb_history({"val/loss": 0.5, "words": "w" * 100_000}, 300)
    path = log(tmp_path, "aaa", *rows, long, wandb_exit(0))
    found = read(path, {"loss": "val/loss"})
    assert len(found.traces["aaa"]) == 301
    assert found.runs.val_loss.tolist() == [0.5]


@pytest.mark.parametrize("left", range(10))
def test_an_offline_log_whose_block_has_few_bytes_left(tmp_path, left):
    """A header has seven bytes: below that the block is filled up, at seven a fragment without data follows."""
    first, second = wandb_history({"val/loss": 3.0, "w": ""}, 0), wandb_history({"val/loss": 2.0}, 1)
    start = wandb_log(tmp_path / "x.wandb", wandb_run("aaa"), first).stat().st_size
    size = 32768 - start - left
    for words in (size - 4, size - 5, size - 6, size):  # longer lengths take a byte more each
        path = log(tmp_path, "aaa", wandb_history({"val/loss": 3.0, "w": "w" * words}, 0))
        if path.stat().st_size == 32768 - left:
            break
    else:
        raise AssertionError(f"no record leaves {left} bytes")
    path = log(tmp_path, "aaa", wandb_history({"val/loss": 3.0, "w": "w" * words}, 0), second)
    assert read(path, {"loss": "val/loss"}).traces["aaa"]["val_loss"].to_pylist() == [3.0, 2.0]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_an_offline_log_of_a_killed_run(tmp_path, cut):
    path = log(tmp_path, "aaa", wandb_history({"val/loss": 3.0}, 0), wandb_history({"val/loss": 2.0}, 1))
    path.write_bytes(path.read_bytes()[:-cut])
    found = read(path, {"loss": "val/loss"})
    assert (found.runs.val_loss.tolist(), found.runs.status.tolist()) == ([3.0], ["failed"])
    assert any("ends within a record" in note for note in found.notes)


@pytest.mark.parametrize(
    ("at", "value", "words"), [(0, 0, "is no W&B log"), (6, 9, "of version 9"), (20, 255, "is damaged")]
)
def test_an_offline_log_that_cannot_be_read(tmp_path, at, value, words):
    path = log(tmp_path, "aaa", wandb_history({"val/loss": 3.0}, 0), field(16, b""))
    data = bytearray(path.read_bytes())
    data[at] = value
    path.write_bytes(data)
    with pytest.raises(UserError, match=words):
        read(path)


# The API


def test_the_api_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'scalelaw\[wandb\]'"):
        read("wandb:me/project")
    with pytest.raises(UserError, match="must be wandb:ENTITY/PROJECT"):
        read("wandb:project")


def test_runs_of_the_api_are_those_of_its_exports(monkeypatch):
    """A stand-in with the attributes that W&B documents: id, name, state, created_at, config, summary."""
    runs = [SimpleNamespace(created_at="2024-05-01T10:00:00Z", **{**run, "config": {"lr": 0.1}}) for run in RUNS]
    asked = []
    api = SimpleNamespace(runs=lambda path: asked.append(path) or runs)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Api=lambda: api))
    found = read("wandb:me/project").runs
    assert asked == ["me/project"]
    assert (found.run_id.tolist(), found.status.tolist()) == (["r1", "r2"], ["finished", "failed"])
    assert found.val_loss[0] == 2.5

    def fails(path):
        raise ConnectionError("no net")

    api.runs = fails
    with pytest.raises(UserError, match=r"W&B did not give the runs \(no net\)"):
        read("wandb:me/project")
