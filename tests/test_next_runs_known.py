"""A chooser who knows the truth: what it expects, and its record."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import designs
import next_runs
import next_runs_known
import next_runs_tables
from next_runs_known import Known

SPEND = 1 / 16
CELLS = next_runs.grid_of(SPEND)
WORLDS = [designs.World(0.5, 0.01), designs.World(0.5, 0.01, "broken"), designs.World(0.5, 0.01, size_effect=0.01)]


@pytest.mark.parametrize("world", designs.WORLDS, ids=str)
def test_the_truth_is_the_surface_with_its_departure(world):
    """At the target's best size; a break everywhere, an interaction has another slope than the form's."""
    known, law = Known.of(world, CELLS), next_runs_known.surface(world)
    x = np.concatenate([law.best(designs.TARGET)[0], designs.PILOT, CELLS], axis=1)
    departure = known.told.ground.rows(x)[0, :, 5:] @ known.told.factors[0] * world.noise
    true = world.log_loss(x) - law.log_loss(x)[0]
    assert departure[0] == pytest.approx(true[0], abs=1e-12)
    if world.kind != "interaction":
        assert departure == pytest.approx(true, abs=0.05 * abs(true[0]) + 1e-12)


@pytest.mark.parametrize("world", WORLDS, ids=str)
def test_expected_errors_are_those_of_simulated_means_over_forms(world):
    """Of the chosen design and of one run, to a quarter; simulated are means over forms of curved surfaces."""
    cost = np.exp(CELLS.sum(axis=0) - designs.TARGET)
    one = np.zeros(len(cost), int)
    one[int(np.argmin(abs(np.log(cost / SPEND)) + abs(CELLS[0] - 10 * designs.STEP)))] = 1
    y, effects = designs.pilots(world, 150, 5)
    for counts in (next_runs_known.best(world, SPEND), one):
        runs = designs.seen(world, y, effects, CELLS, np.tile(counts, (150, 1)), np.random.default_rng(2))
        simulated = designs.rms(designs.lowest_loss(world, runs, designs.noise_of(y))[0])
        expected = float(np.sqrt(np.add(*Known.of(world, CELLS).with_counts(counts).errors())[0]))
        assert expected / simulated == pytest.approx(1, abs=0.25)


def test_it_costs_what_it_may_and_tells_more_than_one_run():
    world, cost = designs.World(0.5, 0.01, "broken"), np.exp(CELLS.sum(axis=0) - designs.TARGET)
    known, counts = Known.of(world, CELLS), next_runs_known.best(world, SPEND)
    assert counts @ cost <= SPEND * (1 + 1e-9)
    assert 0 < counts.sum() <= next_runs.MOST_OF_LOSS
    single = known.after(np.flatnonzero(cost <= SPEND * (1 + 1e-9))).min()
    assert np.add(*known.with_counts(counts).errors())[0] < 0.8 * single


def test_the_record_is_what_is_written():
    here = Path(next_runs.__file__).parent
    record = json.loads((here / "next_runs_known.json").read_text(encoding="utf-8"))
    assert (here / "next_runs.md").read_text(encoding="utf-8").endswith(next_runs_known.table(record["worlds"]))
    assert [one["world"] for one in record["worlds"]] == [str(world) for world in designs.WORLDS]
    for one in record["worlds"]:  # who knows the truth saves as much as is asked of who does not
        for name in (*designs.EQUAL, *designs.LARGEST):
            assert next_runs_tables.ratio(one, name, "loss")[0] >= next_runs_tables.ENOUGH
