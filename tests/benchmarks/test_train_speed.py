"""`make bench`: training steps on CPU cores beside timm's, beside the first slice's and beside the matrix rate."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import rounds
from peers import environment

STEPS, FIRST = (str(environment.HERE.parent / name) for name in ("steps.py", "first_slice.py"))
ROOT = environment.HERE.parents[2]
FIRST_SLICE = "984c2bc"  # the commit whose speed small networks are held against
AT_LEAST = {"timm": 1.0, "first slice": 1.5}
COMPILE_SECONDS, CACHED_SECONDS = 10.0, 1.0


def cores_here() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pinned(command: list[str]) -> list[str]:
    """The command on one core, where the system can say so."""
    return ["taskset", "-c", "0", *command] if shutil.which("taskset") else command


def say(benchmark: Any, title: str, programs: dict[str, rounds.Timed], images: int, **numbers: float) -> None:
    """Prints every program's images a second with its range, then the numbers, and keeps all with the timings."""
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "load unknown"
    print(f"\n{title} ({load})")
    for name, program in programs.items():
        median, low, high = program.images_per_second(images)
        held = "" if program.peak_bytes is None else f", peak memory {program.peak_bytes / 2**30:.2f} GiB"
        print(f"  {name}: {median:,.4g} images/s ({low:,.4g} to {high:,.4g}){held}")
        benchmark.extra_info[f"images_per_second, {name}"] = median
    print("  " + "; ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in numbers.items()))
    benchmark.extra_info.update(numbers)


def of_matrix_rate(ours: rounds.Timed, images: int) -> float:
    """Share of the rate of a large matrix product, measured right after, that the step's multiply-adds reach."""
    return ours.ready["flop_per_image"] * ours.images_per_second(images)[0] / ours.ask("matrix")["flop_per_second"]


def first_slice(folder: Path) -> dict[str, str]:
    """Environment in which the package of the first slice is imported."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", FIRST_SLICE, "scalelaw"], capture_output=True)
    if archive.returncode:
        pytest.skip(f"no commit {FIRST_SLICE} here to compare with: {archive.stderr.decode().strip()}")
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.benchmark(group="training steps of F0, 96x96, batch 8, beside timm")
def test_beside_timm(benchmark: Any, tmp_path: Path) -> None:
    """timm without clipping, its fastest, and with; ours does the whole recipe."""
    rounds.only_measured(benchmark)
    batch, settings = 8, ("8", "96", "1000")
    cores = cores_here()
    fixed = ("f0", *settings, "cpu", "float32", "eager")
    try:
        theirs = {f"timm, clipping {word}": environment.command(environment.TIMM, *fixed, word)
                  for word in ("none", "agc")}  # fmt: skip
    except environment.Unavailable as reason:
        pytest.skip(str(reason))
    with ExitStack() as stack:
        ours = stack.enter_context(
            rounds.started([sys.executable, STEPS, "F0", *settings, "float32"], **rounds.on_cores(cores, tmp_path))
        )
        programs = {"ours": ours, **{name: stack.enter_context(rounds.started(command, OMP_NUM_THREADS=str(cores)))
                                     for name, command in theirs.items()}}  # fmt: skip
        benchmark.pedantic(lambda: rounds.alternate(programs, 7, 2), rounds=1)
        speeds = {name: program.images_per_second(2 * batch)[0] for name, program in programs.items()}
        say(benchmark, f"F0 at 96x96, batch {batch}, float32, {cores} cores", programs, 2 * batch,
            ours_over_timm=speeds["ours"] / speeds["timm, clipping none"],
            ours_over_timm_with_clipping=speeds["ours"] / speeds["timm, clipping agc"], at_least=AT_LEAST["timm"],
            share_of_matrix_rate=of_matrix_rate(ours, 2 * batch),
            compile_seconds=ours.ready["compile_seconds"])  # fmt: skip


@pytest.mark.slow
@pytest.mark.benchmark(group="training steps of small networks on one core, beside the first slice")
@pytest.mark.parametrize("batch", [32, 64])
@pytest.mark.parametrize("variant", ["N0", "N1", "N2", "N3", "N4", "N5", "N6", "N7", "N8"])
def test_beside_the_first_slice(benchmark: Any, variant: str, batch: int, tmp_path: Path) -> None:
    """The whole nano family, at both batches that LOG.md recorded for it."""
    rounds.only_measured(benchmark)
    steps = 12800 // batch
    old = first_slice(tmp_path / "first")
    caches = {name: rounds.on_cores(1, tmp_path / name) for name in ("ours", "theirs")}
    command = pinned([sys.executable, STEPS, variant, str(batch), "8", "16", "float32"])
    with ExitStack() as stack:
        ours = stack.enter_context(rounds.started(command, **caches["ours"]))
        first = stack.enter_context(
            rounds.started(pinned([sys.executable, FIRST, variant, str(batch)]), **caches["theirs"], **old)
        )
        programs = {"ours": ours, "first slice": first}
        benchmark.pedantic(lambda: rounds.alternate(programs, 9, steps), rounds=1)
        with rounds.started(command, **caches["ours"]) as again:
            cached = again.ready["compile_seconds"]
        speeds = [program.images_per_second(steps * batch)[0] for program in programs.values()]
        say(benchmark, f"{variant}, batch {batch}, one core", programs, steps * batch,
            ours_over_first_slice=speeds[0] / speeds[1], at_least=AT_LEAST["first slice"],
            share_of_matrix_rate=of_matrix_rate(ours, steps * batch),
            compile_seconds=ours.ready["compile_seconds"], at_most=COMPILE_SECONDS,
            compile_seconds_from_cache=cached, from_cache_at_most=CACHED_SECONDS)  # fmt: skip
