"""The engine of one machine: worker processes, each given several runs of one shape at a time.

Small models train fastest with one single-threaded worker on each core, so each worker is held to a core of its own.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import IO, Any

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, Run
from scalelaw.sweep import PlannedRun

Emit = Callable[[dict[str, Any]], None]
BATCHES_PER_WORKER = 5  # enough that the workers end at about the same time
ATTEMPTS = 2  # of a run that takes its worker down with it
ERROR_LINES = 12


@dataclass
class Process:
    """A running worker: its runs, the one in flight, and where its errors go."""

    process: subprocess.Popen[str]
    core: int | None
    left: list[str]
    errors: IO[str]
    in_flight: str | None = None
    ended: bool = field(default=False)


def cores() -> list[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def batches(planned: Sequence[PlannedRun], seconds: Mapping[str, float], workers: int) -> list[list[str]]:
    """Runs of one shape together, cut so that workers end together; the longest first."""
    limit = sum(seconds[run.run_id] for run in planned) / (workers * BATCHES_PER_WORKER)
    found: list[list[str]] = []
    by_shape = sorted(planned, key=lambda run: (run.shape, -seconds[run.run_id], run.run_id))
    for _, runs in groupby(by_shape, key=lambda run: run.shape):
        batch: list[str] = []
        for run in runs:
            batch.append(run.run_id)
            if sum(seconds[run_id] for run_id in batch) >= limit:
                found.append(batch)
                batch = []
        if batch:
            found.append(batch)
    return sorted(found, key=lambda batch: -sum(seconds[run_id] for run_id in batch))


def run_all(
    results: ResultsFolder,
    planned: Sequence[PlannedRun],
    seconds: Mapping[str, float],
    workers: int,
    emit: Emit,
) -> None:
    """Trains the runs in worker processes until each is done or has failed.

    Args:
        planned: the runs to train; those already done are passed over by the workers.
        seconds: what each is expected to take.
        emit: gets every event of every worker.

    Raises:
        UserError: when a worker met bad input (its message is passed on), after the others were stopped.
    """
    work = deque(batches(planned, seconds, workers))
    crashes: dict[str, int] = {}
    free = deque(cores()[:workers] if workers <= len(cores()) and workers > 1 else [None] * workers)
    events: queue.Queue[tuple[Process, dict[str, Any] | None]] = queue.Queue()
    running: list[Process] = []
    try:
        while work or running:
            while work and free:
                running.append(_start(results, work.popleft(), free.popleft(), events))
            worker, event = events.get()
            if event is not None:
                _follow(worker, event)
                emit(event)
                continue
            running.remove(worker)
            free.append(worker.core)
            code, said = worker.process.wait(), _last_lines(worker.errors)
            if code == 2:
                raise UserError(*[line.removeprefix("scalelaw: ") for line in said] or ["a worker met bad input"])
            if worker.left:
                work.extend(_after_crash(results, worker, code, said, crashes, emit))
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.wait()


def _start(results: ResultsFolder, run_ids: list[str], core: int | None, events: queue.Queue[Any]) -> Process:
    errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed when the worker has ended
    command = [sys.executable, "-m", "scalelaw", "run", str(results.root), *run_ids, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True)
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {core})
    worker = Process(process, core, list(run_ids), errors)

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                events.put((worker, json.loads(line)))
            except ValueError:
                continue  # a library's chatter
        events.put((worker, None))

    threading.Thread(target=read, daemon=True).start()
    return worker


def _follow(worker: Process, event: dict[str, Any]) -> None:
    run_id = event["run_id"]
    if event["event"] == "started":
        worker.in_flight = run_id
    elif event["event"] != "progress":
        worker.in_flight = None
        worker.left.remove(run_id)


def _after_crash(
    results: ResultsFolder, worker: Process, code: int, said: list[str], crashes: dict[str, int], emit: Emit
) -> list[list[str]]:
    """What is still to do of a worker that died: the run in flight once more, unless it has had its attempts."""
    suspect = worker.in_flight or worker.left[0]
    crashes[suspect] = crashes.get(suspect, 0) + 1
    rest = [run_id for run_id in worker.left if run_id != suspect]
    if crashes[suspect] < ATTEMPTS:
        return [batch for batch in ([suspect], rest) if batch]
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    row = Run(run_id=suspect, status="failed", error="\n".join([*said, f"worker ended by {how}"]), attempts=ATTEMPTS)
    results.commit_row(replace(row, **_identity(results, suspect)))
    emit({"run_id": suspect, "event": "done", "status": "failed", "error": row.error})
    return [rest] if rest else []


def _identity(results: ResultsFolder, run_id: str) -> dict[str, Any]:
    """The columns of a failed row that its configuration gives."""
    config = results.config(run_id)
    return {
        "variant": config["model"]["variant"],
        "batch_size": config["train"].get("batch_size"),
        "peak_lr": config["train"]["peak_lr"],
        "config": json.dumps(config, sort_keys=True, separators=(",", ":")),
    }


def _last_lines(errors: IO[str]) -> list[str]:
    errors.seek(0)
    lines = [line.rstrip() for line in errors if line.strip()]
    errors.close()
    return lines[-ERROR_LINES:]
