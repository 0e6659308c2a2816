"""Planned runs need less compute for equal error than equal budgets, and than the largest runs (analysis/)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import designs
import next_runs
import next_runs_tables


def test_fits_without_noise_give_the_truth():
    world = designs.World(0.3, 0.0)
    y, _ = designs.pilots(world, 2, 0)
    found = designs.answers(designs.fitted(designs.PILOT, y, np.ones_like(y)))
    true = world.answers()
    assert found["size"] == pytest.approx(true["size"], abs=0.02)  # the grid of sizes is .017 apart
    assert found["loss"] == pytest.approx(true["loss"], abs=1e-4)
    assert found["exponent"] == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize("spend", [0.02, 0.2])
def test_designs_cost_what_they_may(spend):
    theta = designs.fitted(designs.PILOT, *[np.ones((3, 31)) * designs.World(0.5, 0.0).log_loss(designs.PILOT)] * 2)
    for design in (*designs.EQUAL.values(), *designs.LARGEST.values()):
        laid = design(theta, spend)
        if laid is not None:
            points, counts = laid
            assert counts @ np.exp(points.sum(axis=0) - designs.TARGET) == pytest.approx(np.full(3, spend))


def test_a_ratio_is_that_of_the_curves():
    """Errors that fall as C^-1/2, of which the design has twice the planned ones: four times the compute."""
    ladder = np.geomspace(0.01, 4, 9)
    record = {
        "spends": [0.02, 0.1], "ladder": ladder.tolist(),
        "errors": {
            "planned": {"size": [0.02**-0.5, 0.1**-0.5]},
            "other": {"size": [None, *(2 * ladder[1:] ** -0.5)]},
            "never": {"size": [100.0] * 9},
        },
    }  # fmt: skip
    assert next_runs_tables.ratio(record, "other", "size") == (pytest.approx(4, rel=0.01), False)
    assert next_runs_tables.ratio(record, "never", "size") == (pytest.approx(4 / np.sqrt(0.002), rel=0.01), True)


def test_the_record_says_what_is_claimed_and_is_what_is_written():
    """At least 1.3 in every world, for every question and against every design."""
    here = Path(next_runs.__file__).parent
    record = json.loads((here / "next_runs.json").read_text(encoding="utf-8"))
    worlds = record.pop("worlds")
    assert (here / "next_runs.md").read_text(encoding="utf-8") == next_runs_tables.report(worlds, record)
    assert [one["world"] for one in worlds] == [str(world) for world in designs.WORLDS]
    for want in designs.WANTED:
        for name in (*designs.EQUAL, *designs.LARGEST):
            assert min(next_runs_tables.ratio(one, name, want)[0] for one in worlds) >= 1.3


@pytest.mark.slow
@pytest.mark.parametrize("world", [designs.World(0.5, 0.01), designs.World(0.3, 0.003, "interaction")], ids=str)
def test_planned_runs_save_compute(world):
    record = next_runs.study(world, 16, 1, (1 / 32, 1 / 8))
    for names in (designs.EQUAL, designs.LARGEST):
        assert np.median([next_runs_tables.ratio(record, name, "size")[0] for name in names]) > 1.3
