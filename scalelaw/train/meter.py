"""What images cost: core-hours on their basis, and the share of this hardware's peak that training reaches."""

from __future__ import annotations

from dataclasses import dataclass

from scalelaw import compute


@dataclass(frozen=True)
class Meter:
    """The cost of one run on the devices here.

    Attributes:
        macs_per_image: multiply-adds of the forward pass at the training resolution.
        hardware: of the devices.
        devices: as JAX counts them.
        assumed: the utilisation behind core-hours that are not measured.
        passes: forward and backward passes of a step over its images.
    """

    macs_per_image: float
    hardware: compute.Hardware
    devices: int = 1
    assumed: float = compute.DEFAULT_UTILISATION
    passes: float = 1.0

    def flop(self, images: float) -> float:
        """Training FLOP of so many images."""
        return compute.train_flop(self.macs_per_image, images, self.passes)

    def cost(self, images: int, train_seconds: float) -> compute.Cost:
        """Core-hours of so many images, trained in so many seconds, with their basis."""
        return compute.cost(self.flop(images), train_seconds, self.devices, self.hardware, self.assumed)

    @property
    def peak(self) -> float | None:
        """FLOP/s of all devices, bf16; None when unknown."""
        one = self.hardware.peak_flop_per_second
        return None if one is None else one * self.devices

    def utilisation(self, images_per_second: float) -> float | None:
        """Training FLOP/s over the peak of the devices here; None when it is unknown."""
        return None if self.peak is None else self.flop(images_per_second) / self.peak

    @property
    def utilisation_of(self) -> str:
        """The denominator of `utilisation`, in words."""
        if self.peak is None:
            return f"no known peak: {self.hardware.name}"
        return f"{self.peak:.4g} FLOP/s: dense bf16 peak of {self.devices} x {self.hardware.name}"
