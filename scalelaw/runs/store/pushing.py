"""While a run trains here, its new checkpoints go to the store, beside the training and without its knowledge."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

from scalelaw.runs import progress
from scalelaw.runs.store import snapshots
from scalelaw.runs.store.claim import Holder
from scalelaw.runs.store.place import Place, StoreError

STATUS = "status.json"
NOTES = (STATUS, progress.NAME)
"""Files in a run's folder by which others see how it fares."""
LOOK_SECONDS = 1.0
PAUSE_SECONDS = 30.0  # after the store refused


class Pusher:
    """Pushes a run's checkpoints as they are committed on disk, from a thread, within its block or until `stop`.

    A block that ends before `stop` was called (a signal) pushes the last one too.

    Args:
        place: the results folder in the store.
        run_id: the run; this process holds its lease.
        folder: the run's on disk.
        holder: of the run; when it loses the run nothing more is pushed.
    """

    def __init__(self, place: Place, run_id: str, folder: Path, holder: Holder) -> None:
        self.place, self.run_id, self.folder, self.holder = place, run_id, folder, holder
        self.step = max((entry["step"] for entry in snapshots.pushed(place, run_id)), default=-1)  # the store's newest
        self._parts: dict[str, tuple[int, int]] = {}  # of the trace: what was pushed, by name
        self._notes: dict[str, tuple[int, int]] = {}
        self._noting, self._noted = threading.Lock(), False
        self._said = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"push-{run_id}")

    def __enter__(self) -> Pusher:
        self._clean()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(push=True)

    def stop(self, *, push: bool) -> None:
        """Ends the thread, having waited for what it writes; `push`: a checkpoint that is newer goes too."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if push:
            self._push()
        self._clean()

    def _clean(self) -> None:
        for staged in self.folder.glob(".push-*"):
            shutil.rmtree(staged, ignore_errors=True)

    def _watch(self) -> None:
        pause = LOOK_SECONDS
        while not self._ended.wait(pause):
            pause = LOOK_SECONDS if self._push() else PAUSE_SECONDS

    def _push(self) -> bool:
        """Pushes the newest checkpoint, if it is newer than the store's. Returns whether the store took it."""
        steps = snapshots.local_steps(self.folder)
        if not steps or steps[-1] <= self.step or self.holder.lost:
            return True
        try:
            staged = snapshots.stage(self.folder, steps[-1])
        except OSError:  # removed under our hands: there is a newer one
            return True
        try:
            snapshots.push(self.place, self.run_id, steps[-1], staged)
            self.step = steps[-1]
            self.push_trace(staged)
            self.push_notes()
        except (StoreError, OSError) as error:
            if not self._said:
                print(f"scalelaw: {error}; training goes on, the checkpoint of step {steps[-1]} is on this machine "
                      "only",
                      file=sys.stderr)  # fmt: skip
            self._said = True
            return False
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        self._said = False
        return True

    def push_trace(self, folder: Path) -> set[str]:
        """Pushes the parts of a trace that the store lacks, for whoever reads along. Returns the names of all."""
        parts = snapshots.trace_parts(folder)
        for part in parts:
            mark = (part.stat().st_mtime_ns, part.stat().st_size)
            if self._parts.get(part.name) != mark:
                self.place.write(f"{self.run_id}/{snapshots.TRACE}/{part.name}", part.read_bytes())
                self._parts[part.name] = mark
        return {part.name for part in parts}

    def push_notes(self, *, last: bool = False) -> None:
        """Pushes what the run says of itself, where it has changed; the last time not how far it is."""
        with self._noting:
            for name in () if self._noted else (STATUS,) if last else NOTES:
                path = self.folder / name
                try:
                    mark, content = (path.stat().st_mtime_ns, path.stat().st_size), path.read_bytes()
                except FileNotFoundError:
                    continue
                if mark != self._notes.get(name):
                    self.place.write(f"{self.run_id}/{name}", content)
                    self._notes[name] = mark
            self._noted = self._noted or last

    def push_end(self) -> None:
        """Pushes what a run leaves behind beside its row: final weights, the whole trace and nothing but it, status."""
        for path in sorted((self.folder / "final").glob("[!.]*")):
            with self.place.writing(f"{self.run_id}/final/{path.name}") as stream, path.open("rb") as file:
                shutil.copyfileobj(file, stream, 1 << 20)
        here = self.push_trace(self.folder)
        there = self.place.listing(f"{self.run_id}/{snapshots.TRACE}")
        for name in there:
            if name.rpartition("/")[2] not in here:
                self.place.remove(name)
        self.push_notes(last=True)
        if self.place.marks([f"{self.run_id}/{progress.NAME}"]):
            self.place.remove(f"{self.run_id}/{progress.NAME}")
