"""The memory that a step works in, kept from one step to the next.

XLA asks for all of it anew at every step, on a CPU from the C library, which hands large pieces back to the system when
they are freed: for F0 at batch 8 that is 600 MB of fresh pages a step, cleared one by one, a fifth of the step's time.
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -2, -3, -4, -8  # of mallopt, in glibc's malloc.h
NEVER = -1  # as a threshold: what is freed stays
HEAP_BYTES = 2**25  # the largest piece that a thread's own heap serves
SPARE_BYTES = 2**27  # at the end of a heap; more than the 64 MB of a thread's heap, so that an empty one stays too


def keep_freed(threads: int) -> bool:
    """Makes the C library keep what is freed, for this process; peak memory stays what it was.

    On one thread, for small networks, threads keep heaps of their own, whose pieces are at most 32 MB. On several, for
    large networks, all share one heap without that limit; that would cost small networks a third of their speed. A
    thread whose first heap is full goes on in a second, which the library gives back whenever nothing is in it, however
    high the threshold, unless so much must be spare: N7 met 3,000 fresh pages a step in six of seven processes.

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
    pieces = ((MMAP_THRESHOLD, HEAP_BYTES), (TOP_PAD, SPARE_BYTES))
    if threads > 1:
        pieces = ((ARENA_MAX, 1), (MMAP_MAX, 0))
    return all(mallopt(name, value) == 1 for name, value in ((TRIM_THRESHOLD, NEVER), *pieces))
