"""Freed memory is kept: using it again costs no page faults."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, threading
import numpy as np
from scalelaw.train import memory

keep, (megabytes, threads, together) = sys.argv[1] == "keep", map(int, sys.argv[2:])
if keep and not memory.keep_freed(threads):
    sys.exit(77)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def work():
    global counted
    for turn in range(4):
        before = faults()
        held = [np.ones(megabytes * 2**17) for _ in range(together)]
        del held
    counted = faults() - before  # of the last turn

thread = threading.Thread(target=work)
thread.start()
thread.join()
print(counted)
"""
PAGE_BYTES = 4096


def faults(*arguments: object) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
@pytest.mark.parametrize(("megabytes", "threads", "together"), [(200, 2, 1), (20, 1, 1), (24, 1, 3)])
def test_what_is_freed_is_used_again(megabytes: int, threads: int, together: int) -> None:
    """Three pieces of 24 MB do not fit in one of the heaps, of 64 MB, that a thread has for its own."""
    assert faults("keep", megabytes, threads, together) < 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
def test_without_it_every_page_comes_anew() -> None:
    """The reason why it is there: if this fails, the C library has learnt it, and the module can go."""
    assert faults("leave", 200, 2, 1) > 200 * 2**20 / PAGE_BYTES / 1000


HOLES = """
import sys
import numpy as np
from scalelaw.train import memory

if not memory.keep_freed(int(sys.argv[1])):
    sys.exit(77)

def pages():
    return int(open("/proc/self/statm").read().split()[1])

sizes = np.random.default_rng(0).integers(200, 400_000, 4000)
pieces = [np.full(size, k % 251, np.uint8) for k, size in enumerate(sizes)]
end, total = pieces[-1].ctypes.data, sum(map(int, sizes[:-1:2]))
del pieces[:-1:2]  # every other one: none of the holes can grow together
before = pages()
taken = memory.fill_holes()
given_back = 4096 * (before - pages())
kept = all((piece == k % 251).all() for piece, k in zip(pieces, range(1, len(sizes), 2), strict=True))
later = [np.ones(size, np.uint8) for size in range(2000, 400_000, 1000)]
print(taken / total, given_back / total, kept, min(piece.ctypes.data for piece in later) > end)
"""


def holes(threads: int) -> tuple[float, float, bool, bool]:
    done = subprocess.run([sys.executable, "-c", HOLES, str(threads)], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    taken, given_back, kept, behind = done.stdout.split()
    return float(taken), float(given_back), kept == "True", behind == "True"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
def test_holes_are_filled_and_their_pages_given_back() -> None:
    """What is in use stays as it was, and what is asked for later comes from the end of the heap."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("the C library does not say where its heap ends (glibc before 2.33)")
    taken, given_back, kept, behind = holes(2)
    assert 0.95 < taken < 1.2
    assert given_back > 0.8
    assert kept
    assert behind


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library is not glibc")
def test_one_thread_searches_its_own_heap_and_fills_nothing() -> None:
    taken, _, kept, _ = holes(1)
    assert taken == 0
    assert kept
