"""Real sweeps of a tiny spec through the command line: what is kept, what is repeated, and what survives a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_sweep import TINY, scalelaw, snapshot, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.runs import UNREPEATABLE, Run, RunTable
from scalelaw.runs.folder import ResultsFolder
from scalelaw.runs.lease import is_held
from scalelaw.sweep import RunConfig, expand, read_spec
from scalelaw.train import single, worker

LONG = TINY.replace("[200, 600]", "[300, 60000]").replace("[0.4, 0.8]", "[0.4]")
"""Two short runs and two of several seconds."""


def repeatable(folder: Path) -> pd.DataFrame:
    """The columns that two trainings of one configuration must share, as text so that every bit counts."""
    frame = RunTable.load(folder).frame.drop(columns=list(UNREPEATABLE))
    return frame.map(repr).sort_values("run_id", ignore_index=True)


def spec(folder: Path, text: str = TINY) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The tiny sweep, trained by two workers."""
    folder = tmp_path_factory.mktemp("tiny")
    answer = scalelaw("sweep", spec(folder), "-o", folder / "out", "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    assert "8 finished" in answer.stdout
    return folder / "out"


@pytest.fixture(scope="module")
def long_reference(tmp_path_factory) -> pd.DataFrame:
    """The table of the longer sweep when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("long")
    assert scalelaw("sweep", spec(folder, LONG), "-o", folder / "out", "--workers", 1).returncode == 0
    return repeatable(folder / "out")


def until(condition, seconds: float = 120.0) -> None:
    """Waits for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def in_flight(folder: Path) -> list[tuple[str, int]]:
    """Runs whose trace grows or whose lease is held, each with its worker's process id."""
    found = []
    for status in folder.glob("*/status.json"):
        if is_held(status.parent / "lease"):
            found.append((status.parent.name, json.loads(status.read_text())["pid"]))
    return found


def long_in_flight(folder: Path) -> list[tuple[str, int]]:
    """The same, of the long runs only."""
    return [(run_id, pid) for run_id, pid in in_flight(folder)
            if "60000" in (folder / run_id / "config.json").read_text()]  # fmt: skip


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


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


@pytest.mark.slow
def test_another_process_and_worker_count_give_identical_rows(finished, tmp_path):
    """In every column but those that say where and how fast. The runs are given in another order, too."""
    runs = sorted(run.run_id for run in expand(read_spec(finished.parent / "spec.toml")))
    shutil.copytree(finished, tmp_path / "out", ignore=lambda _, names: [n for n in names if n in DONE_FILES])
    answer = scalelaw("run", tmp_path / "out", *runs[::-1])
    assert answer.returncode == 0, answer.stderr
    pd.testing.assert_frame_equal(repeatable(tmp_path / "out"), repeatable(finished))


DONE_FILES = ("runs.parquet", "row.parquet", "trace", "status.json")


@pytest.mark.slow
def test_killing_a_worker_repeats_its_run_and_no_other(long_reference, tmp_path):
    out = tmp_path / "out"
    sweep = start("sweep", spec(tmp_path, LONG), "-o", out, "--workers", 2)
    until(lambda: long_in_flight(out))
    (run_id, pid), *_ = long_in_flight(out)
    os.kill(pid, signal.SIGKILL)
    said, err = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, err
    assert "signal SIGKILL" in said
    pd.testing.assert_frame_equal(repeatable(out), long_reference)
    attempts = RunTable.load(out).frame.set_index("run_id")["attempts"].to_dict()
    assert attempts.pop(run_id) == 2
    assert set(attempts.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_a_launcher_may_be_stopped_at_any_time(long_reference, tmp_path, number, code):
    """Interrupted, pre-empted or killed: no worker stays, what was finished is kept, the same command goes on."""
    out = tmp_path / "out"
    sweep = start("sweep", spec(tmp_path, LONG), "-o", out, "--workers", 2)
    until(lambda: in_flight(out))
    workers = {pid for _, pid in in_flight(out)}
    if number == signal.SIGINT:  # as a terminal does it, to the whole group
        os.killpg(sweep.pid, number)
    else:
        os.kill(sweep.pid, number)
    sweep.wait(timeout=60)
    assert sweep.returncode == code
    if number == signal.SIGKILL:
        until(lambda: not any(map(alive, workers)))  # at their next event
    assert not any(map(alive, workers))
    sweep.communicate()
    if number != signal.SIGKILL:
        pq.read_table(out / "runs.parquet")
    statuses = ResultsFolder(out).statuses(ResultsFolder(out).run_ids())
    assert set(statuses.values()) <= {"finished", "pending"}
    answer = scalelaw("sweep", tmp_path / "spec.toml", "-o", out, "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    pd.testing.assert_frame_equal(repeatable(out), long_reference)


@pytest.mark.slow
def test_an_interrupt_that_only_a_worker_hears_ends_the_sweep(tmp_path):
    """Ctrl-C goes to the whole group, and the launcher's own signal may be lost inside a library."""
    sweep = start("sweep", spec(tmp_path, LONG), "-o", tmp_path / "out", "--workers", 2)
    until(lambda: long_in_flight(tmp_path / "out"))
    (_, pid), *_ = long_in_flight(tmp_path / "out")
    os.kill(pid, signal.SIGINT)
    sweep.communicate(timeout=100)
    assert sweep.returncode == 130


@pytest.mark.slow
def test_two_launchers_at_once_train_no_run_twice(long_reference, tmp_path):
    out, path = tmp_path / "out", spec(tmp_path, LONG)
    first, second = (start("sweep", path, "-o", out, "--workers", 1) for _ in range(2))
    said = [process.communicate(timeout=300) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert all("4 finished" in out_text for out_text, _ in said)
    assert set(RunTable.load(out).frame["attempts"]) == {1}
    pd.testing.assert_frame_equal(repeatable(out), long_reference)


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
