"""Basins of loss in the learning rate: lopsided ones, and optima that only the grid tells."""

import numpy as np
import pytest
from rate_sweeps import errors, power, sweep

from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.learning_rate.basin import Basin, optimum, phi, phi_by_skew


def test_the_basins_shape_is_its_formula():
    u, k = np.linspace(-1.4, 1.4, 29), np.array([[-2.3], [-0.4], [0.7], [2.4]])
    np.testing.assert_allclose(phi(u, k), 2 * (np.exp(k * u) - 1 - k * u) / k**2, atol=1e-12)
    np.testing.assert_allclose(phi(u, 0.0), u * u, atol=1e-15)
    np.testing.assert_allclose(phi_by_skew(u, k), (phi(u, k + 1e-6) - phi(u, k - 1e-6)) / 2e-6, atol=1e-7)


def test_an_interval_is_open_where_it_leaves_the_tested_rates_far_behind():
    x = np.log([0.6, 1.2, 2.4])
    basin = Basin(x, np.array([0.08, 0.0, 0.12]), np.ones(3), None)
    found = [optimum(basin, noise, 20.0, 0.95) for noise in np.linspace(0.001, 0.06, 400)]
    low, high = (np.array([getattr(one, end) for one in found], float) for end in ("low", "high"))
    assert np.isfinite(low[0])
    assert np.isfinite(high[0])
    assert np.nanmin(low) >= x[0] - np.log(4)
    assert np.nanmax(high) <= x[-1] + np.log(4)
    assert np.isnan(low[-1])
    assert np.isnan(high[-1])
    assert (np.isnan(low) & np.isfinite(high)).any()  # one end is open before the other
    assert (np.diff(np.isnan(low).astype(int)) >= 0).all()  # and stays so with more noise


def test_a_lopsided_basin_is_chosen_and_its_optima_are_exact_without_noise():
    found = optimal_learning_rates(sweep(noise=0.0, skew=0.8))
    assert found.shape.curve == "lopsided"
    assert found.shape.skew == pytest.approx(0.8, abs=1e-9)
    assert found.shape.gain > 0.99
    np.testing.assert_allclose(errors(found)[2], 0, atol=1e-9)
    parabola = optimal_learning_rates(sweep(noise=0.0, skew=0.8), curve="parabola")
    assert np.abs(errors(parabola)[2]).max() > 0.03


@pytest.mark.parametrize(("skew", "curve"), [(0.0, "parabola"), (0.8, "lopsided")])
def test_cell_intervals_cover_for_both_curves(skew, curve):
    chosen, hits = [], []
    for seed in range(12):
        found = optimal_learning_rates(sweep(seed=seed, skew=skew))
        chosen.append(found.shape.curve)
        inside, truth, _ = errors(found)
        low, high = (np.log(inside[end].astype(float).to_numpy()) for end in ("low", "high"))
        hits.append(~(low > truth) & ~(high < truth))
    assert chosen.count(curve) >= 10
    assert np.mean(np.concatenate(hits)) >= 0.92


def test_the_lopsided_trend_is_recovered_and_covered():
    slopes, covered = [], []
    for seed in range(12):
        trend = optimal_learning_rates(sweep(seed=seed, skew=0.8)).trend
        slopes.append([trend.params["b"], trend.params["c"]])
        ends = zip([trend.interval["b"], trend.interval["c"]], (-0.1, -0.15), strict=True)
        covered += [low <= truth <= high for (low, high), truth in ends]
    np.testing.assert_allclose(np.mean(slopes, axis=0), (-0.1, -0.15), atol=0.01)
    assert np.mean(covered) >= 0.8


def test_grid_optima_are_known_to_half_a_step():
    found = optimal_learning_rates(sweep(noise=0.0), curve="grid")
    inside, _, error = errors(found)
    assert set(inside["kind"]) == {"grid"}
    np.testing.assert_allclose(inside["high"] / inside["low"], 2.0)
    assert np.abs(error).max() <= np.log(2) / 2 + 1e-9
    # the truth lies within all limits, and so does the trend
    predicted = np.log(found.predict(inside["macs_per_image"], inside["epochs"]).mid)
    assert np.all(predicted > np.log(inside["low"].astype(float)) - 0.02)
    assert np.all(predicted < np.log(inside["high"].astype(float)) + 0.02)
    assert "half a step" in found.trend.note


def test_the_trend_of_grid_optima_is_recovered_and_covered():
    slopes, covered = [], []
    for seed in range(12):
        steep = sweep(lambda k, epochs: power(k, epochs, -0.3, -0.4), seed=seed, noise=0.002)
        trend = optimal_learning_rates(steep, curve="grid").trend
        slopes.append([trend.params["b"], trend.params["c"]])
        ends = zip([trend.interval["b"], trend.interval["c"]], (-0.3, -0.4), strict=True)
        covered += [low <= truth <= high for (low, high), truth in ends]
    np.testing.assert_allclose(np.mean(slopes, axis=0), (-0.3, -0.4), atol=0.04)
    assert np.mean(covered) >= 0.8
