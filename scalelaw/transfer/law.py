"""The law of error after transfer: E + A C^-alpha in pre-training compute, through the front of starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw import laws
from scalelaw.errors import UserError
from scalelaw.fitting import Bootstrap, Fit, fit
from scalelaw.runs.table import EQUAL_COMPUTE
from scalelaw.transfer.starts import Starts

FEWEST_WITH_FLOOR = 5
DRAWS = 2000


@dataclass(frozen=True, eq=False)
class ErrorLaw:
    """The law of the front of errors, its uncertainty by resampling pre-training runs.

    Attributes:
        front: places in `starts` of those on the front, by rising compute.
        fit: of `offset`, or of `power` where the front is too short for a floor.
        bootstrap: replicates of it.
    """

    front: NDArray[np.int64]
    fit: Fit
    bootstrap: Bootstrap


def error_law(starts: Starts, seed: int = 0) -> ErrorLaw:
    """Fits the front of errors.

    Raises:
        UserError: when fewer than three starts are on it.
    """
    front = front_of(starts)
    if len(front) < 3:
        raise UserError(f"{len(front)} starts have a lower error than all cheaper ones; a law needs three")
    law = laws.OffsetPowerLaw if len(front) >= FEWEST_WITH_FLOOR else laws.PowerLaw
    found = fit(law, C=starts.core_hours[front], L=starts.error[front])
    return ErrorLaw(front, found, found.bootstrap(DRAWS, unit="run", seed=seed))


def front_of(starts: Starts) -> NDArray[np.int64]:
    """Places of the starts whose error no cheaper or equally dear start matches."""
    kept = []
    for place, (cost, error) in enumerate(zip(starts.core_hours, starts.error, strict=True)):
        rivals = starts.core_hours <= cost * (1 + EQUAL_COMPUTE)
        rivals[place] = False
        if np.all(error < starts.error[rivals]):
            kept.append(place)
    return np.array(kept, np.int64)
