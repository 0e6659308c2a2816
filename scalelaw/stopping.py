"""Requests to stop that no library can swallow.

A signal becomes an exception wherever Python happens to be, which may be inside a library's callback that prints and
drops it. So the request is noted too, and whoever works in steps asks for it between them.
"""

from __future__ import annotations

import signal
from types import FrameType

PREEMPTED = 75

_asked: list[int] = []


def listen() -> None:
    """From now on SIGTERM exits with `PREEMPTED` and SIGINT interrupts, at the latest at the next `raise_if_asked`."""
    _asked.clear()
    signal.signal(signal.SIGTERM, _note)
    if (
        signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    ):  # ignored on purpose, as by nohup and shell background jobs
        signal.signal(signal.SIGINT, _note)


def raise_if_asked() -> None:
    """Raises what the last signal stands for, if there was one."""
    if _asked:
        raise KeyboardInterrupt if _asked[-1] == signal.SIGINT else SystemExit(PREEMPTED)


def _note(number: int, frame: FrameType | None) -> None:
    _asked.append(number)
    raise_if_asked()
