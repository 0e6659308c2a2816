"""A lease on a run: held by one process at a time, gone when that process is."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TRIES, _PAUSE_SECONDS = 5, 0.02  # outlasts the moment in which `is_held` looks


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Yields whether this process now holds the lease at `path`.

    The operating system's lock on the open file is the lease, so that it ends with its holder, however that dies.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for attempt in range(_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt + 1 < _TRIES:
                    time.sleep(_PAUSE_SECONDS)
            else:
                yield True
                return
        yield False
    finally:
        os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lease at `path`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
