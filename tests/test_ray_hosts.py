"""One run on two hosts of a cluster: pre-empted, killed, and equal to one process's; and the whole command for real."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from ray_clusters import cluster_of, folder_for_ray
from tiny_sweep import TINY, repeatable, scalelaw, spec, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.launch.ray import Work, join
from scalelaw.runs import RunTable
from scalelaw.sweep.resources import RaySection

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called"),  # Ray forks and at once becomes a process of its own
]

ONE = (
    TINY.replace("[train]", "[train]\nevaluations = 1")
    .replace("[200, 600]", "160")
    .replace("[0.4, 0.8]", "0.4")
    .replace("[0, 1]", "0")
)
TWO_HOSTS = ONE + "[ray]\nhosts = 2\n[devices]\nparams = 2\n"


@pytest.fixture(scope="module")
def cluster():
    with cluster_of(1, 1) as found:
        yield found


def processes(out: Path) -> list[int]:
    """The processes that train into a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"scalelaw" in words and b"run" in words and str(out).encode() in words:
            found.append(int(entry.name))
    return found


HOST = """
import json, os, signal, sys, time
me = sys.argv[1:]
print(json.dumps({"run_id": "x", "event": "progress", "me": me}), flush=True)
if me[-1] == "1":
    time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(300)
"""


def test_hosts_are_told_who_they_are_and_none_outlives_another(cluster, monkeypatch):
    """The first waits for the second in vain and does not hear that it should end: it is made to."""
    from scalelaw.launch.ray import remote

    monkeypatch.setattr(remote, "REST_SECONDS", 1.0)
    joined = join(cluster.address, RaySection(hosts=2), "spec.toml: [ray]", None)
    told: list[dict[str, Any]] = []
    worker = remote.Remote(joined, Work(("-c", HOST), "/", None, {}), tell=told.append, at_end=lambda: None)
    try:
        worker.begin()
        assert worker.wait(60) == -signal.SIGKILL
    finally:
        joined.leave()
    ((_, place, *rest),) = [event["me"] for event in told]  # of the first host alone
    assert re.fullmatch(r"[\d.]+:\d+", place)
    assert rest == ["--processes", "2", "--process", "0"]


def test_one_run_on_two_hosts_of_which_one_is_killed_ends_as_one_process_does(tmp_path, cluster):
    answer = scalelaw("sweep", spec(tmp_path, ONE), "-o", tmp_path / "alone")
    assert answer.returncode == 0, answer.stderr
    path, out = spec(tmp_path, TWO_HOSTS), tmp_path / "both"
    launcher = start("sweep", path, "-o", out, "--engine", "ray", "--ray-address", cluster.address)
    killed: list[int] = []
    while launcher.poll() is None and not killed:
        time.sleep(0.05)
        if list(out.glob("*/trace")) and len(found := processes(out)) == 2:
            killed.append(found[1])
            os.kill(found[1], signal.SIGKILL)
    said, complained = launcher.communicate()
    assert launcher.returncode == 0, complained
    assert killed, "the run was over before anybody could be killed"
    assert "its worker ended by" in said
    assert not processes(out)
    alone, both = (RunTable.load(folder).frame.iloc[0] for folder in (tmp_path / "alone", out))
    assert (alone["devices"], both["devices"]) == (1, 2)
    assert both["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-4)
    assert both["images_seen"] == alone["images_seen"] == 160


def test_an_interrupted_sweep_goes_on_and_ends_in_the_table_of_the_local_engine(tmp_path):
    path, out = spec(tmp_path, TINY.replace("[0, 1]", "[0]").replace("600", "5000")), tmp_path / "ray"
    with folder_for_ray():
        launcher = start("sweep", path, "-o", out, "--engine", "ray", "--workers", 2)
        while launcher.poll() is None and not list(out.glob("*/row.parquet")):
            time.sleep(0.05)
        os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does, to Ray's own processes too
        said, complained = launcher.communicate(timeout=120)
        assert launcher.returncode == 130, said + complained
        assert not processes(out)
        answer = scalelaw("sweep", path, "-o", out, "--engine", "ray")
        assert answer.returncode == 0, answer.stderr
    assert "already done" in answer.stdout
    alone = scalelaw("sweep", path, "-o", tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert repeatable(out).equals(repeatable(tmp_path / "alone"))
    assert len(repeatable(out)) == 4
