"""Compute: hardware, and the way from multiply-adds to training FLOP to TPU-v4 core-hours.

Units: FLOP counts floating-point operations, one multiply-add being two. A *core-hour* is an hour of one TPU-v4
TensorCore; a TPU-v4 chip holds two and is one JAX device. What DeepMind published as "FLOPs" are multiply-adds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from scalelaw.errors import UserError, nearest

Basis = Literal["measured", "estimated"]

DEFAULT_UTILISATION = 0.36
"""Share of the TPU-v4 peak that training is assumed to reach: NFNet-F7+ ran at 0.356 (arXiv 2310.16764: 8 epochs of
4e9 images cost 110k core-hours; 100.86e9 multiply-adds an image at 224 with 30k classes)."""

FLOP_PER_PF_DAY = 1e15 * 86_400
"""FLOP in one petaflop/s-day."""


@dataclass(frozen=True)
class Hardware:
    """One kind of accelerator, as JAX counts its devices.

    Attributes:
        name: our word for it.
        cores_per_device: TensorCores (or whole GPUs) behind one JAX device.
        peak_flop_per_second: dense bf16 peak of one *device*; None where no honest figure exists.
        source: where the peak is stated.
        memory_gb: memory of one device in 1e9 bytes, one number per board sold under the name; empty when unknown.
    """

    name: str
    cores_per_device: int
    peak_flop_per_second: float | None
    source: str
    memory_gb: tuple[float, ...] = ()

    @property
    def peak_flop_per_core_second(self) -> float | None:
        """Dense bf16 peak of one core in FLOP/s, None when the peak is unknown."""
        if self.peak_flop_per_second is None:
            return None
        return self.peak_flop_per_second / self.cores_per_device


_TPU = "Google Cloud TPU system architecture"
_NVIDIA = "NVIDIA data sheet, dense bf16, SXM"
HARDWARE: dict[str, Hardware] = {
    row.name: row
    for row in (
        Hardware("tpu-v2", 1, 22.5e12, _TPU + "; two JAX devices a chip", (8,)),
        Hardware("tpu-v3", 1, 61.5e12, _TPU + "; two JAX devices a chip", (16,)),
        Hardware("tpu-v4", 2, 275e12, _TPU + "; one JAX device a chip of two TensorCores", (32,)),
        Hardware("tpu-v5e", 1, 197e12, _TPU, (16,)),
        Hardware("tpu-v5p", 2, 459e12, _TPU + "; one JAX device a chip of two TensorCores", (95,)),
        Hardware("tpu-v6e", 1, 918e12, _TPU, (32,)),
        Hardware("a100", 1, 312e12, _NVIDIA, (40, 80)),
        Hardware("h100", 1, 989.4e12, _NVIDIA, (80,)),
        Hardware("h200", 1, 989.4e12, _NVIDIA, (141,)),
        Hardware("cpu", 1, None, "no published peak fits every CPU, so none is assumed"),
    )
}

_DEVICE_KINDS = {
    "tpu v2": "tpu-v2",
    "tpu v3": "tpu-v3",
    "tpu v4": "tpu-v4",
    "tpu v5 lite": "tpu-v5e",
    "tpu v5e": "tpu-v5e",
    "tpu v5": "tpu-v5p",
    "tpu v5p": "tpu-v5p",
    "tpu v6 lite": "tpu-v6e",
    "tpu v6e": "tpu-v6e",
    "cpu": "cpu",
}

TPU_V4_CORE_PEAK = 137.5e12
"""bf16 FLOP/s of one TPU-v4 TensorCore: 275e12 a chip, two cores a chip."""

FLOP_PER_CORE_HOUR = TPU_V4_CORE_PEAK * 3600
"""FLOP of one TPU-v4 core-hour at peak: 4.95e17."""


def hardware(name: str) -> Hardware:
    """Looks a hardware row up by our name or by JAX's `device_kind`.

    Raises:
        UserError: when the name is neither (as for boards of another peak: PCIe, NVL, MIG); the message lists the rows.
    """
    lowered = name.strip().lower()
    lowered = _DEVICE_KINDS.get(lowered, lowered)
    if lowered in HARDWARE:
        return HARDWARE[lowered]
    kind = re.match(r"nvidia (a100|h100|h200)\b(?!.*\b(mig|nvl)\b)", lowered)
    if kind and not (kind[1] == "h100" and "pcie" in lowered):  # slower boards and slices of one: another peak
        return HARDWARE[kind[1]]
    choices = list(HARDWARE)
    raise UserError(f"unknown hardware {name!r}{nearest(name, choices)} (known: {', '.join(choices)})")


def train_flop(macs_per_image: float, images: float, passes: float = 1.0) -> float:
    """Training FLOP = 3 x 2 x multiply-adds x images x passes.

    Two FLOP a multiply-add; the backward pass costs twice the forward pass.

    Args:
        macs_per_image: at the training resolution.
        images: shown, every copy of one counted.
        passes: forward and backward passes over an image; sharpness-aware steps make up to two.
    """
    return 6.0 * macs_per_image * images * passes


def core_hours(flop: float, utilisation: float = DEFAULT_UTILISATION) -> float:
    """TPU-v4 core-hours that `flop` training FLOP cost at a share `utilisation` of the peak."""
    return flop / (utilisation * FLOP_PER_CORE_HOUR)


def flop_of_core_hours(hours: float, utilisation: float = DEFAULT_UTILISATION) -> float:
    """Training FLOP that `hours` TPU-v4 core-hours buy: the inverse of `core_hours`."""
    return hours * utilisation * FLOP_PER_CORE_HOUR


def measured_core_hours(seconds: float, devices: int, device: Hardware) -> float:
    """Core-hours of `devices` JAX devices busy for `seconds`: on TPU v4, 2 x devices x hours."""
    return device.cores_per_device * devices * seconds / 3600.0


def utilisation(flop: float, seconds: float, devices: int, device: Hardware) -> float | None:
    """Share of the devices' bf16 peak that was reached; None where the peak is unknown (CPU)."""
    if device.peak_flop_per_second is None:
        return None
    return flop / (seconds * devices * device.peak_flop_per_second)


@dataclass(frozen=True)
class Cost:
    """TPU-v4 core-hours of a run, with what they rest on.

    `core_hours * utilisation * FLOP_PER_CORE_HOUR` is the run's training FLOP on either basis: a measured cost has a
    measured utilisation, an estimated one an assumed utilisation.
    """

    core_hours: float
    basis: Basis
    utilisation: float


def cost(
    flop: float, seconds: float | None, devices: int, device: Hardware, assumed: float = DEFAULT_UTILISATION
) -> Cost:
    """Core-hours of a run: from the stopwatch on TPU v4, elsewhere from FLOP at an assumed utilisation."""
    if device.name == "tpu-v4" and seconds:
        hours = measured_core_hours(seconds, devices, device)
        return Cost(hours, "measured", flop / (hours * FLOP_PER_CORE_HOUR))
    return Cost(core_hours(flop, assumed), "estimated", assumed)


@dataclass(frozen=True)
class Conversion:
    """Hours on one core of `source` per hour on one core of `target` for the same work, and how we know."""

    ratio: float
    basis: Literal["measurement", "assumption"]
    note: str


_MEASURED_CONVERSIONS = {
    ("tpu-v3", "tpu-v4", "nfnet"): Conversion(250 / 110, "measurement", "NFNet-F7+, arXiv 2310.16764: 250k / 110k"),
    ("tpu-v3", "tpu-v4", "vit"): Conversion(
        210 / 120,
        "measurement",
        "ViT-g/14, arXiv 2310.16764: 210k / 120k (SoViT-400m/14: 230k / 130k, which is 1.77)",
    ),
}


def conversion(source: str, target: str, family: str = "nfnet") -> Conversion:
    """How many core-hours on `source` one core-hour on `target` is worth.

    A measured ratio wins where there is one; otherwise equal utilisation is assumed and the ratio is that of the peaks.

    Raises:
        UserError: for unknown hardware, or hardware without a known peak.
    """
    start, end = hardware(source), hardware(target)
    measured = _MEASURED_CONVERSIONS.get((start.name, end.name, family))
    if measured is not None:
        return measured
    inverse = _MEASURED_CONVERSIONS.get((end.name, start.name, family))
    if inverse is not None:
        return Conversion(1 / inverse.ratio, "measurement", inverse.note)
    if start.peak_flop_per_core_second is None or end.peak_flop_per_core_second is None:
        unknown = start if start.peak_flop_per_core_second is None else end
        raise UserError(f"hardware {unknown.name!r} has no known peak, so hours on it cannot be converted; give FLOP")
    ratio = end.peak_flop_per_core_second / start.peak_flop_per_core_second
    return Conversion(ratio, "assumption", "equal utilisation of the bf16 peak assumed")


AMOUNTS = "core_hours", "flop", "times", "device_hours", "dollars"
_PRICE = "price_per_device_hour"


@dataclass(frozen=True)
class Budget:
    """A compute budget, given as exactly one amount.

    Attributes:
        core_hours: TPU-v4 core-hours.
        flop: training FLOP.
        times: a multiple of the largest finished run.
        device_hours: hours of single devices (as JAX counts them: a whole GPU, a TPU-v4 chip) of `hardware`.
        dollars: spent at `price_per_device_hour` on `hardware`.
        hardware: our word or JAX's for the device; needed by device_hours and dollars.
        utilisation: share of that hardware's peak that training reaches; None where it is to be worked out.
        price_per_device_hour: dollars; needed by dollars.

    Raises:
        UserError: unless exactly one amount is given with what it needs, positive and finite.
    """

    core_hours: float | None = None
    flop: float | None = None
    times: float | None = None
    device_hours: float | None = None
    dollars: float | None = None
    hardware: str | None = None
    utilisation: float | None = None
    price_per_device_hour: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        amounts = [name for name in AMOUNTS if name in given]
        if len(amounts) != 1:
            raise UserError(
                f"a budget is exactly one of {', '.join(AMOUNTS[:-1])} and {AMOUNTS[-1]}; "
                + (f"{len(amounts)} were given: {', '.join(amounts)}" if amounts else "none was given")
            )
        for name, value in given.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if name != "hardware" and not (number and 0 < value < float("inf")):
                raise UserError(f"budget {name} = {value!r} must be a positive, finite number")
        allowed = {"device_hours": {"hardware", "utilisation"}, "dollars": {"hardware", "utilisation", _PRICE}}
        amount = amounts[0]
        if surplus := given.keys() - allowed.get(amount, set()) - {amount}:
            raise UserError(f"budget {amount}: {' and '.join(sorted(surplus))} say nothing about it; leave them out")
        if missing := (allowed.get(amount, set()) - {"utilisation"}) - given.keys():
            raise UserError(f"budget {amount}: needs {' and '.join(sorted(missing))}")
        if self.hardware is not None and hardware(self.hardware).peak_flop_per_second is None:
            raise UserError(
                f"hardware {self.hardware!r} has no known peak, so hours on it buy no known FLOP; give FLOP"
            )
        if self.utilisation is not None and self.utilisation > 1:
            raise UserError(f"budget utilisation = {self.utilisation!r} must be at most 1, a share of the peak")

    @property
    def hours_of_devices(self) -> float | None:
        """Hours of single devices that the budget is, None for an amount that names no device."""
        if self.dollars is not None and self.price_per_device_hour is not None:
            return self.dollars / self.price_per_device_hour
        return self.device_hours


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
