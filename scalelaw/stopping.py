"""Requests to stop that no library can swallow, and that tear nothing.

A signal becomes an exception wherever Python happens to be, which may be inside a library's callback that prints and
drops it. So the request is noted too, and whoever works in steps asks for it between them. Where an exception would
tear something (a step whose memory is given away, a file half written), `deferred` holds it back until the end.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PREEMPTED = 75

_asked: list[int] = []
_deferred = False


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


def asked() -> bool:
    """Whether a signal has asked to stop."""
    return bool(_asked)


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
    with _set(True):
        yield
    if not _deferred:
        raise_if_asked()


@contextmanager
def at_once() -> Iterator[None]:
    """Within a `deferred` block, a part that signals may interrupt after all: nothing there can be torn."""
    with _set(False):
        raise_if_asked()
        yield
        raise_if_asked()  # a library may have swallowed it


@contextmanager
def _set(value: bool) -> Iterator[None]:
    global _deferred
    before, _deferred = _deferred, value
    try:
        yield
    finally:
        _deferred = before


def _note(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    if not _deferred or _asked.count(signal.SIGINT) > 1:
        raise_if_asked()
