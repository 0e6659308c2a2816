"""Which engine trains a sweep: the workers of this machine, or those of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scalelaw.errors import UserError
from scalelaw.launch import local
from scalelaw.runs import ResultsFolder
from scalelaw.sweep import PlannedRun, Spec

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


def opened(name: Name, spec: Spec, todo: int, workers: int | None, ray_address: str | None) -> Engine:
    """The engine of that name.

    Args:
        spec: whose [ray] says what a run takes of a cluster.
        todo: how many runs there are to train.
        workers: how many at once, None for as many as there is room for.
        ray_address: of the cluster, as of `ray.join`.

    Raises:
        UserError: when there is none, or it cannot be reached.
    """
    if name == "local":
        check_address(name, ray_address)
        count = min(workers or len(local.cores()), max(todo, 1))

        def here(
            results: ResultsFolder, runs: Sequence[PlannedRun], seconds: Mapping[str, float], emit: local.Emit
        ) -> None:
            local.run_all(results, runs, seconds, count, emit)

        return Engine(count, f"{count} workers", here)
    if todo == 0:
        return Engine(1, "no workers", lambda *_: None)
    from scalelaw.launch import ray

    cluster = ray.join(ray_address, spec.ray, f"{spec.source}: [ray]", workers)
    count = min(workers or max(cluster.capacity(), 1), todo)

    def there(
        results: ResultsFolder, runs: Sequence[PlannedRun], seconds: Mapping[str, float], emit: local.Emit
    ) -> None:
        try:
            ray.run_all(results, runs, seconds, cluster, count, emit)
        finally:
            cluster.leave()

    return Engine(count, f"{count} Ray workers ({spec.ray} each)", there)


def check_address(name: Name, ray_address: str | None) -> None:
    """Raises UserError when a cluster's address is given to another engine."""
    if name != "ray" and ray_address is not None:
        raise UserError(f"--ray-address {ray_address}: goes with --engine ray; add that, or leave the address out")
