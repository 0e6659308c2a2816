"""What stands on a node, and what is made of its end: nothing here starts Ray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from scalelaw.launch.ray.station import ENDED, UNSEEN, Station, Work

SPEAKS = """
import json, os, sys
print("a library's chatter")
for number in range(3):
    print(json.dumps({"event": "progress", "number": number}), flush=True)
print(json.dumps({"event": "environment", "names": sorted(os.environ)}), flush=True)
sys.exit("the last words")
"""


def work(*arguments: str, **more: Any) -> Work:
    return Work(**{"arguments": arguments, "folder": "/", "sees": None, "environment": {"OURS": "1"}, **more})


def all_events(station: Station) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not found or found[-1]["event"] not in (ENDED, UNSEEN):
        found += station.events(len(found), 10.0)
    return found


def test_events_end_with_the_exit_code_and_the_last_words(monkeypatch):
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    station = Station()
    station.start(work("-c", SPEAKS))
    *progress, environment, end = all_events(station)
    assert [event["number"] for event in progress] == [0, 1, 2]
    assert end == {"event": "ended", "code": 1, "said": ["the last words"]}
    assert "OURS" in environment["names"]
    assert not {"RAY_JOB_ID", "OMP_NUM_THREADS"} & set(environment["names"])
    assert {"PATH", "HOME"} & set(environment["names"])


def test_events_are_kept_until_the_caller_says_that_it_has_them():
    station = Station()
    station.start(work("-c", SPEAKS))
    while (whole := station.events(0, 10.0))[-1]["event"] != ENDED:
        time.sleep(0.01)
    assert station.events(2, 1.0) == whole[2:]
    assert station.events(2, 1.0) == whole[2:]  # the answer was lost on its way
    assert station.events(len(whole), 0.01) == []


def test_a_process_is_asked_to_end_and_made_to():
    waits = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('{\"event\": 1}', flush=True); "
        "time.sleep(60)"
    )
    for stop, sent in (("terminate", signal.SIGTERM), ("kill", signal.SIGKILL)):
        station = Station()
        getattr(station, stop)()  # nothing runs yet: nothing to do
        station.start(work("-c", waits.replace("signal.SIG_IGN", "signal.SIG_DFL") if stop == "terminate" else waits))
        assert station.events(0, 10.0)
        getattr(station, stop)()
        assert all_events(station)[-1]["code"] == -sent


def test_a_process_hears_of_its_parents_death(tmp_path):
    """As when Ray's worker is killed: its process is asked to end, and has time for a checkpoint."""
    if sys.platform != "linux":
        pytest.skip("the kernel tells only on Linux")
    child = (
        "import os, pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(tmp_path / 'told')!r}).touch(), sys.exit()))\n"
        "print('{\"event\": 1}', flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import os, signal\n"
        "from scalelaw.launch.ray.station import Station, Work\n"
        "station = Station()\n"
        f"station.start(Work(('-c', {child!r}), '/', None, {{}}))\n"
        "assert station.events(0, 20.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", parent], check=False).returncode == -signal.SIGKILL
    until = time.monotonic() + 20
    while not (tmp_path / "told").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert (tmp_path / "told").exists()


def test_a_node_that_does_not_see_the_run_starts_nothing(tmp_path):
    station = Station()
    station.start(work("-c", "pass", folder=str(tmp_path), sees="results/x/config.json"))
    (event,) = station.events(0, 1.0)
    assert (event["event"], event["path"]) == (UNSEEN, "results/x/config.json")
    (tmp_path / "here").touch()
    station = Station()
    station.start(work("-c", "import os; print(os.getcwd())", folder=str(tmp_path), sees="here"))
    assert all_events(station)[-1]["code"] == 0


def test_ends_are_told_apart():
    pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")
    from ray.exceptions import ActorDiedError, RayActorError

    from scalelaw.launch.local import BAD_INPUT, PREEMPTED
    from scalelaw.launch.ray.remote import _end, lost

    def ended(code: int, *said: str) -> Any:
        return _end({"event": ENDED, "code": code, "said": list(said)})

    assert _end({"event": "progress", "run_id": "x"}) is None
    assert (ended(0).code, ended(-9, "x").code, ended(2, "scalelaw: the disk is full").code) == (0, -9, 2)
    assert ended(2, "scalelaw: --coordinator 10.0.0.1:5: timed out").code == 1  # hosts may find each other next time
    assert ended(1, "/usr/bin/python: No module named scalelaw").code == BAD_INPUT
    unseen = _end({"event": UNSEEN, "host": "n7", "path": "/r/x/config.json"})
    assert unseen.code == BAD_INPUT
    assert "node n7 of the Ray cluster does not see /r/x/config.json" in unseen.said[0]
    assert lost(ActorDiedError()).cause == "the death of its Ray worker"
    gone = RayActorError(error_msg="The actor died because its node has died. Node Id: 7\n\tthe node was terminated")
    assert (lost(gone).code, lost(gone).cause) == (-signal.SIGKILL, "the loss of its node")
    assert lost(RayActorError(error_msg="drained", preempted=True)).code == PREEMPTED
    missing = RayActorError(error_msg="The actor failed to import: ModuleNotFoundError: No module named 'scalelaw'")
    assert lost(missing).code == BAD_INPUT
    assert "pip install 'scalelaw[ray]'" in lost(missing).said[0]


def test_a_share_of_a_gpu_is_a_share_of_its_memory(tmp_path):
    from scalelaw.launch.ray import work as work_of
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep.resources import RaySection

    results = ResultsFolder(tmp_path / "results", new=True)
    found = work_of(results, ["abc"], RaySection(cpus=3, gpus=0.5), None)
    assert found.environment == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}
    assert found.arguments[:3] == ("-m", "scalelaw", "run")
    assert found.arguments[-2:] == ("--threads", "3")
    assert found.sees == str(tmp_path / "results" / "abc" / "config.json")
    assert found.folder == os.getcwd()
    assert work_of(results, ["abc"], RaySection(gpus=1), None).environment == {}
    held = work_of(results, ["abc"], RaySection(gpus=1), 0.25).arguments
    assert held[held.index("--stop-at") + 1] == "0.25"
