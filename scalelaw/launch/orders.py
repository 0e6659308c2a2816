"""Who trains what: every worker gets all runs, in an order of its own, and takes those that no other has leased.

A worker process costs seconds to start and every shape of run costs seconds to compile, so whole shapes go to workers
and one process trains several in a row. A worker that is through with its own shapes goes on with the others', from
the last one backwards; the leases keep two workers off the same run, so all end within one run of each other. Runs of a
higher priority come before all others, in every worker's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, zip_longest

from scalelaw.sweep import PlannedRun

SECONDS_PER_SHAPE = 8.0
"""To compile one shape on one CPU core; a later worker reads it from the cache in about one second."""

Shape = tuple[str, str, int, int, int]


def orders(planned: Sequence[PlannedRun], seconds: Mapping[str, float], workers: int) -> list[list[str]]:
    """For each worker the order in which it should try the runs, every run once.

    Priority by priority, the highest first, shapes are dealt out by longest processing time first (Graham 1969), a
    worker that has compiled a shape already being the cheaper by that; within a shape the longest run comes first.

    Args:
        planned: the runs to train.
        seconds: what each is expected to take.
        workers: at least 1.
    """
    found: list[list[str]] = [[] for _ in range(workers)]
    compiled: list[list[Shape]] = [[] for _ in range(workers)]
    for priority in sorted({run.priority for run in planned}, reverse=True):
        dealt = _dealt([run for run in planned if run.priority == priority], seconds, compiled)
        for own, known in zip(dealt, compiled, strict=True):  # what a worker compiled last goes on first
            own[:] = [runs for last in (True, False) for runs in own if (known[-1:] == [runs[0].shape]) is last]
        for worker, own in enumerate(dealt):
            others = [dealt[(worker + k) % workers][::-1] for k in range(1, workers)]
            stolen = [runs for turn in zip_longest(*others) for runs in turn if runs is not None]
            found[worker] += [run.run_id for runs in [*own, *stolen] for run in runs]
        for own, known in zip(dealt, compiled, strict=True):
            known += [runs[0].shape for runs in own]
    return found


def _dealt(
    planned: Sequence[PlannedRun], seconds: Mapping[str, float], compiled: Sequence[Sequence[Shape]]
) -> list[list[list[PlannedRun]]]:
    """For each worker the shapes that are its own, each with its runs."""
    by_shape = sorted(planned, key=lambda run: (run.shape, -seconds[run.run_id], run.run_id))
    shapes = [list(runs) for _, runs in groupby(by_shape, key=lambda run: run.shape)]

    def training(runs: Sequence[PlannedRun]) -> float:
        return sum(seconds[run.run_id] for run in runs)

    dealt: list[list[list[PlannedRun]]] = [[] for _ in compiled]
    loads = [0.0 for _ in compiled]
    for runs in sorted(shapes, key=training, reverse=True):
        costs = [training(runs) + SECONDS_PER_SHAPE * (runs[0].shape not in known) for known in compiled]
        worker = min(range(len(loads)), key=lambda k: loads[k] + costs[k])
        dealt[worker].append(runs)
        loads[worker] += costs[worker]
    return dealt
