"""The operating system's locks: exact among the processes of one machine, and gone with their holder, however it dies.

On a folder that machines share a lock may be each machine's own, or missing. SCALELAW_LOCKS=off leaves locks out, where
they hang.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scalelaw import stopping
from scalelaw.errors import UserError

VARIABLE = "SCALELAW_LOCKS"

_TRIES, _PAUSE_SECONDS = 10, 0.01  # outlasts the moments in which `is_locked` looks
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def wanted() -> bool:
    """Whether locks are to be used, by SCALELAW_LOCKS.

    Raises:
        UserError: when that is neither on nor off.
    """
    word = os.environ.get(VARIABLE, "on")
    if word not in ("on", "off"):
        raise UserError(f"{VARIABLE}={word}: must be on or off")
    return word == "on"


@contextmanager
def lock(path: Path, use: bool) -> Iterator[bool]:
    """Yields whether the file is locked by this process, or need not be; it is made where it is not there.

    Raises:
        UserError: when it cannot be.
    """
    if not use:
        yield True
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); make the folder writable") from error
    try:
        yield _locked(handle, _TRIES * _PAUSE_SECONDS)
    finally:
        os.close(handle)


@contextmanager
def turn(folder: Path, patience_seconds: float) -> Iterator[None]:
    """Waits until no other process of this machine is within such a block of the same folder, and keeps them out.

    Where the lock cannot be had the block is entered without: when there are no locks, and when another process has
    been within for `patience_seconds` (one that is stopped keeps its lock). The lock is on the folder itself, so no
    file is left there, and it needs a file system that has locks on this machine only.
    """
    handle = None
    try:
        if wanted():
            try:
                handle = os.open(folder, os.O_RDONLY)
                _locked(handle, patience_seconds)
            except OSError:
                pass  # not a folder that can be read, or one of a disk with other ideas about locks
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _locked(handle: int, patience_seconds: float) -> bool:
    """Whether the lock on an open file was had in time, or there are none."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            stopping.raise_if_asked()
            time.sleep(_PAUSE_SECONDS)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return True  # whatever else keeps others out must do
            raise
        else:
            return True


def is_locked(path: Path) -> bool:
    """Whether a process of this machine has locked the file."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    else:
        return False
    finally:
        os.close(handle)
