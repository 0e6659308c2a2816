"""What one run takes of a cluster: section [ray] of a spec, which only `--engine ray` reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scalelaw.sweep.config import Positive, PositiveInt, Section

Count = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]


class RaySection(Section):
    """[ray]: what a run takes of the cluster, on each of its hosts, and how often it may be lost.

    Nothing here is part of a run's id; threads and devices move results by rounding alone.

    Attributes:
        cpus: cores, and threads of a training step.
        gpus, tpus: accelerators; below 1, a share of one GPU.
        memory_gb: main memory, 1e9 bytes; Ray only counts it, nothing is held to it. None asks for none.
        hosts: machines that train one run together, each with all of the above.
        retries: how often a run is tried again that was in flight when its worker died; a pre-emption does not count.
    """

    cpus: PositiveInt = 1
    gpus: Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)] = 0
    tpus: Count = 0
    memory_gb: Positive | None = None
    hosts: PositiveInt = 1
    retries: Count = 3

    def per_host(self) -> dict[str, float]:
        """Ray's names for what each host gives, memory in bytes."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "TPU": self.tpus, "memory": (self.memory_gb or 0) * 1e9}
        return {name: amount for name, amount in asked.items() if amount}

    def __str__(self) -> str:
        words = [f"{self.cpus} CPU", *([f"{self.gpus:g} GPU"] if self.gpus else [])]
        words += [f"{self.tpus} TPU"] if self.tpus else []
        words += [f"{self.memory_gb:g} GB"] if self.memory_gb else []
        return ", ".join(words) + (f" on each of {self.hosts} hosts" if self.hosts > 1 else "")


def ray_mistakes(ray: RaySection, planned_devices: int | None, place: str) -> list[str]:
    """Sentences for what cannot be had together.

    Args:
        planned_devices: `count` of [devices], None where it is not given.
        place: what each sentence begins with.
    """
    found = []
    if ray.gpus and ray.tpus:
        found.append(f"{place} gpus and tpus are given; keep one")
    if ray.gpus > 1 and ray.gpus != int(ray.gpus):
        found.append(f"{place} gpus: {ray.gpus:g} is neither whole nor a share of one GPU; write {int(ray.gpus)}")
    if 0 < ray.gpus < 1 and ray.hosts > 1:
        found.append(f"{place} gpus: a share of a GPU is for runs of one host; write 1, or take hosts out")
    devices = ray.hosts * (ray.tpus or int(ray.gpus))
    if planned_devices is not None and devices and devices != planned_devices:
        found.append(f"{place} is {devices} devices a run, and [devices] count plans for {planned_devices}; "
                     "make them agree")  # fmt: skip
    return found
