"""Our training steps, timed in rounds by whoever starts this; every answer is one line of JSON.

Usage: python steps.py VARIANT BATCH PIXELS CLASSES TYPE, TYPE float32 or bfloat16. The whole step of the recipe
`pretrain`: forward, backward, clipping, decay, momentum, norms for the trace. Images of 8 pixels are those of the
built-in hierarchy, made in the step; others are random ones that lie ready. Reads numbers of steps, or the word matrix.
"""

import dataclasses
import json
import os
import resource
import sys
import time

from scalelaw.train import memory

memory.keep_freed(int(os.environ.get("NPROC", "2")))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from scalelaw import architecture  # noqa: E402
from scalelaw.sweep import recipes  # noqa: E402
from scalelaw.train import data, step  # noqa: E402
from scalelaw.train.data import hierarchy  # noqa: E402
from scalelaw.train.data.source import Indexed  # noqa: E402

ROWS, SIDE = 32768, {"cpu": 2048}  # rows of the training set; of the square matrices multiplied for a device's rate


class Ready(Indexed):
    """Random images that lie in memory."""

    signature = "ready"
    holdout_start = ROWS

    def batch(self, arrays, indices):
        rows = indices % len(arrays["labels"])
        return arrays["images"][rows], arrays["labels"][rows]

    def describe(self):
        return {}


def made(pixels, classes, batch):
    """The built-in images at 8 pixels, random ones at others."""
    if pixels == 8:
        return hierarchy.make(train_images=ROWS, classes=classes, levels=3, patch=1, rules=(256, 1, 16),
                              zipf_a=(0.5, "uniform", 1.0))  # fmt: skip
    rng = np.random.default_rng(0)
    arrays = {"images": jnp.asarray(rng.standard_normal((batch, pixels, pixels, 3)), jnp.float32),
              "labels": jnp.asarray(rng.integers(0, classes, batch), jnp.int32)}  # fmt: skip
    return Ready(classes, pixels, ROWS, batch, arrays)


def matrix_rate(kind):
    """FLOP/s of a large square product, the best of some."""
    side = SIDE.get(jax.default_backend(), 8192)
    product, a = jax.jit(lambda a: a @ a), jnp.ones((side, side), kind)
    product(a).block_until_ready()
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        product(a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def peak_bytes():
    """Most memory held: the allocator's on an accelerator, the process's on a CPU."""
    held = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if held is None:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return held


def main():
    name, kind = sys.argv[1], sys.argv[5]
    batch, pixels, classes = (int(word) for word in sys.argv[2:5])
    variant, source = architecture.variant(name), made(pixels, classes, batch)
    rules = dataclasses.replace(recipes.recipe("pretrain"), precision=kind)
    programs = step.build(variant, source, rules, batch)
    state, rate = programs.start(0), np.float32(1e-3)

    def seconds(steps):
        nonlocal state
        order = data.Order(0, ROWS, steps * batch, batch)
        start = time.perf_counter()
        for fed in source.feed(order, 0, slice(0, batch)):
            state, _ = programs.train(state, source.arrays, fed, rate)
        jax.block_until_ready(state)
        return time.perf_counter() - start

    seconds(2)
    flop = 6 * architecture.size(variant, pixels, classes).macs_per_image
    print(json.dumps({"compile_seconds": programs.compile_seconds, "flop_per_image": flop}), flush=True)
    for line in sys.stdin:
        if line.strip() == "matrix":
            print(json.dumps({"flop_per_second": matrix_rate(kind)}), flush=True)
        else:
            print(json.dumps({"seconds": seconds(int(line)), "peak_bytes": peak_bytes()}), flush=True)


main()
