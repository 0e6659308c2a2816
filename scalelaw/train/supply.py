"""The batches of a run, and whether the devices waited for them.

While the devices still work on the last step, the host's time for the next batch costs nothing and counts as training.
Where they stand idle it counts as waiting, so that measured core-hours are those of training steps alone. Where a batch
takes longer than a step, both are in it: now and then a step is timed by itself to part the two.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from scalelaw.compute import Stopwatch
from scalelaw.train.data import Batch

SLOW_SECONDS = 5e-3  # a batch that comes faster keeps no device waiting for long enough to be measured
TIMED_EVERY = 64  # of the steps shorter than their batch; timing one costs its overlap with the batch


class Supply:
    """Batches one at a time, the time for them counted by `watch`."""

    def __init__(self, batches: Iterator[Batch], watch: Stopwatch) -> None:
        self.batches, self.watch = batches, watch
        self._step_seconds: float | None = None
        self._shorter = 0  # steps that ended while their batch was awaited
        self._time_it = False

    def next(self, last: Mapping[str, Any]) -> Batch:
        """The next batch.

        Args:
            last: metrics of the step under way, empty when there is none.
        """
        if self._time_it:
            began = time.perf_counter()
            with self.watch("train"):
                jax.block_until_ready(last)
            self._step_seconds = time.perf_counter() - began
        idle, began = _ready(last), time.perf_counter()
        with self.watch("wait"):
            batch = next(self.batches)
        took = time.perf_counter() - began
        self._time_it = False
        if not idle:
            worked = took
            if took > SLOW_SECONDS and _ready(last):
                self._time_it = self._shorter % TIMED_EVERY == 0
                self._shorter += 1
                worked = took if self._step_seconds is None else min(took, self._step_seconds)
            self.watch.seconds["wait"] -= worked
            self.watch.seconds["train"] = self.watch.seconds.get("train", 0.0) + worked
        return batch


def _ready(metrics: Mapping[str, Any]) -> bool:
    return all(value.is_ready() for value in metrics.values() if hasattr(value, "is_ready"))
