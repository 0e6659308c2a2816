"""`make bench`: images per second that the input pipeline decodes and crops, beside what a model takes."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

COUNT, SIZE = 192, (500, 375)  # width and height as most of ImageNet's
CHIP, UTILISATION = "tpu-v4", 0.36

SCRIPT = """
import resource, sys, time
import jax, jax.numpy as jnp
from scalelaw import architecture, compute
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.facts import with_digest
from scalelaw.train import data
from scalelaw.train.data import Order

path, threads, batch, steps = sys.argv[1], int(sys.argv[2]), 64, 12
config = with_digest(DataSection(source="folder", path=path, decode_threads=threads))
source = data.load(config)
order = Order(0, source.train_images, (steps + 3) * batch, batch)
best = 0.0
for repeat in range(2):
    batches = source.feed(order, 0, slice(0, batch))
    for _ in range(3):  # the first two are decoded ahead
        next(batches)
    start, cpu = time.perf_counter(), time.process_time()
    count = sum(len(fed.weights) for fed in batches)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    best = max(best, count / seconds)
a = jnp.ones((1024, 1024))
product = jax.jit(lambda a: a @ a)
product(a).block_until_ready()
matrix = 0.0
for repeat in range(5):
    start = time.perf_counter()
    product(a).block_until_ready()
    matrix = max(matrix, 2 * 1024**3 / (time.perf_counter() - start))
flop = compute.train_flop(architecture.size(architecture.variant("F0"), 224, 1000).macs_per_image, 1)
print(best, cpu / count, matrix / flop, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """A folder of JPEGs with the detail, and so the bytes, of photographs; and their mean size in bytes."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8))
        pixels = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), float) + rng.normal(
            0, 14, (SIZE[1], SIZE[0], 3)
        )
        out = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=92)
        path = root / f"class{number % 4}" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(out.getvalue())
    return str(root), float(np.mean([file.stat().st_size for file in Path(root).rglob("*.jpg")]))


@pytest.mark.slow
@pytest.mark.benchmark(group="input, images/s")
@pytest.mark.parametrize("threads", [1, 2])
def test_images_per_second(benchmark: Any, photos: tuple[str, float], threads: int) -> None:
    from scalelaw import architecture, compute

    place, size = photos

    def measure() -> list[float]:
        command = [sys.executable, "-c", SCRIPT, place, str(threads)]
        out = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=True).stdout
        return [float(word) for word in out.split()]

    speed, cpu_seconds, bound, memory = benchmark.pedantic(measure, rounds=1)
    flop = compute.train_flop(architecture.size(architecture.variant("F0"), 224, 1000).macs_per_image, 1)
    chip = UTILISATION * (compute.hardware(CHIP).peak_flop_per_second or 0) / flop
    benchmark.extra_info.update(images_per_second=speed, cpu_milliseconds=1e3 * cpu_seconds, peak_memory_mib=memory)
    print(
        f"\n{threads} threads, JPEGs of {size / 1e3:.0f} kB to 224 x 224: {speed:,.0f} images/s, "
        f"{1e3 * cpu_seconds:.2f} ms of a core each, {memory:,.0f} MiB\n"
        f"F0 at 224 takes at most {bound:,.1f} images/s here (at the full matrix rate), {chip:,.0f} on a {CHIP} at "
        f"{UTILISATION:.0%}, for which {chip * cpu_seconds:.1f} such cores decode"
    )
