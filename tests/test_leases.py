"""Leases, held by real processes: one at a time, over when it dies, and never used by one that has lost it.

A process of another machine is one that says so: nothing of it can then be looked up here.
"""

import errno
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from lease_cases import LOCKS, taken, two_runs, until
from result_rows import losses, row, snapshot

from scalelaw.errors import UserError
from scalelaw.runs.lease import LeaseLost, lease

HOLDER = """
import os, signal, sys, time
from pathlib import Path
from scalelaw.runs import ResultsFolder, Run, claims
from scalelaw.runs.lease import LeaseLost
root, where, doing = sys.argv[1:4]
if where != "here":
    claims._machine = lambda: ("far", "another boot", "another namespace")
    utime, clock = os.utime, float(where) * 3600
    os.utime = lambda path: utime(path, (time.time() + clock, time.time() + clock))  # a clock set otherwise
results = ResultsFolder(Path(root))
with results.lease("a") as held:
    print(held is not None, flush=True)
    if doing == "hold":
        time.sleep(60)
    try:
        if doing == "freeze, then commit":
            os.kill(os.getpid(), signal.SIGSTOP)
            results.commit_row(Run(run_id="a", status="finished", val_loss=9.0), held)
        if doing == "freeze while it writes":
            held.write(Path(root) / "a" / "row.parquet", lambda path: os.kill(os.getpid(), signal.SIGSTOP))
        if doing == "freeze, then check":
            os.kill(os.getpid(), signal.SIGSTOP)
            held.check()
        print("wrote", flush=True)
    except LeaseLost as lost:
        print(lost, flush=True)
"""


@pytest.fixture
def results(tmp_path, monkeypatch):
    return two_runs(tmp_path, monkeypatch)


@contextmanager
def holding(results, doing="hold", where="here"):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(results.root), where, doing], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "True\n"
            yield holder
        finally:
            holder.kill()


@LOCKS
def test_a_lease_keeps_others_away_and_ends_at_once_with_its_holder(results, monkeypatch, locks):
    monkeypatch.setenv("SCALELAW_LOCKS", locks)
    with holding(results) as holder:
        assert results.statuses("ab") == {"a": "running", "b": "pending"}
        assert not taken(results)
        with results.lease("b") as other:
            assert other is not None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert results.statuses("a") == {"a": "pending"}
        assert taken(results)
    assert {path.name for path in (results.root / "a").iterdir()} <= {"config.json", "lease"}


@pytest.mark.parametrize("hours", ["0", "-1", "1"])
def test_another_machines_lease_ends_when_it_has_been_silent_whatever_its_clock(results, hours):
    """The lock tells nothing of it here, nor its process number. The clocks of the two are hours apart."""
    with holding(results, where=hours) as holder:
        holder.stdout.close()
        began = time.monotonic()
        while time.monotonic() - began < 2.5:  # it lives: far longer than a silent one would be given
            assert not taken(results)
            time.sleep(0.05)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        died = time.monotonic()
        assert not taken(results), "one look cannot tell a dead machine from a live one"
        until(lambda: taken(results))
        assert time.monotonic() - died > 0.8
    assert losses(results) == ({}, [])


@pytest.mark.parametrize("doing", ["freeze, then commit", "freeze while it writes", "freeze, then check"])
def test_a_frozen_holder_that_wakes_up_after_it_lost_its_lease_puts_nothing_in_place(results, monkeypatch, doing):
    monkeypatch.setenv("SCALELAW_LOCKS", "off")
    with holding(results, doing) as holder:
        until(lambda: taken(results))
        with results.lease("a") as held:
            results.commit_row(row("a", 2.0), held)
            before = snapshot(results.root)
            holder.send_signal(signal.SIGCONT)
            assert "its lease was lost" in holder.stdout.readline()
            assert holder.wait() == 0
            assert snapshot(results.root) == before
            held.check()
    assert losses(results) == ({"a": 2.0}, [])


def test_where_locks_work_a_frozen_holder_keeps_its_lease(results):
    with holding(results, "freeze, then commit") as holder:
        time.sleep(1.5)
        assert not taken(results)
        holder.send_signal(signal.SIGCONT)
        assert holder.stdout.readline() == "wrote\n"
    assert losses(results) == ({"a": 9.0}, [])


def test_a_run_folder_that_is_removed_takes_the_lease_along(results):
    import shutil

    with results.lease("a") as held:
        shutil.rmtree(results.root / "a")
        with pytest.raises(LeaseLost, match="or its folder was removed"):
            results.commit_row(row("a"), held)
        with pytest.raises(LeaseLost):
            held.check()
    assert not (results.root / "a").exists()


WORKERS, RUNS = 4, 40
HAMMER = """
import os, sys, time
from pathlib import Path
from scalelaw.runs import ResultsFolder, Run
results, log = ResultsFolder(Path(sys.argv[1])), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND)
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
for run_id in sys.argv[4:]:
    with results.lease(run_id) as held:
        if held is not None and not (results.root / run_id / "row.parquet").exists():
            os.write(log, f"{run_id} + {os.getpid()}\\n".encode())
            time.sleep(0.002)
            results.commit_row(Run(run_id=run_id, status="finished", val_loss=1.0), held)
            os.write(log, f"{run_id} - {os.getpid()}\\n".encode())
"""


@pytest.mark.slow
@LOCKS
def test_processes_that_start_at_the_same_instant_never_have_a_run_twice(results, tmp_path, monkeypatch, locks):
    """Some are killed at any moment and started again; what they had in hand is done by others."""
    monkeypatch.setenv("SCALELAW_LOCKS", locks)
    ids = [f"run{i:02d}" for i in range(RUNS)]
    results.begin({"name": "t", "runs": ids}, {run_id: {} for run_id in ids})
    log = tmp_path / "log"
    log.touch()
    start, chance = time.time() + 1.0, random.Random(5)

    def begin():
        command = [sys.executable, "-c", HAMMER, str(results.root), str(log), str(start), *ids]
        return subprocess.Popen(command)

    processes = [begin() for _ in range(WORKERS)]
    time.sleep(max(0.0, start - time.time()))
    killed = []
    for _ in range(4):
        time.sleep(chance.uniform(0.01, 0.06))
        victim = processes.pop(chance.randrange(WORKERS))
        victim.kill()
        victim.wait()
        killed.append(victim.pid)
        processes.append(begin())
    for process in processes:
        assert process.wait() == 0
    assert losses(results) == (dict.fromkeys(ids, 1.0), [])
    at_work = {}
    for run_id, sign, pid in map(str.split, log.read_text().splitlines()):
        if sign == "+":
            assert at_work.get(run_id) is None or int(at_work[run_id]) in killed, f"{run_id} was had twice"
            at_work[run_id] = pid
        else:
            assert at_work.pop(run_id) == pid
    assert set(map(int, at_work.values())) <= set(killed)
    assert not list(results.root.glob("*/.claim-*")) + list(results.root.glob("*/held"))


def test_a_file_system_without_locks_is_no_obstacle(results, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("scalelaw.runs.locks.fcntl.flock", refuse)
    with results.lease("a") as held:
        assert held is not None
        assert results.statuses("a") == {"a": "running"}
        assert not taken(results)


WATCHER = """
import sys
from pathlib import Path
from scalelaw.runs.lease import is_held
print("looking", flush=True)
while True:
    is_held(Path(sys.argv[1]))
"""


def test_looking_at_a_lease_does_not_keep_it_from_anybody(results):
    path = results.root / "a" / "lease"
    path.touch()
    with subprocess.Popen([sys.executable, "-c", WATCHER, str(path)], stdout=subprocess.PIPE, text=True) as watcher:
        try:
            assert watcher.stdout.readline() == "looking\n"
            for _ in range(200):
                assert taken(results)
        finally:
            watcher.kill()


@pytest.mark.parametrize(("name", "value", "words"), [
    ("SCALELAW_LEASE_SECONDS", "soon", "must be a number of seconds, at least 1"),
    ("SCALELAW_LEASE_SECONDS", "0", "must be a number of seconds, at least 1"),
    ("SCALELAW_LOCKS", "maybe", "must be on or off"),
])  # fmt: skip
def test_settings_are_checked(results, monkeypatch, name, value, words):
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name}={value}: {words}"), lease(results.root / "a" / "lease"):
        pass
