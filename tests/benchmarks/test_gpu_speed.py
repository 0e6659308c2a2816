"""`make bench-gpu`: training steps on a GPU in bfloat16 beside timm's on the same card, and whether scan and vmap pay.

Aims: 1.2 times timm with `torch.compile` and channels-last; F0 at 35 % and F3 at 45 % of the card's measured matrix
rate. Without a GPU the plumbing alone is tried, on the CPU with tiny shapes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest
import rounds
from peers import environment
from test_train_speed import ROOT, STEPS, of_matrix_rate, say

AIMS = {"F0": 0.35, "F3": 0.45}
BATCH = {"F0": 256, "F3": 64}
OVER_TIMM = 1.2
LOOPS = str(environment.HERE.parent / "loops.py")


def backend() -> str:
    """What jax runs on, asked in a process of its own: this one must not take the card's memory."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()


@pytest.fixture(scope="module")
def gpu() -> None:
    found = backend()
    if found != "gpu":
        pytest.skip(f"no GPU here: jax runs on {found or 'nothing'}")


def beside(benchmark: Any, variant: str, batch: int, pixels: int, device: str, way: str, count: int) -> None:
    """Ours beside timm, in turn, on one device."""
    settings = (str(batch), str(pixels), "1000")
    try:
        theirs = environment.command(environment.TIMM, variant.lower(), *settings, device, "bfloat16", way, "none")
    except environment.Unavailable as reason:
        pytest.skip(str(reason))
    steps = 20 if device == "cuda" else 1
    with ExitStack() as stack:
        share = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # both hold their weights on the card at once
        ours = stack.enter_context(rounds.started([sys.executable, STEPS, variant, *settings, "bfloat16"], **share))
        programs = {"ours": ours, f"timm, {way}": stack.enter_context(rounds.started(theirs))}
        benchmark.pedantic(lambda: rounds.alternate(programs, count, steps), rounds=1)
        speeds = [program.images_per_second(steps * batch)[0] for program in programs.values()]
        numbers = {
            "ours_over_timm": speeds[0] / speeds[1],
            "at_least": OVER_TIMM,
            "share_of_matrix_rate": of_matrix_rate(ours, steps * batch),
            "aim": AIMS[variant],
            "compile_seconds": ours.ready["compile_seconds"],
        }
        title = f"{variant} at {pixels}x{pixels}, batch {batch}, bfloat16, {device}"
        say(benchmark, title, programs, steps * batch, **numbers)


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
@pytest.mark.benchmark(group="training steps on a GPU, 224x224, bfloat16, beside timm")
@pytest.mark.parametrize("variant", ["F0", "F3"])
def test_beside_timm_on_a_gpu(benchmark: Any, variant: str) -> None:
    beside(benchmark, variant, BATCH[variant], 224, "cuda", "compile", 7)


def looped(*arguments: str) -> dict[str, float]:
    out = subprocess.run([sys.executable, LOOPS, *arguments], capture_output=True, text=True, check=True).stdout
    return dict(json.loads(out.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.usefixtures("gpu")
@pytest.mark.benchmark(group="several steps a call, and several runs at once, on a GPU")
@pytest.mark.parametrize("variant", ["N0", "N4", "N8"])
def test_scan_and_vmap_on_a_gpu(benchmark: Any, variant: str) -> None:
    found = benchmark.pedantic(lambda: looped(variant, "64", "16", "16"), rounds=1)
    benchmark.extra_info.update(found)
    print(f"\n{variant}: " + "; ".join(f"{name.replace('_', ' ')} {value:,.4g}" for name, value in found.items()))


@pytest.mark.slow
@pytest.mark.benchmark(group="plumbing of the GPU's benchmarks, on the CPU")
def test_plumbing_on_the_cpu(benchmark: Any) -> None:
    rounds.only_measured(benchmark)
    found = looped("N0", "8", "2", "2")
    assert set(found) == {"one_by_one", "scan", "vmap"}
    assert min(found.values()) > 0
    beside(benchmark, "F0", 1, 32, "cpu", "eager", 1)
