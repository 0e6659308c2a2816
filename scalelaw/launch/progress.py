"""What a person sees while a sweep runs: runs done, images per second, time left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 15.0


class SweepProgress:
    """Follows the workers' events; a live bar on a terminal, now and then a line elsewhere.

    Args:
        seconds: what each run is expected to take; it weighs the bar.
        console: where to print.
    """

    def __init__(self, seconds: Mapping[str, float], images: Mapping[str, int], console: Console) -> None:
        self.seconds, self.images, self.console = seconds, images, console
        self.counts: dict[str, int] = {}
        self.elsewhere: set[str] = set()
        self._shares: dict[str, float] = {}
        self._speeds: dict[str, float] = {}
        self._began = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), console=console
        )
        self._task = self._bar.add_task("starting", total=max(sum(seconds.values()), 1e-9))

    def __enter__(self) -> SweepProgress:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        """Takes one event of a worker."""
        run_id, kind = event["run_id"], event["event"]
        if kind == "progress":
            self._shares[run_id] = event["images"] / self.images[run_id]
            self._speeds[run_id] = event["images_per_second"]
        elif kind in ("done", "already done", "leased elsewhere"):
            self._shares[run_id] = 1.0
            self._speeds.pop(run_id, None)
            status = event.get("status", kind)
            self.counts[status] = self.counts.get(status, 0) + 1
            if kind == "leased elsewhere":
                self.elsewhere.add(run_id)
            if status == "failed":
                self.console.print(f"run {run_id} failed: {str(event.get('error')).splitlines()[-1]}", highlight=False)
        self._show()

    def line(self) -> str:
        """Runs done, images per second now, time left."""
        spent = sum(self.seconds[run_id] * share for run_id, share in self._shares.items())
        total = sum(self.seconds.values())
        elapsed = time.monotonic() - self._began
        left = (
            f"{_clock(elapsed * (total - spent) / spent)} left" if spent > 0.02 * total else "time left: not known yet"
        )
        odd = "".join(f", {n} {status}" for status, n in self.counts.items() if status != "finished")
        speed = sum(self._speeds.values())
        return f"{sum(self.counts.values())}/{len(self.seconds)} runs{odd} · {speed:,.0f} images/s · {left}"

    def _show(self) -> None:
        spent = sum(self.seconds[run_id] * share for run_id, share in self._shares.items())
        if self.console.is_terminal:
            self._bar.update(self._task, completed=spent, description=self.line())
        elif time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.console.print(self.line(), highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
