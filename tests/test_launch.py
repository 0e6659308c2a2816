"""The engine of one machine, with a stand-in worker that speaks the protocol but trains nothing; then for real."""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from tiny_sweep import TINY

from scalelaw.errors import UserError
from scalelaw.launch import local, speed
from scalelaw.launch.orders import SECONDS_PER_SHAPE, orders
from scalelaw.launch.progress import SweepProgress
from scalelaw.runs import Run, RunTable
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
            local, "command", lambda results, ids: [sys.executable, script, results.root, self.moods, *ids]
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


# Who trains what


@given(st.lists(st.floats(0.1, 100), min_size=24, max_size=24), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_orders_hold_every_run_with_shapes_together(tmp_path_factory, lengths, workers):
    planned = PLANNED or PLANNED.extend(plan(tmp_path_factory.mktemp("spec"))) or PLANNED
    seconds = {run.run_id: length for run, length in zip(planned, lengths, strict=True)}
    shape = {run.run_id: run.shape for run in planned}
    found = orders(planned, seconds, workers)
    assert len(found) == workers
    for order in found:
        assert sorted(order) == sorted(seconds)
        changes = sum(shape[a] != shape[b] for a, b in itertools.pairwise(order))
        assert changes == len(set(shape.values())) - 1
        for a, b in itertools.pairwise(order):
            assert shape[a] != shape[b] or seconds[a] >= seconds[b]
    assert len({shape[order[0]] for order in found}) == min(workers, 3)
    ideal = (sum(seconds.values()) + 3 * SECONDS_PER_SHAPE) / workers
    assert makespan(found, seconds, shape) <= ideal + max(lengths) + 3 * SECONDS_PER_SHAPE


PLANNED: list[PlannedRun] = []


def makespan(found: list[list[str]], seconds: dict[str, float], shape: dict[str, Any]) -> float:
    """When the last of these workers ends, each taking the first run in its order that nobody has taken."""
    free, known, taken = [0.0] * len(found), [set() for _ in found], set()
    while len(taken) < len(seconds):
        worker = min(range(len(found)), key=free.__getitem__)
        run_id = next(run_id for run_id in found[worker] if run_id not in taken)
        taken.add(run_id)
        free[worker] += seconds[run_id] + SECONDS_PER_SHAPE * (shape[run_id] not in known[worker])
        known[worker].add(shape[run_id])
    return max(free)


# What a person sees


def spoken(seconds: dict[str, float]) -> tuple[SweepProgress, io.StringIO]:
    out = io.StringIO()
    return SweepProgress(seconds, dict.fromkeys(seconds, 1000), Console(file=out, width=80)), out


def test_progress_says_runs_speed_and_time_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    progress, out = spoken({"a": 10.0, "b": 10.0})
    progress({"run_id": "a", "event": "started"})
    progress({"run_id": "a", "event": "compiling"})
    assert progress.line() == "0/2 runs · compiling · ..."
    clock[0] = 5.0
    progress({"run_id": "a", "event": "progress", "images": 500, "images_per_second": 1.0})
    assert progress.line() == "0/2 runs · 100 images/s · 0:15 left"
    clock[0] = 20.0
    progress({"run_id": "a", "event": "done", "status": "finished"})
    assert "1/2 runs" in progress.line()
    assert "0:20 left" in progress.line()
    assert out.getvalue().strip().startswith("1/2 runs")  # not a terminal: a plain line now and then
    progress({"run_id": "b", "event": "lost", "reason": "its worker ended by signal SIGKILL"})
    assert "run b: its worker ended by signal SIGKILL" in out.getvalue()
    progress({"event": "waiting", "runs": 1})
    assert "another launcher trains 1 more" in progress.line()
    progress({"run_id": "b", "event": "done", "status": "failed", "error": "long\nstory"})
    assert "run b failed: story" in out.getvalue()
    assert progress.done() == "2/2 runs, 1 failed"


def test_a_terminal_gets_one_live_bar():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with SweepProgress({"a": 10.0, "b": 1.0}, {"a": 1000, "b": 1000}, console) as progress:
        progress({"run_id": "a", "event": "done", "status": "finished"})
    last = [line for line in out.getvalue().splitlines() if "runs" in line][-1]
    assert "1/2 runs" in last
    assert "91 %" in last


def test_expected_seconds_come_from_measured_speed(tmp_path):
    import pandas as pd

    planned = plan(tmp_path, '"N0", "N1"')
    guess = speed.expected(planned)
    assert not guess.measured
    assert all(seconds > 0 for seconds in guess.seconds.values())
    rows = pd.DataFrame({"variant": ["N0", "N0", "N1"], "batch_size": 16, "images_seen": [100, 300, 50],
                         "train_seconds": [1.0, 1.0, 1.0], "status": "finished"})  # fmt: skip
    known = speed.expected(planned, RunTable.from_frame(rows))
    assert known.measured
    for run in planned:
        per_second = {"N0": 200, "N1": 50}[run.config.model.variant]
        assert known.seconds[run.run_id] == pytest.approx(run.config.train.images / per_second)
    alone, two = known.minutes(planned, 1), known.minutes(planned, 2)
    beside = 2 * SECONDS_PER_SHAPE + speed.SECONDS_PER_RUN * len(planned)
    assert alone == pytest.approx((sum(known.seconds.values()) + beside) / 60)
    assert two == pytest.approx(alone / 2)
    assert os.cpu_count() is None or local.cores()
