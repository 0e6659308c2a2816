"""cost_of(...): hours, dollars and memory of one training run on named hardware."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scalelaw import architecture, compute
from scalelaw.architecture import Memory
from scalelaw.errors import UserError
from scalelaw.plan.budget import PUBLISHED, Utilisation
from scalelaw.plan.models import Candidate, Setting
from scalelaw.text import block

SMALLEST_PUBLISHED_MACS = 6.96e9
"""Multiply-adds an image of NFNet-F0 at 192 pixels, the smallest model of the published step times."""
SMALLEST_PUBLISHED_BATCH = 32


@dataclass(frozen=True)
class Range:
    """An expected value and how far it may be off, in the unit of what it belongs to."""

    low: float
    mid: float
    high: float

    def times(self, factor: float) -> Range:
        """All three, multiplied."""
        return Range(self.low * factor, self.mid * factor, self.high * factor)

    def to_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return {"low": self.low, "mid": self.mid, "high": self.high}

    def show(self, number: Callable[[float], str]) -> str:
        """The middle, and both ends in brackets where they differ."""
        if self.low == self.high:
            return number(self.mid)
        return f"{number(self.mid)} ({number(self.low)} to {number(self.high)})"


@dataclass(frozen=True)
class Cost:
    """What one training run costs on named hardware.

    Attributes:
        hardware, devices: JAX devices that share the work evenly.
        utilisation: share of their peak.
        wall_hours: from the first step to the last; evaluation, waiting and compiling come on top.
        device_hours: `wall_hours` of all devices.
        dollars: None without a price.
        batch_per_device: images of a step on one device.
        memory: bytes of one device with bfloat16 activations, by arithmetic; None where the model's shape is unknown.
        memory_float32, memory_rematerialised: the same with float32 activations, and (bfloat16) with every block's
            inside computed anew in the backward pass.
        memory_gb: of one device in 1e9 bytes, the smallest board of that name; None when unknown.
        notes: sentences: what the numbers rest on.
    """

    hardware: str
    devices: int
    utilisation: Range
    wall_hours: Range
    device_hours: Range
    dollars: Range | None
    batch_per_device: int
    memory: Memory | None
    memory_float32: Memory | None
    memory_rematerialised: Memory | None
    memory_gb: float | None
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool | None:
        """Whether the estimate with bfloat16 activations is within the device's memory; None when either is unknown."""
        return self._fits(self.memory)

    @property
    def fits_rematerialised(self) -> bool | None:
        """As `fits`, with the insides of blocks computed anew."""
        return self._fits(self.memory_rematerialised)

    def _fits(self, memory: Memory | None) -> bool | None:
        return None if memory is None or self.memory_gb is None else memory.total <= 1e9 * self.memory_gb

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown; memory in bytes."""
        three = {"bfloat16": self.memory, "float32": self.memory_float32, "rematerialised": self.memory_rematerialised}
        return {
            "hardware": self.hardware,
            "devices": self.devices,
            "utilisation": self.utilisation.to_dict(),
            "wall_hours": self.wall_hours.to_dict(),
            "device_hours": self.device_hours.to_dict(),
            "dollars": None if self.dollars is None else self.dollars.to_dict(),
            "batch_per_device": self.batch_per_device,
            "memory_bytes": {name: None if m is None else {**vars(m), "total": m.total} for name, m in three.items()},
            "device_memory_bytes": None if self.memory_gb is None else 1e9 * self.memory_gb,
            "fits": self.fits,
            "fits_rematerialised": self.fits_rematerialised,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        rows = {
            "time": f"{self.wall_hours.show(_hours)} on {self.devices} {self.hardware}, "
            f"{self.device_hours.show(lambda hours: f'{hours:.3g}')} device-hours, "
            f"at {self.utilisation.show(lambda share: f'{share:.1%}')} of peak",
            "dollars": "no price given" if self.dollars is None else self.dollars.show(lambda x: f"{x:,.4g}"),
            "memory": self._memory(),
        }
        return block([*rows.items(), *(("note", note) for note in self.notes)])

    def _memory(self) -> str:
        if self.memory is None or self.memory_rematerialised is None:
            return "unknown: the runs do not say how the model is built"
        own = "unknown" if self.memory_gb is None else f"{self.memory_gb:g} GB"
        verdict = (
            "fits"
            if self.fits
            else "fits only with rematerialisation"
            if self.fits_rematerialised
            else ("does not fit" if self.fits is False else "not compared")
        )
        return (
            f"{_bytes(self.memory.total)} a device of {own}, {_bytes(self.memory_rematerialised.total)} with "
            f"rematerialisation: {verdict}"
        )


def cost_of(
    flop: float,
    candidate: Candidate,
    *,
    hardware: str,
    devices: int,
    batch_size: int,
    price_per_device_hour: float | None = None,
    measured: Utilisation | None = None,
    setting: Setting | None = None,
) -> Cost:
    """Hours, dollars and memory of one training run.

    Memory is what must be held at once: 4 bytes a parameter for each of parameters, gradients and momentum, the
    standardised kernels, and for every image of the device's batch the outputs of all convolutions, activations and
    blocks (`architecture.tensors`). The compiler's temporaries come on top: XLA on a CPU, float32, held 1.5 to 1.6
    times the activations counted here (N0, N5 and F0 at 160 pixels); on accelerators it was not measured.

    Args:
        flop: training FLOP of the run.
        candidate: the model.
        hardware: of the devices, our word or JAX's.
        devices: JAX devices, each of which takes an equal share of the batch.
        batch_size: images of a step over all devices.
        price_per_device_hour: dollars for an hour of one device.
        measured: utilisation on this hardware, from `budget.measured_utilisation`; the published range without it.
        setting: how the model is built, from `models.setting_of`; without it memory is unknown.

    Raises:
        UserError: for hardware without a known peak, devices that do not share the batch evenly, or numbers that are
            not positive.
    """
    device = compute.hardware(hardware)
    if device.peak_flop_per_second is None:
        raise UserError(f"hardware {hardware!r} has no known peak, so time on it is unknown; name an accelerator")
    _positive("flop", flop)
    for name, value in {"devices": devices, "batch_size": batch_size}.items():
        _positive(name, value)
        if int(value) != value:
            raise UserError(f"cost: {name} = {value!r} must be a whole number")
    if batch_size % devices:
        raise UserError(f"cost: a batch of {batch_size} cannot be shared evenly by {devices} devices; change either")
    if price_per_device_hour is not None:
        _positive("price_per_device_hour", price_per_device_hour)
    share = PUBLISHED if measured is None else measured
    batch = batch_size // devices
    seconds = flop / device.peak_flop_per_second
    hours = Range(seconds / share.high / 3600, seconds / share.mid / 3600, seconds / share.low / 3600)
    notes = [f"utilisation: {share.note}."]
    if share.basis == "published" and candidate.macs_per_image < SMALLEST_PUBLISHED_MACS:
        notes.append(
            f"utilisation: {candidate.variant} is smaller than any model with a published time; expect less of the "
            "peak, and more hours."
        )
    if share.basis == "published" and batch < SMALLEST_PUBLISHED_BATCH:
        notes.append(f"utilisation: {batch} images a device are fewer than the published 32; expect less of the peak.")
    built = None if setting is None else architecture.FAMILIES.get(setting.family, {}).get(candidate.variant)
    memory = memory_float32 = memory_rematerialised = None
    if built is not None and setting is not None:
        at = (built, setting.resolution, setting.classes, batch)
        memory, memory_float32 = (architecture.memory(*at, bytes_per_value=size) for size in (2, 4))
        memory_rematerialised = architecture.memory(*at, rematerialised=True)
        notes.append(
            "memory: an estimate, 12 bytes a parameter (values, gradients, momentum), standardised kernels, and per "
            "image the outputs of convolutions, activations and blocks in bfloat16; the compiler's temporaries add "
            "to it (XLA on a CPU: half as much again)."
        )
    if len(device.memory_gb) > 1:
        boards = " and ".join(f"{size:g} GB" for size in device.memory_gb)
        notes.append(f"memory: {device.name} is sold with {boards}; the smaller is taken.")
    return Cost(
        hardware=device.name,
        devices=devices,
        utilisation=Range(share.low, share.mid, share.high),
        wall_hours=hours.times(1 / devices),
        device_hours=hours,
        dollars=None if price_per_device_hour is None else hours.times(price_per_device_hour),
        batch_per_device=batch,
        memory=memory,
        memory_float32=memory_float32,
        memory_rematerialised=memory_rematerialised,
        memory_gb=min(device.memory_gb, default=None),
        notes=tuple(notes),
    )


def _positive(name: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise UserError(f"cost: {name} = {value!r} must be a positive, finite number")


def _hours(hours: float) -> str:
    """A length of time in the unit that suits it."""
    for unit, size in (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60)):
        if hours >= 2 * size:
            return f"{hours / size:.3g} {unit}"
    return f"{hours * 3600:.3g} seconds"


def _bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
