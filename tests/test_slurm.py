"""The Slurm script, with a stand-in for Slurm: tasks share the runs, and one that is pre-empted asks to come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_sweep import TINY, repeatable, scalelaw, spec

pytest.importorskip("jax", reason="the trainer needs jax")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def task(tmp_path):
    """Starts one of two tasks of a job."""
    commands = tmp_path / "bin"
    commands.mkdir()
    lines = {
        "srun": 'exec "$@"',
        "scontrol": f'echo "$@" >> {tmp_path}/asked',
        "scalelaw": f'exec {sys.executable} -m scalelaw "$@"',
        "python": f'exec {sys.executable} "$@"',
    }
    for name, line in lines.items():
        (commands / name).write_text(f"#!/bin/bash\n{line}\n")
        (commands / name).chmod(0o755)

    def start(number: int) -> subprocess.Popen[str]:
        slurm = {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": "2"}
        return subprocess.Popen(
            ["bash", ROOT / "runs" / "train.slurm", tmp_path / "out"],
            env={**os.environ, **slurm, "PATH": f"{commands}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def trainer(group: int) -> int:
    """The process of a group that trains."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getpgid(int(entry.name)) == group:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[1:4] == [b"-m", b"scalelaw", b"run"]:
                    return int(entry.name)
        except OSError:
            continue
    raise AssertionError("nothing trains")


@pytest.mark.slow
def test_two_tasks_share_the_runs_and_a_pre_empted_one_asks_to_come_back(tmp_path, task):
    path, out = spec(tmp_path, TINY.replace("[0, 1]", "[0]").replace("600", "5000")), tmp_path / "out"
    prepared = scalelaw("sweep", path, "-o", out, "--prepare")
    assert (prepared.returncode, prepared.stdout) == (
        0, f"{out}: 4 runs, 0 already done; scalelaw run {out} ID... trains them\n",
    )  # fmt: skip
    first = task(0)
    for line in first.stdout:
        if "started" in line:
            break
    time.sleep(0.5)
    os.kill(trainer(first.pid), signal.SIGTERM)  # as Slurm signals a job's steps
    first.communicate(timeout=120)
    assert first.returncode == 75
    assert (tmp_path / "asked").read_text() == "requeue 7_0\n"
    both = [task(number) for number in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    trained = [line for out, _ in said for line in out.splitlines() if "finished" in line]
    assert len(trained) == len(set(trained)) <= 4
    counts = json.loads(scalelaw("status", out, "--json").stdout)
    assert counts["finished"] == 4
    assert scalelaw("sweep", path, "-o", tmp_path / "alone").returncode == 0
    assert repeatable(out).equals(repeatable(tmp_path / "alone"))
    again = task(0)
    assert again.communicate(timeout=60)[0] == ""
    assert again.returncode == 0


def test_runs_in_two_trials_cannot_be_prepared(tmp_path):
    answer = scalelaw("sweep", spec(tmp_path), "-o", tmp_path / "out", "--lr", "two-trial", "--prepare")
    assert answer.returncode == 2
    assert "runs are chosen as others end" in answer.stderr
    assert not (tmp_path / "out").exists()
