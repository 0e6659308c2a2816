"""Real sweeps of a tiny spec through the command line: what is kept, what is repeated, and what survives a kill."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_sweep import TINY, repeatable, scalelaw, snapshot, spec

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.runs import Run, RunTable
from scalelaw.runs.folder import ResultsFolder
from scalelaw.sweep import RunConfig, expand, read_spec
from scalelaw.train import single, worker


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The tiny sweep, trained by two workers."""
    folder = tmp_path_factory.mktemp("tiny")
    answer = scalelaw("sweep", spec(folder), "-o", folder / "out", "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    assert "8 finished" in answer.stdout
    return folder / "out"


@pytest.mark.slow
def test_rows_say_what_was_asked_and_measured(finished):
    frame = RunTable.load(finished).frame
    planned = {run.run_id: run for run in expand(read_spec(finished.parent / "spec.toml"))}
    assert sorted(frame["run_id"]) == sorted(planned)
    for row in frame.to_dict("records"):
        run = planned[row["run_id"]]
        assert row["status"] == "finished"
        assert (row["variant"], row["seed"], row["batch_size"]) == ("N0", run.config.train.seed, 16)
        assert row["peak_lr"] == run.config.train.peak_lr
        assert row["images_seen"] == run.config.train.images
        assert row["epochs"] == row["images_seen"] / 256
        assert row["train_flop"] == 6 * row["macs_per_image"] * row["images_seen"] == run.cost.train_flop
        assert row["core_hours"] == run.cost.core_hours
        assert (row["core_hours_basis"], row["utilisation"], row["attempts"]) == ("estimated", 0.36, 1)
        assert (row["params"], row["resolution"]) == (run.cost.size.params, 8)
        assert 0 < row["train_seconds"] < 60
        assert 0 < row["val_loss"] < 3
        assert 0 <= row["top1_error"] <= 1
        assert RunConfig.model_validate_json(row["config"]).run_id == row["run_id"]
    few, many = (frame[frame["images_seen"] == images]["val_loss"].mean() for images in (200, 600))
    assert many < few


@pytest.mark.slow
def test_a_run_leaves_its_trace_and_its_seconds(finished):
    compiled = 0
    for row in RunTable.load(finished).frame.to_dict("records"):
        folder = finished / row["run_id"]
        trace = pd.concat([pq.read_table(part).to_pandas() for part in sorted((folder / "trace").iterdir())])
        assert trace["images_seen"].iloc[-1] == row["images_seen"]
        assert trace["val_loss"].iloc[-1] == row["val_loss"]
        assert trace["core_hours"].iloc[-1] == pytest.approx(row["core_hours"])
        noted = json.loads((folder / "status.json").read_text())
        assert set(noted["seconds"]) == {"train", "evaluate", "wait", "compile"}
        assert noted["seconds"]["train"] == row["train_seconds"]
        compiled += noted["seconds"]["compile"] > 0
    assert compiled <= 2  # once for each worker
    (facts,) = finished.glob("hierarchy-*.json")
    assert json.loads(facts.read_text())["holdout_twin_share"] >= 0


@pytest.mark.slow
def test_a_second_call_trains_nothing(finished):
    before = snapshot(finished)
    answer = scalelaw("sweep", finished.parent / "spec.toml", "-o", finished)
    assert answer.returncode == 0
    assert "nothing to train" in answer.stdout
    after = snapshot(finished)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed <= {"runs.parquet", "sweep.json"}


DONE_FILES = ("runs.parquet", "row.parquet", "trace", "status.json")


@pytest.mark.slow
def test_another_process_and_worker_count_give_identical_rows(finished, tmp_path):
    """In every column but those that say where and how fast. The runs are given in another order, too."""
    runs = sorted(run.run_id for run in expand(read_spec(finished.parent / "spec.toml")))
    shutil.copytree(finished, tmp_path / "out", ignore=lambda _, names: [n for n in names if n in DONE_FILES])
    answer = scalelaw("run", tmp_path / "out", *runs[::-1])
    assert answer.returncode == 0, answer.stderr
    pd.testing.assert_frame_equal(repeatable(tmp_path / "out"), repeatable(finished))


def archive(path: Path) -> None:
    labels = np.arange(200) % 2
    images = np.random.default_rng(0).normal(size=(200, 8, 8)) + labels[:, None, None]
    np.savez(path, images=images.astype(np.float32), labels=labels)


@pytest.mark.slow
def test_runs_whose_data_is_gone_fail_and_are_tried_again(tmp_path):
    data = tmp_path / "images.npz"
    archive(data)
    text = (
        f'[sweep]\nname = "s"\n[data]\nsource = "npz"\npath = "{data}"\n[model]\nvariants = ["N0"]\n'
        "[train]\nimages = 64\npeak_lr = 0.4\nbatch_size = 16\nseeds = [0, 1]\n"
    )
    planned = expand(read_spec(spec(tmp_path, text)))
    out = tmp_path / "out"
    ResultsFolder(out, new=True).begin(
        {"name": "s", "utilisation": 0.36, "runs": [run.run_id for run in planned]},
        {run.run_id: run.config.to_json() for run in planned},
    )
    data.rename(tmp_path / "moved.npz")
    ids = [run.run_id for run in planned]
    answer = scalelaw("run", out, *ids)
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert answer.stdout.count("failed") == 2
    rows = RunTable.load(out).frame
    assert list(rows["status"]) == ["failed", "failed"]
    assert rows["error"].str.contains("images.npz").all()
    assert set(rows["variant"]) == {"N0"}
    assert set(rows["seed"]) == {0, 1}
    assert rows["val_loss"].isna().all()
    shown = scalelaw("status", out)
    assert "images.npz" in shown.stdout
    data.write_bytes(b"PK not an archive any more")
    assert scalelaw("run", out, ids[0]).returncode == 1
    (tmp_path / "moved.npz").replace(data)
    answer = scalelaw("sweep", tmp_path / "spec.toml", "-o", out)
    assert answer.returncode == 0, answer.stderr
    rows = RunTable.load(out).frame.set_index("run_id")
    assert list(rows["status"]) == ["finished", "finished"]
    assert Counter(rows["attempts"]) == Counter([2, 3])


@pytest.mark.slow
def test_the_bar_of_a_terminal_is_one_line(tmp_path):
    """Through a pseudo-terminal of 80 columns: every state of the bar fits one line."""
    if shutil.which("script") is None:
        pytest.skip("script, which makes a pseudo-terminal, is not installed")
    path = spec(tmp_path, TINY.replace("[200, 600]", "[20000]"))
    log = tmp_path / "typescript"
    command = f"stty cols 80; {os.sys.executable} -m scalelaw sweep {path} -o {tmp_path / 'out'}"
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("COLUMNS", None)
    answer = subprocess.run(["script", "-qec", command, log], env=environment, capture_output=True, text=True)
    assert answer.returncode == 0
    states = [line for line in answer.stdout.replace("\r", "\n").split("\n") if "/4 runs ·" in line]
    assert any("images/s" in state for state in states)
    assert any("left" in state for state in states)
    assert all("%" in state for state in states), "a state of the bar was wrapped"


def test_unknown_hardware_costs_an_estimate():
    assert single.known_hardware("abacus").peak_flop_per_second is None
    assert single.known_hardware("TPU v4").name == "tpu-v4"


def test_a_changed_configuration_is_not_trained_under_its_old_id(tmp_path, capsys):
    planned = expand(read_spec(spec(tmp_path)))[0]
    results = ResultsFolder(tmp_path / "out", new=True)
    results.begin({"name": "t", "utilisation": 0.36, "runs": [planned.run_id]},
                  {planned.run_id: planned.config.to_json()})  # fmt: skip
    path = tmp_path / "out" / planned.run_id / "config.json"
    assert worker.Worker(results, print).config(planned.run_id) == planned.config
    path.write_text(path.read_text().replace("0.4", "0.5"))
    with pytest.raises(ValueError, match="it was changed"):
        worker.Worker(results, print).config(planned.run_id)
    path.write_text(path.read_text().replace("peak_lr", "peak_rate"))
    with pytest.raises(ValueError, match="not a run of this version"):
        worker.Worker(results, print).config(planned.run_id)


def test_a_run_that_failed_elsewhere_meanwhile_is_passed_over(tmp_path):
    """Every worker of a sweep is given every run, so one that fails must not be tried by each of them."""
    data = tmp_path / "images.npz"
    archive(data)
    text = (
        f'[sweep]\nname = "s"\n[data]\nsource = "npz"\npath = "{data}"\n[model]\nvariants = ["N0"]\n'
        "[train]\nimages = 64\npeak_lr = 0.4\nseeds = [0, 1]\n"
    )
    planned = expand(read_spec(spec(tmp_path, text)))
    first, second = (run.run_id for run in planned)
    results = ResultsFolder(tmp_path / "out", new=True)
    results.begin({"name": "s", "utilisation": 0.36, "runs": [first, second]},
                  {run.run_id: run.config.to_json() for run in planned})  # fmt: skip
    data.unlink()
    events: list[tuple[str, str]] = []

    def emit(event: dict[str, object]) -> None:
        events.append((str(event["run_id"]), str(event["event"])))
        if events[-1] == (first, "started"):
            results.commit_row(Run(run_id=second, status="failed"))  # as another worker does

    assert worker.Worker(results, emit).work([first, second]) == 1
    assert events == [(first, "started"), (first, "done"), (second, "already done")]
    events.clear()
    assert worker.Worker(results, emit).work([second]) == 1, "the next call tries it again"
    assert events == [(second, "started"), (second, "done")]
