"""A real run, killed at twenty moments and started again each time, ends as one that nobody disturbed."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tiny_sweep import TINY, scalelaw

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.runs import UNREPEATABLE, RunTable
from scalelaw.train.final import final_weights
from scalelaw.train.trace import UNREPEATABLE as TIMED

IMAGES, BATCH, TRAINING = 180_000, 16, 4096
SPEC = (
    TINY.replace('name = "tiny"', 'name = "tiny"\ncheckpoint_minutes = 0.0025')
    .replace("train_images = 256", f"train_images = {TRAINING}")
    .replace("holdout_images = 128", "holdout_images = 4000")
    .replace("noise = 0.1", "noise = 1.0")
    .replace("images = [200, 600]", f"images = {IMAGES}")
    .replace("[0.4, 0.8]", "0.8")
    .replace("seeds = [0, 1]", "evaluations = 6")
)
WHILE_TRAINING = ("part", "checkpoint", "evaluation", "restore", "status")
AT_THE_END = ("weights", "row", "committed")


def killed(moment: object, folder: Path) -> int:
    """Runs until killed at a moment, or to its end. Returns the exit code."""
    driver = Path(__file__).with_name("kill_driver.py")
    arguments = ["train", folder / "spec.toml", "-o", folder / "out", "--threads", 1]
    process = subprocess.run(
        [sys.executable, driver, str(moment), folder / "log", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    assert process.returncode in (0, -signal.SIGKILL), process.stdout + process.stderr
    return process.returncode


def run_folder(out: Path) -> Path:
    return next(out.glob("*/config.json")).parent


def trace(out: Path) -> pd.DataFrame:
    parts = sorted((run_folder(out) / "trace").iterdir())
    assert all(part.suffix == ".parquet" for part in parts)
    return pd.concat([pq.read_table(part).to_pandas() for part in parts], ignore_index=True).drop(columns=list(TIMED))


def lineage(log: Path) -> np.ndarray:
    """The examples that the final weights have seen, step by step: what was fed after the last resumption counts."""
    rows = np.fromfile(log, np.int32).reshape(-1, BATCH + 1)
    by_step = {int(row[0]): row[1:] for row in rows}
    assert sorted(by_step) == list(range(len(by_step)))
    for first, again in itertools.pairwise(rows):
        assert again[0] <= first[0] + 1, "a step was left out"
    return np.concatenate([by_step[step] for step in range(len(by_step))])[:IMAGES]


@pytest.mark.slow
def test_killed_at_twenty_moments_a_run_ends_as_if_it_had_not_been(tmp_path):
    calm, harried = tmp_path / "calm", tmp_path / "harried"
    for folder in (calm, harried):
        folder.mkdir()
        (folder / "spec.toml").write_text(SPEC)
    answer = scalelaw("train", calm / "spec.toml", "-o", calm / "out", "--threads", 1)
    assert answer.returncode == 0, answer.stderr

    random = np.random.default_rng(7)
    timed = [f"{'+' * (k % 3 > 0)}{seconds:.3f}" for k, seconds in enumerate(random.uniform(0.0, 0.4, 12))]
    moments = [*timed[:3], *(moment for pair in zip(WHILE_TRAINING, timed[3:], strict=False) for moment in pair)]
    moments += [*timed[8:], *AT_THE_END]
    assert len(moments) == 20
    codes = [killed(moment, harried) for moment in moments]
    assert codes == [-signal.SIGKILL] * 20
    assert (run_folder(harried / "out") / "checkpoint").exists()
    assert killed("99", harried) == 0  # the row was there: only the checkpoints are cleared away

    end, calm_end = run_folder(harried / "out"), run_folder(calm / "out")
    assert (end / "final" / "weights.npz").read_bytes() == (calm_end / "final" / "weights.npz").read_bytes()
    assert final_weights(end).keys() == final_weights(calm_end).keys()
    pd.testing.assert_frame_equal(trace(harried / "out"), trace(calm / "out"), check_exact=True)
    rows = [RunTable.load(folder / "out").frame.drop(columns=list(UNREPEATABLE)) for folder in (calm, harried)]
    pd.testing.assert_frame_equal(rows[0].map(repr), rows[1].map(repr))
    assert not (end / "checkpoint").exists()
    assert sorted(path.name for path in end.iterdir()) == sorted(path.name for path in calm_end.iterdir())

    seen = lineage(harried / "log")
    for epoch in range(IMAGES // TRAINING):
        assert Counter(seen[epoch * TRAINING : (epoch + 1) * TRAINING]) == Counter(range(TRAINING))
    assert max(Counter(seen[IMAGES // TRAINING * TRAINING :]).values()) == 1
    assert len(np.fromfile(harried / "log", np.int32)) > (IMAGES // BATCH) * (BATCH + 1), "no step was done twice"
