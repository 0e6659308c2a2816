"""A sweep's status again and again, until it has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator

from scalelaw.launch.money import Prices
from scalelaw.launch.status import SweepStatus, sweep_status
from scalelaw.runs import ResultsFolder

LOOK_SECONDS = 1.0
REST = 4.0
"""Between two looks at least so many times what a look took: following a large sweep leaves the disk to its workers."""
SAY_SECONDS = 15.0


def followed(folder: ResultsFolder, prices: Prices | None = None, *, every_look: bool = False) -> Iterator[SweepStatus]:
    """The status now, whenever it changes, and when the sweep has ended.

    Runs by status are told at once; how far runs under way are, every `SAY_SECONDS`.

    Args:
        folder: the results.
        prices: as for `sweep_status`.
        every_look: yield every look, changed or not.
    """
    found: SweepStatus | None = None
    said: SweepStatus | None = None
    said_at = 0.0
    while True:
        began = time.monotonic()
        found = sweep_status(folder, prices, before=found, watch=True)
        moved = said is None or found.statuses != said.statuses
        moved = moved or (began - said_at >= SAY_SECONDS and found.line() != (said.line() if said else ""))
        if every_look or moved or found.ended:
            said, said_at = found, began
            yield found
        if found.ended:
            return
        time.sleep(max(LOOK_SECONDS, REST * (time.monotonic() - began)))
