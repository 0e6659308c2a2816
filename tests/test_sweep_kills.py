"""Real sweeps whose workers are killed, frozen or run by two launchers: the table is as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time

import pandas as pd
import pytest
from test_worker_stops import alive, in_flight, until
from tiny_sweep import TINY, repeatable, scalelaw, spec, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.runs import RunTable
from scalelaw.runs.folder import ResultsFolder

SPEC = (
    TINY.replace('name = "tiny"', 'name = "tiny"\ncheckpoint_minutes = 0.003')
    .replace("[200, 600]", "[600, 60000]")
    .replace("[0.4, 0.8]", "[0.2, 0.4, 0.8]")
)
"""Six runs of a moment and six of several seconds, with a checkpoint every fifth of a second."""

KILLS = 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> pd.DataFrame:
    """The table of the sweep when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    answer = scalelaw("sweep", spec(folder, SPEC), "-o", folder / "out", "--workers", 2)
    assert answer.returncode == 0, answer.stderr
    return repeatable(folder / "out")


@pytest.mark.slow
def test_workers_killed_at_twenty_random_moments_leave_an_identical_table(undisturbed, tmp_path):
    out, chance = tmp_path / "out", random.Random(11)
    sweep = start("sweep", spec(tmp_path, SPEC), "-o", out, "--workers", 2, "--attempts", KILLS + 1)
    killed = []
    while len(killed) < KILLS:
        until(lambda: sweep.poll() is not None or [pid for _, pid in in_flight(out) if alive(pid)])
        assert sweep.poll() is None, f"it ended after {len(killed)} kills: {sweep.communicate()}"
        time.sleep(chance.uniform(0.0, 1.0))
        victims = [pid for _, pid in in_flight(out) if alive(pid)]
        if victims:
            killed.append(chance.choice(victims))
            os.kill(killed[-1], signal.SIGKILL)
            until(lambda: not alive(killed[-1]))
    said, err = sweep.communicate(timeout=280)
    assert sweep.returncode == 0, said + err
    assert said.count("signal SIGKILL") >= KILLS / 2, "some die between two runs, where nothing is lost"
    pd.testing.assert_frame_equal(repeatable(out), undisturbed)
    assert RunTable.load(out).frame["attempts"].sum() > len(undisturbed) + KILLS / 2
    left = {path.name for path in out.glob("*/*")}
    assert left == {"config.json", "final", "lease", "row.parquet", "status.json", "trace"}


@pytest.mark.slow
def test_two_launchers_without_locks_train_no_run_twice(undisturbed, tmp_path, monkeypatch):
    """As on a folder shared by machines whose locks do not reach each other."""
    monkeypatch.setenv("SCALELAW_LOCKS", "off")
    out, path = tmp_path / "out", spec(tmp_path, SPEC)
    launchers = [start("sweep", path, "-o", out, "--workers", 1) for _ in range(2)]
    said = [launcher.communicate(timeout=300) for launcher in launchers]
    assert [launcher.returncode for launcher in launchers] == [0, 0], said
    assert set(RunTable.load(out).frame["attempts"]) == {1}
    pd.testing.assert_frame_equal(repeatable(out), undisturbed)


@pytest.mark.slow
def test_a_frozen_run_is_taken_over_and_commits_nothing_when_it_wakes_up(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALELAW_LOCKS", "off")
    monkeypatch.setenv("SCALELAW_LEASE_SECONDS", "2")
    out = tmp_path / "out"
    answer = start("sweep", spec(tmp_path, SPEC), "-o", out, "--workers", 1)
    until(lambda: in_flight(out))
    answer.kill()  # only the folder was wanted
    answer.communicate()
    results = ResultsFolder(out)
    until(lambda: "running" not in results.statuses(results.run_ids()).values())
    long = next(name for name in results.run_ids() if "60000" in (out / name / "config.json").read_text())
    first = start("run", out, long)
    until(lambda: [path for path in (out / long / "checkpoint").glob("*") if path.name.isdigit()])  # a whole one
    first.send_signal(signal.SIGSTOP)
    second = scalelaw("run", out, long)
    assert second.returncode == 0, second.stderr
    assert "watching for up to 2 s whether it still lives" in second.stdout
    assert f"{long}: goes on at step" in second.stdout
    assert f"{long}: finished" in second.stdout
    traced = sorted((out / long / "trace").iterdir())
    row = (out / long / "row.parquet").read_bytes()
    first.send_signal(signal.SIGCONT)
    said, err = first.communicate(timeout=100)
    assert first.returncode == 0, err
    assert "its lease was lost; another process has taken the run over" in said
    assert (out / long / "row.parquet").read_bytes() == row
    assert sorted((out / long / "trace").iterdir()) == traced
    assert not (out / long / "held").exists()
    answer = scalelaw("sweep", tmp_path / "spec.toml", "-o", out)
    assert answer.returncode == 0, answer.stderr
    pd.testing.assert_frame_equal(repeatable(out), undisturbed)
