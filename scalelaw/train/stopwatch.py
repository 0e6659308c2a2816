"""Seconds spent per kind of work, kept apart."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds spent per kind of work, kept apart: `with watch("train"): ...`.

    Within a nested block only the inner kind runs, so that the kinds add up to the time that passed.

    Attributes:
        seconds: kind of work -> seconds so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Counts the seconds of the `with` block as `kind`."""
        self._turn()
        self._running.append(kind)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def _turn(self) -> None:
        """Counts what has passed since the last turn for the innermost block."""
        now = time.perf_counter()
        if self._running:
            kind = self._running[-1]
            self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._since
        self._since = now
