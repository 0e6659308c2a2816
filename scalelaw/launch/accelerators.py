"""The cores, GPUs or TPU chips of this machine, found without jax, and which of them each worker is to see.

A worker that sees its own alone can neither take another's nor wait for it; `CUDA_VISIBLE_DEVICES` and
`TPU_VISIBLE_CHIPS` say so, and what the user has set there already is all that is shared out.
"""

from __future__ import annotations

import glob
import importlib.metadata
import importlib.util
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scalelaw.errors import UserError

SHARED_MEMORY = 0.75
"""Of a GPU that several workers share, the part that jax takes for all of them: as much as it takes for one."""

_TPU_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
"""How so many chips lie side by side on one host, which libtpu must be told for a part of them."""


@dataclass(frozen=True)
class Accelerators:
    """What workers may train on: GPUs or TPU chips, by the names that the variable of their kind takes."""

    kind: Literal["GPU", "TPU"]
    names: tuple[str, ...]

    @property
    def variable(self) -> str:
        """What tells a process which of them it sees."""
        return "CUDA_VISIBLE_DEVICES" if self.kind == "GPU" else "TPU_VISIBLE_CHIPS"


def cores() -> list[int]:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def gpus() -> Sequence[str]:
    """The NVIDIA GPUs of this machine by number."""
    try:
        answer = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
                                capture_output=True, text=True, timeout=30, check=True)  # fmt: skip
        return [line.strip() for line in answer.stdout.splitlines() if line.strip().isdigit()]
    except (OSError, subprocess.SubprocessError):
        return [str(k) for k in range(len(glob.glob("/proc/driver/nvidia/gpus/*")))]


def chips() -> Sequence[str]:
    """The TPU chips of this host by number."""
    found = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return [str(k) for k in range(len(found))]


def backends() -> Sequence[str]:
    """What the installed jax can use beside the CPU: GPU, TPU."""
    plugins = {entry.name for entry in importlib.metadata.entry_points(group="jax_plugins")}
    cuda = any(name.startswith("xla_cuda") for name in plugins)
    return [*(["GPU"] if cuda else []), *(["TPU"] if importlib.util.find_spec("libtpu") else [])]


def found(
    environment: Mapping[str, str] = os.environ,
    *,
    backends: Callable[[], Sequence[str]] = backends,
    gpus: Callable[[], Sequence[str]] = gpus,
    chips: Callable[[], Sequence[str]] = chips,
) -> Accelerators | None:
    """The accelerators that workers started here may use; None when they train on CPU cores.

    Args:
        environment: JAX_PLATFORMS and the visible devices are what the user wants.
        backends, gpus, chips: look at the installed jax and at the machine.
    """
    wanted = [word.strip().lower() for word in environment.get("JAX_PLATFORMS", "").split(",") if word.strip()]
    able = backends()
    looks: list[tuple[Literal["GPU", "TPU"], set[str], Callable[[], Sequence[str]]]] = [
        ("TPU", {"tpu"}, chips), ("GPU", {"cuda", "gpu"}, gpus)]  # fmt: skip
    for kind, words, look in looks:
        if kind not in able or (wanted and not words & set(wanted)):
            continue
        variable = Accelerators(kind, ()).variable
        if variable in environment:
            names = tuple(name.strip() for name in environment[variable].split(",") if name.strip())
            names = () if "-1" in names or "NoDevFiles" in names else names
        else:
            names = tuple(look())
        if names:
            return Accelerators(kind, names)
    return None


def workers_for(there: Accelerators, each: int | None) -> int:
    """As many workers as the accelerators serve, with `each` of them a worker, one unless given.

    Raises:
        UserError: when there are fewer than one worker needs.
    """
    count = len(there.names) // (each or 1)
    if count == 0:
        raise UserError(f"[devices] plans for {each} devices a run, and this machine has {len(there.names)} "
                        f"{there.kind} ({there.variable}={','.join(there.names)}); lower count, or train on another "
                        "machine")  # fmt: skip
    return count


def shares(
    there: Accelerators, workers: int, each: int | None, environment: Mapping[str, str] = os.environ
) -> list[dict[str, str]]:
    """For each worker what its environment gets.

    Args:
        workers: how many there will be.
        each: accelerators of a worker; None shares out all there are.

    Raises:
        UserError: when they do not go round.
    """
    room = workers_for(there, each)
    if workers > room and (each or 1) > 1:
        raise UserError(f"--workers {workers}: [devices] plans for {each} devices a run, and {len(there.names)} "
                        f"{there.kind} serve {room} workers; give --workers {room} or fewer")  # fmt: skip
    if workers > room and there.kind == "TPU":
        raise UserError(f"--workers {workers}: a TPU chip serves one process, and there are {len(there.names)}; "
                        f"give --workers {room} or fewer")  # fmt: skip
    size = each or max(len(there.names) // workers, 1)
    if there.kind == "TPU":
        size = max(count for count in _TPU_BOUNDS if count <= size)
    return [_share(there, k % room if workers > room else k, size, -(-workers // room), environment)
            for k in range(workers)]  # fmt: skip


def _share(there: Accelerators, place: int, size: int, sharers: int, environment: Mapping[str, str]) -> dict[str, str]:
    own = there.names[place * size : (place + 1) * size]
    found = {there.variable: ",".join(own)}
    if there.kind == "TPU" and len(own) < len(there.names):
        found |= {"TPU_CHIPS_PER_PROCESS_BOUNDS": _TPU_BOUNDS[size], "TPU_PROCESS_BOUNDS": "1,1,1"}
    if sharers > 1 and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment:
        found["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{SHARED_MEMORY / sharers:.3f}"
    return found
