"""The engine of one machine: worker processes that keep their compiled programs, each held to a core of its own.

Small models train fastest with one single-threaded worker on each core. Where jax has GPUs or TPU chips, each worker
has its own of those instead.
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
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from scalelaw import stopping
from scalelaw.errors import UserError
from scalelaw.launch import memory
from scalelaw.launch.accelerators import cores
from scalelaw.launch.orders import orders
from scalelaw.launch.workers import ATTEMPTS, ERROR_LINES, Limits, Process
from scalelaw.runs import ResultsFolder, Run, files
from scalelaw.sweep import PlannedRun, identity

Emit = Callable[[dict[str, Any]], None]
GRACE_SECONDS = 60.0  # for a worker to write its checkpoint when asked to end; a second signal kills it at once
PATIENCE_SECONDS = 1.0  # before it is said that workers are waited for
POLL_SECONDS = 0.5
LISTEN_SECONDS = 0.1  # between two looks whether a signal has asked to stop
FAILED, BAD_INPUT, PREEMPTED, INTERRUPTED = 1, 2, 75, 130  # exit codes of a worker


def command(results: ResultsFolder, run_ids: Sequence[str], stop_at: float | None) -> list[str]:
    """The one command that trains, as a process of its own."""
    held = [] if stop_at is None else ["--stop-at", str(stop_at)]
    return [sys.executable, "-m", "scalelaw", "run", results.address, *run_ids, "--json", *held]


def run_all(
    results: ResultsFolder,
    planned: Sequence[PlannedRun],
    seconds: Mapping[str, float],
    workers: int,
    emit: Emit,
    limits: Limits | None = None,
    environments: Sequence[Mapping[str, str]] = (),
    stop_at: float | None = None,
) -> None:
    """Trains the runs in worker processes until each is done or has failed, here or by another launcher.

    Args:
        planned: the runs to train; those already done are passed over by the workers.
        seconds: what each is expected to take.
        emit: gets every event of every worker, and `waiting` while another launcher holds the last runs.
        limits: what a run may take.
        environments: what each worker's environment gets, as of `accelerators.shares`; none for workers of CPU cores.
        stop_at: share of its schedule at which each run is held; None for its end.

    Raises:
        UserError: when a worker met bad input (its message is passed on) or none can start; all are stopped first.
    """
    crew = Crew(results, planned, emit)
    crew.limits, crew.environments = limits or Limits(), environments
    crew.attempts, crew.stop_at = crew.limits.attempts, stop_at
    with memory.bounded(crew.limits.memory_gb, crew.pids, crew.kill_for_memory):
        train(crew, seconds, workers)


def train(crew: Crew, seconds: Mapping[str, float], workers: int) -> None:
    """`run_all` with workers of any engine."""
    with stopping.polled():
        try:
            while crew.left:
                stopping.raise_if_asked()
                free = crew.unheld()
                if not free:
                    crew.emit({"event": "waiting", "runs": len(crew.left)})
                    time.sleep(POLL_SECONDS)
                    continue
                count = min(workers, len(free))
                found = orders([crew.planned[run_id] for run_id in free], seconds, count)
                for order, core in zip(found, crew.cores(count), strict=True):
                    crew.start(order, core)
                while crew.running:
                    crew.follow()
        finally:
            crew.stop()


class Crew:
    """The workers of one sweep and what is left for them.

    Attributes:
        left: runs not known to be done, in the order of the plan.
        running: the workers at work.
        attempts: of a run that takes its worker down with it.
        stop_at: share of the schedule at which a run is done with for now.
    """

    attempts = ATTEMPTS
    stop_at: float | None = None
    limits = Limits()
    environments: Sequence[Mapping[str, str]] = ()

    def __init__(self, results: ResultsFolder, planned: Sequence[PlannedRun], emit: Emit) -> None:
        self.results, self.emit = results, emit
        self.planned = {run.run_id: run for run in sorted(planned, key=lambda run: -run.priority)}
        self.left = dict.fromkeys(self.planned)
        self.running: list[Process] = []
        self._crashes: dict[str, int] = {}  # since a run last got further than before
        self._steps: dict[str, int] = {}  # the furthest from which an attempt has gone on
        self._kernel_kills = memory.kernel_kills()
        self._events: queue.SimpleQueue[tuple[Process, dict[str, Any] | None]] = queue.SimpleQueue()

    def cores(self, count: int) -> list[int | None]:
        """A core for each of so many workers to be held to, None for any."""
        if self.environments:
            return [None] * count  # an accelerator is fed by several
        return [*cores()[:count]] if 1 < count <= len(cores()) else [None] * count

    def pids(self) -> list[int]:
        """The process numbers of the workers."""
        return [worker.process.pid for worker in [*self.running] if isinstance(worker.process, subprocess.Popen)]

    def kill_for_memory(self, pid: int, held_bytes: int) -> None:
        """Ends a worker that holds too much."""
        for worker in [*self.running]:
            if isinstance(worker.process, subprocess.Popen) and worker.process.pid == pid:
                worker.too_much = worker.too_much or memory.sentence(held_bytes, self.limits.memory_gb)
                worker.process.kill()

    def start(self, run_ids: Sequence[str], core: int | None) -> None:
        """Starts a worker that tries the runs in this order."""
        errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed at its end
        taken = {worker.slot for worker in self.running}
        slot = next(k for k in range(len(taken) + 1) if k not in taken)
        environment = {**os.environ, **self.environments[slot % len(self.environments)]} if self.environments else None
        process = subprocess.Popen(
            command(self.results, run_ids, self.stop_at),
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        worker = Process(process, core, errors, slot=slot)
        self.running.append(worker)
        if core is not None and hasattr(os, "sched_setaffinity"):
            try:
                os.sched_setaffinity(process.pid, {core})
            except OSError:
                worker.core = None  # it has ended already, or may not be held; no reason to stop
        threading.Thread(target=self._read, args=(worker, process), daemon=True).start()

    def _read(self, worker: Process, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # a library's chatter
                self._events.put((worker, event))
        self._events.put((worker, None))

    def follow(self) -> None:
        """Waits for one event of a worker and passes it on; another worker takes the place of one that crashed."""
        worker, event = self._next()
        if event is None:
            self.running.remove(worker)
            if self._crashed(worker) and self.left:
                suspect = [worker.in_flight] if worker.in_flight in self.left else []
                self.start([*suspect, *(run_id for run_id in self.left if run_id not in suspect)], worker.core)
            return
        if "run_id" not in event:  # of the worker itself
            self.emit(event)
            return
        run_id, kind = event["run_id"], event["event"]
        if kind == "started":
            worker.in_flight = run_id
            worker.started += 1
            self._crashes.pop("", None)  # workers do start
        elif kind == "resumed":
            if event["step"] > self._steps.get(run_id, 0):
                self._steps[run_id] = event["step"]
                self._crashes.pop(run_id, None)
        elif kind == "lost":
            worker.in_flight = None
        elif kind in ("done", "already done"):
            worker.in_flight = None
            if run_id not in self.left or any(other.in_flight == run_id for other in self.running):
                return  # another worker's: its own event has come or will come
            del self.left[run_id]
        elif kind in ("leased elsewhere", "watched"):
            return  # by another worker, or by another launcher: then `unheld` looks after it
        self.emit(event)

    def _next(self) -> tuple[Process, dict[str, Any] | None]:
        while True:
            stopping.raise_if_asked()
            with suppress(queue.Empty):
                return self._events.get(timeout=LISTEN_SECONDS)

    def unheld(self) -> list[str]:
        """The runs left that nobody holds; those that another launcher has done meanwhile are struck off."""
        if not self.results.is_there():
            raise UserError(f"{self.results.root}: was removed while its runs trained; the same command begins anew")
        statuses = self.results.statuses(self.left, watch=True)
        for run_id, status in statuses.items():
            if status in ("finished", "diverged"):
                del self.left[run_id]
                self.emit({"run_id": run_id, "event": "already done"})
        free = [run_id for run_id in self.left if statuses[run_id] != "running"]
        for run_id in free:
            if not self.results.has(run_id):
                self.results.add(run_id, self.planned[run_id].config.to_json())
                self.emit({"run_id": run_id, "event": "lost", "reason": "its folder was removed; it begins again"})
            self.results.clear(run_id)
        return free

    def _crashed(self, worker: Process) -> bool:
        """Whether an ended worker left its runs undone; a run that has had its attempts gets a failed row."""
        code, said = worker.process.wait(), worker.last_lines()
        if code == BAD_INPUT and all(map(self.results.has, self.left)):  # else a folder went; `unheld` makes it anew
            raise UserError(*[line.removeprefix("scalelaw: ") for line in said] or ["a worker met bad input"])
        if code in (INTERRUPTED, -signal.SIGINT):  # a terminal interrupts the whole group, whoever hears it first
            raise KeyboardInterrupt
        if code == BAD_INPUT:
            return False
        run_id = worker.in_flight
        if run_id is None and code in (0, FAILED) and not (code == FAILED and said):
            return False
        how = worker.how(code)
        if code == -signal.SIGKILL and worker.too_much is None and memory.kernel_kills() > self._kernel_kills:
            self._kernel_kills, how = memory.kernel_kills(), how + memory.KERNEL_KILLED
        blamed = run_id or ""  # nothing in flight: it could not even start
        if code != PREEMPTED:
            self._crashes[blamed] = self._crashes.get(blamed, 0) + 1
        alone_too_much = worker.too_much is not None and worker.started == 1  # it would take as much again
        given_up = alone_too_much or self._crashes.get(blamed, 0) >= self.attempts
        if run_id is None:
            if given_up:
                raise UserError(
                    f"workers end by {how} before they train: {said[-1] if said else 'they do not say why'}"
                )
            return True
        self.emit({"run_id": run_id, "event": "lost", "reason": f"its worker ended by {how}"})
        if given_up:
            with self.results.lease(run_id) as mine:
                if mine and run_id in self.left:  # else another worker is at it, and will tell
                    row = self._failed_row(run_id, [*said, f"its worker ended by {how}"])
                    self.results.commit_row(row, mine)
                    del self.left[run_id]
                    self.emit({"run_id": run_id, "event": "done", "status": "failed", "error": row.error})
        return True

    def _failed_row(self, run_id: str, lines: list[str]) -> Run:
        """The row of a run that never wrote one."""
        planned = self.planned[run_id]
        return Run(
            **identity.of_config(planned.config),
            **identity.of_cost(planned.cost),
            sweep=files.read_json(self.results.root / "sweep.json")["name"],
            status="failed",
            attempts=self.results.noted(run_id).get("attempts"),
            error="\n".join(lines[-ERROR_LINES:]),
        )

    def stop(self) -> None:
        """Asks the workers to end, with a checkpoint of the run in flight, then makes them."""
        try:
            for worker in self.running:
                worker.process.terminate()
            if not self._ended_within(PATIENCE_SECONDS):
                self.emit({"event": "stopping", "workers": len(self.running), "seconds": GRACE_SECONDS})
                self._ended_within(GRACE_SECONDS)
        finally:
            for worker in self.running:
                worker.process.kill()
                worker.process.wait()
                worker.errors.close()

    def _ended_within(self, seconds: float) -> bool:
        """Whether all have ended by then; a second Ctrl-C does not wait for it."""
        until, left = time.monotonic() + seconds, [*self.running]
        while left and not stopping.asked_twice() and (rest := until - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                left[0].process.wait(min(rest, LISTEN_SECONDS))
                left.pop(0)
        return not left
