"""Bad days of real sweeps: disks that fill, folders that go away or cannot be written, impatience, other versions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_results_disk import mounted
from test_worker_stops import alive, in_flight, long_in_flight, until
from tiny_sweep import TINY, repeatable, scalelaw, snapshot, spec, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.errors import UserError
from scalelaw.runs import RunTable
from scalelaw.runs.folder import ResultsFolder
from scalelaw.sweep import expand, read_spec
from scalelaw.train import worker

PAGE = 4096
LONG = TINY.replace("[200, 600]", "[300, 120000]").replace("[0.4, 0.8]", "[0.4]").replace("[0, 1]", "[0, 1, 2]")
"""Three short runs and three of several seconds, which come first: after the first row one is under way."""


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> Path:
    """The sweep of short and long runs on a good day."""
    folder = tmp_path_factory.mktemp("calm")
    answer = scalelaw("sweep", spec(folder, LONG), "-o", folder / "out", "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    return folder / "out"


def planned(folder: Path, text: str = LONG) -> list[str]:
    return [run.run_id for run in expand(read_spec(spec(folder, text)))]


@pytest.mark.slow
def test_what_is_done_is_left_as_it_is(calm):
    """The one command, called again: not a byte and not a time of change."""
    before = snapshot(calm)
    ids = ResultsFolder(calm).run_ids()
    answer = scalelaw("run", calm, *ids)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("already done") == len(ids)
    assert snapshot(calm) == before


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_sweep_and_nothing_is_lost(calm, tmp_path):
    """A disk for about half of the runs, whatever the launcher and its workers remove meanwhile."""
    held = sum(-(-path.stat().st_size // PAGE) * PAGE for path in calm.rglob("*") if path.is_file())
    with mounted(tmp_path / "disk", "-o", f"size={held // 2}") as disk:
        path = spec(tmp_path, LONG)
        full = scalelaw("sweep", path, "-o", disk / "out", "--workers", 2)
        assert full.returncode == 2, full.stdout + full.stderr
        assert "No space left on device" in full.stderr
        assert "Traceback" not in full.stdout + full.stderr
        rows = RunTable.load(disk / "out").frame
        assert set(rows["status"]) == {"finished"}
        assert 1 <= len(rows) < 6
        shown = scalelaw("status", disk / "out")
        assert shown.returncode == 0, shown.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        answer = scalelaw("sweep", path, "-o", disk / "out", "--workers", 2)
        assert answer.returncode == 0, answer.stderr
        assert f"{len(rows)} already done" in answer.stdout
        pd.testing.assert_frame_equal(repeatable(disk / "out"), repeatable(calm))


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_read_and_refused_in_one_line(calm, tmp_path):
    with mounted(tmp_path / "disk") as disk:
        shutil.copytree(calm, disk / "out")
        victim = planned(tmp_path)[0]
        shutil.rmtree(disk / "out" / victim)
        (disk / "out" / "runs.parquet").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = snapshot(disk)
        for *arguments, code in (
            ("status", disk / "out", 0),
            ("sweep", tmp_path / "spec.toml", "-o", disk / "out", 2),
            ("run", disk / "out", planned(tmp_path)[1], 0),
        ):
            answer = scalelaw(*arguments)
            assert answer.returncode == code, answer.stderr
            assert "Traceback" not in answer.stderr
            if code:
                assert "Read-only file system" in answer.stderr
                assert answer.stderr.count("\n") == 1
        assert snapshot(disk) == before


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
def test_the_folder_of_a_run_is_removed_while_it_trains(calm, tmp_path, monkeypatch, whole):
    """It begins again; a results folder that is gone as a whole is an error, and does not come back empty."""
    monkeypatch.setenv("SCALELAW_LEASE_SECONDS", "2")  # its loss is noticed at a beat
    out = tmp_path / "out"
    sweep = start("sweep", spec(tmp_path, LONG), "-o", out, "--workers", 2)
    until(lambda: long_in_flight(out))
    victims = [run for run, _ in long_in_flight(out)]
    time.sleep(0.5)
    shutil.rmtree(out if whole else out / victims[0], ignore_errors=True)
    said, err = sweep.communicate(timeout=250)
    assert "Traceback" not in said + err
    if whole:
        assert sweep.returncode == 2, said + err
        assert not (out / "runs.parquet").exists()
        return
    assert sweep.returncode == 0, said + err
    assert "its folder was removed" in said
    pd.testing.assert_frame_equal(repeatable(out), repeatable(calm))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.3])
def test_a_second_interrupt_ends_all_at_once_and_tears_nothing(calm, tmp_path, seconds):
    """Ctrl-C twice, in the same instant or one after the other, as a terminal sends it: to the whole group."""
    out = tmp_path / "out"
    sweep = start("sweep", spec(tmp_path, LONG), "-o", out, "--workers", 2)
    until(lambda: long_in_flight(out))
    time.sleep(0.5)
    pids = [pid for _, pid in in_flight(out)]
    os.killpg(sweep.pid, signal.SIGINT)
    time.sleep(seconds)
    began = time.monotonic()
    try:
        os.killpg(sweep.pid, signal.SIGINT)
    except ProcessLookupError:
        pytest.skip("it had ended before the second")
    said, err = sweep.communicate(timeout=60)
    if seconds:  # in the same instant the two may arrive as one
        assert time.monotonic() - began < 10
    assert sweep.returncode == 130, said + err
    assert "Traceback" not in said + err
    assert err.endswith("scalelaw: interrupted; finished runs are kept, the same command goes on\n")
    until(lambda: not any(map(alive, pids)), 10)
    for path in [*out.rglob("row.parquet"), *out.rglob("part-*.parquet"), *out.glob("runs.parquet")]:
        pq.read_table(path)
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    answer = scalelaw("sweep", tmp_path / "spec.toml", "-o", out, "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    pd.testing.assert_frame_equal(repeatable(out), repeatable(calm))


def test_a_run_of_a_newer_version_is_named_and_its_row_is_read(tmp_path):
    (first, second, *_) = expand(read_spec(spec(tmp_path)))
    results = ResultsFolder(tmp_path / "out", new=True)
    newer = {**first.config.to_json(), "optimizer": {"name": "x"}}
    newer["train"] = {**newer["train"], "rotation": 3}
    results.begin({"name": "tiny", "runs": [first.run_id], "weather": "fine"}, {
        first.run_id: newer, second.run_id: second.config.to_json()})  # fmt: skip
    with pytest.raises(UserError, match=r"config.json: has settings that this version of scalelaw does not know "
                       r"\(optimizer, train.rotation\); update it"):  # fmt: skip
        worker.Worker(results, print).config(first.run_id)
    assert worker.Worker(results, print).config(second.run_id) == second.config
    import pyarrow as pa

    row = {"run_id": [first.run_id], "status": ["finished"], "val_loss": [1.5], "energy": [2.0],
           "config": [json.dumps(newer)]}  # fmt: skip
    pq.write_table(pa.table(row), results.run_path(first.run_id) / "row.parquet")
    table = RunTable.load(results.root)
    assert table.problems == ()
    assert table.frame[["val_loss", "energy"]].to_numpy().tolist() == [[1.5, 2.0]]
    assert results.statuses([first.run_id, second.run_id]) == {first.run_id: "finished", second.run_id: "pending"}


def test_a_clock_that_jumps_while_a_sweep_runs_changes_no_result(tmp_path, monkeypatch):
    """Time of day goes back and forth by hours between any two readings; what is measured is by other clocks."""
    import itertools

    jumps = itertools.cycle([0.0, -3600.0, 7200.0, -86400.0])
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    results = ResultsFolder(tmp_path / "out", new=True)
    runs = expand(read_spec(spec(tmp_path)))[:2]
    results.begin({"name": "tiny", "runs": [run.run_id for run in runs]},
                  {run.run_id: run.config.to_json() for run in runs})  # fmt: skip
    assert worker.Worker(results, lambda event: None).work([run.run_id for run in runs]) == 0
    results.compact()
    assert set(results.statuses([run.run_id for run in runs]).values()) == {"finished"}
    assert (RunTable.load(results.root).frame["train_seconds"] > 0).all()
