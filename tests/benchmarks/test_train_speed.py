"""`make bench`: training steps on one CPU core, as a share of the core's measured matrix rate."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

SCRIPT = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
from scalelaw import architecture
from scalelaw.sweep import recipes
from scalelaw.train import data, step
from scalelaw.train.data import hierarchy

variant, batch = architecture.variant(sys.argv[1]), 64
source = hierarchy.make(
    train_images=32768, classes=16, levels=3, patch=1, rules=(256, 1, 16), zipf_a=(0.5, "uniform", 1.0)
)
programs = step.build(variant, source, recipes.recipe("pretrain"), batch)
order = data.Order(0, source.train_images, 60 * batch, batch)
state, rate = programs.start(0), np.float32(0.1)
best = 0.0
for repeat in range(5):
    start = time.perf_counter()
    for fed in source.feed(order, 0, slice(0, batch)):
        state, metrics = programs.train(state, source.arrays, fed, rate)
    jax.block_until_ready(state)
    best = max(best, 60 * batch / (time.perf_counter() - start))
a = jnp.ones((1024, 1024))
product = jax.jit(lambda a: a @ a)
product(a).block_until_ready()
matrix = 0.0
for repeat in range(5):
    start = time.perf_counter()
    product(a).block_until_ready()
    matrix = max(matrix, 2 * 1024**3 / (time.perf_counter() - start))
flop = 6 * architecture.size(variant, source.resolution, source.classes).macs_per_image * best
print(best, flop / matrix, programs.compile_seconds)
"""


@pytest.mark.slow
@pytest.mark.benchmark(group="training, images/s on one core")
@pytest.mark.parametrize("variant", ["N0", "N4"])
def test_images_per_second(benchmark: Any, variant: str) -> None:
    def measure() -> list[float]:
        command = [sys.executable, "-c", SCRIPT, variant]
        environment = {**os.environ, "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OMP_NUM_THREADS": "1"}
        if hasattr(os, "sched_setaffinity"):
            command = ["taskset", "-c", "0", *command]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return [float(word) for word in out.split()]

    speed, share, compiling = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(images_per_second=speed, share_of_matrix_rate=share, compile_seconds=compiling)
    print(f"\n{variant}: {speed:,.0f} images/s, {share:.0%} of the matrix rate, {compiling:.1f} s to compile")
