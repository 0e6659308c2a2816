"""A sweep that trains in milliseconds a run, and the command line as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from scalelaw.runs import UNREPEATABLE, RunTable

TINY = """
[sweep]
name = "tiny"
[data]
source = "hierarchy"
train_images = 256
holdout_images = 128
classes = 4
symbols = 8
levels = 1
rules = 2
patch = 4
noise = 0.1
[model]
variants = ["N0"]
[train]
images = [200, 600]
peak_lr = [0.4, 0.8]
batch_size = 16
seeds = [0, 1]
"""


def repeatable(folder: Path) -> pd.DataFrame:
    """The columns that two trainings of one configuration must share, as text so that every bit counts."""
    frame = RunTable.load(folder).frame.drop(columns=list(UNREPEATABLE))
    return frame.map(repr).sort_values("run_id", ignore_index=True)


def spec(folder: Path, text: str = TINY) -> Path:
    """A spec's file in a folder."""
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def start(*args: Any, **more: Any) -> subprocess.Popen[str]:
    """Starts `scalelaw ARGS`, a terminal's process group of its own, 80 columns wide."""
    with _interrupts_heard():
        return subprocess.Popen(
            [sys.executable, "-m", "scalelaw", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "80"},
            start_new_session=True,
            **more,
        )


@contextmanager
def _interrupts_heard() -> Iterator[None]:
    """What starts in here hears Ctrl-C: what runs the tests in the background ignores it, and its children would too.

    Set before the start, for code between fork and exec may hang in a process that has jax's threads.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def scalelaw(*args: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs `scalelaw ARGS` to its end."""
    process = start(*args, **more)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """Every path below a folder; of a file its bytes and the time of its last change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
