"""Laws of learning rate and batch size together."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scalelaw.errors import UserError
from scalelaw.learning_rate import joint_optimum, rate_law
from scalelaw.learning_rate.basin import phi
from scalelaw.runs import RunTable

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "step_law_dense.csv"
RATE, BATCH = (2.0, -0.6, 0.25), (-4.0, -0.2, 0.6)


def joint_sweep(seed=0, noise=0.001, skews=(0.7, 0.4), scatter=0.0, units=(1.0, 1.0, 1.0, 1.0)):
    """12 cells at 8 rates and 6 batch sizes: p .006, q -.002, r .005; scatter moves a cell's optimum."""
    rng = np.random.default_rng(seed)
    rows = []
    for N in (1e8, 2e8, 4e8, 8e8):
        for D in (4e9, 1.6e10, 6.4e10):
            u0, v0 = (a + b * np.log(N) + c * np.log(D) for a, b, c in (RATE, BATCH))
            u0, v0 = u0 + scatter * rng.standard_normal(), v0 + scatter * rng.standard_normal()
            for rate in 2.0 ** np.arange(-12, -4):
                for batch in 2.0 ** np.arange(5, 11):
                    u, v = np.asarray(np.log(rate) - u0), np.asarray(np.log(batch) - v0)
                    bowl = 0.006 * phi(u, skews[0]) - 0.004 * u * v + 0.005 * phi(v, skews[1])
                    loss = 2.5 * (N * D) ** -0.01 * np.exp(float(bowl) + noise * rng.standard_normal())
                    values = (N * units[0], D * units[1], rate * units[2], batch * units[3], loss)
                    rows.append(dict(zip(("N", "D", "peak_lr", "batch_size", "loss"), values, strict=True)))
    frame = pd.DataFrame(rows)
    return RunTable.from_frame(frame, columns={"N": "N", "D": "D", "loss": "loss"})


def test_rate_and_batch_are_recovered_exactly_without_noise():
    found = joint_optimum(joint_sweep(noise=0.0), depth=0.02)
    np.testing.assert_allclose(found.rate.coefficients, RATE, atol=1e-7)
    np.testing.assert_allclose(found.batch.coefficients, BATCH, atol=1e-7)
    assert found.lopsided
    expected = {"p": 0.006, "q": -0.002, "r": 0.005, "k": 0.7, "m": 0.4}
    assert found.shape == pytest.approx(expected, abs=1e-8)
    # on the floor of the basin the derivative by ln rate is 0
    batch = found.predict(1e8, 4e9)[1].mid * np.e
    u = np.log(found.rate_at(batch, 1e8, 4e9) / found.predict(1e8, 4e9)[0].mid)
    assert 0.006 * 2 * np.expm1(0.7 * u) / 0.7 == pytest.approx(0.004, rel=1e-6)
    with pytest.raises(UserError, match="predict: N = 'large' is not a number"):
        found.predict("large", 4e9)
    with pytest.raises(UserError, match="rate_at: batch must be positive and finite"):
        found.rate_at(0, 1e8, 4e9)


def test_rate_and_batch_are_covered():
    covered = []
    for seed in range(10):
        found = joint_optimum(joint_sweep(seed, scatter=0.1), depth=0.02)
        for law, truth in ((found.rate, RATE), (found.batch, BATCH)):
            assert law.status == "converged"
            covered += [low <= t <= high for (low, high), t in zip(law.interval.values(), truth, strict=True)]
    assert np.mean(covered) >= 0.85


def test_every_rule_covers_the_others():
    table = joint_sweep(noise=0.002)
    laws = [rate_law(table, rule) for rule in ("near", "lowest", "basin")]
    for law in laws:
        for name in ("a", "b", "c"):
            low, high = law.interval[name]
            assert all(low <= other.params[name] <= high for other in laws)
        assert set(law.other_rules) == {"near", "lowest", "basin"} - {law.rule}
        assert law.rule_text in str(law)
    assert laws[0].interval == laws[1].interval == laws[2].interval
    assert laws[0].interval["b"][0] <= -0.6 <= laws[0].interval["b"][1]
    of_batch = rate_law(table, "near", of="batch_size")
    assert of_batch.interval["c"][0] <= 0.6 <= of_batch.interval["c"][1]
    json.dumps([law.to_dict() for law in laws], allow_nan=False)


@pytest.mark.parametrize("rule", ["near", "lowest", "basin"])
def test_units_move_the_intercept_alone(rule):
    units = (1e-6, 1e-9, 1e3, 4.0)
    one, other = rate_law(joint_sweep(), rule), rate_law(joint_sweep(units=units), rule)
    shift = np.log(units[2]) - one.params["b"] * np.log(units[0]) - one.params["c"] * np.log(units[1])
    assert other.params["a"] == pytest.approx(one.params["a"] + shift, abs=1e-9)
    for name in ("b", "c"):
        assert other.params[name] == pytest.approx(one.params[name], abs=1e-10)
        np.testing.assert_allclose(other.interval[name], one.interval[name], atol=1e-9)


def test_without_batch_sizes_the_rate_alone_is_fitted():
    table = joint_sweep(noise=0.0)
    one = table.where(table.batch_size == 256)
    found = joint_optimum(RunTable.from_frame(one.frame.drop(columns="batch_size")), depth=0.02)
    assert found.batch is None
    assert set(found.shape) == {"p", "k"}
    with pytest.raises(UserError, match="batch"):
        found.rate_at(64, 1e8, 1e9)
    with pytest.raises(UserError, match="batch sizes"):
        rate_law(one, of="batch_size")


def test_bad_tables_and_words_are_refused():
    table = joint_sweep()
    with pytest.raises(UserError, match="near"):
        rate_law(table, "nearest")
    with pytest.raises(UserError, match="cells"):
        rate_law(table.where(table.params == table.params[0]))
    with pytest.raises(UserError, match="depth"):
        joint_optimum(table, depth=0.0)
    with pytest.raises(UserError, match="peak_lr"):
        rate_law(RunTable.from_frame(table.frame.drop(columns="peak_lr")))


def step_law(loss):
    if not DATA.exists():
        pytest.skip("public measurements are not here")
    columns = {"N": "params", "D": "tokens", "loss": loss, "batch_size": "batch_size_sequences"}
    return RunTable.load(DATA, columns=columns)


def test_both_rules_come_out_of_step_law():
    table = step_law("smooth_loss")
    near, lowest = rate_law(table, "near"), rate_law(table, "lowest")
    assert near.n == 129
    assert [round(near.params[name], places) for name, places in zip("abc", (3, 4, 4), strict=True)] == [
        4.353, -0.7662, 0.1970,
    ]  # fmt: skip
    assert (lowest.n, lowest.cells) == (17, 17)
    assert (round(lowest.params["b"], 3), round(lowest.params["c"], 3)) == (-0.823, 0.288)
    assert "0.25 %" in near.rule_text
    assert "lowest loss in each cell" in lowest.rule_text
    for name in ("b", "c"):
        low, high = near.interval[name]
        assert low < min(near.params[name], lowest.params[name])
        assert high > max(near.params[name], lowest.params[name])
    together = joint_optimum(table)
    assert together.rate.status == together.batch.status == "converged"
    assert together.shape["k"] > 0.3  # too high a rate costs more than too low a one
    assert together.rate.params["b"] == pytest.approx(near.params["b"], abs=0.06)
    assert together.batch.params["c"] == pytest.approx(0.6, abs=0.1)  # the published one is .571
    assert np.all(np.diff(together.rate_at([64, 256, 1024], 1e9, 2e10)) > 0)


def test_a_basin_drowned_in_noise_is_not_identified():
    law = rate_law(step_law("final_loss"), "basin")
    assert law.status == "not_identified"
    assert law.interval["b"] == (None, None)
    assert "basin" not in rate_law(step_law("final_loss")).other_rules
