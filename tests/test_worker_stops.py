"""Real sweeps that are killed, interrupted or launched twice at any time: no run is lost, none is trained twice."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_sweep import TINY, repeatable, scalelaw, spec, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.runs import RunTable
from scalelaw.runs.folder import ResultsFolder
from scalelaw.runs.lease import is_held

LONG = TINY.replace("[200, 600]", "[300, 120000]").replace("[0.4, 0.8]", "[0.4]")
"""Two short runs and two of several seconds."""


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
            if "120000" in (folder / run_id / "config.json").read_text()]  # fmt: skip


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


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
