"""Programs that wait for their turn: each is started once and then works in alternation with the others."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest


@dataclass
class Timed:
    """A program that reads numbers of steps and answers with the seconds that they took, in lines of JSON.

    Attributes:
        process: the program.
        said: what it complains of.
        ready: what it said when it was ready.
        seconds: of each round.
        peak_bytes: the last it named.
    """

    process: subprocess.Popen[str]
    said: IO[str]
    ready: dict[str, Any] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    peak_bytes: float | None = None

    def ask(self, word: str) -> dict[str, Any]:
        """Its answer to one line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line.

        Raises:
            RuntimeError: with what it complained of, when it ended instead.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            lines = [text for text in self.said.read().splitlines() if text.strip()]
            raise RuntimeError(lines[-1] if lines else f"ended with {self.process.wait()}")
        return dict(json.loads(line))

    def images_per_second(self, images: int) -> tuple[float, float, float]:
        """Median, lowest and highest over the rounds, of so many images each."""
        speeds = images / np.array(self.seconds)
        return float(np.median(speeds)), float(speeds.min()), float(speeds.max())


@contextmanager
def started(command: list[str], **environment: str) -> Iterator[Timed]:
    """Starts one and waits until it is ready; ends it at the end.

    Raises:
        RuntimeError: when it ends by itself, with what it complained of.
    """
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True,
        env={**os.environ, **environment},
    ) as process:  # fmt: skip
        program = Timed(process, said)
        try:
            program.ready = program.answer()
            yield program
        finally:
            process.kill()


def alternate(programs: Mapping[str, Timed], rounds: int, steps: int) -> None:
    """Lets all work in turn, so that whatever else the machine does meets all of them alike; the first round warms."""
    for number in range(rounds + 1):
        for program in programs.values():
            answer = program.ask(str(steps))
            if number:
                program.seconds.append(float(answer["seconds"]))
            program.peak_bytes = answer.get("peak_bytes")


def on_cores(cores: int, cache: Path) -> dict[str, str]:
    """Environment of a program of ours on so many CPU cores, its compiled programs kept in `cache`."""
    flags = "--xla_cpu_multi_thread_eigen=false" if cores == 1 else ""
    return {
        "NPROC": str(cores), "OMP_NUM_THREADS": str(cores), "OPENBLAS_NUM_THREADS": str(cores), "XLA_FLAGS": flags,
        "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip


def only_measured(benchmark: Any) -> None:
    """Skips where nothing is measured: another package's environment or minutes of compiling are no test of ours."""
    if not benchmark.enabled:
        pytest.skip("measured by make bench")
