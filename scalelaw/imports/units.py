"""Units: what a column may be counted in, and the way to the unit of our schema."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scalelaw.compute import FLOP_PER_PF_DAY
from scalelaw.errors import UserError, nearest

Array = NDArray[np.float64]
Conversion = Callable[[Array], Array]


def _times(factor: float) -> Conversion:
    return lambda values: values * factor


def _over(divisor: float) -> Conversion:
    return lambda values: values / divisor


_TIME = {"seconds": _times(1.0), "minutes": _times(60.0), "hours": _times(3600.0), "days": _times(86_400.0),
         "milliseconds": _over(1e3)}  # fmt: skip
_COUNT = {"ones": _times(1.0), "thousands": _times(1e3), "millions": _times(1e6), "billions": _times(1e9),
          "trillions": _times(1e12)}  # fmt: skip
_FLOP = {"FLOP": _times(1.0), "GFLOP": _times(1e9), "TFLOP": _times(1e12), "PFLOP": _times(1e15),
         "EFLOP": _times(1e18), "ZFLOP": _times(1e21), "PFLOP-days": _times(FLOP_PER_PF_DAY)}  # fmt: skip
_MACS = {"multiply-adds": _times(1.0), "millions": _times(1e6), "billions": _times(1e9), "FLOP": _over(2.0),
         "MFLOP": _times(0.5e6), "GFLOP": _times(0.5e9)}  # fmt: skip
_LOSS: dict[str, Conversion] = {"nats": _times(1.0), "bits": _times(float(np.log(2.0))), "perplexity": np.log}
_ERROR: dict[str, Conversion] = {"share": _times(1.0), "percent": _over(100.0), "accuracy": lambda share: 1.0 - share,
                                 "accuracy-percent": lambda percent: (100.0 - percent) / 100.0}  # fmt: skip
_SHARE = {"share": _times(1.0), "percent": _over(100.0)}

UNITS: dict[str, dict[str, Conversion]] = {
    "train_seconds": _TIME,
    "device_hours": {"hours": _times(1.0), "minutes": _over(60.0), "seconds": _over(3600.0), "days": _times(24.0)},
    "params": _COUNT,
    "params_body": _COUNT,
    "images_seen": _COUNT,
    "unique_images": _COUNT,
    "batch_size": _COUNT,
    "steps": _COUNT,
    "train_flop": _FLOP,
    "macs_per_image": _MACS,
    "core_hours": {"TPU-v4-core-hours": _times(1.0)},
    "total_core_hours": {"TPU-v4-core-hours": _times(1.0)},
    "parent_core_hours": {"TPU-v4-core-hours": _times(1.0)},
    "val_loss": _LOSS,
    "val_loss_ema": _LOSS,
    "parent_val_loss": _LOSS,
    "top1_error": _ERROR,
    "utilisation": _SHARE,
}
"""Our column -> unit -> conversion to the column's own unit, which stands first."""

_ALSO = {
    "s": "seconds", "sec": "seconds", "second": "seconds", "min": "minutes", "minute": "minutes", "h": "hours",
    "hour": "hours", "hr": "hours", "d": "days", "day": "days", "ms": "milliseconds", "k": "thousands",
    "m": "millions", "b": "billions", "t": "trillions", "1": "ones", "flops": "flop", "pf-days": "pflop-days",
    "pflop/s-days": "pflop-days", "pfs-days": "pflop-days", "macs": "multiply-adds", "mmacs": "millions",
    "gmacs": "billions", "nat": "nats", "bit": "bits", "ppl": "perplexity", "%": "percent", "fraction": "share",
}  # fmt: skip

_BRACKETS = re.compile(r"[(\[]\s*(?P<unit>[^()\[\]]+?)\s*[)\]]\s*$")


def unit_of(column: str, word: str, place: str) -> str:
    """A unit by its word, as `UNITS` writes it.

    Args:
        column: our name of what is counted.
        word: as a person writes it: `h`, `PF-days`, `bits`.
        place: where it was said, for messages.

    Raises:
        UserError: when the column is not counted in that.
    """
    known = UNITS.get(column)
    if known is None:
        raise UserError(f"{place}: {column} has no units to choose from; leave the unit out")
    lowered = {name.lower(): name for name in known}
    asked = word.strip().lower()
    for spelling in (asked, _ALSO.get(asked, asked)):
        if spelling in lowered:
            return lowered[spelling]
    raise UserError(f"{place}: {column} is not counted in {word!r}{nearest(word, list(known))} "
                    f"(units: {', '.join(known)})")  # fmt: skip


def in_name(column: str, source: str | None) -> str | None:
    """A sentence when the brackets that end a source's name speak of another unit than ours; None else."""
    found = _BRACKETS.search(source or "")
    if found is None or column not in UNITS:
        return None
    try:
        unit = unit_of(column, found["unit"], "")
    except UserError:
        unit = "..."
    if unit == own_unit(column):
        return None
    return (f"{column} is taken in {own_unit(column)}, but its column is called {source!r}: if it counts in that, add "
            f"--unit {column}={unit} (units: {', '.join(UNITS[column])})")  # fmt: skip


def own_unit(column: str) -> str | None:
    """The unit of our schema, None for what has none."""
    return next(iter(UNITS[column])) if column in UNITS else None


def converted(values: Array, column: str, unit: str) -> Array:
    """Values in the column's own unit; counts that become whole but for rounding are made whole.

    What has no counterpart, as the logarithm of a negative perplexity, becomes NaN.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = UNITS[column][unit](values)
    if UNITS[column] is _COUNT:
        whole = np.rint(found)
        found = np.where(np.abs(found - whole) <= 1e-9 * np.abs(whole), whole, found)
    return found
