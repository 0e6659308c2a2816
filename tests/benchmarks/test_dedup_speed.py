"""`make bench`: near-duplicates among a million images, as shares of a limit; images hashed a second."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scalelaw.dedup import hashing, sources

TRAIN, HELD_OUT = 1_000_000, 50_000
SEARCH, BYTES = 300.0, 200.0
"""Limits on two cores: seconds to search 50,000 held-out images among 1e6; bytes of memory a training image."""
HASHED = 800.0
"""Limit: JPEG images decoded and hashed a second and core; 1e6 images on two cores in ten minutes."""


def say(benchmark: Any, **numbers: float) -> None:
    """Prints ratios and the machine's load, and keeps the ratios with the timings."""
    benchmark.extra_info.update(numbers)
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print("\n" + "; ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers.items()) + f" ({load})")


SCRIPT = """
import resource, sys, time
import numpy as np
from scalelaw.dedup import candidates
train, held_out = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
images = rng.integers(0, 2**64, train, dtype=np.uint64)
views = rng.integers(0, 2**64, (34, held_out), dtype=np.uint64)
views[7, :100] = images[:100] ^ np.uint64(0b1011)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
near = candidates.nearest(images, views, 12)
seconds = time.perf_counter() - start
assert set(zip(near.image.tolist(), near.asked.tolist())) >= {(k, k) for k in range(100)}
unit = 1 if sys.platform == "darwin" else 1024
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit, len(near))
"""


def searched(train: int, held_out: int) -> list[float]:
    """Seconds, bytes and candidates of a fresh process."""
    command = [sys.executable, "-c", SCRIPT, str(train), str(held_out)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in out.split()]


@pytest.mark.slow
@pytest.mark.benchmark(group="near-duplicates: 34 views of 50,000 images among 1e6, radius 12")
def test_search(benchmark: Any) -> None:
    """Random hashes; comparing all would be 1.7e12 of them, timed on a part."""
    full = (TRAIN, HELD_OUT) if benchmark.enabled else (20_000, 500)
    seconds, memory, _ = benchmark.pedantic(lambda: searched(*full), rounds=1)
    if benchmark.enabled:
        rng = np.random.default_rng(0)
        images, few = rng.integers(0, 2**64, 1 << 14, dtype=np.uint64), rng.integers(0, 2**64, 1000, dtype=np.uint64)
        start = time.perf_counter()
        for one in few:
            np.flatnonzero(np.bitwise_count(images ^ one) <= 12)
        all_pairs = (time.perf_counter() - start) / (len(images) * len(few)) * TRAIN * HELD_OUT * 34
        say(benchmark, seconds=seconds, share_of_the_limit=seconds / SEARCH, all_pairs_on_one_core_over_ours=all_pairs
            / seconds, memory_over_its_limit=memory / TRAIN / BYTES)  # fmt: skip


@pytest.mark.slow
@pytest.mark.benchmark(group="near-duplicates: JPEG images to thumbnails, one core")
@pytest.mark.parametrize("side", [224, 500])
def test_images_hashed_a_second(benchmark: Any, side: int, tmp_path: Path) -> None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "analysis"))
    import made_images
    from PIL import Image

    rng = np.random.default_rng(0)
    content = [made_images.jpeg(made_images.dead_leaves(rng, side)) for _ in range(8)]
    count = 2048 if benchmark.enabled else 16
    made_images.save(tmp_path / "images", content * (count // 8))
    listing = sources.listing(tmp_path / "images")
    benchmark.pedantic(lambda: hashing.keep(listing, tmp_path / "kept", workers=1), rounds=1)
    if benchmark.enabled:
        start = time.perf_counter()
        for one in content * 8:
            np.asarray(Image.open(io.BytesIO(one)).convert("RGB"))
        whole = 64 / (time.perf_counter() - start)
        speed = count / benchmark.stats.stats.median
        say(benchmark, images_a_second=speed, over_the_limit=speed / HASHED, over_decoding_whole_images=speed / whole)
