"""What a sweep has cost in dollars, and what the rest will."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scalelaw import compute
from scalelaw.launch.unfinished import Unfinished

if TYPE_CHECKING:
    from scalelaw.plan.cost import Range
    from scalelaw.runs import RunTable


@dataclass(frozen=True)
class Prices:
    """What an hour of one device costs.

    Attributes:
        per_device_hour: dollars.
        hardware: the device; None for whatever the runs trained on.
        utilisation: share of the hardware's peak for runs to come; None for what was measured, else published.

    Raises:
        UserError: for numbers out of range, or hardware without a known peak.
    """

    per_device_hour: float
    hardware: str | None = None
    utilisation: float | None = None

    def __post_init__(self) -> None:
        from scalelaw.errors import UserError
        from scalelaw.plan import Machines

        if self.hardware is not None:
            Machines(self.hardware, 1, self.per_device_hour, self.utilisation)  # checks them
        elif not 0 < self.per_device_hour < float("inf"):
            raise UserError(f"price per device-hour = {self.per_device_hour!r} must be a positive, finite number")
        elif self.utilisation is not None:
            raise UserError("a utilisation is a share of the peak of named hardware; name it with --hardware")


@dataclass(frozen=True)
class Money:
    """Dollars of a sweep.

    Attributes:
        prices: what was asked.
        device_hours_spent: of the runs whose training was timed on that hardware, and of those under way.
        device_hours_left: expected, with how far it may be off; None when nothing tells.
        notes: what the numbers leave out or rest on.
    """

    prices: Prices
    device_hours_spent: float
    device_hours_left: Range | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        price, left = self.prices.per_device_hour, self.device_hours_left
        return {
            "price_per_device_hour": price,
            "hardware": self.prices.hardware,
            "device_hours_spent": self.device_hours_spent,
            "device_hours_left": None if left is None else left.to_dict(),
            "dollars_spent": price * self.device_hours_spent,
            "dollars_left": None if left is None else left.times(price).to_dict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        price, left = self.prices.per_device_hour, self.device_hours_left
        to_go = "unknown" if left is None else left.times(price).show(lambda dollars: f"{dollars:,.4g}")
        of = "a device-hour" if self.prices.hardware is None else f"an hour of one {self.prices.hardware}"
        spent = f"dollars: {price * self.device_hours_spent:,.4g} spent, {to_go} left, at {price:g} {of}"
        return "; ".join([spent, *self.notes])


def money(prices: Prices, rows: RunTable, open_runs: Sequence[Unfinished], *, utilisation: float) -> Money:
    """Dollars spent and left.

    Args:
        prices: of one device.
        rows: of all runs that have one.
        open_runs: those neither finished nor diverged.
        utilisation: behind the core-hours of `open_runs`.
    """
    if prices.hardware is None:
        return _of_the_runs(prices, rows, open_runs)
    from scalelaw.plan.budget import PUBLISHED, Utilisation, is_kind, measured_utilisation
    from scalelaw.plan.cost import Range

    device = compute.hardware(prices.hardware)
    assert device.peak_flop_per_second is not None
    hours = _device_hours(rows)
    there = np.array([is_kind(kind, device) for kind in rows.frame.get("hardware", [None] * len(rows))], bool)
    notes = []
    if elsewhere := int((~there & (hours > 0)).sum()):
        notes.append(f"{elsewhere} runs trained on other hardware and are not in it")
    share: Utilisation | None = measured_utilisation(rows.finished(fine_tuned=True), device.name)
    if prices.utilisation is not None:
        share = Utilisation(*3 * (prices.utilisation,), "given", "as given")
    share = share or PUBLISHED
    costs = [run.core_hours for run in open_runs]
    under_way = left = None
    known = [hours_of for hours_of in costs if hours_of is not None]
    if len(known) == len(costs):
        per_core_hour = compute.flop_of_core_hours(1.0, utilisation) / device.peak_flop_per_second / 3600
        spans = Range(per_core_hour / share.high, per_core_hour / share.mid, per_core_hour / share.low)
        under_way = spans.mid * sum(hours_of * run.share for hours_of, run in zip(known, open_runs, strict=True))
        left = spans.times(sum(hours_of * (1 - run.share) for hours_of, run in zip(known, open_runs, strict=True)))
        if known:
            notes.append(f"utilisation of what is left: {share.note}")
    return Money(prices, float(np.nansum(hours[there])) + (under_way or 0.0), left, tuple(notes))


def _of_the_runs(prices: Prices, rows: RunTable, open_runs: Sequence[Unfinished]) -> Money:
    """At the price of whatever the runs trained on: by seconds of training, which only timed runs tell."""
    from scalelaw.plan.cost import Range

    hours = _device_hours(rows)
    devices = float(np.nanmedian(rows.devices.astype(float))) if rows.has("devices") else 1.0
    under_way = sum(run.progress.images / run.progress.images_per_second
                    for run in open_runs if run.progress is not None and run.progress.images_per_second)  # fmt: skip
    seconds = [run.seconds_left for run in open_runs if run.measured and run.seconds_left is not None]
    left = None
    notes = ["hours of training alone"]
    if len(seconds) == len(open_runs):
        left = Range(*3 * (sum(seconds) * devices / 3600,))
    else:
        notes.append("what is left is unknown until a run of each shape is timed, or with --hardware")
    done = rows.finished(fine_tuned=True)
    if untimed := len(done) - int((_device_hours(done) > 0).sum()):
        notes.append(f"{untimed} finished runs were not timed and are not in it")
    return Money(prices, float(np.nansum(hours)) + under_way * devices / 3600, left, tuple(notes))


def _device_hours(rows: RunTable) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Hours of single devices that each row trained, shape (runs,); NaN where it was not timed."""
    if not (rows.has("train_seconds") and rows.has("devices")):
        return np.full(len(rows), np.nan)
    return np.asarray(rows.train_seconds.astype(float) * rows.devices.astype(float) / 3600)
