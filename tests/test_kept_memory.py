"""Freed memory is kept: using it again costs no page faults."""

from __future__ import annotations

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
