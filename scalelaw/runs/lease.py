"""A lease on a run: held by one process at a time, on one machine or many, gone soon after that process is.

Two things make it. The operating system's lock on the file `lease` is exact on one machine, and ends with its holder,
however that dies; on a folder that machines share it may be each machine's own, or missing. A claim (`claims`) is seen
by all machines. It ends with its holder, or at once when that is found dead on this machine, or when its heartbeat has
not moved for 60 seconds, as watched from another. SCALELAW_LOCKS=off leaves the lock out, where locks hang.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scalelaw.errors import UserError
from scalelaw.runs import claims, files
from scalelaw.runs.locks import is_locked, lock, wanted

BEATS = 12  # in the time after which a silent claim may be ended
LONG_SILENT_SECONDS = 600.0
"""For those who look once and cannot watch, by the time of day: machines' clocks may differ by less than this."""


class LeaseLost(Exception):
    """The run is another process's now, or its folder is gone: what this one has of it must not be put in place."""


class Lease:
    """A run held by this process, its heartbeat a thread, so that a process that is stopped has none."""

    def __init__(self, run: Path, claim: claims.Claim) -> None:
        self.run, self.claim = run, claim
        self._beaten = _clock()
        self._lost, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beats, daemon=True)
        self._thread.start()

    @property
    def aside(self) -> Path:
        """Where files are written before they are renamed to their places; gone with the lease."""
        return self.run / claims.HELD / self.claim.token

    def check(self) -> None:
        """Makes sure that the run is still this process's; costs nothing while the last beat is young.

        Raises:
            LeaseLost: when it is not.
        """
        late = _clock() - self._beaten > 2 * self.claim.seconds / BEATS  # the thread was stopped too
        if self._lost.is_set() or (late and not self._beat()):
            raise LeaseLost(f"{self.run.name}: its lease was lost; another process has taken the run over, or its "
                            "folder was removed")  # fmt: skip

    def write(self, path: Path, content: Callable[[Path], object]) -> None:
        """`files.write_atomically` of a file in the run's folder, which happens only while the lease is held.

        Raises:
            LeaseLost: when it is not; then nothing has changed.
            UserError: when the file cannot be written.
        """
        self.check()
        try:
            files.write_atomically(path, content, aside=self.aside)
        except UserError:
            if not self._beat():
                self.check()
            raise

    def lose(self) -> None:
        """Says that another process has the run now, for whoever hears of it elsewhere than in its folder."""
        self._lost.set()

    def _beat(self) -> bool:
        began = _clock()
        if not claims.beat(self.run, self.claim.token):
            self._lost.set()
            return False
        self._beaten = began
        return True

    def _beats(self) -> None:
        while not self._over.wait(self.claim.seconds / BEATS) and self._beat():
            pass

    def release(self) -> None:
        """Ends it."""
        self._over.set()
        claims.end(self.run, self.claim.token)
        self._thread.join()


@contextmanager
def lease(path: Path, watch: claims.Watch | None = None, *, locks: bool | None = None) -> Iterator[Lease | None]:
    """Yields the lease whose lock is the file at `path`, in the run's folder; None when another process holds it.

    Args:
        watch: what this process has seen of other machines' claims; those that it has seen silent are ended.
        locks: whether to lock the file; None takes SCALELAW_LOCKS.

    Raises:
        UserError: when the folder cannot be written.
    """
    with lock(path, wanted() if locks is None else locks) as free:
        held = _claimed(path.parent, watch) if free else None
        try:
            yield held
        finally:
            if held is not None:
                held.release()


def _claimed(run: Path, watch: claims.Watch | None) -> Lease | None:
    standing = claims.read(run)
    if standing is not None:
        over = standing.is_dead or (watch is not None and watch.look(run, standing) == "silent")
        if not over:
            return None
        claims.end(run, standing.token)
    claim = claims.stake(run)
    return None if claim is None else Lease(run, claim)


def is_held(path: Path, watch: claims.Watch | None = None, *, locks: bool | None = None) -> bool:
    """Whether a process holds the lease at `path`, of another machine: as far as can be told.

    Args:
        watch: what this process has seen of other machines' claims. Without it one look must do: such a claim counts
            unless its last beat is ten minutes old.
    """
    claim = claims.read(path.parent)
    if claim is None or claim.is_dead:
        return False
    if (wanted() if locks is None else locks) and is_locked(path):
        return True
    if watch is None:
        return abs(time.time() - claim.beat_ns / 1e9) < max(LONG_SILENT_SECONDS, claim.seconds)
    return watch.look(path.parent, claim) != "silent"


def clear(path: Path, watch: claims.Watch) -> None:
    """Ends a claim that stands at `path` though its process is dead, or was seen silent."""
    if claims.read(path.parent) is not None:
        with lease(path, watch):
            pass


def must_watch(path: Path, watch: claims.Watch) -> claims.Claim | None:
    """The claim at `path` if only time will tell whether its holder lives: of another machine, not yet seen to move."""
    claim = claims.read(path.parent)
    if claim is None or claim.is_dead or (wanted() and is_locked(path)):
        return None
    return claim if watch.look(path.parent, claim) == "new" else None


def _clock() -> float:
    """Seconds that go on while the machine sleeps, where there is such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
