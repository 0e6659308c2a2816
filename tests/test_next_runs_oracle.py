"""The oracle's linear errors against simulated fits, and what an oracle must do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import designs
import next_runs_at_once as at_once
import next_runs_oracle as oracle

SPEND = 1 / 16


@pytest.mark.parametrize(
    "world",
    [designs.World(0.5, 0.003), designs.World(0.5, 0.003, size_effect=0.005), designs.World(0.3, 0.003, "interaction")],
    ids=str,
)
def test_errors_are_those_of_simulated_fits(world):
    truth = oracle.Truth.of(world)
    y, effects = designs.pilots(world, 600, 0)
    points, counts = designs.equal_compute(3, 5, 4)(truth.theta, SPEND)
    off = designs.outcome(world, y, effects, points, np.repeat(counts, 600, axis=0), np.random.default_rng(1))[:, 1]
    assert oracle.laid(truth, "3 budgets x 5 sizes, x4", SPEND) == pytest.approx(designs.rms(off), rel=0.12)


def test_to_know_more_is_to_err_less():
    three = [oracle.Truth.of(designs.World(0.5, 0.01, kind)) for kind in oracle.KINDS]
    goal = np.array([oracle.laid(truth, "one run", SPEND) for truth in three])
    of_three = oracle.best(three, SPEND, oracle.largest(goal)) / goal
    assert of_three.max() <= 1 + 1e-3  # one run is among the designs
    alone = [oracle.best([truth], SPEND, oracle.largest(goal[[k]]))[0] / goal[k] for k, truth in enumerate(three)]
    assert max(alone) < 0.9
    assert (np.array(alone) <= of_three + 1e-3).all()


def test_the_written_table_is_that_of_the_record():
    here = Path(oracle.__file__).parent
    records, bound = (json.loads((here / f"next_runs_{name}.json").read_text(encoding="utf-8"))
                      for name in ("oracle", "at_once"))  # fmt: skip
    written = f"{oracle.table(records['worlds'])}\n{at_once.table(bound)}"
    assert f"{written}\n## " in (here / "next_runs.md").read_text(encoding="utf-8")
    assert len(records["worlds"]) == len(designs.WORLDS)


def test_what_is_saved_at_once_is_bounded_by_every_weighting():
    """The best design for a weighting is one for which no other weighting's best is better by that weighting."""
    truths = [oracle.Truth.of(designs.World(0.5, 0.01, kind)) for kind in at_once.FORMS]
    saved = [at_once.Saved(truth) for truth in truths]
    weightings = [np.array(one) for one in ((1, 0, 0), (0, 1, 0), (0.3, 0.5, 0.2))]
    found = np.array([np.log(oracle.best(truths, SPEND, at_once.weighted(saved, one))) for one in weightings])
    logs = np.array([[float(of(error)) for of, error in zip(saved, errors, strict=True)] for errors in found])
    for one, own in zip(weightings, logs, strict=True):
        assert own @ one >= (logs @ one).max() - 0.02  # a search: nearly the best
    mixed = logs[2] - np.log(SPEND)
    assert mixed.min() <= mixed @ weightings[2] < np.log(1.3)
    one_run = np.log([oracle.laid(truth, "one run", SPEND) for truth in truths])
    assert [float(of(error)) for of, error in zip(saved, one_run, strict=True)] == pytest.approx([np.log(SPEND)] * 3)
