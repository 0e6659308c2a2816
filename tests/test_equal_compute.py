"""The minima at equal compute, by the exact shape and by parabolas, on layouts of known truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isoflop_tables import CENTRED, FLOP, HIGH, LOW, runs, table, truth

from scalelaw.errors import UserError
from scalelaw.frontiers import frontier, parabola
from scalelaw.frontiers.columns import best_of, columns_of
from scalelaw.frontiers.equal_compute import SYMMETRIC, TOLERANCE, groups, minimum
from scalelaw.frontiers.minima import log_size_interval, minima, noise_of


@pytest.mark.parametrize("offset", [CENTRED, LOW, HIGH])
@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_the_exact_shape_recovers_what_the_parabola_misses(exponent, offset):
    """Noise-free: the exact shape is exact; every parabola is off by what theory says, in sign and size."""
    law = truth(exponent)
    found = frontier(runs(table(law, offset)))
    best = law.optimum(FLOP, k=6)[0]
    sizes = {
        name: found.points.loc[found.points["approach"] == name, "params"].to_numpy(float)
        for name in ("equal_compute", "parabola")
    }
    assert sizes["equal_compute"] == pytest.approx(best, rel=1e-4)
    u = offset + np.linspace(-2.3, 2.3, 9)
    bend, slope, _ = np.polyfit(u, law.beta * np.exp(-law.alpha * u) + law.alpha * np.exp(law.beta * u), 2)
    theory = np.exp(-slope / (2 * bend)) - 1
    assert sizes["parabola"] / best - 1 == pytest.approx(theory, abs=2e-4)
    assert found.bias.theory == pytest.approx(np.full(7, theory), abs=2e-4)
    assert found.bias.found == pytest.approx(found.bias.theory, abs=2e-4)
    for name in ("surface", "equal_compute"):
        assert found.approaches[name]["size"].slope == pytest.approx(exponent, abs=1e-3)
    if exponent == 0.7 and offset != HIGH:  # the basin is steeper towards large sizes: the parabola's is too small
        assert -0.23 < theory < -0.05
    if exponent == 0.3 and offset == CENTRED:
        assert theory > 0.05
    if exponent == 0.5 and offset == CENTRED:
        assert abs(theory) < 1e-9


@pytest.mark.parametrize("offset", [CENTRED, LOW, HIGH])
@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.7])
def test_known_exponents_are_recovered_with_noise(exponent, offset):
    """Within .02 on the mean of three tables, both honest approaches, centred and off-centre."""
    found = [frontier(runs(table(truth(exponent), offset, noise=0.002, seed=seed))) for seed in range(3)]
    for name in ("surface", "equal_compute"):
        slopes = [front.approaches[name]["size"].slope for front in found]
        assert np.mean(slopes) == pytest.approx(exponent, abs=0.02)
        assert all(front.approaches[name]["size"].status == "converged" for front in found)


def test_sizes_that_drift_bias_the_parabolas_exponent():
    law = truth(0.7)
    found = frontier(runs(table(law, drift=0.25)))
    parabola_slope = found.approaches["parabola"]["size"].slope
    assert abs(parabola_slope - 0.7) > 0.005
    assert found.bias.exponent == pytest.approx(parabola_slope - 0.7, abs=1e-3)
    assert found.approaches["equal_compute"]["size"].slope == pytest.approx(0.7, abs=1e-3)
    said = "the parabola is biased on these sizes"
    assert said in found.approaches["parabola"]["size"].note
    assert said in str(found)


@given(
    st.floats(0.05, 1.5), st.floats(0.05, 1.5), st.floats(0.01, 1e3), st.floats(-50, 50),
    st.lists(st.floats(-3, 3), min_size=4, max_size=12, unique=True),
)  # fmt: skip
def test_the_bias_needs_only_the_exponents_and_the_sizes(alpha, beta, scale, level, offsets):
    """Scaling and shifting losses leaves a parabola's minimum where it is, so E, A and B do not matter."""
    u = np.array(offsets)
    if np.ptp(u) < 0.5 or np.diff(np.sort(u)).min() < 1e-2:
        return
    bias = parabola.bias(u, (alpha, beta))
    other = parabola.vertex(u, level + scale * (beta * np.exp(-alpha * u) + alpha * np.exp(beta * u)))
    if bias is not None and other is not None and abs(bias) < 10:
        assert other == pytest.approx(bias, abs=1e-4)


def test_a_parabola_without_a_bracket_is_no_minimum():
    compute, size = np.zeros(5), np.linspace(-2, 2, 5)
    lucky = np.array([0.9, 1.1, 1.0, 1.4, 3])  # its curve has a minimum inside, its best run lies at the edge
    assert size[0] < parabola.vertex(size, lucky) < size[-1]
    for loss in (np.array([5.0, 4, 3, 2, 1]), np.array([1.0, 2, 3, 2, 1]), lucky):
        assert not parabola.minimum(compute, size, loss, np.arange(5)).bracketed
    found = parabola.minimum(compute, size, 2 + (size - 0.3) ** 2, np.arange(5))
    assert found.bracketed
    assert found.log_size == pytest.approx(0.3)
    assert found.loss == pytest.approx(2.0)
    assert parabola.vertex(size, -(size**2)) is None


def test_a_stray_run_does_not_cut_a_budget_in_two():
    compute = np.log([0.985, 0.991, 1, 1.005, 1.01, 1.004, 3, 3, 3])
    sizes = np.log([1, 1, 2, 4, 8, 16, 1, 2, 4])
    assert [sorted(rows.tolist()) for rows in groups(compute, sizes)] == [[1, 2, 3, 4, 5], [6, 7, 8]]


def test_wide_budgets_are_moved_to_one_compute():
    """Compute scattered by 15 %, as read off a figure: with equal_within the exponent is recovered all the same."""
    law, rng = truth(0.6), np.random.default_rng(0)
    frame = table(law)
    frame["tokens"] *= rng.uniform(1, 1.15, len(frame))
    frame["budget"] = 6 * frame["params"] * frame["tokens"]
    frame["loss"] = law.predict(N=frame["params"], D=frame["tokens"])
    narrow, wide = frontier(runs(frame)), frontier(runs(frame), equal_within=0.15)
    assert any("equal_within=0.1" in note for note in narrow.notes)
    minima = wide.points[wide.points["approach"] == "equal_compute"]
    assert len(minima) == len(FLOP)
    assert minima["params"].to_numpy(float) == pytest.approx(law.optimum(minima["train_flop"], k=6)[0], rel=1e-3)
    with pytest.raises(UserError, match="equal_within"):
        frontier(runs(frame), equal_within=0.0)


def test_the_exact_shape_is_found_at_any_offset():
    law = truth(0.3)
    best = float(np.log(law.optimum(1e20, k=6)[0]))
    for offset in (-1.5, 0.0, 1.5):
        s = best + offset + np.linspace(-2.5, 2.5, 7)
        loss = law.predict(N=np.exp(s), D=1e20 / 6 / np.exp(s))
        found = minimum(np.zeros(7), s, loss, np.arange(7), (law.alpha, law.beta))
        assert found.log_size == pytest.approx(best, abs=1e-5)


def test_intervals_of_the_minima_cover_them():
    """A symmetric basin, whose shape needs no surface; noise is pooled over budgets."""
    law = truth(0.5, total=2 * SYMMETRIC[0])
    best, covered = np.log(law.optimum(FLOP, k=6)[0]), []
    for seed in range(60):
        columns = columns_of(best_of(runs(table(law, noise=0.003, seed=seed))), None, [])
        exact = minima(columns, None, TOLERANCE, []).exact
        noise = noise_of(exact, None)
        ends = [log_size_interval(budget, noise) for budget in exact]
        covered += [low < truly < high for (low, high), truly in zip(ends, best, strict=True)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_a_minimum_at_the_edge_or_without_noise_has_no_interval():
    law = truth(0.5)
    points = frontier(runs(table(law, offset=2.6, noise=0.01))).points
    points = points[points["approach"] == "equal_compute"]
    assert not points["bracketed"].all()
    assert points["params_low"].isna().tolist() == (~points["bracketed"].astype(bool)).tolist()
    inside = points[points["bracketed"].astype(bool)]
    shrunk = inside["params"] / inside["params_high"]
    assert (inside["data_low"] / inside["data"]).tolist() == pytest.approx(shrunk.tolist())
