"""A bound on the main memory of each worker, held by looking: the kernel's own bounds are not to be had everywhere.

`RLIMIT_AS` counts address space, of which jax reserves far more than it uses; `RLIMIT_DATA` ends a process by an error
in the midst of anybody's code; control groups need rights. So memory is read from /proc several times a second, and a
worker that has too much is killed. Between two looks it can have more for a moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from scalelaw.errors import UserError

LOOK_SECONDS = 0.2
GB = 1e9


def held_bytes(pid: int) -> int:
    """Memory that a process and its children hold, files that are only mapped left out; 0 when it is no more.

    What several of them share is counted once, where the kernel says how much that is.
    """
    total, left = 0, [pid]
    while left:
        one = left.pop()
        total += _of_one(one)
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                left += map(int, (task / "children").read_text().split())
    return total


def _of_one(pid: int) -> int:
    for file, names in (("smaps_rollup", ("Pss_Anon", "Pss_Shmem")), ("status", ("RssAnon", "RssShmem"))):
        with suppress(OSError):
            lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
            parts = dict(line.split(":", 1) for line in lines if ":" in line)
            if names[0] in parts:
                return sum(1024 * int(parts[name].split()[0]) for name in names if name in parts)
    return 0


def check_bound(bound_gb: float | None) -> None:
    """Raises UserError for a bound that is none, or that cannot be held on this system."""
    if bound_gb is None:
        return
    if not 0 < bound_gb < 1e6:
        raise UserError(f"--memory {bound_gb:g}: must be gigabytes (1e9 bytes) above 0")
    if not os.path.exists("/proc/self/status"):
        raise UserError(f"--memory {bound_gb:g}: the memory of workers can be read on Linux alone; leave it out")


@contextmanager
def bounded(
    bound_gb: float | None, pids: Callable[[], Sequence[int]], over: Callable[[int, int], None]
) -> Iterator[None]:
    """Within, `over(pid, bytes)` is called for every process of `pids()` that holds more than the bound.

    It must do so in two looks: a child that is just being started has its parent's memory for a moment.
    """
    if bound_gb is None:
        yield
        return
    bound, done = bound_gb * GB, threading.Event()

    def look() -> None:
        before: set[int] = set()
        while not done.wait(LOOK_SECONDS):
            held = {pid: held_bytes(pid) for pid in pids()}
            now = {pid for pid, amount in held.items() if amount > bound}
            for pid in now & before:
                over(pid, held[pid])
            before = now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def sentence(held: int, bound_gb: float | None) -> str:
    """What to say of a worker that held so many bytes."""
    return (f"it held {held / GB:.3g} GB of memory, and --memory allows {bound_gb:g}; raise that, lower batch_size, "
            "or raise [devices] accumulate")  # fmt: skip


KERNEL_KILLED = " (the kernel has killed for want of memory; give fewer --workers, or bound each with --memory)"


def kernel_kills() -> int:
    """How many processes the kernel has killed since it started, for want of memory; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
