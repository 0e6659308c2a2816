"""Launchers of several machines that record in one store, whatever the interleaving: nobody's entries are lost."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stored_sweep import Watched, World, quick_world
from tiny_sweep import TINY

from scalelaw.cli.sweeps import record_sweep
from scalelaw.errors import UserError
from scalelaw.launch.status import sweep_status
from scalelaw.runs import recording
from scalelaw.runs.store import records
from scalelaw.runs.store.folder import StoredFolder
from scalelaw.runs.store.place import opened
from scalelaw.sweep import expand, read_spec

HELD = """
import sys, time
from pathlib import Path
from scalelaw import cli
from scalelaw.runs.store.place import Place
write = Place.write
def held(self, name, content):
    if name == "sweep.json":
        print("about to write", flush=True)
        sys.stdin.readline()
        Place.write = write
    write(self, name, content)
Place.write = held
cli.main(sys.argv[1:])
"""
"""A launcher that has read the record and is about to write it, until it is told to go on."""


def spec(folder: Path, seed: int, name: str = "tiny") -> Path:
    """A spec of two runs, which no other seed's are."""
    path = folder / f"{seed}.toml"
    text = TINY.replace("[0, 1]", f"[{seed}]").replace("[200, 600]", "200").replace('"tiny"', f'"{name}"')
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def world(tmp_path, monkeypatch) -> World:
    return quick_world(tmp_path, monkeypatch)


class Machine:
    """A machine with a launcher of a spec of its own, which has stopped the first of its runs early."""

    def __init__(self, world: World, seed: int, name: str = "") -> None:
        self.world, self.name, self.spec = world, name or f"machine{seed}", read_spec(spec(world.tmp_path, seed))
        self.planned = expand(self.spec)
        self.ids = {run.run_id for run in self.planned}
        self.stopped = self.planned[0].run_id

    def opens(self) -> StoredFolder:
        return self.world.on(self.name, new=True)

    def records(self, results: StoredFolder) -> None:
        record_sweep(results, self.spec, self.planned, stopped=[self.stopped])


def stands(world: World, *machines: Machine) -> None:
    """The record, and what a machine beside reads, have all that these launchers have recorded and no more."""
    ids = {run_id for machine in machines for run_id in machine.ids}
    record = json.loads((world.stored / "sweep.json").read_text())
    assert set(record["runs"]) == set(record["core_hours"]) == ids
    assert len(record["runs"]) == len(ids)
    assert set(record["stopped_early"]) == {machine.stopped for machine in machines}
    found = sweep_status(world.on("beside"))
    assert found.statuses == dict.fromkeys(ids, "pending")
    assert found.core_hours_left is not None
    assert found.stopped_early == len(machines)


def recorded_beside(world: World, moment: int, which: str) -> bool:
    """Two launchers record, the second just before a request of the first. Returns whether that has made so many."""
    first, third = Machine(world, 0), Machine(world, 2)
    second = Machine(world, 1, first.name if "this" in which else "")
    if "new" not in which:
        third.records(third.opens())
    results, requests = first.opens(), itertools.count()
    others = [second.opens()] if "seen" in which else []

    def before(*_: str) -> None:
        if next(requests) == moment:
            second.records(others[0] if others else second.opens())

    results.place = Watched(results.place.filesystem, results.place.root, results.place.shown, before)
    first.records(results)
    if next(requests) <= moment:
        return False
    stands(world, first, second, *([] if "new" in which else [third]))
    return True


@pytest.mark.parametrize(
    "which",
    [
        "of another machine, which has seen the folder",
        "of this machine, impatient",
        "in a new folder",
        "in a new folder, which has been seen empty",
    ],
)
def test_another_launcher_records_at_any_moment(tmp_path, monkeypatch, which):
    """Between any two requests of the first; the impatient one has waited long enough for its turn."""
    monkeypatch.setattr(recording, "PATIENCE_SECONDS", 0.0)
    for moment in itertools.count():
        (folder := tmp_path / str(moment)).mkdir()
        if not recorded_beside(quick_world(folder, monkeypatch), moment, which):
            break
    assert moment >= 10


class Killed(BaseException):
    """A launcher's end."""


class Stepped:
    """A launcher of one run that has read an empty record, and puts its own one listing or write at a time."""

    def __init__(self, uri: str, run_id: str) -> None:
        place = opened(uri)
        self.place = Watched(place.filesystem, place.root, place.shown, self._before)
        self.run_id, self.steps, self.ended, self._killed = run_id, 0, False, False
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._put, daemon=True).start()
        self._waits.acquire()

    def step(self) -> None:
        self.steps += 1
        self._go.release()
        self._waits.acquire()

    def kill(self) -> None:
        self._killed = True
        self._go.release()
        self._waits.acquire()

    def _put(self) -> None:
        record = {"name": "t", "runs": [self.run_id], "core_hours": {self.run_id: 1.0}, "stopped_early": [self.run_id]}
        with suppress(Killed):
            records.announce(self.place, record)
            records.write(self.place, record, record)
        self.ended = True
        self._waits.release()

    def _before(self, what: str, _: str) -> None:
        if what in ("listing", "write"):
            self._waits.release()
            self._go.acquire()
            if self._killed:
                raise Killed


def recorded(store: Path) -> set[str]:
    record = json.loads((store / "sweep.json").read_text())
    assert set(record["runs"]) == set(record["core_hours"]) == set(record["stopped_early"])
    return set(record["runs"])


def interleaved(store: Path, choices: list[int]) -> list[int]:
    """Two launchers step by these choices, then the first one goes on: 0, or 1, or the first is killed (2).

    Returns the choices that were made.
    """
    first, second, made = Stepped(store.as_uri(), "a"), Stepped(store.as_uri(), "b"), []
    while not first.ended and not second.ended:
        made.append(choices[len(made)] if len(made) < len(choices) else 0)
        if made[-1] == 2:
            first.kill()
        else:
            (first, second)[made[-1]].step()
    for left in (first, second):
        while not left.ended:
            left.step()
    if 2 not in made:
        assert recorded(store) == {"a", "b"}, made
    third = Stepped(store.as_uri(), "c")
    while not third.ended:
        third.step()
    assert recorded(store) == {"b", "c", *(["a"] if first.steps else [])}, made
    return made


@pytest.mark.slow
def test_two_that_put_their_records_keep_both_however_their_requests_follow_each_other(tmp_path):
    """Every order of them, and one of the two killed before any: then the next launcher's record has both again."""
    choices: list[int] | None = []
    for count in itertools.count():
        if choices is None:
            break
        made = interleaved(tmp_path / str(count), choices)
        while made and made[-1] == 2:
            made.pop()
        choices = [*made[:-1], made[-1] + 1] if made else None
    assert count > 200


def test_a_launcher_killed_in_a_new_folder_leaves_one_that_its_sweep_goes_on_in(world):
    first, second = Machine(world, 0), Machine(world, 1)
    results = first.opens()

    def before(what: str, name: str) -> None:
        if (what, name) == ("write", f"{first.planned[-1].run_id}/config.json"):
            raise Killed

    results.place = Watched(results.place.filesystem, results.place.root, results.place.shown, before)
    with pytest.raises(Killed):
        first.records(results)
    assert not (world.stored / "sweep.json").exists()
    with pytest.raises(UserError, match="is not a results folder"):
        world.on("beside")
    second.spec = read_spec(spec(world.tmp_path, 1, "other"))
    with pytest.raises(UserError, match="holds the sweep 'tiny', not 'other'"):
        second.records(second.opens())
    second = Machine(world, 1)
    second.records(second.opens())
    stands(world, first, second)


def test_a_folder_of_that_name_makes_no_results_folder(world):
    (world.stored / "launches").mkdir(parents=True)
    (world.stored / "launches" / "apollo.json").write_text("{}")
    with pytest.raises(UserError, match="is not a results folder"):
        world.on("a", new=True)


def test_what_a_launcher_has_put_there_must_be_json(world):
    first, second = Machine(world, 0), Machine(world, 1)
    first.records(first.opens())
    (path,) = (world.stored / "launches").iterdir()
    path.write_text("{")
    with pytest.raises(UserError, match=rf"tiny/launches/{path.name}: is not JSON \(.*\); mend or remove it"):
        second.records(second.opens())


@pytest.mark.slow
def test_of_two_specs_at_the_same_moment_a_third_machine_sees_all(tmp_path):
    """Real launchers: the first has read the record when the second begins, and writes it when that has ended."""
    uri = (tmp_path / "store").as_uri()

    def on(machine: str) -> dict[str, Any]:
        return {"cwd": tmp_path, "env": {**os.environ, "SCALELAW_CACHE": str(tmp_path / machine), "COLUMNS": "80"}}

    def called(machine: str, *words: object) -> str:
        command = [sys.executable, "-m", "scalelaw", *map(str, words)]
        answer = subprocess.run(command, **on(machine), capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    called("a", "sweep", spec(tmp_path, 2), "-o", uri, "--prepare")
    command = [sys.executable, "-c", HELD, "sweep", str(spec(tmp_path, 0)), "-o", uri, "--prepare"]
    with subprocess.Popen(command, **on("a"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == "about to write\n"
        called("b", "sweep", spec(tmp_path, 1), "-o", uri, "--prepare")
        held.communicate("go on\n", timeout=120)
    assert held.returncode == 0
    runs = {run.run_id: run for seed in range(3) for run in expand(read_spec(spec(tmp_path, seed)))}
    assert "pending       6" in called("c", "status", uri)
    found = json.loads(called("c", "status", uri, "--json"))
    assert found["pending"] == 6
    assert found["core_hours_left"] == pytest.approx(sum(run.cost.core_hours for run in runs.values()))
    assert "2 runs, 0 already done" in called("c", "sweep", spec(tmp_path, 0), "-o", uri, "--prepare")
    assert set(json.loads((tmp_path / "store" / "sweep.json").read_text())["runs"]) == set(runs)
