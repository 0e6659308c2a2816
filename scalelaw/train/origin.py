"""Where and on what a run trains, kept in its checkpoints, so that nobody goes on elsewhere unawares.

The order of sums decides their last bits, and it follows from the devices, their mesh, the processes and, on a CPU, the
threads. What was trained with other data or another schedule is another run.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from scalelaw.errors import UserError
from scalelaw.train.mesh import Layout


class Elsewhere(UserError):
    """A run cannot go on here as the run that it is; it has not failed."""


@dataclass(frozen=True)
class Origin:
    """What must be equal for a run to go on bit by bit.

    Attributes:
        work: the run's id, batch size, images, training-set size, ...: never different within one run.
        place: device kind, devices, their layout, processes, CPU threads: different only when allowed.
        software: versions of jax and of what decodes images, and the kind of CPU: different with a remark in the
            run's row.
    """

    work: Mapping[str, Any]
    place: Mapping[str, Any]
    software: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def refusal(self, earlier: Mapping[str, Any], folder: Path, any_devices: bool) -> Elsewhere | None:
        """Why a checkpoint of that origin cannot be gone on with; None when it can."""
        if changed := _changes(earlier["work"], self.work):
            return Elsewhere(f"{folder}: was made with {changed}; bring that back, or remove the folder to begin again")
        changed = _changes(earlier["place"], self.place)
        if changed and not any_devices:
            return Elsewhere(
                f"{folder}: was made with {changed}; sums round differently there, so the run would no longer be the "
                "one that it began as: bring that back, or go on all the same with --any-devices (scalelaw train, "
                "scalelaw run), or remove the folder to begin again"
            )
        return None

    def remarks(self, earlier: Mapping[str, Any]) -> list[str]:
        """What the run's row should say when it goes on from there."""
        changed = ", ".join(filter(None, (_changes(earlier["place"], self.place),
                                          _changes(earlier["software"], self.software))))  # fmt: skip
        return [f"went on elsewhere, equal only up to rounding: was {changed}"] if changed else []


def here(
    work: Mapping[str, Any], state: Any, layout: Layout, threads: int | None, software: Mapping[str, str] | None = None
) -> Origin:
    """The origin of a run that trains in this process.

    Args:
        work: JSON values.
        state: its initial state; its arrays are on the run's devices.
        layout: of the devices.
        threads: CPU threads of a training step, None when nobody has set them.
        software: versions of libraries that the images depend on, where they do.
    """
    leaves = jax.tree.leaves(state)
    devices = set().union(*(leaf.sharding.device_set for leaf in leaves))
    kinds = sorted({device.device_kind for device in devices})
    on_cpu = {device.platform for device in devices} == {"cpu"}
    return Origin(
        work=dict(work),
        place={
            "device kind": ", ".join(kinds),
            "devices": len(devices),
            "[devices] params": layout.params,
            "[devices] accumulate": layout.accumulate,
            "[devices] remat": layout.remat,
            "processes": jax.process_count(),
            "threads": threads if on_cpu else None,
        },
        software={
            "jax": version("jax"),
            "jaxlib": version("jaxlib"),
            "CPU": _cpu() if on_cpu else None,
            **(software or {}),
        },
    )


def _changes(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    return ", ".join(f"{name} {earlier.get(name)}, now {now.get(name)}" for name in names)


def _cpu() -> str:
    """The CPU's model: compiled code uses the instructions it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
