"""Which engine trains a sweep: the workers of this machine, or those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scalelaw.errors import UserError
from scalelaw.launch import accelerators, local, memory
from scalelaw.launch.workers import ATTEMPTS, Limits
from scalelaw.runs import ResultsFolder
from scalelaw.sweep import PlannedRun, Spec
from scalelaw.text import counted

Name = Literal["local", "ray"]


@dataclass(frozen=True)
class Engine:
    """An engine, ready.

    Attributes:
        workers: how many it will have at work at once.
        words: they, for a person.
        run_all: trains runs (folder, runs, expected seconds, takes events), as `local.run_all`, and closes the engine.
    """

    workers: int
    words: str
    run_all: Callable[[ResultsFolder, Sequence[PlannedRun], Mapping[str, float], local.Emit], None]


def opened(
    name: Name,
    spec: Spec,
    todo: int,
    workers: int | None,
    ray_address: str | None,
    limits: Limits | None = None,
    stop_at: float | None = None,
) -> Engine:
    """The engine of that name.

    Args:
        spec: whose [ray] says what a run takes of a cluster.
        todo: how many runs there are to train.
        workers: how many at once, None for as many as there is room for.
        ray_address: of the cluster, as of `ray.join`.
        limits: what a run may take of this machine.
        stop_at: share of its schedule at which each run is held; None for its end.

    Raises:
        UserError: when there is none, or it cannot be reached.
    """
    if name == "local":
        check_address(name, ray_address)
        limits = limits or Limits()
        devices, each = accelerators.found(), _devices_of_a_run(spec)
        count = min(workers or local_workers(spec), max(todo, 1))
        environments = [] if devices is None else accelerators.shares(devices, count, each)
        words = counted(count, "worker")
        if devices is not None:
            words += f" on {len(devices.names)} {devices.kind}"

        def here(
            results: ResultsFolder, runs: Sequence[PlannedRun], seconds: Mapping[str, float], emit: local.Emit
        ) -> None:
            local.run_all(results, runs, seconds, count, emit, limits, environments, stop_at)

        return Engine(count, words, here)
    if todo == 0:
        return Engine(1, "no workers", lambda *_: None)
    from scalelaw.launch import ray

    cluster = ray.join(ray_address, spec.ray, f"{spec.source}: [ray]", workers)
    count = min(workers or max(cluster.capacity(), 1), todo)

    def there(
        results: ResultsFolder, runs: Sequence[PlannedRun], seconds: Mapping[str, float], emit: local.Emit
    ) -> None:
        try:
            ray.run_all(results, runs, seconds, cluster, count, emit, stop_at)
        finally:
            cluster.leave()

    return Engine(count, f"{count} Ray workers ({spec.ray} each)", there)


def local_workers(spec: Spec) -> int:
    """Workers of this machine unless told otherwise: one for each core, or for each run's accelerators."""
    there = accelerators.found()
    return len(accelerators.cores()) if there is None else max(len(there.names) // (_devices_of_a_run(spec) or 1), 1)


def workers_or_one(spec: Spec) -> int:
    """The same for a plan, which may be for other machines: 1 where a run does not fit into this one."""
    try:
        return local_workers(spec)
    except UserError:
        return 1


def _devices_of_a_run(spec: Spec) -> int | None:
    """The devices that [devices] plans a run for; None where it does not say."""
    asked = spec.devices.count or spec.devices.params
    return asked if spec.devices.count is not None or asked > 1 else None


def limits_of(name: Name, memory_gb: float | None, attempts: int | None) -> Limits:
    """The limits of the local engine.

    Raises:
        UserError: when they are out of range, or given to an engine that takes them from the spec.
    """
    if name != "local" and (memory_gb is not None or attempts is not None):
        flag, key = ("--memory", "memory_gb") if memory_gb is not None else ("--attempts", "retries")
        raise UserError(f"{flag}: goes with --engine local; with Ray it is {key} in the spec's [ray]")
    if attempts is not None and attempts < 1:
        raise UserError(f"--attempts {attempts}: must be at least 1")
    memory.check_bound(memory_gb)
    return Limits(ATTEMPTS if attempts is None else attempts, memory_gb)


def check_address(name: Name, ray_address: str | None) -> None:
    """Raises UserError when a cluster's address is given to another engine."""
    if name != "ray" and ray_address is not None:
        raise UserError(f"--ray-address {ray_address}: goes with --engine ray; add that, or leave the address out")
