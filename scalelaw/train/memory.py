"""The memory that a step works in, kept from one step to the next, and near at hand.

XLA asks for all of it anew at every step, on a CPU from the C library, which hands large pieces back to the system when
they are freed: for F0 at batch 8 that is 600 MB of fresh pages a step, cleared one by one, a fifth of the step's time.
What it keeps is searched at every request, through lists of free pieces; compiling F0 leaves 70,000 of them, scattered
over 2 GB, and a step would take a seventh longer.
"""

from __future__ import annotations

import ctypes
import mmap
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -2, -3, -4, -8  # of mallopt, in glibc's malloc.h
NEVER = -1  # as a threshold: what is freed stays
HEAP_BYTES = 2**25  # the largest piece that a thread's own heap serves
SPARE_BYTES = 2**27  # at the end of a heap; more than the 64 MB of a thread's heap, so that an empty one stays too
DONTNEED = 4  # of madvise, in Linux' mman.h
HOLE_BYTES = 1024  # smaller pieces are found at once, by their size
FINER = 0.75  # from one size of the pieces that fill holes to the next

_one_heap = False  # whether `keep_freed` has told this process's C library to use one heap for all threads


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
    global _one_heap
    told = all(mallopt(name, value) == 1 for name, value in ((TRIM_THRESHOLD, NEVER), *pieces))
    _one_heap = told and threads > 1
    return told


class _Counts(ctypes.Structure):
    """What glibc's mallinfo2 counts, in bytes: others, all that is free, and the free piece at the heap's end."""

    _fields_ = (("others", ctypes.c_size_t * 8), ("free", ctypes.c_size_t), ("top", ctypes.c_size_t))


def fill_holes() -> int:
    """Takes the free pieces inside the heap for good, and gives their pages back; requests are met at its end then.

    To be called when something large has been done that will not be done again, such as compiling. Does nothing unless
    `keep_freed` has made one heap for several threads (with heaps of their own they gain nothing by it), or where the C
    library is too old to say where its heap ends (glibc before 2.33).

    Returns:
        The bytes taken.
    """
    library = ctypes.CDLL(None) if _one_heap else None
    if library is None or not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = _Counts
    for function, result, given in (
        (library.malloc, ctypes.c_void_p, ctypes.c_size_t),
        (library.free, None, ctypes.c_void_p),
        (library.sbrk, ctypes.c_void_p, ctypes.c_ssize_t),
    ):
        function.restype, function.argtypes = result, [given]
    library.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    counts, page, taken = library.mallinfo2(), mmap.PAGESIZE, 0
    end = library.sbrk(0) - counts.top
    size = counts.free - counts.top
    while size >= HOLE_BYTES:
        place = library.malloc(size)
        if place is None or place >= end:  # no hole is so large
            library.free(place)
            size = int(size * FINER)
            continue
        taken += size
        first, last = -(-place // page) * page, (place + size) // page * page
        if first < last:
            library.madvise(first, last - first, DONTNEED)
    return taken
