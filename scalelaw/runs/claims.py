"""A claim on a run that every machine can see: a folder that one process can have at a time, and its heartbeat.

A claim is the folder `held/<token>/` in the run's, with a file `beat` that says whose it is and whose time of change
its holder moves on every few seconds. All that is asked of the file system is that renames of folders are atomic:

- made aside, a claim is renamed to `held`, which fails while another's is in there: one of many gets it;
- it ends by the rename of `held/<token>`, which names whom it ends: one of many that try does it, and nobody's else;
- what its holder writes is written within `held/<token>/` and renamed from there to its place, which fails once the
  claim has ended. So a process that was stopped, lost its run meanwhile and wakes up cannot put anything in place.

Clocks of different machines are never compared: whoever waits looks whether the beat moves, by its own clock.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import shutil
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scalelaw.errors import UserError

HELD, BEAT = "held", "beat"
SECONDS_VARIABLE = "SCALELAW_LEASE_SECONDS"
SECONDS = 60.0
_GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, *_GONE)  # the last: whoever got it has cleared away what was aside


@dataclass(frozen=True)
class Place:
    """A process, told from all others of this and of other machines.

    Attributes:
        host: the machine's name, for people.
        boot: of the kernel, anew at every start.
        namespace: in which the process number counts; containers have their own.
        pid: process number.
        started: when it started, in the kernel's ticks, as numbers come again; None where that cannot be read.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str | None


@dataclass(frozen=True)
class Claim:
    """A claim as it stands in the run's folder.

    Attributes:
        token: tells it from every other that there ever was.
        seconds: without a beat, after which it may be ended.
        beat_ns: time of the last beat by the file system's clock; only whether it moves means anything elsewhere.
    """

    token: str
    place: Place
    seconds: float
    beat_ns: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to have ended: it ran here, and runs no longer."""
        mine = here()
        same = (self.place.boot, self.place.namespace) == (mine.boot, mine.namespace)
        return same and _has_ended(self.place)


def expiry() -> float:
    """Seconds without a beat after which a claim may be ended: 60, unless SCALELAW_LEASE_SECONDS says otherwise.

    Raises:
        UserError: when that is not a number of at least 1.
    """
    text = os.environ.get(SECONDS_VARIABLE)
    try:
        seconds = SECONDS if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds < 1e6:
        raise UserError(f"{SECONDS_VARIABLE}={text}: must be a number of seconds, at least 1; unset it for {SECONDS:g}")
    return seconds


def stake(run: Path) -> Claim | None:
    """Claims the run of a folder for this process; None when another's claim stands.

    Raises:
        UserError: when the folder cannot be written.
    """
    claim = Claim(uuid.uuid4().hex, here(), expiry())
    aside = run / f".claim-{claim.token}"
    try:
        os.mkdir(aside)
        os.mkdir(aside / claim.token)
        facts = json.dumps({**asdict(claim.place), "seconds": claim.seconds})
        (aside / claim.token / BEAT).write_text(facts + "\n", encoding="utf-8")
        os.rename(aside, run / HELD)
    except OSError as error:
        there = run.is_dir()
        _remove(aside)
        if error.errno in _TAKEN and there:
            return None
        raise UserError(f"{run}: cannot be written ({os.strerror(error.errno or 0)}); make the folder writable, "
                        "or free the disk") from error  # fmt: skip
    with os.scandir(run) as entries:  # what killed processes left, and what others have prepared in vain
        for left in [entry.path for entry in entries if entry.name.startswith((".claim-", ".gone-"))]:
            _remove(Path(left))
    return claim


def end(run: Path, token: str) -> bool:
    """Ends a claim; returns whether it was this call that did."""
    gone = run / f".gone-{token}"
    try:
        os.rename(run / HELD / token, gone)
    except OSError:
        return False
    _remove(gone)
    with suppress(OSError):
        os.rmdir(run / HELD)
    return True


def read(run: Path) -> Claim | None:
    """The claim that stands on the run of a folder.

    One that a power cut has torn says no longer whose it is: it counts as another machine's, whose silence must be
    watched.
    """
    try:
        tokens = os.listdir(run / HELD)
    except OSError:
        return None
    for token in tokens:
        try:
            # opened, so that a network's cache is asked
            with open(run / HELD / token / BEAT, "rb") as file:
                content, beat_ns = file.read(), os.fstat(file.fileno()).st_mtime_ns
        except OSError:
            continue  # it has just ended
        return _told(token, content, beat_ns)
    return None


_UNKNOWN = Place("an unknown machine", "", "", 0, None)


def _told(token: str, content: bytes, beat_ns: int) -> Claim:
    try:
        facts = json.loads(content)
        return Claim(token, Place(**{name: facts[name] for name in Place.__annotations__}), facts["seconds"], beat_ns)
    except (ValueError, KeyError, TypeError):
        return Claim(token, _UNKNOWN, expiry(), beat_ns)


def beat(run: Path, token: str) -> bool:
    """Moves the heartbeat on. Returns whether the claim still stands, as far as can be told."""
    try:
        os.utime(run / HELD / token / BEAT)
    except OSError as error:
        return error.errno not in _GONE  # a file system that fails for the moment is no loss
    return True


class Watch:
    """When this process last saw each claim move, by a clock of its own that nobody sets."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[tuple[str, int], float, bool]] = {}

    def look(self, run: Path, claim: Claim) -> Literal["new", "moving", "silent"]:
        """Whether the claim's beat has moved since it was first looked at, or not in all the time that it may take."""
        now, mark = time.monotonic(), (claim.token, claim.beat_ns)
        before = self._seen.get(run)
        if before is None or before[0] != mark:
            moved = before is not None and before[0][0] == claim.token
            self._seen[run] = (mark, now, moved)
            return "moving" if moved else "new"
        if now - before[1] >= claim.seconds:
            return "silent"
        return "moving" if before[2] else "new"


@functools.cache
def _machine() -> tuple[str, str, str]:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return socket.gethostname(), boot, os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux
        return socket.gethostname(), f"{socket.gethostname()} {uuid.getnode()}", ""


def here() -> Place:
    """This process."""
    mine = _stat(os.getpid())
    return Place(*_machine(), os.getpid(), None if mine is None else mine[1])


def _stat(pid: int) -> tuple[str, str] | None:
    """State and start of a process of this machine; None where that cannot be read."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return state, rest[18]


def _has_ended(place: Place) -> bool:
    """Whether a process of this machine is no more, or is dead and only not yet waited for."""
    found = _stat(place.pid)
    if found is not None:
        return found[0] in "ZX" or found[1] != place.started
    try:  # no Linux, or another user's
        os.kill(place.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _remove(folder: Path) -> None:
    for _ in range(3):  # its holder may be writing into it at this moment
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
