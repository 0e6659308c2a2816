"""A worker on the cluster: stations on one node or on several, which a crew handles as one process.

It is a thread here, for Ray's answers are waited for.
"""

from __future__ import annotations

import contextlib
import io
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, GetTimeoutError, RayActorError, RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from scalelaw.errors import UserError
from scalelaw.launch.local import BAD_INPUT, GRACE_SECONDS, PREEMPTED
from scalelaw.launch.ray.cluster import Cluster
from scalelaw.launch.ray.station import ENDED, UNSEEN, Station, Work

LOOK_SECONDS = 2.0  # between two looks at a cluster that has not placed a worker yet
SAY_SECONDS = 10.0  # of which a person is told
LISTEN_SECONDS = 5.0  # a station's answer when nothing happens
REST_SECONDS = 10.0  # for the other hosts of a run of which one has died: they wait for it in vain

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class End:
    """How a station ended: exit code, last lines, and what killed it if that was not its own process."""

    code: int
    said: tuple[str, ...] = ()
    cause: str | None = None


@dataclass(eq=False)
class Remote:
    """A worker on the cluster, not begun until `begin`.

    Attributes:
        cluster: where.
        work: what is called on each host; of several, each is told who it is.
        tell: takes the events of the command, from the thread.
        at_end: called when all is over, from the thread.
        errors: the last lines of what the command said, once ended.
    """

    cluster: Cluster
    work: Work
    tell: Tell
    at_end: Callable[[], None]
    errors: io.StringIO = field(default_factory=io.StringIO)
    end: End | None = None
    _stations: list[Any] = field(default_factory=list)
    _group: Any = None
    _over: threading.Event = field(default_factory=threading.Event)
    _placed: bool = False
    _unwanted: bool = False

    def begin(self) -> None:
        """Asks the cluster for it."""
        threading.Thread(target=self._run, daemon=True).start()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: when that takes longer.
        """
        if not self._over.wait(timeout):
            raise subprocess.TimeoutExpired(self.work.arguments, timeout or 0.0)
        return -signal.SIGKILL if self.end is None else self.end.code

    def terminate(self) -> None:
        """Asks it to end, with a checkpoint."""
        self.drop_unplaced()
        if self._placed:
            for station in self._stations:
                station.terminate.remote()

    def drop_unplaced(self) -> None:
        """Ends it if the cluster has not found a place for it yet."""
        self._unwanted = True

    def kill(self) -> None:
        """Ends it at once."""
        self._unwanted = True
        if not self._over.is_set():
            for station in self._stations:
                ray.kill(station)
            self._over.wait(REST_SECONDS)
            self._over.set()

    def _run(self) -> None:
        try:
            self.end = self._through()
        except UserError as error:
            self.end = End(BAD_INPUT, error.messages)
        except RayError as error:
            self.end = lost(error)
        except Exception as error:  # a thread must not take its message with it
            self.end = End(1, (f"{type(error).__name__}: {error}",))
        finally:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self._release()
            self.errors.writelines(f"{line}\n" for line in (self.end or End(1)).said)
            self._over.set()
            self.at_end()

    def _release(self) -> None:
        for station in self._stations:
            ray.kill(station)
        if self._group is not None:
            remove_placement_group(self._group)

    def _through(self) -> End:
        hosts = self.cluster.asked.hosts
        self._ask()
        addresses = self._when_placed()
        if addresses is None:
            return End(0)
        for process, station in enumerate(self._stations):
            who = ("--coordinator", addresses[0], "--processes", str(hosts), "--process", str(process))
            arguments = (*self.work.arguments, *(who if hosts > 1 else ()))
            ray.get(station.start.remote(replace(self.work, arguments=arguments)))
        return self._followed()

    def _ask(self) -> None:
        asked = self.cluster.asked
        options: dict[str, Any] = {
            "num_cpus": asked.cpus,
            "num_gpus": asked.gpus,
            "resources": {"TPU": asked.tpus} if asked.tpus else None,
            "memory": asked.memory_gb and int(asked.memory_gb * 1e9),
            "max_concurrency": 8,
        }
        actor = ray.remote(Station)
        if asked.hosts == 1:
            self._stations = [actor.options(**options).remote()]
            return
        need = {name: float(int(amount)) for name, amount in asked.per_host().items()}
        self._group = placement_group([need] * asked.hosts, strategy="STRICT_SPREAD")
        spots = [
            PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=index)
            for index in range(asked.hosts)
        ]
        self._stations = [actor.options(**options, scheduling_strategy=spot).remote() for spot in spots]

    def _when_placed(self) -> list[str] | None:
        """An address of each station's, once it stands; None when nobody wants the worker any more."""
        answers = [station.free_address.remote() for station in self._stations]
        began, told = time.monotonic(), False
        while True:
            with contextlib.suppress(GetTimeoutError):
                addresses: list[str] = ray.get(answers, timeout=LOOK_SECONDS)
                self._placed = True
                return None if self._unwanted else addresses
            if self._unwanted:
                return None
            self.cluster.check()
            if not told and time.monotonic() - began > SAY_SECONDS:
                told = True
                self.tell({"event": "placing", "resources": str(self.cluster.asked)})

    def _followed(self) -> End:
        """Hands on the first station's events until all have ended. Returns the end that brought the others'."""
        seen = [0] * len(self._stations)
        ends: dict[int, End] = {}
        waits = {station.events.remote(0, LISTEN_SECONDS): index for index, station in enumerate(self._stations)}
        until: float | None = None
        while waits:
            ready, _ = ray.wait(list(waits), num_returns=1, timeout=1.0)
            for answer in ready:
                index = waits.pop(answer)
                try:
                    events = ray.get(answer)
                except ActorUnavailableError:
                    time.sleep(1.0)  # the connection may come back; events are kept there
                    events = []
                except RayError as error:
                    ends[index] = lost(error)
                    events = []
                for event in events:
                    seen[index] += 1
                    end = _end(event)
                    if end is not None:
                        ends[index] = end
                    elif index == 0:
                        self.tell(event)
                if index not in ends:
                    waits[self._stations[index].events.remote(seen[index], LISTEN_SECONDS)] = index
            first = next((end for end in ends.values() if end.code), None)
            if first is not None and waits:
                if until is None:
                    until = time.monotonic() + (GRACE_SECONDS if first.code == PREEMPTED else REST_SECONDS)
                    for index in waits.values():
                        self._stations[index].terminate.remote()
                elif time.monotonic() > until:
                    for index in waits.values():
                        ray.kill(self._stations[index])
        return next((end for end in ends.values() if end.code), End(0))


def _end(event: Mapping[str, Any]) -> End | None:
    if event["event"] == UNSEEN:
        told = (f"node {event['host']} of the Ray cluster does not see {event['path']}: put the results on a disk that "
                "all nodes share under one path, or in object storage (-o s3://...)")  # fmt: skip
        return End(BAD_INPUT, (told,))
    if event["event"] != ENDED:
        return None
    said = tuple(event["said"])
    if event["code"] == BAD_INPUT and any("--coordinator" in line for line in said):
        return End(1, said)  # hosts that did not find each other may do so next time
    if any("No module named 'scalelaw'" in line or "No module named scalelaw" in line for line in said):
        return _no_package()
    return End(event["code"], said)


def lost(error: RayError) -> End:
    """How a station ended that Ray says is gone."""
    words = str(error)
    if "No module named 'scalelaw" in words:
        return _no_package()
    if isinstance(error, RayActorError) and error.preempted:
        return End(PREEMPTED, ("the node was pre-empted",), "a pre-emption of its node")
    lines = tuple(line.strip() for line in words.splitlines() if line.strip() and not line.startswith("\t"))
    node = "its node has died" in words or "node was terminated" in words
    return End(-signal.SIGKILL, lines, "the loss of its node" if node else "the death of its Ray worker")


def _no_package() -> End:
    return End(BAD_INPUT, ("a node of the Ray cluster has no scalelaw: pip install 'scalelaw[ray]' there, the same "
                           "version as here",))  # fmt: skip
