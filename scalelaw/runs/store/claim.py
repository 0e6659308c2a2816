"""A claim on a run in an object store, where there are no locks: an object that its holder writes again and again.

What it promises, and what not. A holder rewrites the object in good time. Whoever wants a held run watches it: when it
has not moved for 60 seconds of the watcher's own steady clock, the holder is taken for dead; one that ran on this very
machine and does so no longer is known to be. No clocks of two machines are compared, so wrong clocks do no harm. To
take a run is to write the object with a token of one's own, wait `SETTLE_SECONDS`, and read it back: of several takers
the last to write has it.

This is no lock. Two may hold a run at once when one of them is stopped for longer than the settling time between its
look and its write, or for longer than the expiry time while it trains (a frozen machine, a network that is away): it
is then alive but taken for dead. It sees a token that is not its own at its next beat, and ends. Until then both train
the run. That costs compute and no point: training is deterministic, so both come to the same row up to the columns
that always differ, checkpoints never mix (each is one object with a name of its own), and the first row that is there
stays.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from scalelaw.runs import claims
from scalelaw.runs.claims import Claim, Watch
from scalelaw.runs.lease import LONG_SILENT_SECONDS
from scalelaw.runs.store.place import Place, StoreError

BEATS = 6  # in the time after which a silent claim may be ended; each is two requests
SETTLE_SECONDS = 1.0


def name_of(run_id: str) -> str:
    """The claim's object."""
    return f"{run_id}/lease.json"


def read(place: Place, run_id: str) -> Claim | None:
    """The claim that stands on a run; what is no claim counts as none."""
    content = place.read(name_of(run_id))
    if content is None:
        return None
    try:
        facts = json.loads(content)
        holder = claims.Place(**facts["place"])
        return Claim(str(facts["token"]), holder, float(facts["seconds"]), int(facts["beat_ns"]))
    except (ValueError, KeyError, TypeError):
        return None


def is_held(place: Place, run_id: str, watch: Watch | None = None) -> bool:
    """Whether a process holds the run, as far as can be told; without a watch, whether it did in the last minutes."""
    claim = read(place, run_id)
    if claim is None or claim.is_dead:
        return False
    if watch is None:
        return abs(time.time() - claim.beat_ns / 1e9) < max(LONG_SILENT_SECONDS, claim.seconds)
    return watch.look(Path(run_id), claim) != "silent"


def must_watch(place: Place, run_id: str, watch: Watch) -> Claim | None:
    """The claim if only time will tell whether its holder lives: it was not seen to move yet."""
    claim = read(place, run_id)
    if claim is None or claim.is_dead:
        return None
    return claim if watch.look(Path(run_id), claim) == "new" else None


def clear(place: Place, run_id: str, watch: Watch) -> None:
    """Ends a claim that stands though its process is dead, or was seen silent."""
    claim = read(place, run_id)
    if claim is not None and (claim.is_dead or watch.look(Path(run_id), claim) == "silent"):
        place.remove(name_of(run_id))


def take(place: Place, run_id: str, watch: Watch, act: Callable[[], None] = lambda: None) -> Holder | None:
    """Claims a run for this process; None when another's claim stands, or another was later to write one.

    Args:
        watch: what this process has seen of others' claims; those that it has seen silent are ended.
        act: what to do between writing and reading back.

    Raises:
        StoreError: when the store cannot be reached.
    """
    if is_held(place, run_id, watch):
        return None
    holder = Holder(place, run_id)
    holder.write()
    written = time.monotonic()
    holder.start()  # what `act` brings may take longer than silence is borne
    try:
        act()
        time.sleep(max(0.0, SETTLE_SECONDS - (time.monotonic() - written)))
        standing = read(place, run_id)
    except BaseException:
        holder.release()
        raise
    if standing is None or standing.token != holder.token:
        holder.release()
        return None
    return holder


class Holder:
    """A run claimed by this process, the claim kept alive by a thread until it is released.

    Attributes:
        lost: whether another has the run now.
        beside: what to do at every beat.
        when_lost: whom to tell.
    """

    def __init__(self, place: Place, run_id: str) -> None:
        self.place, self.run_id, self.token, self.seconds = place, run_id, uuid4().hex, claims.expiry()
        self.lost = False
        self.beside: Callable[[], None] = lambda: None
        self.when_lost: Callable[[], None] = lambda: None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beats, daemon=True, name=f"claim-{run_id}")

    def write(self) -> None:
        """Writes the object once more."""
        facts: dict[str, Any] = {"token": self.token, "place": asdict(claims.here()), "seconds": self.seconds,
                                 "beat_ns": time.time_ns()}  # fmt: skip
        self.place.write(name_of(self.run_id), json.dumps(facts).encode())

    def start(self) -> None:
        """Begins to keep it alive."""
        self._thread.start()

    def _beats(self) -> None:
        while not self._over.wait(self.seconds / BEATS):
            with suppress(StoreError):  # the next beat tries again
                standing = read(self.place, self.run_id)
                if standing is not None and standing.token != self.token:
                    self.lost = True
                    self.when_lost()
                    return
                self.write()
                self.beside()

    def release(self) -> None:
        """Ends it, so that another may take the run at once."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        with suppress(StoreError):  # it expires by itself
            standing = read(self.place, self.run_id)
            if standing is not None and standing.token == self.token:
                self.place.remove(name_of(self.run_id))
