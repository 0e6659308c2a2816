"""What a person sees while a sweep runs: runs done, images per second, time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from scalelaw.launch.screen import Bar
from scalelaw.text import clock

SPEED_SECONDS = 10.0  # images per second are a mean over so long


class SweepProgress:
    """Follows the workers' events; a live bar on a terminal, now and then a line elsewhere.

    Args:
        seconds: what each run is expected to take; it weighs the bar.
        images: what each run will see.
        console: where to print.
    """

    def __init__(self, seconds: Mapping[str, float], images: Mapping[str, int], console: Console) -> None:
        self.seconds, self.images = seconds, images
        self.counts: dict[str, int] = {}
        self._shares: dict[str, float] = {}
        self._compiling: set[str] = set()
        self._waiting = 0
        self._began = time.monotonic()
        self._seen: deque[tuple[float, float]] = deque([(self._began, 0.0)])
        self._bar = Bar(console, max(sum(seconds.values()), 1e-9))

    def __enter__(self) -> SweepProgress:
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Takes one event of a worker or of the engine."""
        kind = event["event"]
        if kind == "stopping":
            self._bar.say(f"waiting up to {event['seconds']:.0f} s for {event['workers']} workers to write their "
                          "checkpoints; a second signal ends them at once")  # fmt: skip
            return
        if kind == "placing":
            self._bar.say(f"waiting for room in the cluster for {event['resources']}")
            return
        self._waiting = event["runs"] if kind == "waiting" else 0
        if kind != "waiting":
            self._take(event["run_id"], kind, event)
        self._bar.show(self.line(), self._spent())

    def _take(self, run_id: str, kind: str, event: Mapping[str, Any]) -> None:
        self._compiling.discard(run_id)
        if kind == "compiling":
            self._compiling.add(run_id)
        elif kind == "progress" or kind == "resumed":
            self._shares[run_id] = event["images"] / self.images[run_id]
        elif kind == "warning":
            self._bar.say(f"run {run_id}: {event['message']}")
        elif kind == "lost":
            self._shares.pop(run_id, None)
            self._bar.say(f"run {run_id}: {event['reason']}")
        elif kind in ("done", "already done"):
            self._shares[run_id] = 1.0
            status = event.get("status", kind)
            self.counts[status] = self.counts.get(status, 0) + 1
            if status == "failed":
                why = str(event.get("error")).splitlines()[-1]
                self._bar.say(f"run {run_id} failed: {why}")

    def done(self) -> str:
        """How many runs are done, and how."""
        odd = "".join(f", {n} {status}" for status, n in self.counts.items() if status != "finished")
        return f"{sum(self.counts.values())}/{len(self.seconds)} runs{odd}"

    def line(self) -> str:
        """Runs done, images per second now, time left."""
        now, spent, total = time.monotonic(), self._spent(), sum(self.seconds.values())
        self._seen.append((now, sum(self.images[run_id] * share for run_id, share in self._shares.items())))
        while len(self._seen) > 2 and self._seen[1][0] < now - SPEED_SECONDS:
            self._seen.popleft()
        (since, before), (_, seen) = self._seen[0], self._seen[-1]
        speed = max(seen - before, 0) / max(now - since, 1e-9)
        if self._waiting:
            doing = f"another launcher trains {self._waiting} more"
        elif self._compiling and speed == 0:
            doing = "compiling"
        else:
            doing = f"{speed:,.0f} images/s"
        left = f"{clock((now - self._began) * (total - spent) / spent)} left" if spent > 0.02 * total else "..."
        return f"{self.done()} · {doing} · {left}"

    def _spent(self) -> float:
        return sum(self.seconds[run_id] * share for run_id, share in self._shares.items())
