"""Threads that fetch examples ahead of time, in order, through grain."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.train.data.order import Order

MAX_THREADS = 16
AHEAD_BYTES = 2**30
"""Examples decoded ahead of the step that takes them, at most two batches and at least two for each thread."""
STEPS_KEPT = 16


class Place(NamedTuple):
    """What an example is: training or held-out index, epoch, and weight (0 for padding)."""

    image: int
    epoch: int
    weight: float


class Places:
    """The examples that one process gives from step `first_step` on: place p is row p mod b of its b rows."""

    def __init__(self, order: Order, first_step: int, rows: slice) -> None:
        # one of its own, for threads ask it one at a time
        self.order = Order(order.seed, order.n, order.images, order.batch_size, order.copies)
        self.first, self.rows = first_step, range(order.batch_size)[rows]
        self._steps: dict[int, list[NDArray[Any]]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return (self.order.steps - self.first) * len(self.rows)

    def __getitem__(self, place: int) -> Place:
        step, row = divmod(place, len(self.rows))
        with self._lock:
            if step not in self._steps:
                indices, weights = self.order.batch(self.first + step)
                self._steps[step] = [indices, self.order.epochs(self.first + step), weights]
                while len(self._steps) > STEPS_KEPT:
                    self._steps.pop(next(iter(self._steps)))
            indices, epochs, weights = self._steps[step]
        row = self.rows[row]
        return Place(int(indices[row]), int(epochs[row]), float(weights[row]))


class HeldOut:
    """Held-out examples 0 ... count - 1 in batches of `size`, the last one padded; the rows that one process gives."""

    def __init__(self, count: int, size: int, rows: slice) -> None:
        self.count, self.size, self.rows = count, size, range(size)[rows]

    def __len__(self) -> int:
        return -(-self.count // self.size) * len(self.rows)

    def __getitem__(self, place: int) -> Place:
        batch, row = divmod(place, len(self.rows))
        index = batch * self.size + self.rows[row]
        return Place(index, 0, 1.0) if index < self.count else Place(0, 0, 0.0)


def default_threads() -> int:
    """One for each core that this process may use, at most 16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def fetched(
    places: Places | HeldOut, fetch: Callable[[Place], Any], threads: int, bytes_each: int
) -> Iterator[list[Any]]:
    """fetch(place) of all places in their order, a list for each batch; the threads end with the iterator.

    Raises:
        UserError: when grain is not there, or what `fetch` raises.
    """
    try:
        import grain
    except ImportError as error:
        raise UserError(f"images on disk need {error.name}: pip install 'scalelaw[train]'") from error
    rows = len(places.rows)
    ahead = max(2 * threads, min(2 * rows, AHEAD_BYTES // bytes_each))
    dataset = grain.MapDataset.source(places).map(fetch)
    examples = iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)))
    try:
        for _ in range(len(places) // rows):
            yield [next(examples) for _ in range(rows)]
    finally:
        examples.close()


def stacked(parts: list[Any], dtype: Any) -> NDArray[Any]:
    """One array of a batch's parts."""
    return np.stack(parts) if parts and isinstance(parts[0], np.ndarray) else np.array(parts, dtype)
