"""Requests to stop that no library can swallow, and that tear nothing.

A signal becomes an exception wherever Python happens to be, which may be inside a library's callback that drops it. So
the request is noted too: whoever works in steps asks for it between them, and what was dropped is raised again soon,
not printed. Where an exception would tear something (a step whose memory is given away, a file half written),
`deferred` holds it back until the end. It is never raised while a module is loaded: extension modules whose loading is
interrupted crash.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

PREEMPTED = 75
LOADING_HELD = 2  # Ctrl-C's that are only noted while a module is loaded
AGAIN_SECONDS = 0.05  # until what could not be raised is
IMPORT_CODE = "<frozen importlib._bootstrap>"

_asked: list[int] = []
_held = 0  # Ctrl-C's, this many, are only noted
_put_off = False  # a module was being loaded, or a callback dropped it; a timer asks again
_raised = False  # whoever worked has lost control where it was
_alone = True  # no other process waits for this one's orderly end
_told_of_others = sys.unraisablehook  # of what callbacks dropped that is no request to stop


class Unheard(BrokenPipeError):
    """Whoever read the output has gone before the work was done; the same command goes on."""


@contextmanager
def unfinished_if_unheard() -> Iterator[None]:
    """Within, a reader that goes (`scalelaw sweep ... | head`) leaves work undone: that is no end like another."""
    try:
        yield
    except BrokenPipeError as error:
        raise Unheard from error


def listen(*, alone: bool = True) -> None:
    """From now on SIGTERM exits with `PREEMPTED` and SIGINT interrupts, at the latest at the next `raise_if_asked`.

    Args:
        alone: False in one of several processes of `jax.distributed`, which wait for each other's orderly end.
    """
    global _raised, _alone, _told_of_others
    _asked.clear()
    _raised, _alone = False, alone
    if sys.unraisablehook is not _told_of_dropped:
        _told_of_others, sys.unraisablehook = sys.unraisablehook, _told_of_dropped
    signal.signal(signal.SIGALRM, _look_again)
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
    global _put_off, _raised
    if _asked:
        if _put_off:
            signal.setitimer(signal.ITIMER_REAL, 0)
        _put_off, _raised = False, True
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


def leave(code: str | int | None) -> NoReturn:
    """Ends the process as `sys.exit` does, but without taking the interpreter down where a signal has stopped jax.

    A call that an exception ended may be at work still, in a thread of the library's: jax compiles in one, which
    crashes in a third of all cases when the interpreter goes, and looks for TPUs beside one that is waited for.
    """
    if _raised and _alone and "jax" in sys.modules and isinstance(code, int):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # whoever read it has gone
                stream.flush()
        os._exit(code)
    sys.exit(code)


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
    _raise_unless_held(frame)


def _look_again(number: int, frame: FrameType | None) -> None:
    if _put_off:
        _raise_unless_held(frame)


def _raise_unless_held(frame: FrameType | None) -> None:
    global _put_off
    interrupts = _asked.count(signal.SIGINT)
    if _loads(frame) and interrupts <= LOADING_HELD:
        _ask_again()
    elif not _held or interrupts > _held:
        raise_if_asked()
    else:
        _put_off = False  # who holds it asks


def _ask_again() -> None:
    global _put_off
    _put_off = True
    signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)


def _told_of_dropped(what: sys.UnraisableHookArgs) -> None:
    """Python calls this for an exception that went no further than a callback, as of the collection of garbage."""
    if _asked and isinstance(what.exc_value, KeyboardInterrupt | SystemExit):
        _ask_again()
    else:
        _told_of_others(what)


def _loads(frame: FrameType | None) -> bool:
    """Whether a module is being loaded where Python is."""
    while frame is not None and frame.f_code.co_filename != IMPORT_CODE:
        frame = frame.f_back
    return frame is not None
