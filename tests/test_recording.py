"""sweep.json, changed by several launchers of one machine: nobody's entries are lost, and nobody waits without end."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import TINY, snapshot

from scalelaw.cli.sweeps import record_sweep
from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, files, recording
from scalelaw.runs.store.folder import StoredFolder
from scalelaw.sweep import PlannedRun, Spec, expand, read_spec

HOLDS = """
import sys, time
from pathlib import Path
from scalelaw.runs import recording
with recording.turn(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def read(folder: Path, seed: int, name: str = "tiny") -> tuple[Spec, list[PlannedRun]]:
    """A spec and its four runs, which no other seed's are."""
    path = folder / f"{name}-{seed}.toml"
    path.write_text(TINY.replace("[0, 1]", f"[{seed}]").replace('"tiny"', f'"{name}"'), encoding="utf-8")
    checked = read_spec(path)
    return checked, expand(checked)


class Paused(ResultsFolder):
    """A results folder whose launcher, about to write what it has read and changed, sees another one start."""

    def __init__(self, root: Path, other: threading.Thread) -> None:
        super().__init__(root, new=True)
        self.other = other

    def begin(self, record: dict[str, Any], configs: Any) -> None:
        self.other.start()
        self.other.join(2.0)  # it has ended by then, or waits
        super().begin(record, configs)


@pytest.mark.parametrize("known", [True, False])
def test_two_that_record_at_the_same_moment_keep_each_others_runs(tmp_path, known):
    """Also in a folder that neither has seen yet."""
    out = tmp_path / "out"
    first, second, third = (read(tmp_path, seed) for seed in (0, 1, 2))
    if known:
        record_sweep(ResultsFolder(out, new=True), *third)
    folder = ResultsFolder(out, new=True)
    other = threading.Thread(target=record_sweep, args=(folder, *second))
    record_sweep(Paused(out, other), *first)
    other.join()
    record = files.read_json(out / "sweep.json")
    wanted = {run.run_id for _, runs in ((first, second, third) if known else (first, second)) for run in runs}
    assert set(record["runs"]) == set(record["core_hours"]) == wanted


def test_another_name_at_the_same_moment_is_refused(tmp_path):
    out = tmp_path / "out"
    record_sweep(ResultsFolder(out, new=True), *read(tmp_path, 0))
    before = snapshot(out)
    with pytest.raises(UserError, match="holds the sweep 'tiny', not 'other'; choose another folder"):
        record_sweep(ResultsFolder(out), *read(tmp_path, 1, "other"))
    assert snapshot(out) == before


def test_what_was_stopped_early_stays_so_for_other_specs_alone(tmp_path):
    results = ResultsFolder(tmp_path / "out", new=True)
    first, second = read(tmp_path, 0), read(tmp_path, 1)
    ids = [sorted(run.run_id for run in runs) for _, runs in (first, second)]

    def stopped() -> list[str]:
        found: list[str] = files.read_json(results.root / "sweep.json").get("stopped_early", [])
        return sorted(found)

    record_sweep(results, *first, stopped=ids[0][:2])
    record_sweep(results, *second, stopped=ids[1][:1])
    assert stopped() == sorted(ids[0][:2] + ids[1][:1])
    record_sweep(results, *first)  # whoever sweeps on without halving
    assert stopped() == ids[1][:1]


def refuse(*_: Any) -> None:
    """As of a file system on which folders cannot be locked."""
    raise OSError(errno.EBADF, "Bad file descriptor")


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that is within its turn and stays there."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


def test_a_killed_holder_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "PATIENCE_SECONDS", 1e9)
    process = holder(tmp_path / "out")
    process.kill()
    process.wait()
    with recording.turn(tmp_path / "out") as earlier:
        assert earlier == {}


@pytest.mark.parametrize("how", ["patience", "locks off", "no locks"])
def test_a_stopped_holder_is_not_waited_for_without_end_and_without_locks_not_at_all(tmp_path, monkeypatch, how):
    monkeypatch.setattr(recording, "PATIENCE_SECONDS", 0.2 if how == "patience" else 1e9)
    process = holder(tmp_path / "out")
    process.send_signal(signal.SIGSTOP)
    try:
        if how == "locks off":
            monkeypatch.setenv("SCALELAW_LOCKS", "off")
        if how == "no locks":
            monkeypatch.setattr("scalelaw.runs.locks.fcntl.flock", refuse)
        record_sweep(ResultsFolder(tmp_path / "out", new=True), *read(tmp_path, 0))
    finally:
        process.kill()
        process.wait()
    assert len(files.read_json(tmp_path / "out" / "sweep.json")["runs"]) == 4


def test_a_turn_that_fails_leaves_no_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), recording.turn(tmp_path / "results" / "out"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), recording.turn(tmp_path / "mine"):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_in_a_store_what_others_have_recorded_is_read_first(tmp_path, monkeypatch):
    """Of another machine, and of one of this machine that has brought what the store had into the mirror."""
    uri = f"file://{tmp_path}/store"
    machines = []
    for name in ("a", "b"):
        monkeypatch.setenv("SCALELAW_CACHE", str(tmp_path / name))
        machines.append(StoredFolder(uri, new=True))
    first, second = read(tmp_path, 0), read(tmp_path, 1)
    record_sweep(machines[0], *first)
    before = (machines[1].root / "sweep.json").exists()
    add = machines[1].add

    def adding(run_id: str, config: dict[str, Any]) -> None:
        add(run_id, config)
        StoredFolder(uri)  # brings the store's sweep.json

    monkeypatch.setattr(machines[1], "add", adding)
    record_sweep(machines[1], *second)
    record = json.loads((tmp_path / "store" / "sweep.json").read_text())
    assert not before
    assert set(record["runs"]) == {run.run_id for _, runs in (first, second) for run in runs}
