"""`make bench`: what a second core brings a sweep, as images a second of two workers over those of one."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest
import rounds

from scalelaw.launch import accelerators, local
from scalelaw.runs import ResultsFolder
from scalelaw.sweep import expand, read_spec

AT_LEAST = 1.7
IMAGES, RUNS = 120_000, 8  # long beside what a worker takes to start
ROUNDS = 6  # in turns, the fastest of each counts: what else the machine does only slows down
SPEC = f"""
[sweep]
name = "two-cores"
keep_final = false
[data]
source = "hierarchy"
train_images = 4096
holdout_images = 512
[model]
variants = ["N1"]
[train]
images = {{images}}
peak_lr = 0.4
batch_size = 64
evaluations = 1
seeds = {list(range(RUNS))}
"""


def images_per_second(folder: Path, images: int, workers: int) -> float:
    """Of a whole sweep of runs of one shape, from the first run's start to the last one's end."""
    folder.mkdir()
    (folder / "spec.toml").write_text(SPEC.format(images=images))
    planned = expand(read_spec(folder / "spec.toml"))
    results = ResultsFolder(folder / "out", new=True)
    results.begin({"name": "two-cores", "utilisation": 0.36}, {run.run_id: run.config.to_json() for run in planned})
    moments: list[float] = []

    def emit(event: dict[str, Any]) -> None:
        if event["event"] in ("started", "done"):
            assert event.get("status", "finished") == "finished", event
            moments.append(time.monotonic())

    local.run_all(results, planned, {run.run_id: 1.0 for run in planned}, workers, emit)
    return images * len(planned) / (moments[-1] - moments[0])


@pytest.mark.slow
@pytest.mark.benchmark(group="a sweep on two cores beside one worker")
def test_two_workers_beside_one(benchmark: Any, tmp_path: Path) -> None:
    rounds.only_measured(benchmark)
    if len(accelerators.cores()) < 2:
        pytest.skip("needs two cores")
    images_per_second(tmp_path / "compiles", 64, 2)  # later ones read the compiled step from the cache
    speeds = {1: 0.0, 2: 0.0}

    def measure() -> None:
        for round_, workers in itertools.product(range(ROUNDS), speeds):
            found = images_per_second(tmp_path / f"{round_}-{workers}", IMAGES, workers)
            speeds[workers] = max(speeds[workers], found)

    benchmark.pedantic(measure, rounds=1)
    ratio = speeds[2] / speeds[1]
    print(f"\none worker {speeds[1]:,.0f} images/s, two {speeds[2]:,.0f}: {ratio:.2f} times")
    benchmark.extra_info.update({"one": speeds[1], "two": speeds[2], "ratio": ratio})
    assert ratio >= AT_LEAST
