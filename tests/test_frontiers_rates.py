"""The test of the same rate, and the budget of one pass, against closed forms, second methods and simulation."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, linregress
from scipy.stats import t as student

from scalelaw.errors import UserError
from scalelaw.frontiers import Trend, frontier, one_pass, same_rate
from scalelaw.frontiers.trend import through
from scalelaw.laws import SizeData
from scalelaw.runs import RunTable

ROOT = Path(__file__).resolve().parents[1]
FLOP = np.geomspace(1e18, 1e21, 7)


def surface(exponent, total=0.7):
    """Optimal size 1e9 at 1e20 FLOP = 6 N D, growing as compute^exponent."""
    alpha, beta = total * (1 - exponent), total * exponent
    return SizeData(E=1.7, A=beta * 1e9**alpha, B=alpha * (1e20 / 6e9) ** beta, alpha=alpha, beta=beta)


def table(exponent, noise=0.003, seed=0):
    """Seven budgets, nine sizes each about the best, no size used twice: runs are independent."""
    law, rng, rows = surface(exponent), np.random.default_rng(seed), []
    for flop in FLOP:
        N = law.optimum(flop, k=6)[0] * np.exp(np.linspace(-2.3, 2.3, 9))
        loss = law.predict(N=N, D=flop / 6 / N) * np.exp(noise * rng.standard_normal(9))
        rows.append(pd.DataFrame({"N": N, "D": flop / 6 / N, "C": flop, "loss": loss}))
    return RunTable.from_frame(pd.concat(rows, ignore_index=True))


def by_approach(found):
    return {one.approach: one for one in found.same_rate}


def test_the_p_value_is_that_of_students_t():
    """Against linregress on the same points: seven points leave five degrees of freedom."""
    rng = np.random.default_rng(0)
    x = np.linspace(40, 48, 7)
    y = 0.45 * x + 0.2 * rng.standard_normal(7)
    (one,) = same_rate({"equal_compute": through("macs_per_image", "C", x, y)}, None)
    line = linregress(x, y)
    assert one.dof == 5
    assert one.exponent == pytest.approx(line.slope)
    assert one.p_value == pytest.approx(2 * student.sf(abs(line.slope - 0.5) / line.stderr, 5), rel=1e-9)


def test_the_p_value_of_a_line_is_uniform_under_one_half():
    rng, x = np.random.default_rng(1), np.linspace(40, 48, 5)
    lines = [through("N", "C", x, 0.5 * x + 0.1 * rng.standard_normal(5)) for _ in range(1000)]
    p = [same_rate({"equal_compute": line}, None)[0].p_value for line in lines]
    assert kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.slow
def test_p_values_of_both_approaches_are_uniform_under_one_half():
    """200 simulated tables whose exponent is one half, by the whole way from losses to p."""
    found = [by_approach(frontier(table(0.5, seed=seed))) for seed in range(200)]
    for approach in ("surface", "equal_compute"):
        p = np.array([one[approach].p_value for one in found])
        assert kstest(p, "uniform").pvalue > 0.01, approach
        assert np.mean(p < 0.05) < 0.1, approach


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_other_rates_are_rejected_by_both_approaches(exponent):
    found = frontier(table(exponent))
    for one in found.same_rate:
        assert one.exponent == pytest.approx(exponent, abs=0.03)
        assert (one.p_value < 1e-3) == (exponent != 0.5)
        assert ("not rejected" in str(one)) == (exponent == 0.5)
    assert [one.approach for one in found.same_rate] == ["surface", "equal_compute"]
    assert all(str(one) in str(found) for one in found.same_rate)
    answer = json.loads(json.dumps(found.to_dict(), allow_nan=False))["same_rate"]
    assert {"approach", "size", "exponent", "interval", "p_value", "dof", "status"} == set(answer[0])
    assert answer[0]["p_value"] == found.same_rate[0].p_value


@pytest.mark.parametrize("name", ["demo", "digits"])
def test_p_is_below_a_twentieth_where_the_interval_leaves_one_half_out(name):
    """On recorded sweeps, whose surfaces are at a bound: their intervals are profiles, and so is p."""
    runs = RunTable.load(ROOT / "runs" / "recorded" / name / "runs.parquet")
    for one in frontier(runs.finished().best_over("peak_lr")).same_rate:
        low, high = one.interval
        if one.p_value is not None and low is not None and high is not None:
            assert (one.p_value < 0.05) == (not low <= 0.5 <= high), one


def test_a_profiles_p_agrees_with_its_intervals():
    found = frontier(RunTable.load(ROOT / "runs" / "recorded" / "demo" / "runs.parquet").finished())
    fit, one = found.surface, by_approach(found)["surface"]
    assert fit.status == "at_bound"
    ends = fit.interval("size_exponent", level=1 - one.p_value)
    assert min(abs(end - 0.5) for end in ends if end is not None) < 1e-3


def test_without_a_spread_there_is_no_p():
    x = np.array([1.0, 2.0])
    (lone,) = same_rate({"equal_compute": through("N", "C", x, 0.5 * x)}, None)
    assert (lone.p_value, lone.dof, lone.interval) == (None, None, (None, None))
    (none,) = same_rate({"equal_compute": through("N", "C", x[:1], x[:1])}, None)
    assert none.exponent is None
    assert str(none) == "equal_compute: unknown"


def test_one_pass_is_where_the_best_number_of_images_is_yours():
    """On a known surface: D*(C) = U at C = 6 U N*, and the frontier finds it."""
    law = surface(0.45)
    found = frontier(table(0.45))
    C = 3e20
    images = float(law.optimum(C, k=6)[1])
    answer = found.one_pass(images)
    assert answer.compute == pytest.approx(C, rel=0.05)
    assert answer.interval[0] < C < answer.interval[1]
    assert answer.unit == "train_flop"
    assert answer.extrapolation_factor == 1
    far = found.one_pass(float(law.optimum(1e22, k=6)[1]))
    assert far.extrapolation_factor == pytest.approx(10, rel=0.3)
    assert "times above the dearest run" in str(far)
    assert np.ptp(np.log(far.interval)) > np.ptp(np.log(answer.interval))
    assert found.one_pass() is None  # a table of tokens says nothing of training sets
    with pytest.raises(UserError, match="positive"):
        found.one_pass(0)


def test_the_interval_of_one_pass_is_where_the_band_holds_your_images():
    """Fieller's closed form against a search along the trend's own band."""
    V = np.array([[0.5, -0.011], [-0.011, 2.5e-4]])
    trend = Trend("data", "train_flop", 2.0, 0.46, V, 5, "converged")
    images = 1e9
    grid = np.exp(np.linspace(np.log(1e14), np.log(1e22), 400_001))
    band = trend.predict(grid)
    inside = grid[(band.low <= images) & (images <= band.high)]
    answer = one_pass(trend, images, 1e17, 1e18)
    assert answer.interval == pytest.approx((inside.min(), inside.max()), rel=1e-4)
    assert answer.compute == pytest.approx(float(np.exp((np.log(images) - 2) / 0.46)))


def test_a_trend_that_may_be_flat_bounds_no_budget():
    V = np.array([[90.0, -2.0], [-2.0, 0.045]])
    flat = Trend("data", "train_flop", 2.0, 0.46, V, 5, "not_identified")
    answer = one_pass(flat, 1e9, 1e17, 1e18)
    assert answer.interval == (None, None)
    assert "(the runs bound it on neither side)" in str(answer)
    assert answer.status == "not_identified"
    assert one_pass(replace(flat, covariance=None), 1e9, 1e17, 1e18).interval == (None, None)
    falling = one_pass(replace(flat, slope=-0.1), 1e9, 1e17, 1e18)
    assert falling.compute is None
    assert "unknown budget" in str(falling)
    json.dumps(falling.to_dict(), allow_nan=False)
