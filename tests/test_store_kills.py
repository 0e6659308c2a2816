"""A run in an object store, killed on one machine and taken up on another, ends as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_sweep import TINY, repeatable, scalelaw, spec

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.cli.sweeps import record_sweep
from scalelaw.runs import RunTable, open_results
from scalelaw.sweep import expand, read_spec
from scalelaw.train.trace import UNREPEATABLE as TIMED

ONE = (
    TINY.replace('name = "tiny"', 'name = "tiny"\ncheckpoint_minutes = 0.0025')
    .replace("noise = 0.1", "noise = 1.0")
    .replace("images = [200, 600]", "images = 60_000")
    .replace("[0.4, 0.8]", "0.8")
    .replace("seeds = [0, 1]", "evaluations = 6")
)
MOMENTS = ("pushed", "archive", "pushed", "manifest", "pushed", "end", "row")


def begun(where: str, text: Path) -> str:
    """Writes a sweep of one run. Returns its id."""
    checked = read_spec(text)
    (run,) = expand(checked)
    record_sweep(open_results(where, new=True), checked, [run])
    return run.run_id


def noted(run_folder: Path) -> int:
    """How often the run was started, as its folder in the store says."""
    path = run_folder / "status.json"
    return int(json.loads(path.read_text())["attempts"]) if path.exists() else 0


def work(moment: str, machine: Path, where: str, run_id: str) -> subprocess.CompletedProcess[str]:
    """`scalelaw run` on a machine that has nothing but its own cache folder."""
    driver = Path(__file__).with_name("store_driver.py")
    return subprocess.run(
        [sys.executable, driver, moment, "run", where, run_id], capture_output=True, text=True, timeout=300,
        env={**os.environ, "SCALELAW_CACHE": str(machine), "COLUMNS": "80"},
    )  # fmt: skip


def trace(run_folder: Path) -> pd.DataFrame:
    parts = sorted((run_folder / "trace").iterdir())
    return pd.concat([pq.read_table(part).to_pandas() for part in parts], ignore_index=True).drop(columns=list(TIMED))


@pytest.mark.slow
def test_killed_on_one_machine_and_taken_up_on_another_a_run_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALELAW_CACHE", str(tmp_path / "launcher"))
    text = spec(tmp_path, ONE)
    calm, bucket = tmp_path / "calm", tmp_path / "bucket" / "tiny"
    run_id = begun(str(calm), text)
    assert begun(bucket.as_uri(), text) == run_id
    answer = scalelaw("run", calm, run_id)
    assert answer.returncode == 0, answer.stderr

    started = 0
    for k, moment in enumerate(MOMENTS):
        answer = work(moment, tmp_path / f"machine{k % 2}", bucket.as_uri(), run_id)
        assert answer.returncode == -signal.SIGKILL, answer.stdout + answer.stderr
        assert "damaged" not in answer.stderr
        before, started = started, noted(bucket / run_id)
        assert started in (before, before + 1)
        if moment in ("end", "row"):  # the others may strike while what an earlier attempt left here is pushed
            assert "goes on at step" in answer.stdout, "a checkpoint in the store was not gone on from"
            assert started == before + 1
        assert k or "goes on at step" not in answer.stdout
        assert (bucket / run_id / "row.parquet").exists() == (moment == "row")
    answer = work("never", tmp_path / "fresh", bucket.as_uri(), run_id)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "already done" in answer.stdout  # only the checkpoints are cleared away

    end, calm_end = bucket / run_id, calm / run_id
    assert (end / "final" / "weights.npz").read_bytes() == (calm_end / "final" / "weights.npz").read_bytes()
    pd.testing.assert_frame_equal(trace(end), trace(calm_end), check_exact=True)
    pd.testing.assert_frame_equal(repeatable(bucket.as_uri()), repeatable(calm))
    (attempts,) = RunTable.load(bucket.as_uri()).attempts
    assert 2 < attempts == started
    assert {path.name for path in end.iterdir()} == {path.name for path in calm_end.iterdir()} - {"lease"}


@pytest.mark.slow
def test_a_sweep_in_a_store_equals_one_on_disk(tmp_path, monkeypatch):
    """By local workers, who share a cache folder, and by a second launcher that finds nothing left to do."""
    monkeypatch.setenv("SCALELAW_CACHE", str(tmp_path / "cache"))
    text, plain, uri = spec(tmp_path), tmp_path / "plain", (tmp_path / "bucket" / "tiny").as_uri()
    for where in (plain, uri):
        answer = scalelaw("sweep", text, "-o", where, "--workers", 2)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert f"{where}: 8 finished" in answer.stdout
    pd.testing.assert_frame_equal(repeatable(uri), repeatable(plain))
    monkeypatch.setenv("SCALELAW_CACHE", str(tmp_path / "elsewhere"))
    answer = scalelaw("sweep", text, "-o", uri)
    assert "nothing to train" in answer.stdout
    answer = scalelaw("status", uri)
    assert answer.returncode == 0, answer.stderr
    assert "finished      8" in answer.stdout
    assert scalelaw("rates", uri).stdout == scalelaw("rates", plain).stdout


@pytest.mark.parametrize("arguments", [
    ["figures", "{plain}", "-o", "s3://bucket/figures"], ["sweep", "s3://bucket/spec.toml"],
    ["run", "foo://bucket/x", "0123"], ["fit", "file:///none.parquet"], ["status", "{uri}"],
    ["run", "{uri}", "0123", "--coordinator", "auto"], ["fit", "gopher://x/y"],
])  # fmt: skip
def test_uris_that_do_not_work_are_one_line_and_exit_code_2(tmp_path, arguments):
    known = {"plain": str(tmp_path / "x"), "uri": (tmp_path / "none").as_uri()}
    answer = scalelaw(*(word.format(**known) for word in arguments), cwd=tmp_path)
    assert answer.returncode == 2, answer.stdout + answer.stderr
    (line,) = answer.stderr.splitlines()
    assert line.startswith("scalelaw: ")
    assert not list(tmp_path.iterdir()), "something was made"
