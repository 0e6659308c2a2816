"""A lease on a run: held by one process at a time, gone when that process is."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalelaw.errors import UserError

_TRIES, _PAUSE_SECONDS = 10, 0.01  # outlasts the moments in which `is_held` looks


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Yields whether this process now holds the lease at `path`.

    The operating system's lock on the open file is the lease, so that it ends with its holder, however that dies.

    Raises:
        UserError: when the file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make the folder writable") from error
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    for attempt in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt + 1 < _TRIES:
                time.sleep(_PAUSE_SECONDS)
        else:
            return True
    return False


def is_held(path: Path) -> bool:
    """Whether a living process holds the lease at `path`."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
