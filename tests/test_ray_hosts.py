"""One run on two hosts of a cluster: pre-empted, killed, and equal to one process's; and the whole command for real."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from ray_clusters import cluster_of
from tiny_sweep import TINY, scalelaw, spec, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.runs import RunTable

pytestmark = pytest.mark.slow

ONE = TINY.replace("[200, 600]", "1000").replace("[0.4, 0.8]", "0.4").replace("[0, 1]", "0")
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
    assert both["images_seen"] == alone["images_seen"] == 1000
