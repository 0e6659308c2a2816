"""`scalelaw sweep ... | head`: workers write their checkpoints, and the exit code says that work is left."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_sweep import TINY, start

from scalelaw import stopping
from scalelaw.runs import ResultsFolder

WORKER = """
import json, signal, sys, time
from pathlib import Path
run_id = sys.argv[1]
def save(*_):
    time.sleep(0.3)
    Path(f"{run_id} saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
for images in range(1, 1000):
    kind = "started" if images == 1 else "progress"
    print(json.dumps({"run_id": run_id, "event": kind, "images": images}), flush=True)
    time.sleep(0.02)
"""
LAUNCHER = """
import sys
from scalelaw import cli
from scalelaw.launch import local, screen
screen.PLAIN_SECONDS = 0.1
local.command = lambda results, run_ids, stop_at: [sys.executable, "worker.py", run_ids[0]]
cli.main(["sweep", "spec.toml", "-o", "out", "--workers", "2"])
"""


def test_a_sweep_that_nobody_reads_on_stops_with_its_checkpoints(tmp_path):
    (tmp_path / "spec.toml").write_text(TINY)
    (tmp_path / "worker.py").write_text(WORKER)
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "8 to train" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == stopping.PREEMPTED
        assert process.stderr.read() == ""
    assert list(tmp_path.glob("* saved"))  # the other may have been asked before it could hear
    assert ResultsFolder(tmp_path / "out").table_path.exists()


def test_only_work_that_is_left_is_no_end_like_another():
    with pytest.raises(stopping.Unheard), stopping.unfinished_if_unheard():
        raise BrokenPipeError
    with pytest.raises(OSError, match="full"), stopping.unfinished_if_unheard():
        raise OSError("full")


def test_a_dry_run_that_nobody_reads_is_done(tmp_path):
    (tmp_path / "spec.toml").write_text(TINY)
    process = start("sweep", tmp_path / "spec.toml", "-o", tmp_path / "out", "--dry-run")
    process.stdout.close()
    assert process.wait(60) == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["sweep", "train"])
def test_real_training_goes_on_where_nobody_read(tmp_path, command):
    pytest.importorskip("jax", reason="the trainer needs jax")
    one = TINY.replace("[200, 600]", "4000000").replace("[0.4, 0.8]", "0.4").replace("[0, 1]", "0")
    (tmp_path / "spec.toml").write_text(one)
    with start(command, tmp_path / "spec.toml", "-o", tmp_path / "out") as process:
        until = r"· [1-9][\d,]* images/s" if command == "sweep" else "compiled"  # before that there is nothing to keep
        while not re.search(until, process.stdout.readline()):
            pass
        process.stdout.close()
        assert process.wait(200) == stopping.PREEMPTED
        assert "Traceback" not in process.stderr.read()
    (run_id,) = ResultsFolder(tmp_path / "out").run_ids()
    assert not (tmp_path / "out" / run_id / "row.parquet").exists()
    assert [path.name for path in Path(tmp_path / "out" / run_id / "checkpoint").iterdir()]
