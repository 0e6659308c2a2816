"""The memory that a step works in, kept from one step to the next.

XLA asks for all of it anew at every step, on a CPU from the C library, which hands large pieces back to the system when
they are freed: for F0 at batch 8 that is 600 MB of fresh pages a step, cleared one by one, a fifth of the step's time.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -3, -4, -8  # of mallopt, in malloc.h of glibc
NEVER = -1  # as a threshold: what is freed stays
HEAP_BYTES = 2**25  # the largest piece that a thread's own heap serves


def keep_freed(threads: int) -> bool:
    """Makes the C library keep what is freed, for this process; peak memory stays what it was.

    On one thread, for small networks, threads keep heaps of their own, whose pieces are at most 32 MB. On several, for
    large networks, all share one heap without that limit; that would cost small networks a third of their speed.

    Args:
        threads: CPU threads of the training steps. Call this before jax starts them.

    Returns:
        Whether the C library is one that can be told so (glibc).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    pieces = ((MMAP_THRESHOLD, HEAP_BYTES),) if threads == 1 else ((ARENA_MAX, 1), (MMAP_MAX, 0))
    return all(mallopt(name, value) == 1 for name, value in ((TRIM_THRESHOLD, NEVER), *pieces))
