"""The engine of one machine, with a stand-in worker that speaks the protocol but trains nothing; then for real."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_sweep import TINY

from scalelaw.errors import UserError
from scalelaw.launch import local
from scalelaw.launch.orders import orders
from scalelaw.runs import Run
from scalelaw.runs.folder import ResultsFolder
from scalelaw.sweep import PlannedRun, expand, read_spec

WORKER = '''
"""Speaks as `scalelaw run` does; what it does to a run is told by a file of the run's name in the folder MOODS."""
import json, os, signal, sys, time
from pathlib import Path
from scalelaw.runs import Run
from scalelaw.runs.folder import ResultsFolder

root, moods, ids = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
results = ResultsFolder(root)
def say(run_id, event, **more):
    print(json.dumps({"run_id": run_id, "event": event, **more}), flush=True)
if (moods / "stillborn").exists():
    sys.exit("cannot start")
for run_id in ids:
    with results.lease(run_id) as mine:
        if not mine:
            say(run_id, "leased elsewhere")
        elif (root / run_id / "row.parquet").exists() and results.row_status(run_id) in ("finished", "diverged"):
            say(run_id, "already done")
        else:
            results.note(run_id, attempts=results.noted(run_id).get("attempts", 0) + 1)
            with open(moods / "log", "a") as log:
                log.write(run_id + "\\n")
            print("a library's chatter", flush=True)
            say(run_id, "started")
            mood = (moods / run_id).read_text() if (moods / run_id).exists() else ""
            if mood == "crash once":
                (moods / run_id).unlink()
            if mood.startswith("crash"):
                print("the last words", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if mood.startswith("preempt"):
                times = int(mood.split()[1]) - 1
                (moods / run_id).write_text(f"preempt {times}" if times else "")
                sys.exit(75)
            if mood == "bad input":
                print("scalelaw: the disk is full; free it", file=sys.stderr)
                sys.exit(2)
            if mood == "long":
                time.sleep(60)
            time.sleep(0.02)
            results.commit_row(Run(run_id=run_id, status="finished", images_seen=1))
            say(run_id, "done", status="finished")
'''


def plan(tmp_path: Path, variants: str = '"N0", "N1", "N2"') -> list[PlannedRun]:
    spec = tmp_path / "spec.toml"
    spec.write_text(TINY.replace('"N0"', variants))
    return expand(read_spec(spec))


class Engine:
    """A results folder, its runs, and stand-in workers whose moods a test sets."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.planned = plan(tmp_path)
        self.ids = [run.run_id for run in self.planned]
        self.results = ResultsFolder(tmp_path / "results", new=True)
        self.results.begin(
            {"name": "tiny", "utilisation": 0.36, "runs": self.ids},
            {run.run_id: run.config.to_json() for run in self.planned},
        )
        self.moods = tmp_path / "moods"
        self.moods.mkdir()
        self.events: list[dict[str, Any]] = []
        script = tmp_path / "worker.py"
        script.write_text(WORKER)
        monkeypatch.setattr(
            local, "command", lambda results, ids, stop_at: [sys.executable, script, results.root, self.moods, *ids]
        )

    def run(self, workers: int = 2) -> dict[str, str]:
        """Runs everything. Returns the status of every run."""
        local.run_all(self.results, self.planned, dict.fromkeys(self.ids, 1.0), workers, self.events.append)
        return dict(self.results.statuses(self.ids))

    def mood(self, run_id: str, mood: str) -> None:
        (self.moods / run_id).write_text(mood)

    def started(self) -> Counter[str]:
        log = self.moods / "log"
        return Counter(log.read_text().split()) if log.exists() else Counter()

    def row(self, run_id: str) -> dict[str, Any]:
        table, _ = self.results.read_rows()
        (row,) = [row for row in table.to_pylist() if row["run_id"] == run_id]
        return row


@pytest.fixture
def engine(tmp_path, monkeypatch):
    return Engine(tmp_path, monkeypatch)


def test_every_run_is_trained_once_by_two_workers(engine):
    assert set(engine.run().values()) == {"finished"}
    assert engine.started() == Counter(engine.ids)
    done = [event["run_id"] for event in engine.events if event["event"] == "done"]
    assert Counter(done) == Counter(engine.ids)
    before = engine.started()
    assert set(engine.run().values()) == {"finished"}
    assert engine.started() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_of_a_higher_priority_are_trained_first(engine, workers):
    engine.planned = [replace(run, priority=run.config.train.seed) for run in engine.planned]
    engine.mood(engine.ids[5], "crash once")  # whoever takes the worker's place keeps to it
    assert set(engine.run(workers).values()) == {"finished"}
    first = {run.run_id for run in engine.planned if run.priority == 1}
    done = [event["run_id"] for event in engine.events if event["event"] == "done"]
    assert len(done) == 2 * len(first) == 24
    late = workers - 1  # runs under way as the last of the first end
    assert len(first & set(done[: 12 + late])) >= 12 - late


def test_a_run_that_crashes_once_is_tried_again_and_others_do_not_notice(engine):
    engine.mood(engine.ids[3], "crash once")
    assert set(engine.run(workers=1).values()) == {"finished"}
    assert engine.started() == Counter(engine.ids) + Counter([engine.ids[3]])
    lost = [event for event in engine.events if event["event"] == "lost"]
    assert [event["run_id"] for event in lost] == [engine.ids[3]]
    assert "SIGKILL" in lost[0]["reason"]


def test_a_run_that_always_crashes_has_a_failed_row_that_says_what_and_why(engine):
    bad = engine.planned[3]
    engine.mood(bad.run_id, "crash")
    statuses = engine.run()
    assert statuses.pop(bad.run_id) == "failed"
    assert set(statuses.values()) == {"finished"}
    assert 2 <= engine.started()[bad.run_id] <= 3  # a third when two workers reach for it at once
    row = engine.row(bad.run_id)
    config = bad.config
    expected = {
        "status": "failed", "sweep": "tiny", "family": "nfnet", "variant": config.model.variant,
        "dataset": config.data.name, "params": bad.cost.size.params, "params_body": bad.cost.size.params_body,
        "macs_per_image": bad.cost.size.macs_per_image, "resolution": 8, "unique_images": 256, "batch_size": 16,
        "peak_lr": config.train.peak_lr, "seed": config.train.seed, "val_loss": None, "images_seen": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert row["attempts"] >= 2
    assert row["error"].splitlines() == ["the last words", "its worker ended by signal SIGKILL"]
    assert json.loads(row["config"]) == config.to_json()
    (engine.moods / bad.run_id).unlink()
    assert engine.run()[bad.run_id] == "finished"


def test_a_pre_empted_worker_is_no_crash(engine):
    engine.mood(engine.ids[3], "preempt 3")
    assert set(engine.run(workers=1).values()) == {"finished"}


def test_bad_input_reaches_the_user_as_its_own_line_and_stops_the_others(engine):
    for run_id in engine.ids:
        engine.mood(run_id, "long")
    engine.mood(orders(engine.planned, dict.fromkeys(engine.ids, 1.0), 2)[1][0], "bad input")
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        engine.run()
    assert caught.value.messages == ("the disk is full; free it",)
    assert time.monotonic() - began < 20
    assert "running" not in engine.results.statuses(engine.ids).values()


def test_workers_that_cannot_start_are_one_error_not_many_failed_runs(engine):
    (engine.moods / "stillborn").touch()
    with pytest.raises(UserError, match="cannot start"):
        engine.run()
    assert set(engine.results.statuses(engine.ids).values()) == {"pending"}


def test_an_interrupt_stops_the_workers(engine):
    for run_id in engine.ids:
        engine.mood(run_id, "long")

    def interrupt(event: dict[str, Any]) -> None:
        if event["event"] == "started":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run_all(engine.results, engine.planned, dict.fromkeys(engine.ids, 1.0), 2, interrupt)
    assert set(engine.results.statuses(engine.ids).values()) == {"pending"}


@pytest.mark.parametrize("finishes", [True, False])
def test_waits_for_another_launchers_run_and_takes_over_when_it_dies(engine, finishes):
    """A lease held here is another launcher's: its run is trained by us only if it is let go undone."""
    ours, theirs = engine.ids[1:], engine.ids[0]
    waiting = threading.Event()

    def hold() -> None:
        with engine.results.lease(theirs) as mine:
            assert mine
            held.set()
            waiting.wait(60)
            if finishes:
                engine.results.commit_row(Run(run_id=theirs, status="finished"))

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)

    def emit(event: dict[str, Any]) -> None:
        engine.events.append(event)
        if event["event"] == "waiting":
            waiting.set()

    local.run_all(engine.results, engine.planned, dict.fromkeys(engine.ids, 1.0), 2, emit)
    assert waiting.is_set(), "nobody was told that we wait"
    holder.join()
    assert engine.started() == Counter(ours if finishes else engine.ids)
    assert set(engine.results.statuses(engine.ids).values()) == {"finished"}


def test_two_launchers_at_once_train_every_run_once(engine):
    other = threading.Thread(target=engine.run)
    other.start()
    engine.run()
    other.join()
    assert engine.started() == Counter(engine.ids)
