"""Who trains what, how long that takes, and what a person sees of it."""

from __future__ import annotations

import io
import itertools
import os
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from test_launch import plan

from scalelaw.launch import accelerators, speed
from scalelaw.launch.orders import SECONDS_PER_SHAPE, orders
from scalelaw.launch.progress import SweepProgress
from scalelaw.runs import RunTable
from scalelaw.sweep import PlannedRun


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


@given(
    st.lists(st.floats(0.1, 100), min_size=24, max_size=24),
    st.lists(st.integers(-1, 2), min_size=24, max_size=24),
    st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_runs_of_a_higher_priority_come_first_in_every_order(tmp_path_factory, lengths, priorities, workers):
    planned = PLANNED or PLANNED.extend(plan(tmp_path_factory.mktemp("spec"))) or PLANNED
    ranked = [replace(run, priority=rank) for run, rank in zip(planned, priorities, strict=True)]
    seconds = {run.run_id: length for run, length in zip(planned, lengths, strict=True)}
    priority = {run.run_id: run.priority for run in ranked}
    shape = {run.run_id: run.shape for run in planned}
    found = orders(ranked, seconds, workers)
    for order in found:
        assert sorted(order) == sorted(seconds)
        assert all(priority[a] >= priority[b] for a, b in itertools.pairwise(order))
        for rank in set(priorities):
            level = [run_id for run_id in order if priority[run_id] == rank]
            changes = sum(shape[a] != shape[b] for a, b in itertools.pairwise(level))
            assert changes == len({shape[run_id] for run_id in level}) - 1
    equal = [replace(run, priority=priorities[0]) for run in planned]
    assert orders(equal, seconds, workers) == orders(planned, seconds, workers)


def test_a_worker_goes_on_with_the_shape_that_it_has_compiled(tmp_path):
    """Two priorities of the same two shapes: nobody compiles another while its own is still wanted."""
    planned = plan(tmp_path, '"N0", "N1"')
    ranked = [replace(run, priority=run.config.train.seed) for run in planned]
    assert {run.priority for run in ranked} == {0, 1}
    seconds = {run.run_id: 1.0 for run in planned}
    shape = {run.run_id: run.shape for run in planned}
    half = len(planned) // 2
    for order in orders(ranked, seconds, 2):
        own = len(order) // 4  # of this priority, those of the worker's own shape
        assert {shape[run_id] for run_id in order[:own]} == {shape[run_id] for run_id in order[half : half + own]}


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
    assert os.cpu_count() is None or accelerators.cores()
