"""The engine of a Ray cluster: workers on its nodes that call the one command, each a process of its own.

Nothing of a run passes through Ray but its events: the results folder is a disk that all nodes share, or object
storage. A worker that dies is started anew wherever the cluster has room, and goes on from the run's checkpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scalelaw.errors import UserError
from scalelaw.launch import local
from scalelaw.launch.halving import unevaluated
from scalelaw.launch.ray.cluster import Cluster, join
from scalelaw.launch.ray.station import Work
from scalelaw.launch.workers import Process
from scalelaw.runs import ResultsFolder
from scalelaw.sweep import PlannedRun
from scalelaw.sweep.resources import RaySection

if TYPE_CHECKING:
    from scalelaw.launch.ray.remote import Remote

__all__ = ["Cluster", "join", "run_all"]

ARRIVE_SECONDS = 90.0  # for rows written on other nodes to be seen here: network disks remember old listings as long


def run_all(
    results: ResultsFolder,
    planned: Sequence[PlannedRun],
    seconds: Mapping[str, float],
    cluster: Cluster,
    workers: int,
    emit: local.Emit,
    stop_at: float | None = None,
) -> None:
    """As `local.run_all`, on the nodes of a cluster.

    Raises:
        UserError: besides, when the cluster can never give what a run takes, when a node does not see the results, or
            when what a node has written is not seen here.
    """
    if cluster.asked.hosts > 1 and "://" in results.address:
        raise UserError(f"{cluster.place} hosts: {cluster.asked.hosts} hosts of one run need a folder that all of them "
                        f"share, and {results.shown} is in a store; name such a folder with -o")  # fmt: skip
    crew = RayCrew(results, planned, emit, cluster)
    crew.stop_at = stop_at
    local.train(crew, seconds, workers)
    _check_arrived(results, planned, stop_at)


@dataclass(eq=False)
class RayWorker(Process):
    """A running worker of the cluster."""

    def how(self, code: int) -> str:
        """How it ended, in words."""
        end = getattr(self.process, "end", None)
        return super().how(code) if end is None or end.cause is None else str(end.cause)


class RayCrew(local.Crew):
    """The workers of one sweep on a cluster."""

    def __init__(
        self, results: ResultsFolder, planned: Sequence[PlannedRun], emit: local.Emit, cluster: Cluster
    ) -> None:
        super().__init__(results, planned, emit)
        self.cluster, self.attempts = cluster, cluster.asked.retries + 1

    def cores(self, count: int) -> list[int | None]:
        """Ray's nodes keep no core for anyone."""
        return [None] * count

    def start(self, run_ids: Sequence[str], core: int | None) -> None:
        """Asks the cluster for a worker that tries the runs in this order."""
        from scalelaw.launch.ray.remote import Remote

        remote = Remote(
            self.cluster,
            work(self.results, run_ids, self.cluster.asked, self.stop_at),
            tell=lambda event: self._events.put((worker, event)),
            at_end=lambda: self._events.put((worker, None)),
        )
        worker = RayWorker(remote, core, remote.errors)
        self.running.append(worker)
        remote.begin()

    def follow(self) -> None:
        """As of every crew; workers that wait for room when nothing is left to do are given up."""
        super().follow()
        if not self.left:
            for worker in self.running:
                remote: Remote = worker.process  # type: ignore[assignment]
                remote.drop_unplaced()


def work(results: ResultsFolder, run_ids: Sequence[str], asked: RaySection, stop_at: float | None) -> Work:
    """The one command as it is called on a node."""
    arguments = [str(argument) for argument in local.command(results, run_ids, stop_at)[1:]]
    where = str(results.run_path(run_ids[0]))
    environment = {}
    if 0 < asked.gpus < 1:  # each takes its share of the memory, not nearly all of it
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 * asked.gpus:.3f}"
    return Work(
        arguments=(*arguments, "--threads", str(asked.cpus)),
        folder=os.getcwd(),
        sees=None if any("://" in argument for argument in arguments) else os.path.join(where, "config.json"),
        environment=environment,
    )


def _check_arrived(results: ResultsFolder, planned: Sequence[PlannedRun], stop_at: float | None) -> None:
    """Waits until the rows that workers have written are seen here, of runs that are held their evaluations."""
    until, what = time.monotonic() + ARRIVE_SECONDS, "row" if stop_at is None else "trace"
    while True:
        statuses = results.statuses([run.run_id for run in planned], held=False)
        pending = [run for run in planned if statuses[run.run_id] == "pending"]
        missing = [run.run_id for run in (pending if stop_at is None else unevaluated(results, pending, stop_at))]
        if not missing:
            return
        if time.monotonic() > until:
            raise UserError(f"{results.shown}: workers of the Ray cluster say that {missing[0]} is done, but its "
                            f"{what} is not here: their folder of that name is another; put the results on a disk that "
                            "all nodes share, or in object storage (-o s3://...)")  # fmt: skip
        time.sleep(1.0)
