"""What stands on a node of the cluster: it runs `scalelaw run` as a process of its own and hands on its events.

This module is loaded by Ray's workers, so it imports little, and Ray itself only where it must.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ENDED, UNSEEN = "ended", "unseen"
LAST_LINES = 12
RAYS_OWN = ("RAY_", "OMP_NUM_THREADS", "PYTHONBREAKPOINT")
"""Beginnings of what Ray adds to its workers' environment; the threads are ours to set."""

END_WITH_PARENT = (
    "import ctypes, os, signal, sys\n"
    "try:\n"
    "    ctypes.CDLL(None).prctl(1, signal.SIGTERM)\n"  # PR_SET_PDEATHSIG, which lasts through exec
    "except AttributeError:\n"
    "    pass\n"  # not Linux
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""Replaced by the command itself: asks for SIGTERM when its parent dies, for Ray does not end what a killed worker
started (ray-project/ray issue 42861). Told so, a run writes its checkpoint and gives its lease back."""


@dataclass(frozen=True)
class Work:
    """One call of the command on a node.

    Attributes:
        arguments: of the node's own Python.
        folder: where it is called.
        sees: a file that the node must see there, None where files are not on a file system.
        environment: what is set besides the node's own.
    """

    arguments: tuple[str, ...]
    folder: str
    sees: str | None
    environment: Mapping[str, str]


class Station:
    """One process of the command at a time; an actor, its methods called side by side.

    Events are kept until the caller says that it has them, so that a broken connection loses none.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._events: list[dict[str, Any]] = []
        self._dropped = 0
        self._told = threading.Condition()

    def free_address(self) -> str:
        """HOST:PORT of this node on which nobody listens now."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def start(self, work: Work) -> None:
        """Starts the command; what comes of it, `events` tells."""
        seen = work.sees is None or os.path.exists(os.path.join(work.folder, work.sees))
        folder = work.folder if os.path.isdir(work.folder) else None
        if not seen:
            self._tell({"event": UNSEEN, "host": socket.gethostname(), "path": str(work.sees)})
            return
        kept = {name: value for name, value in os.environ.items() if not name.startswith(RAYS_OWN)}
        command = [sys.executable, "-c", END_WITH_PARENT, *work.arguments]
        started = threading.Event()
        # The thread that starts a process is the parent whose death is told: it must last as long as the process.
        threading.Thread(
            target=self._follow, args=(command, folder, {**kept, **work.environment}, started), daemon=True
        ).start()
        started.wait()

    def _follow(
        self, command: Sequence[str], folder: str | None, environment: Mapping[str, str], started: threading.Event
    ) -> None:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
            try:
                process = self._process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True, cwd=folder,
                    env=environment,
                )  # fmt: skip
            except OSError as error:
                self._tell({"event": ENDED, "code": 1, "said": [f"cannot start {command[0]}: {error.strerror}"]})
                return
            finally:
                started.set()
            assert process.stdout is not None
            for line in process.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # a library's chatter
                self._tell(event)
            code = process.wait()
            errors.seek(0)
            said = [line.rstrip() for line in errors if line.strip()][-LAST_LINES:]
        self._tell({"event": ENDED, "code": code, "said": said})

    def _tell(self, event: dict[str, Any]) -> None:
        with self._told:
            self._events.append(event)
            self._told.notify_all()

    def events(self, seen: int, patience_seconds: float) -> list[dict[str, Any]]:
        """The events after the first `seen` ones, waiting so long for one; those before are forgotten."""
        with self._told:
            del self._events[: max(0, seen - self._dropped)]
            self._dropped = max(seen, self._dropped)
            self._told.wait_for(lambda: self._events, patience_seconds)
            return list(self._events)

    def terminate(self) -> None:
        """Asks the process to end, with a checkpoint."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
