"""How far a run under way is: `progress.json` in its folder, written by its worker now and then, for whoever watches.

A live launcher hears its workers; any other process reads this. It is gone once the run has its row. Nothing rests on
it, so it is not flushed to disk: it is whole or absent all the same, except after a power cut.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

NAME = "progress.json"
EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Progress:
    """Where a run under way stands.

    Attributes:
        images: training images shown, those of earlier attempts with them.
        images_per_second: over the training steps of the whole run; None before the first.
        train_loss: of the last batch looked at, in nats.
        val_loss: of the last evaluation on held-out images, in nats.
        at: when this was written, in seconds since 1970.
    """

    images: int
    images_per_second: float | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    at: float = 0.0


class Reporter:
    """Follows the events of one run's training and writes how far it is, at most every `EVERY_SECONDS`.

    A note that cannot be written is left out: that is no reason for a run to end, and its row will say what is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Any] = {}
        self._written = -math.inf
        forget(folder)  # what an earlier attempt left

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Takes one event of the loop."""
        names = [field.name for field in fields(Progress)]
        self._known.update({name: event[name] for name in names if event.get(name) is not None})
        clock = time.monotonic()
        if "images" in self._known and clock - self._written >= EVERY_SECONDS:
            self._written = clock
            self._write(Progress(**{**self._known, "at": time.time()}))

    def _write(self, progress: Progress) -> None:
        aside = self.folder / f".{NAME}"  # one name: whoever holds the lease is alone here
        with suppress(OSError):
            aside.write_text(json.dumps(asdict(progress)), encoding="utf-8")
            os.replace(aside, self.folder / NAME)


def forget(folder: Path) -> None:
    """Removes the note of a run that is under way no more."""
    for name in (NAME, f".{NAME}"):
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)


def read(folder: Path) -> Progress | None:
    """What was written last; None when there is nothing that can be read. A loss that is no number is unknown."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        known = {field.name: values.get(field.name) for field in fields(Progress)}
        numbers = {name: value for name, value in known.items() if _is_number(value)}
        return Progress(**{**numbers, "images": int(numbers["images"])})
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
