"""Surfaces that level off at the loss of guessing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import scalelaw as sl
from scalelaw.fitting import fit
from scalelaw.frontiers.chance import TURN, chance_loss, classes_of
from scalelaw.frontiers.surface import fit_surface
from scalelaw.laws import ChanceSizeData, SizeData

DEMO = Path(__file__).resolve().parents[1] / "runs" / "recorded" / "demo"
CHANCE = float(np.log(16))
PLAIN = SizeData(E=0.05, A=60.0, B=500.0, alpha=0.37, beta=0.6)
BENT = ChanceSizeData(E=0.05, A=60.0, B=500.0, alpha=0.37, beta=0.6, L0=CHANCE, p=TURN)
SIZES, IMAGES = (grid.ravel() for grid in np.meshgrid(np.geomspace(2e4, 2e6, 9), np.geomspace(4e3, 4e5, 8)))


def drawn(law, noise=0.01, seed=0):
    return law.at(SIZES, IMAGES) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(SIZES)))


def test_no_loss_is_above_that_of_guessing_and_far_below_it_the_ceiling_is_not_felt():
    tiny, large = BENT.at(np.array(1.0), np.array(1.0)), np.array([1e12, 1e13])
    assert tiny == pytest.approx(CHANCE, rel=1e-6)
    np.testing.assert_allclose(BENT.at(large, large), PLAIN.at(large, large), rtol=1e-6)


@pytest.mark.parametrize("law", [PLAIN, BENT])
def test_a_loss_and_its_sum_are_inverses(law):
    sums = np.geomspace(0.01, 8, 50)
    np.testing.assert_allclose(law.sum_of(law.of_sum(sums)), sums, rtol=1e-9)


def test_no_sum_gives_the_loss_of_guessing():
    assert np.isinf(BENT.sum_of(np.array([CHANCE, 3.0]))).all()


def test_the_best_split_of_a_budget_is_that_of_the_same_law_without_a_ceiling():
    C = np.geomspace(1e9, 1e13, 7)
    np.testing.assert_allclose(BENT.optimal_size(C, 6.0), PLAIN.optimal_size(C, 6.0), rtol=1e-12)
    for budget, best in zip(C, BENT.optimal_size(C, 6.0), strict=True):
        near = best * np.exp(np.linspace(-1, 1, 41))
        assert np.argmin(BENT.at(near, budget / 6 / near)) == 20


def test_a_ceiling_in_the_runs_is_found_and_its_exponent_recovered():
    found = fit_surface(SIZES, IMAGES, drawn(BENT), "all", CHANCE)
    assert found.law is ChanceSizeData
    assert found.estimate("size_exponent") == pytest.approx(BENT.size_exponent, abs=0.02)
    low, high = found.interval("size_exponent")
    assert low < BENT.size_exponent < high
    bare = fit_surface(SIZES, IMAGES, drawn(BENT), "all")
    away = SIZES.max() * 10.0, IMAGES.max() * 10.0
    truth = BENT.at(*map(np.array, away))
    errors = [abs(np.log(float(one.predict(N=away[0], D=away[1]).mid) / truth)) for one in (found, bare)]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("chance", [None, CHANCE, 30.0])
def test_without_a_ceiling_in_the_runs_the_plain_surface_stays(chance):
    assert fit_surface(SIZES, IMAGES, drawn(PLAIN, seed=1), "all", chance).law is SizeData


def test_the_recorded_demo_knows_its_sixteen_classes():
    best = sl.RunTable.load(DEMO).finished().best_over("peak_lr")
    assert classes_of(best) == 16
    assert chance_loss(best) == pytest.approx(CHANCE)
    assert sl.frontier(best).surface.law is ChanceSizeData


def test_classes_are_unknown_where_models_or_their_heads_are():
    best = sl.RunTable.load(DEMO).finished().best_over("peak_lr")
    for change in ({"variant": "mine"}, {"params_body": np.nan}, {"params": best.frame["params"] + 1}):
        assert chance_loss(sl.RunTable.from_frame(best.frame.assign(**change))) is None


def test_a_constant_of_zero_has_an_upper_end_where_the_pinned_fit_says_so():
    """A second method: least squares with E pinned there has risen to Student's t."""
    rng = np.random.default_rng(5)
    N, D = (np.exp(rng.uniform(np.log(grid.min()), np.log(grid.max()), 60)) for grid in (SIZES, IMAGES))
    L = replace(BENT, E=1e-9).at(N, D) * np.exp(0.03 * rng.standard_normal(60))
    held = {"L0": CHANCE, "p": TURN}
    found = fit(ChanceSizeData, N=N, D=D, L=L, fix=held)
    assert found.params["E"] == 0
    assert found.unit.word == "run"
    low, high = found.interval("E")
    assert low == 0
    rise = fit(ChanceSizeData, N=N, D=D, L=L, fix={"E": high, **held}).objective_value / found.objective_value - 1
    assert np.sqrt(rise * found.point.dof) == pytest.approx(stats.t.ppf(0.975, found.point.dof), rel=0.03)
