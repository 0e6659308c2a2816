"""Requests to stop that no library can swallow, and that tear nothing.

A signal becomes an exception wherever Python happens to be, which may be inside a library's callback that prints and
drops it. So the request is noted too, and whoever works in steps asks for it between them. Where an exception would
tear something (a step whose memory is given away, a file half written), `deferred` holds it back until the end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTED = 75

_asked: list[int] = []
_held = 0  # Ctrl-C's, this many, are only noted


class Unheard(BrokenPipeError):
    """Whoever read the output has gone before the work was done; the same command goes on."""


@contextmanager
def unfinished_if_unheard() -> Iterator[None]:
    """Within, a reader that goes (`scalelaw sweep ... | head`) leaves work undone: that is no end like another."""
    try:
        yield
    except BrokenPipeError as error:
        raise Unheard from error


def listen() -> None:
    """From now on SIGTERM exits with `PREEMPTED` and SIGINT interrupts, at the latest at the next `raise_if_asked`."""
    _asked.clear()
    signal.signal(signal.SIGTERM, _note)
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):  # ignored on purpose, as by nohup and shell background jobs
        signal.signal(signal.SIGINT, _note)


def hush() -> None:
    """From now on SIGINT does nothing: what is left is the command's last line, which another Ctrl-C would tear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def asked() -> bool:
    """Whether a signal has asked to stop."""
    return bool(_asked)


def asked_twice() -> bool:
    """Whether there was a second Ctrl-C."""
    return _asked.count(signal.SIGINT) > 1


def raise_if_asked() -> None:
    """Raises what the last signal stands for, if there was one."""
    if _asked:
        raise KeyboardInterrupt if _asked[-1] == signal.SIGINT else SystemExit(PREEMPTED)


@contextmanager
def deferred() -> Iterator[None]:
    """Within, a signal is only noted; it is raised at the block's end, unless an error ends the block.

    A second Ctrl-C is raised at once all the same. A second SIGTERM is not: a worker may hear its own and its
    launcher's.
    """
    with _set(1):
        yield
    if not _held and _hears():
        raise_if_asked()


@contextmanager
def polled() -> Iterator[None]:
    """Within, signals are only noted, and whoever works there asks for them every while.

    For work under the locks of libraries, which an exception in the wrong place leaves locked for ever. A third Ctrl-C
    is raised at once all the same.
    """
    with _set(2):
        yield
    if not _held and _hears():
        raise_if_asked()


@contextmanager
def at_once() -> Iterator[None]:
    """Within a `deferred` block, a part that signals may interrupt after all: nothing there can be torn."""
    with _set(0):
        raise_if_asked()
        yield
        raise_if_asked()  # a library may have swallowed it


@contextmanager
def _set(value: int) -> Iterator[None]:
    global _held
    if not _hears():
        yield
        return
    before, _held = _held, value
    try:
        yield
    finally:
        _held = before


def _hears() -> bool:
    """Whether this is the thread in which signals are raised."""
    return threading.current_thread() is threading.main_thread()


def _note(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    if not _held or _asked.count(signal.SIGINT) > _held:
        raise_if_asked()
