"""What a person sees while one run trains: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from scalelaw.text import clock

if TYPE_CHECKING:
    from rich.console import Console

    from scalelaw.sweep import PlannedRun


class Narration:
    """Follows the events of one run.

    Args:
        run: what trains.
        where: the results folder.
        console: where to print.

    Attributes:
        held_elsewhere: whether another process trains the run.
    """

    def __init__(self, run: PlannedRun, where: str, console: Console) -> None:
        from scalelaw.launch.screen import Bar

        self.run, self.where = run, where
        self.held_elsewhere = False
        self._began_at: tuple[float, int] | None = None  # clock and images when the first step of this process was seen
        self._bar = Bar(console, run.config.train.images)
        self._say = self._bar.say

    def __enter__(self) -> Narration:
        train = self.run.config.train
        self._say(f"{self.where}: run {self.run.run_id}, {self.run.config.model.variant} of "
                  f"{self.run.cost.size.params:,} parameters, {train.images:,} images in batches of "
                  f"{train.batch_size:,}, {self.run.cost.core_hours:.3g} TPU-v4 core-hours")  # fmt: skip
        self._bar.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.__exit__()

    def __call__(self, event: dict[str, Any]) -> None:
        """Takes one event of the worker."""
        kind = event["event"]
        if kind == "progress":
            self._bar.show(self.line(event["images"], event["images_per_second"]), event["images"])
        elif kind == "leased elsewhere":
            self.held_elsewhere = True
        elif kind == "watched":
            self._say(f"another process on {event['host']} has this run; watching for up to {event['seconds']:.0f} s "
                      "whether it still lives")  # fmt: skip
        elif kind == "lost":
            self.held_elsewhere = True
        elif kind == "compiling":
            self.held_elsewhere = False
            self._bar.show("compiling")
            self._say("compiling")
        elif kind == "compiled":
            self._say(f"compiled in {event['seconds']:.1f} s")
        elif kind == "resumed":
            self._say(f"goes on at step {event['step']:,} of {event['steps']:,}, after {event['images']:,} images")
        elif kind == "evaluated":
            averaged = "" if event["val_loss_ema"] is None else f" ({event['val_loss_ema']:.4f} averaged)"
            self._say(
                f"step {event['step']:,} of {event['steps']:,}: held-out loss {event['val_loss']:.4f}{averaged}, "
                f"top-1 error {event['val_top1_error']:.2%}, training loss {event['train_loss']:.4f}"
            )
        elif kind == "checkpoint":
            self._say(f"step {event['step']:,}: checkpoint")
        elif kind == "warning":
            self._say(f"warning: {event['message']}")
        elif kind == "already done":
            self._say("already done; nothing to train")
        elif kind == "done":
            self._done(event)

    def line(self, images: int, speed: float) -> str:
        """Images seen, images per second, time left."""
        total = self.run.config.train.images
        if self._began_at is None:
            self._began_at = time.monotonic(), images
        since, first = self._began_at
        took, seen = time.monotonic() - since, images - first
        left = f"{clock(took * (total - images) / seen)} left" if seen else "..."
        return f"{images:,} of {total:,} images · {speed:,.0f} images/s · {left}"

    def _done(self, event: dict[str, Any]) -> None:
        if event["status"] == "failed":
            self._say(f"failed: {str(event['error']).splitlines()[-1]}")
            return
        loss = "" if event["val_loss"] is None else (f": held-out loss {event['val_loss']:.4f}, top-1 error "
                                                     f"{event['top1_error']:.2%}")  # fmt: skip
        self._say(f"{event['status']}{loss}; {event['images']:,} images in {event['seconds']:.1f} s of training")
        if event["error"]:
            self._say(str(event["error"]))
