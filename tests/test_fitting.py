"""fit(): recovery, closed forms, published optima, invariance, honest status, refusals."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.fitting import Huber, LeastSquares, curvature, fit
from scalelaw.laws import OffsetPowerLaw, PowerLaw, SizeData

SURFACE = SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)
C = np.geomspace(1e-8, 1e-5, 16)


def surface_runs(noise, seed=0, n=60):
    rng = np.random.default_rng(seed)
    N = np.exp(rng.uniform(np.log(1e5), np.log(1e7), n))
    D = np.exp(rng.uniform(np.log(1e4), np.log(3e5), n))
    return {"N": N, "D": D, "L": SURFACE.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(n))}


def test_power_law_is_linear_regression():
    """In log space the two-parameter law is a line: estimates, standard errors and intervals have closed forms."""
    from scipy.stats import linregress, t

    L = 0.3 * C**-0.11 * np.exp(0.01 * np.random.default_rng(1).standard_normal(16))
    found, line = fit(PowerLaw, C=C, L=L), linregress(np.log(C), np.log(L))
    assert found.status == "converged"
    assert found.params["alpha"] == pytest.approx(-line.slope, rel=1e-12)
    assert found.params["A"] == pytest.approx(np.exp(line.intercept), rel=1e-11)
    assert found.stderr["alpha"] == pytest.approx(line.stderr, rel=1e-9)
    assert found.stderr["A"] == pytest.approx(found.params["A"] * line.intercept_stderr, rel=1e-9)
    half = t.ppf(0.975, 14) * line.stderr
    np.testing.assert_allclose(found.interval("alpha"), (-line.slope - half, -line.slope + half), rtol=1e-9)
    residual = np.log(L) - line.intercept - line.slope * np.log(C)
    assert found.objective_value == pytest.approx(residual @ residual, rel=1e-10)
    x = np.log(1e-4)
    centred = np.log(C) - np.log(C).mean()
    variance = residual @ residual / 14 * (1 / 16 + (x - np.log(C).mean()) ** 2 / (centred @ centred))
    band = found.predict(C=1e-4)
    assert np.log(band.high / band.mid) == pytest.approx(t.ppf(0.975, 14) * np.sqrt(variance), rel=1e-8)
    wider = found.predict(C=1e-4, new_run=True)
    variance += residual @ residual / 14
    assert np.log(wider.high / wider.mid) == pytest.approx(t.ppf(0.975, 14) * np.sqrt(variance), rel=1e-8)


@pytest.mark.parametrize("objective", [LeastSquares(), Huber(1e-2)], ids=str)
@pytest.mark.parametrize("space", ["log", "linear"])
def test_noise_free_surface_is_recovered(objective, space):
    found = fit(SizeData, objective=objective, space=space, **surface_runs(0.0))
    assert found.status == "converged"
    for name, value in SURFACE.params.items():
        assert found.params[name] == pytest.approx(value, rel=1e-6)
    assert found.agreed >= 2


def test_huber_ignores_what_ruins_least_squares():
    runs = surface_runs(0.002, n=80)
    runs["L"][::10] *= 1.3
    robust, square = (fit(SizeData, objective=o, **runs).params["alpha"] for o in (Huber(2e-3), LeastSquares()))
    assert abs(robust - 0.35) < 0.02
    assert abs(square - 0.35) > 2 * abs(robust - 0.35)


@settings(max_examples=12, deadline=None)
@given(*[st.floats(-12, 12)] * 3, st.sampled_from(["log", "linear"]))
def test_units_do_not_matter(n, d, loss, space):
    """Scaling N, D, L by any power of ten scales E, A, B as the equation says and leaves exponents to 1e-10."""
    runs = surface_runs(0.004)
    N, D, L = 10.0**n, 10.0**d, 10.0**loss
    delta = 2e-3 if space == "log" else 2e-3 * L
    one = fit(SizeData, objective=Huber(2e-3), space=space, **runs)
    scaled = {"N": runs["N"] * N, "D": runs["D"] * D, "L": runs["L"] * L}
    other = fit(SizeData, objective=Huber(delta), space=space, **scaled)
    for name in ("alpha", "beta"):
        assert other.params[name] == pytest.approx(one.params[name], rel=1e-10)
    assert other.params["E"] == pytest.approx(one.params["E"] * L, rel=1e-10)
    alpha, beta = one.params["alpha"], one.params["beta"]
    assert other.params["A"] == pytest.approx(one.params["A"] * L * N**alpha, rel=1e-8)
    assert other.params["B"] == pytest.approx(one.params["B"] * L * D**beta, rel=1e-8)


def test_equal_inputs_and_seed_give_equal_bits():
    runs = surface_runs(0.004)
    first, second = (fit(SizeData, objective=Huber(1e-3), **runs) for _ in range(2))
    assert first.params == second.params
    one, two = first.bootstrap(300, seed=5), second.bootstrap(300, seed=5)
    for name in one.params:
        np.testing.assert_array_equal(one.params[name], two.params[name])
    other = first.bootstrap(300, seed=6)
    assert not np.array_equal(one.params["alpha"], other.params["alpha"])


def test_the_order_of_runs_does_not_matter():
    runs = surface_runs(0.004)
    order = np.random.default_rng(9).permutation(60)
    one = fit(SizeData, **runs)
    other = fit(SizeData, **{letter: values[order] for letter, values in runs.items()})
    for name in one.params:
        assert one.params[name] == pytest.approx(other.params[name], rel=1e-9)


@pytest.mark.slow
def test_intervals_cover():
    """Nominal 95 % intervals of least squares cover about that, from 16 runs on."""
    truth = OffsetPowerLaw(E=1.0, A=0.2, alpha=0.15)
    covered = []
    for seed in range(300):
        L = truth.predict(C=C) * np.exp(0.004 * np.random.default_rng(seed).standard_normal(16))
        low, high = fit(OffsetPowerLaw, C=C, L=L).interval("alpha")
        covered.append((low is None or low <= 0.15) and (high is None or high >= 0.15))
    assert 0.91 <= np.mean(covered) <= 0.99


def test_a_pure_power_law_leaves_no_offset_to_find():
    """True E = 0: either the bound is hit, or E and alpha trade off; the interval of E reaches down to it."""
    statuses = set()
    for seed in range(6):
        L = 0.2 * C**-0.15 * np.exp(0.004 * np.random.default_rng(seed).standard_normal(16))
        found = fit(OffsetPowerLaw, C=C, L=L)
        statuses.add(found.status)
        assert found.status in ("at_bound", "not_identified", "converged")
        if found.status == "converged":
            continue
        assert found.warnings
        low, high = found.interval("E")
        assert low == 0.0
        assert high is None or high > 0
        low, high = found.interval("alpha")
        assert low <= 0.151
        assert high is None or high >= 0.149
    assert "at_bound" in statuses


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_a_short_noisy_curve_trades_offset_against_exponent(seed):
    """At 2 % noise over a factor of 30, E = 0 fits as well: said so, with intervals as wide as the data leave."""
    short = np.geomspace(1, 30, 12)
    L = (0.5 + short**-0.3) * np.exp(0.02 * np.random.default_rng(seed).standard_normal(12))
    found = fit(OffsetPowerLaw, C=short, L=L)
    assert found.status == "not_identified"
    assert found.unidentified == ("E", "alpha")
    assert any("E and alpha trade off" in warning for warning in found.warnings)
    assert found.stderr["E"] is None
    assert found.stderr["alpha"] is None
    low, high = found.interval("E")
    assert low == 0.0
    assert high > 0.5
    low, high = found.interval("alpha")
    assert low < 0.2
    assert high > 0.3
    # the lower end is the exponent of the best pure power law, about which the data have no doubt
    assert low == pytest.approx(fit(PowerLaw, C=short, L=L).params["alpha"], abs=0.02)


def test_a_term_that_adds_nothing_is_called_dead():
    """Losses that do not depend on D leave nothing for B D^-beta to do."""
    rng = np.random.default_rng(4)
    runs = surface_runs(0.0)
    L = 0.8 + 60.0 * runs["N"] ** -0.35
    found = fit(SizeData, N=runs["N"], D=runs["D"], L=L * np.exp(0.002 * rng.standard_normal(60)))
    assert found.status in ("dead_term", "not_identified")
    assert "beta" in found.unidentified
    assert found.stderr["beta"] is None
    assert found.params["alpha"] == pytest.approx(0.35, abs=0.03)


def test_as_many_runs_as_parameters_leave_no_spread():
    found = fit(PowerLaw, C=[1.0, 2.0], L=[3.0, 2.0])
    assert found.stderr == {"A": None, "alpha": None}
    assert found.interval("alpha") == (None, None)
    band = found.predict(C=4.0)
    assert band.low is None
    assert band.high is None
    assert band.mid == pytest.approx(4 / 3)


def test_bootstrap_by_size_is_wider_when_sizes_share_an_effect():
    rng = np.random.default_rng(0)
    sizes = np.repeat(np.geomspace(1e5, 1e7, 10), 6)
    data = np.tile(np.geomspace(1e4, 3e5, 6), 10)
    shared = np.repeat(rng.standard_normal(10), 6)
    L = SURFACE.predict(N=sizes, D=data) * np.exp(0.004 * shared + 0.002 * rng.standard_normal(60))
    found = fit(SizeData, N=sizes, D=data, L=L)
    by_run, by_size = (found.bootstrap(500, unit=unit) for unit in ("run", "size"))
    assert by_size.units == 10
    assert by_size.stderr["alpha"] > 1.3 * by_run.stderr["alpha"]
    labelled = found.bootstrap(500, unit=sizes)
    np.testing.assert_array_equal(labelled.params["alpha"], by_size.params["alpha"])


def test_sandwich_agrees_with_the_bootstrap_where_it_is_used():
    found = fit(SizeData, objective=Huber(0.02), **surface_runs(0.01, n=200))
    assert found.basis == "sandwich"
    replicates = found.bootstrap(1500)
    for name in ("alpha", "beta"):
        assert found.stderr[name] == pytest.approx(replicates.stderr[name], rel=0.2)


def test_to_dict_is_json_with_the_promised_keys():
    found = fit(OffsetPowerLaw, C=C, L=0.2 * C**-0.15, points="envelope")
    answer = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(answer) >= {
        "law", "params", "stderr", "interval", "objective", "objective_value", "space", "points", "n", "status",
        "warnings",
    }  # fmt: skip
    assert answer["law"] == "offset"
    assert answer["points"] == "envelope"
    assert answer["n"] == 16


def test_the_table_names_everything():
    text = str(fit(SizeData, points="best", objective=Huber(1e-3), **surface_runs(0.004)))
    for word in ("SizeData", "estimate", "std. error", "95 % interval", "alpha", "best", "huber", "status: converged"):
        assert word in text


def test_curvature_finds_a_bend_and_calls_a_line_straight():
    noise = 0.002 * np.random.default_rng(0).standard_normal(16)
    u = np.log(C) - np.log(C).mean()
    line = curvature(C, np.exp(-0.1 * u + noise))
    bent = curvature(C, np.exp(-0.1 * u + 0.01 * u * u + noise))
    assert line.straight
    assert not bent.straight
    assert bent.low <= 0.01 <= bent.high
    assert bent.value - line.value == pytest.approx(0.01, rel=1e-9)
    assert curvature(C[:3], [3.0, 2.0, 1.0]).low is None
    assert curvature(C[:2], [3.0, 2.0]) is None


def test_many_runs_take_all_of_them():
    """Beyond a few thousand runs the search thins them; the answer still is the optimum over all."""
    runs = surface_runs(0.02, n=7000)
    found = fit(SizeData, **runs)
    moved = fit(SizeData, **{letter: values[::-1] for letter, values in runs.items()})
    assert found.status == "converged"
    for name in found.params:
        assert moved.params[name] == pytest.approx(found.params[name], rel=1e-8)
        assert abs(found.params[name] - SURFACE.params[name]) < 4 * found.stderr[name]
