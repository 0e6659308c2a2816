"""Weights of runs: rows of weight 0, unequal weights, and a run that decides something alone."""

import numpy as np
import pytest

from scalelaw.backtest import choose, hold_out_largest
from scalelaw.fitting import Huber, LeastSquares, LowerEnvelope, fit
from scalelaw.fitting.side_by_side import jackknife
from scalelaw.laws import OffsetPowerLaw, PowerLaw, SizeData

SURFACE = SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)


def surface_runs(seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    N, D = np.repeat(np.geomspace(1e5, 1e7, 8), 3), np.exp(rng.uniform(np.log(1e4), np.log(3e5), 24))
    return {"N": N, "D": D, "L": SURFACE.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(24))}


def with_rows_of_weight_0(runs, count):
    more = {name: np.r_[values, 3 * values[:count]] for name, values in runs.items()}
    return {**more, "weights": np.r_[np.ones(len(runs["L"])), np.zeros(count)]}


@pytest.mark.parametrize("objective", [LeastSquares(), Huber(5e-3)], ids=str)
def test_rows_of_weight_0_change_nothing(objective):
    runs = surface_runs()
    one, other = (fit(SizeData, objective=objective, **some) for some in (runs, with_rows_of_weight_0(runs, 9)))
    assert other.inside == one.inside
    assert [warning.name for warning in other.warnings] == [warning.name for warning in one.warnings]
    for new_run in (False, True):
        a, b = (found.predict(N=2e7, D=5e5, new_run=new_run) for found in (one, other))
        np.testing.assert_allclose([b.low, b.mid, b.high], [a.low, a.mid, a.high], rtol=1e-6)
    for unit in ("run", "size", "wild", "wild-size"):
        a, b = (found.bootstrap(60, unit, starts=1) for found in (one, other))
        assert (a.units, a.stderr) == (b.units, pytest.approx(b.stderr, rel=1e-6))
    assert jackknife(other) == pytest.approx(jackknife(one), rel=1e-6)


def test_many_rows_of_weight_0_do_not_crowd_out_the_search():
    """Of 20,000 rows a search looks at 3,000: at those that count, wherever they stand."""
    C = np.geomspace(1e-3, 1e3, 5)
    L = 0.3 * C**-0.2 * np.exp(0.02 * np.random.default_rng(0).standard_normal(5))
    one = fit(PowerLaw, C=C, L=L)
    for at in range(0, 20_000, 4_000):
        weights = np.zeros(20_000)
        weights[at : at + 5] = 1.0
        many = fit(PowerLaw, C=np.tile(C, 4_000), L=np.tile(L, 4_000), weights=weights)
        assert many.status == one.status == "converged"
        assert many.params == pytest.approx(one.params, rel=1e-6)


def test_rows_of_weight_0_test_nothing():
    """A run that a fit leaves out does not say how well the fit does."""
    C = np.geomspace(1e-3, 1e3, 24)
    L = (0.5 + 0.3 * C**-0.2) * np.exp(0.01 * np.random.default_rng(0).standard_normal(24))
    bad = {"C": np.r_[C, 500.0, 2e5], "L": np.r_[L, 9.0, 9.0], "weights": np.r_[np.ones(24), 0.0, 0.0]}
    assert hold_out_largest(OffsetPowerLaw, **bad).to_dict() == hold_out_largest(OffsetPowerLaw, C=C, L=L).to_dict()
    laws = ["power", "offset"]
    assert choose(laws, factor=30, **bad).to_dict() == choose(laws, factor=30, C=C, L=L).to_dict()


@pytest.mark.parametrize("objective", [Huber(0.05), Huber(1e-3), LowerEnvelope(0.3)], ids=str)
def test_one_decisive_run_has_the_noise_of_a_run(objective):
    """40 runs at one compute and one beyond: the slope is as unsure as that one run, whose own residual is 0."""
    C, inside, errors, estimates = np.r_[np.ones(40), 10.0], 0, [], []
    for seed in range(40):
        L = 0.5 * C**-0.3 * np.exp(0.02 * np.random.default_rng(seed).standard_normal(41))
        found = fit(PowerLaw, objective=objective, C=C, L=L)
        low, high = found.interval("alpha")
        inside += low < 0.3 < high
        errors.append(found.stderr["alpha"])
        estimates.append(found.params["alpha"])
    assert np.median(errors) > 0.8 * np.std(estimates)
    assert inside >= 34  # 38 of 40 are expected; by the other runs' residuals it was 11


def test_profiles_take_weights_for_inverse_variances():
    """A line is linear, so that its profile ends where Student's t does, whatever the weights."""
    rng = np.random.default_rng(3)
    C, w = np.geomspace(1.0, 1e4, 15), np.exp(2 * rng.standard_normal(15))
    found = fit(PowerLaw, weights=w, C=C, L=0.5 * C**-0.3 * np.exp(0.02 * rng.standard_normal(15) / np.sqrt(w)))
    np.testing.assert_allclose(found.profiles()["alpha"], found.interval("alpha"), rtol=1e-3)
