"""The compute multiplier between two families: known ones recovered and covered, reciprocal, 1 for equal tables."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_approaches import table
from test_frontiers import demo

from scalelaw import compute
from scalelaw.cli import main
from scalelaw.errors import UserError
from scalelaw.laws import OffsetPowerLaw, PowerLaw, SizeData
from scalelaw.plan import compare
from scalelaw.plan.fronts import Fronts
from scalelaw.runs import RunTable

HERE = SizeData(E=1.7, A=400.0, B=2000.0, alpha=0.34, beta=0.36)


def slower(law, times):
    """The same law at `times` the data: all it reaches takes `times` the compute."""
    return replace(law, B=law.B * times**law.beta)


def runs(law, seed=0, noise=0.002, **kwargs):
    return RunTable.from_frame(
        table(law, seed=seed, noise=noise, **kwargs), columns={"N": "params", "D": "tokens", "C": "budget"}
    )


def true_multiplier(a, b, C):
    """By search, not by the closed form."""
    loss = float(b.optimal_loss(C, k=6))
    low, high = -60.0, 60.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if a.optimal_loss(C * np.exp(middle), k=6) > loss else (low, middle)
    return float(np.exp(low))


@given(
    st.floats(0.1, 1.2), st.floats(0.1, 1.2), st.floats(1, 500), st.floats(1, 500), st.floats(0, 3), st.floats(-5, 5)
)
@settings(deadline=None, max_examples=40)
def test_a_surfaces_front_is_its_optimum_and_its_inverse_inverts(alpha, beta, A, B, E, log_unit):
    law = SizeData(E=E, A=A, B=B, alpha=alpha, beta=beta)
    fronts, C = Fronts.of(law, log_unit), np.geomspace(1e-2, 1e9, 5)
    loss = fronts.loss(C)
    assert loss[0] == pytest.approx(law.optimal_loss(C * np.exp(log_unit), k=1.0), rel=1e-9)
    deep = loss[0] - E > 1e-6 * E
    assert fronts.log_compute(loss)[0][deep] == pytest.approx(np.log(C)[deep], abs=1e-3)
    assert np.isinf(fronts.log_compute(np.array([[0.5 * E - 0.1]]))).all()


def test_laws_in_compute_alone_are_fronts_too():
    for law in (PowerLaw(A=3.0, alpha=0.2), OffsetPowerLaw(E=0.5, A=3.0, alpha=0.2)):
        fronts = Fronts.of(law, 0.0)
        assert fronts.loss(1e4)[0] == pytest.approx(float(law.predict(C=1e4)))
        assert fronts.log_compute(fronts.loss(1e4)) == pytest.approx(np.log(1e4))


@pytest.mark.parametrize("times", [0.4, 3.0])
def test_a_constant_multiplier_is_recovered_and_covered(times):
    covered, values = [], []
    for seed in range(12):
        found = compare(runs(slower(HERE, times), seed), runs(HERE, 100 + seed), 1e20, replicates=300)
        assert found.front == "surface"
        covered.append(found.at.low <= times <= found.at.high)
        values.append(found.at.value)
        assert found.at.better == (1.0 if times < 1 else 0.0)
        for point in found.curve:
            assert point.value == pytest.approx(times, rel=0.4)
    assert np.exp(np.mean(np.log(values))) == pytest.approx(times, rel=0.05)
    assert np.mean(covered) >= 0.75


def meeting(compute_there):
    """A law whose front is steeper than HERE's and meets it at a compute: both its terms scaled keep its best split."""
    law = replace(HERE, alpha=0.44, beta=0.46)
    excess = [float(one.optimal_loss(compute_there, k=6)) - one.E for one in (HERE, law)]
    return replace(law, A=law.A * excess[0] / excess[1], B=law.B * excess[0] / excess[1])


def test_a_crossing_is_recovered_and_covered():
    """B starts better and A gains on it: they meet at 1e20."""
    a = meeting(1e20)
    assert float(a.optimal_loss(1e20, k=6)) == pytest.approx(float(HERE.optimal_loss(1e20, k=6)))
    crossings, covered, multipliers = [], [], []
    for seed in range(10):
        found = compare(runs(a, seed), runs(HERE, 100 + seed), 3e18, replicates=300)
        one = found.crossing
        assert one.a_better == "above"
        crossings.append(one.compute)
        covered.append((one.low is None or one.low <= 1e20) and (one.high is None or one.high >= 1e20))
        multipliers.append(found.at.low <= true_multiplier(a, HERE, 3e18) <= found.at.high)
    assert np.exp(np.mean(np.log(crossings))) == pytest.approx(1e20, rel=0.2)
    assert np.mean(covered) >= 0.7
    assert np.mean(multipliers) >= 0.7


def test_swapping_the_tables_gives_the_reciprocal():
    """m(C) from A to B is 1 / m from B to A at m(C) C; for parallel fronts that is at C itself."""
    a, b = runs(slower(HERE, 2), noise=0.0), runs(HERE, noise=0.0)
    one, other = compare(a, b, 1e20), compare(b, a, 1e20)
    assert one.at.value * other.at.value == pytest.approx(1, rel=1e-6)
    a, b = runs(meeting(1e20), 1), runs(HERE, 2)
    there = compare(a, b, 5e19)
    back = compare(b, a, 5e19 * there.at.value)
    assert back.at.value == pytest.approx(1 / there.at.value, rel=1e-9)
    same = compare(b, a, 5e19)
    assert same.at.better == pytest.approx(1 - there.at.better, abs=1e-12)
    assert same.losses == there.losses[::-1]
    assert (same.crossing.a_better, there.crossing.a_better) == ("below", "above")
    for end in ("compute", "low", "high"):
        assert getattr(same.crossing, end) == pytest.approx(getattr(there.crossing, end), rel=1e-6)


def test_equal_tables_are_equal():
    one = runs(HERE, noise=0.01)
    found = compare(one, one, 1e20)
    assert found.at.value == pytest.approx(1, abs=1e-12)
    assert found.at.better == pytest.approx(0.5)
    assert found.at.low * found.at.high == pytest.approx(1, rel=0.02)
    assert found.crossing.compute is None
    assert found.crossing.a_better == "equal"
    assert "neither is better" in str(found)


def test_what_a_never_reaches_has_no_multiplier():
    """A's irreducible loss is above what B reaches."""
    found = compare(runs(replace(HERE, E=2.6)), runs(HERE), 3e21)
    assert (found.at.value, found.at.high) == (None, None)
    assert found.at.better == 0
    assert "never reaches it" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_tables_of_loss_and_compute_alone_take_power_laws():
    C = np.geomspace(1e18, 1e21, 12)
    rng = np.random.default_rng(3)
    frames = [pd.DataFrame({"C": C, "loss": A * C**-0.05 * np.exp(0.001 * rng.standard_normal(12))}) for A in (21, 20)]
    found = compare(*(RunTable.from_frame(frame) for frame in frames), 1e20)
    assert found.front == "power"
    assert found.at.low <= (21 / 20) ** 20 <= found.at.high
    assert any("no surface for both" in warning for warning in found.warnings)
    assert compare(*(RunTable.from_frame(frame) for frame in frames), 1e20, front="offset").front == "offset"


def test_core_hours_and_flop_agree_and_mixed_bases_are_refused():
    a, b = demo(0.5, seed=1), demo(0.6, seed=2)
    hours = compare(a, b, 1e-6)
    flop = compare(a, b, compute.flop_of_core_hours(1e-6), basis="train_flop")
    assert (hours.basis, flop.basis) == ("core_hours", "train_flop")
    assert hours.at.value == pytest.approx(flop.at.value, rel=1e-6)
    derived = RunTable.from_frame(b.frame.drop(columns=["train_flop", "core_hours"]))
    assert compare(a, derived, 1e12).at.value == pytest.approx(
        compare(a, b, 1e12, basis="train_flop").at.value, rel=1e-6
    )
    measured, estimated = (
        RunTable.from_frame(one.frame.assign(core_hours_basis=word))
        for one, word in ((a, "measured"), (b, "estimated"))
    )
    with pytest.raises(UserError, match="take --basis train_flop"):
        compare(measured, estimated, 1e-6)
    assert compare(measured, estimated, 1e12, basis="train_flop").at.value is not None
    with pytest.raises(UserError, match="no core_hours in every run"):
        compare(a, derived, 1e-6, basis="core_hours")
    with pytest.raises(UserError, match="did you mean 'core_hours'"):
        compare(a, b, 1e-6, basis="core_hour")


def test_distance_is_said_and_too_far_is_refused():
    a, b = runs(HERE, 1), runs(slower(HERE, 2), 2)
    assert compare(a, b, 3e20).extrapolation_factor == pytest.approx(0.3)
    assert "20 times" in compare(a, b, 2e22).warnings[0]
    with pytest.raises(UserError, match="--far"):
        compare(a, b, 2e23)
    far = compare(a, b, 2e23, far=True)
    assert far.status == "far_extrapolation"
    assert any("below the compute of the cheapest" in warning for warning in compare(a, b, 1e17).warnings)
    elsewhere = (
        RunTable.from_frame(demo(0.5).frame.assign(dataset="x")),
        RunTable.from_frame(demo(0.5).frame.assign(dataset="y")),
    )
    assert "different data" in compare(*elsewhere, 1e-6).warnings[0]
    for wrong in (0, -1.0, float("inf"), True, "1e20"):
        with pytest.raises(UserError, match="must be a positive"):
            compare(a, b, wrong)
    with pytest.raises(UserError, match="compare: seed = -1 must be a whole number, 0 or more"):
        compare(a, b, 1e20, seed=-1)
    with pytest.raises(UserError, match="unknown front"):
        compare(a, b, 1e20, front="surfaces")


def test_the_command_says_what_the_library_says(tmp_path, capsys):
    a, b = demo(0.5, seed=1), demo(0.5, seed=2)
    for name, one in (("a", a), ("b", b)):
        one.frame.rename(columns={"val_loss": f"loss_{name}"}).to_csv(tmp_path / f"{name}.csv", index=False)
    argv = ["compare", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--at", "1e-6", "--column", "loss=loss_a",
            "--column-b", "loss=loss_b"]  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main([*argv, "--json"])
    assert end.value.code == 0
    answer = json.loads(capsys.readouterr().out)
    found = compare(a, b, 1e-6)
    assert answer["multiplier"] == pytest.approx(found.at.value)
    assert answer["interval"] == pytest.approx([found.at.low, found.at.high])
    assert {"probability_a_better", "crossing", "curve", "support_a", "extrapolation_factor", "status"} <= set(answer)
    with pytest.raises(SystemExit):
        main(argv)
    assert "A needs" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main([*argv[:3], "--at", "-1"])
    assert end.value.code == 2
