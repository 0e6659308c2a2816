"""Who trains what: every worker gets all runs, in an order of its own, and takes those that no other has leased.

A worker process costs seconds to start and every shape of run costs seconds to compile, so whole shapes go to workers
and one process trains several in a row. A worker that is through with its own shapes goes on with the others', from
the last one backwards; the leases keep two workers off the same run, so all end within one run of each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, zip_longest

from scalelaw.sweep import PlannedRun

SECONDS_PER_SHAPE = 8.0
"""To compile one shape on one CPU core; a later worker reads it from the cache in about one second."""


def orders(planned: Sequence[PlannedRun], seconds: Mapping[str, float], workers: int) -> list[list[str]]:
    """For each worker the order in which it should try the runs, every run once.

    Shapes are dealt out by longest processing time first (Graham 1969); within a shape the longest run comes first.

    Args:
        planned: the runs to train.
        seconds: what each is expected to take.
        workers: at least 1.
    """
    by_shape = sorted(planned, key=lambda run: (run.shape, -seconds[run.run_id], run.run_id))
    shapes = [[run.run_id for run in runs] for _, runs in groupby(by_shape, key=lambda run: run.shape)]

    def load(shape: list[str]) -> float:
        return SECONDS_PER_SHAPE + sum(seconds[run_id] for run_id in shape)

    dealt: list[list[list[str]]] = [[] for _ in range(workers)]
    for shape in sorted(shapes, key=load, reverse=True):
        min(dealt, key=lambda own: sum(map(load, own))).append(shape)
    found = []
    for worker, own in enumerate(dealt):
        others = [dealt[(worker + k) % workers][::-1] for k in range(1, workers)]
        stolen = [shape for turn in zip_longest(*others) for shape in turn if shape is not None]
        found.append([run_id for shape in [*own, *stolen] for run_id in shape])
    return found
