"""`make bench`: tables and folders of very many runs, as shares of their limits; the same answers at a smaller size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import many_runs
import pytest

RUNS, TRACE_ROWS = 100_000, 100
FOLDERS = 10_000
LOAD_SECONDS, LOAD_BYTES, STATUS_SECONDS = 2.0, 1e9, 2.0
SMALL = 400

LOAD = """
import json, resource, sys, time
from scalelaw.runs import RunTable
start = time.perf_counter()
runs = RunTable.load(sys.argv[1])
load = time.perf_counter() - start
rows = len(runs)
start = time.perf_counter()
chosen = runs.where(runs.variant == "N6").finished()
best = runs.best_over("peak_lr").envelope()
chosen_seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
start = time.perf_counter()
few = chosen.where([k < 10 for k in range(len(chosen))]).traces().to_table(columns=["run_id", "step", "train_loss"])
trace = time.perf_counter() - start
print(json.dumps({"rows": rows, "problems": len(runs.problems), "seconds": load, "peak_bytes": peak,
                  "chosen": len(chosen), "chosen_seconds": chosen_seconds, "best": len(best),
                  "trace_rows": len(few), "trace_seconds": trace}))
"""
STATUS = """
import resource, sys
from scalelaw import cli
try:
    cli.main(["status", sys.argv[1], "--json"])
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(peak, file=sys.stderr)
"""


def timed(script: str, root: Path) -> tuple[dict[str, Any], float, str]:
    """What a fresh process prints, the seconds that it took from its start to its end, and what it complains of."""
    start = time.perf_counter()
    ended = subprocess.run([sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True)
    return json.loads(ended.stdout), time.perf_counter() - start, ended.stderr


@pytest.mark.benchmark(group="the rows of 100,000 runs with 10,000,000 trace rows")
def test_load(benchmark: Any, tmp_path: Path) -> None:
    runs = RUNS if benchmark.enabled else SMALL
    many_runs.made(tmp_path / "many", runs, runs, TRACE_ROWS)
    seconds: list[float] = []

    def load() -> dict[str, Any]:
        answer, _, _ = timed(LOAD, tmp_path / "many")
        seconds.append(answer["seconds"])
        return answer

    found = benchmark.pedantic(load, rounds=3 if benchmark.enabled else 1)
    assert (found["rows"], found["problems"]) == (runs, 0)
    assert found["chosen"] == runs // len(many_runs.MACS)
    assert found["trace_rows"] == 10 * TRACE_ROWS
    if benchmark.enabled:
        say(
            benchmark,
            seconds_over_limit=min(seconds) / LOAD_SECONDS,
            bytes_over_limit=found["peak_bytes"] / LOAD_BYTES,
            seconds_to_choose=found["chosen_seconds"],
            seconds_for_ten_traces=found["trace_seconds"],
        )
        assert min(seconds) < LOAD_SECONDS
        assert found["peak_bytes"] < LOAD_BYTES


@pytest.mark.benchmark(group="status of 10,000 run folders, from the start of the process")
def test_status(benchmark: Any, tmp_path: Path) -> None:
    runs = FOLDERS if benchmark.enabled else SMALL
    done = runs * 9 // 10
    many_runs.made(tmp_path / "many", runs, done, TRACE_ROWS)
    found, _, said = benchmark.pedantic(timed, args=(STATUS, tmp_path / "many"), rounds=3 if benchmark.enabled else 1)
    assert (found["finished"], found["pending"]) == (done, runs - done)
    law = found["law"]
    assert (law["cells_done"], law["cells"]) == (many_runs.CELLS * 9 // 10, many_runs.CELLS)
    assert law["params"]["alpha"] == pytest.approx(0.05, rel=1e-6)
    if benchmark.enabled:
        say(
            benchmark,
            seconds_over_limit=benchmark.stats.stats.min / STATUS_SECONDS,
            peak_bytes=float(said.split()[-1]),
        )
        assert benchmark.stats.stats.min < STATUS_SECONDS


def say(benchmark: Any, **numbers: float) -> None:
    """Prints numbers and the machine's load, and keeps the numbers with the timings."""
    benchmark.extra_info.update(numbers)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print("\n" + "; ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers.items()) + f" ({load})")
