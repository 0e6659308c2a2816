"""A worker as its launcher sees it: a process, the run in flight, how it ended, and what a run may take."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import IO, Protocol

ATTEMPTS = 2  # of a run that takes its worker down with it
ERROR_LINES = 12


@dataclass(frozen=True)
class Limits:
    """What a run may take.

    Attributes:
        attempts: how often it is tried, as long as none gets further than the one before; pre-emptions do not count.
        memory_gb: main memory of a worker, 1e9 bytes; None for any.
    """

    attempts: int = ATTEMPTS
    memory_gb: float | None = None


class Handle(Protocol):
    """What a crew asks of a worker's process, here or elsewhere; as `subprocess.Popen`."""

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(eq=False)
class Process:
    """A running worker: where its errors go, and the run in flight."""

    process: Handle
    core: int | None
    errors: IO[str]
    in_flight: str | None = None
    slot: int = 0  # which share of the machine is its own
    started: int = 0  # runs, in its time
    too_much: str | None = None  # when it was killed for holding more memory than it may: how much

    def how(self, code: int) -> str:
        """How it ended, in words."""
        if self.too_much is not None:
            return f"being killed: {self.too_much}"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def last_lines(self) -> list[str]:
        """The last lines of its standard error; to be asked once, when it has ended."""
        with self.errors:
            self.errors.seek(0)
            return [line.rstrip() for line in self.errors if line.strip()][-ERROR_LINES:]
