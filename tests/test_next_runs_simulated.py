"""What a plan for the loss expects at a known truth is what simulated means over forms err by."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import designs
from designs import PILOT, TARGET, World

from scalelaw.plan.design.estimated import FORMS, Estimated, Ground
from scalelaw.plan.design.exchange import with_counts
from scalelaw.plan.design.information import Scales
from scalelaw.plan.design.worlds import Worlds

TRUTHS = [
    (World(0.5, 0.01), 0),
    (World(0.5, 0.01, size_effect=0.01), 0),
    (World(0.5, 0.01, "interaction"), 1),
    (World(0.5, 0.01, "broken"), FORMS - 2),  # a break of size at the largest of the pilot's
]
"""Worlds, and numbers of their forms."""
ONE = {(10, 6): 1}
MANY = {(3, 0): 36, (3, 1): 31, (3, 6): 12, (6, 1): 7, (10, 0): 6, (11, 0): 1}
LONG = {(0, 0): 40, (0, 3): 14, (4, 6): 4, (6, 1): 13, (9, 3): 1, (9, 5): 1, (10, 0): 3}
"""Runs at sizes and lengths in factors of 2: a large one, and two designs of many."""


def expected(world: World, form: int, cells, counts) -> float:
    """Root mean square error, where the departure is as large as at the target's best size."""
    alpha, beta = designs.TOTAL * (1 - world.exponent), designs.TOTAL * world.exponent
    excess = designs.LOSS - designs.FLOOR
    terms = np.log([designs.FLOOR, excess * beta / designs.TOTAL, excess * alpha / designs.TOTAL])
    surface = Worlds(np.array([[*terms, alpha, beta]]), (float(designs.MIDDLE[0]), float(designs.MIDDLE[1])))
    scales = Scales(np.array([world.noise]), np.array([world.size_effect]), np.zeros(1))
    ground = Ground.of(surface, scales, PILOT, cells, designs.sizes_of(cells), TARGET)
    told = Estimated.of(ground, PILOT, designs.sizes_of(PILOT), surface.log_loss(PILOT)[0])
    factors = np.zeros_like(told.factors)
    if form:
        best = surface.best(TARGET)
        off = world.log_loss(best[0])[0] - surface.log_loss(best)[0, 0]
        factors[0, form - 1] = off / ground.answer[0, 4 + form]
    chance, departure = with_counts(replace(told, factors=factors), counts).errors()
    return float(np.sqrt(chance[form] + departure[form]))


@pytest.mark.parametrize("runs", [ONE, MANY, LONG], ids=["one", "many", "long"])
@pytest.mark.parametrize(("world", "form"), TRUTHS, ids=[str(world) for world, _ in TRUTHS])
def test_expected_errors_are_those_of_simulated_means_over_forms(world, form, runs):
    """To a quarter: of 200 pilots an error is known to a twentieth, and the surfaces are curved."""
    cells, counts = designs.STEP * np.array(list(runs), float).T, np.array(list(runs.values()))
    y, effects = designs.pilots(world, 200, 5)
    seen = designs.seen(world, y, effects, cells, np.tile(counts, (200, 1)), np.random.default_rng(2))
    simulated = designs.rms(designs.lowest_loss(world, seen, designs.noise_of(y))[0])
    assert expected(world, form, cells, counts) / simulated == pytest.approx(1, abs=0.25)
