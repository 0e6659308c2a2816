"""`make bench`: what the trace costs a run, as a share of its training steps; at most 1 %."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import rounds

LIMIT = 0.01
SCRIPT = """
import sys, tempfile, time
from pathlib import Path
import jax, numpy as np
from scalelaw import architecture, compute
from scalelaw.sweep import recipes
from scalelaw.train import data, loop, step
from scalelaw.train.data import hierarchy
from scalelaw.train.meter import Meter
from scalelaw.train.schedule import Schedule
from scalelaw.train.trace import Trace

variant, batch, steps = architecture.variant(sys.argv[1]), 64, 640
source = hierarchy.make(
    train_images=32768, classes=16, levels=3, patch=1, rules=(256, 1, 16), zipf_a=(0.5, "uniform", 1.0)
)
rules = recipes.recipe("pretrain")
programs = step.build(variant, source, rules, batch)
order = data.Order(0, source.train_images, steps * batch, batch)
meter = Meter(architecture.size(variant, source.resolution, source.classes).macs_per_image, compute.hardware("cpu"))

def seconds_of(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start

state, rate = programs.start(0), np.float32(0.01)
def train():
    global state, metrics
    for fed in source.feed(order, 0, programs.rows):
        state, metrics = programs.train(state, source.arrays, fed, rate)
    jax.block_until_ready(state)
steps_seconds = min(seconds_of(train) for _ in range(3))

plan = Schedule(order, 0.01, 1, 0, meter)
with tempfile.TemporaryDirectory() as folder:
    def rows():
        training.trace = Trace(Path(folder) / "trace")
        for k in range(plan.trace_rows):
            training._read(training.trace_every * (k + 1), metrics)
        training.trace.flush()
    standing = loop.Standing()
    training = loop._Training(plan, programs, source, rules, None, print, None, state, standing)
    rows()
    rows_seconds = min(seconds_of(rows) for _ in range(5))
print(rows_seconds / steps_seconds, rows_seconds / plan.trace_rows, steps_seconds / steps)
"""


@pytest.mark.slow
@pytest.mark.benchmark(group="trace, share of the training steps")
@pytest.mark.parametrize("variant", ["N0", "N4"])
def test_the_trace_costs_less_than_a_hundredth_of_the_steps(benchmark: Any, variant: str) -> None:
    """Of a run of ten steps a row, 64 rows of them and one file: ten seconds of a demo's runs are longer."""
    rounds.only_measured(benchmark)

    def measure() -> list[float]:
        environment = {**os.environ, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "NPROC": "1"}
        out = subprocess.run(
            [sys.executable, "-c", SCRIPT, variant], env=environment, capture_output=True, text=True, check=True
        ).stdout
        return [float(word) for word in out.split()]

    share, row_seconds, step_seconds = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(share=share, at_most=LIMIT, row_seconds=row_seconds, step_seconds=step_seconds)
    each = f"{1e6 * row_seconds:.0f} us a row, {1e3 * step_seconds:.2f} ms a step"
    print(f"\n{variant}: {share:.2%} of the steps, at most {LIMIT:.0%} ({each})")
