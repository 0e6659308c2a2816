"""Objectives: sums, limits of one another, weights, units, and a linear programme that bounds absolute deviations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from scalelaw.errors import UserError
from scalelaw.fitting import AbsoluteDeviation, Huber, LeastSquares, LowerEnvelope, fit
from scalelaw.laws import BrokenPowerLaw, PowerLaw, SizeData

TRUTH = SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)
EVERY = [LeastSquares(), Huber(5e-3), AbsoluteDeviation(), LowerEnvelope(0.1)]


def runs(n=60, noise=0.01, seed=0):
    rng = np.random.default_rng(seed)
    N = np.exp(rng.uniform(np.log(1e5), np.log(1e7), n))
    D = np.exp(rng.uniform(np.log(1e4), np.log(3e5), n))
    return {"N": N, "D": D, "L": TRUTH.predict(N=N, D=D) * np.exp(noise * rng.standard_t(3, n))}


def absolute_programme(J, r):
    """min over d in [-1, 1]^p of sum |r + J^T d| as a linear programme."""
    p, n = J.shape
    cost = np.concatenate([np.zeros(p), np.ones(n)])
    above = np.hstack([J.T, -np.eye(n)])
    below = np.hstack([-J.T, -np.eye(n)])
    bounds = [(-1, 1)] * p + [(0, None)] * n
    solved = linprog(cost, A_ub=np.vstack([above, below]), b_ub=np.concatenate([-r, r]), bounds=bounds)
    assert solved.success
    return solved.fun


@pytest.mark.parametrize("space", ["log", "linear"])
def test_absolute_deviations_reach_the_bound_of_a_linear_programme(space):
    """To first order no move of the parameters lowers the sum of absolute residuals."""
    found = fit(SizeData, objective=AbsoluteDeviation(), space=space, **runs())
    assert found.status == "converged"
    r, J = found.point.residuals()
    assert found.point.value == pytest.approx(np.abs(r).sum(), rel=1e-12)
    assert np.abs(r).sum() <= absolute_programme(J, r) * (1 + 1e-7)
    assert (np.abs(r) < 1e-12 * np.abs(r).max()).sum() >= 5  # the optimum meets as many runs as it has parameters


def test_absolute_deviations_of_a_line_are_the_linear_programme_itself():
    """In log space the two-parameter law is a line, so the programme gives the global optimum."""
    rng = np.random.default_rng(5)
    C, L = np.geomspace(1, 1e4, 31), 3 * np.geomspace(1, 1e4, 31) ** -0.1 * np.exp(0.02 * rng.standard_t(2, 31))
    found = fit(PowerLaw, objective=AbsoluteDeviation(), C=C, L=L)
    J = np.stack([np.ones(31), -np.log(C)])
    cost = absolute_programme(J, np.log(3) - 0.1 * np.log(C) - np.log(L))
    assert found.objective_value == pytest.approx(cost, rel=1e-8)


def test_huber_goes_from_squares_to_absolute_values():
    data = runs()
    wide, squares = (fit(SizeData, objective=o, **data) for o in (Huber(10.0), LeastSquares()))
    assert wide.objective_value == pytest.approx(squares.objective_value / 2, rel=1e-12)
    narrow, absolute = (fit(SizeData, objective=o, **data) for o in (Huber(1e-7), AbsoluteDeviation()))
    assert narrow.objective_value / 1e-7 == pytest.approx(absolute.objective_value, rel=1e-5)
    for name in narrow.params:
        assert wide.params[name] == pytest.approx(squares.params[name], rel=1e-9)
        assert narrow.params[name] == pytest.approx(absolute.params[name], rel=1e-3)


def test_the_lower_envelope_is_an_expectile():
    """Half of least squares at tau .5; below, the curve sinks under more and more runs."""
    data = runs(200)
    half, squares = (fit(SizeData, objective=o, **data) for o in (LowerEnvelope(0.5), LeastSquares()))
    assert half.objective_value == pytest.approx(squares.objective_value / 2, rel=1e-12)
    above = [(fit(SizeData, objective=LowerEnvelope(tau), **data).residuals > 0).mean() for tau in (0.5, 0.1, 0.01)]
    assert above[0] > above[1] > above[2]
    flat = fit(PowerLaw, objective=LowerEnvelope(0.2), C=data["N"], L=data["L"])
    r = flat.residuals  # the first-order condition in ln A: the weighted residuals cancel
    assert abs((np.where(r > 0, 0.8, 0.2) * r).sum()) < 1e-12 * np.abs(r).sum()


def test_a_delta_in_median_absolute_deviations():
    data = runs()
    r = fit(SizeData, objective=AbsoluteDeviation(), **data).residuals
    found = fit(SizeData, objective=Huber(mad=2.0), **data)
    assert found.objective.delta == pytest.approx(2 * np.median(np.abs(r - np.median(r))), rel=1e-9)
    assert found.inside == (np.abs(found.residuals) <= found.objective.delta).mean()
    same = fit(SizeData, objective=Huber(found.objective.delta), **data)
    assert same.params == found.params
    assert "2 x MAD" in str(found)
    assert f"{100 * found.inside:.0f} % of residuals inside delta" in str(found)


@pytest.mark.parametrize("objective", EVERY, ids=str)
@pytest.mark.parametrize("space", ["log", "linear"])
def test_weights_are_repeated_runs_and_the_objective_is_their_sum(objective, space):
    data = runs(30)
    counts = np.random.default_rng(1).integers(0, 4, 30)
    weighted = fit(SizeData, objective=objective, space=space, weights=counts, **data)
    repeated = fit(SizeData, objective=objective, space=space, **{k: np.repeat(v, counts) for k, v in data.items()})
    assert weighted.objective_value == pytest.approx(repeated.objective_value, rel=1e-8)
    for name in weighted.params:
        assert weighted.params[name] == pytest.approx(repeated.params[name], rel=1e-5)
    doubled = fit(SizeData, objective=objective, space=space, weights=np.full(30, 2.0), **data)
    single = fit(SizeData, objective=objective, space=space, **data)
    assert doubled.objective_value == pytest.approx(2 * single.objective_value, rel=1e-9)
    assert doubled.params["alpha"] == pytest.approx(single.params["alpha"], rel=1e-7)


def test_the_scale_of_weights_does_not_change_standard_errors():
    data, w = runs(40), np.random.default_rng(2).uniform(0.5, 2, 40)
    one, many = (fit(SizeData, weights=scale * w, **data) for scale in (1.0, 1000.0))
    for name in one.params:
        assert one.stderr[name] == pytest.approx(many.stderr[name], rel=1e-8)


@settings(max_examples=10, deadline=None)
@given(
    objective=st.sampled_from(EVERY),
    space=st.sampled_from(["log", "linear"]),
    n=st.floats(-12, 12),
    loss=st.floats(-6, 6),
)
def test_units_do_not_matter_for_any_objective(objective, space, n, loss):
    """To 1e-10; a delta in linear space is a loss and takes the loss's unit."""
    data = runs(40)
    n, loss = 10.0**n, 10.0**loss
    other = Huber(objective.delta * loss) if isinstance(objective, Huber) and space == "linear" else objective
    here = fit(SizeData, objective=objective, space=space, **data)
    there = fit(SizeData, objective=other, space=space, N=data["N"] * n, D=data["D"], L=data["L"] * loss)
    assert there.params["alpha"] == pytest.approx(here.params["alpha"], rel=1e-10)
    assert there.params["E"] == pytest.approx(here.params["E"] * loss, rel=1e-10)
    expected = here.params["A"] * loss * n ** here.params["alpha"]
    assert there.params["A"] == pytest.approx(expected, rel=1e-9)  # n^alpha magnifies alpha's last digits
    degree = 0 if space == "log" else objective.degree
    assert there.objective_value == pytest.approx(here.objective_value * loss**degree, rel=1e-9)


@pytest.mark.parametrize("space", ["log", "linear"])
def test_units_do_not_matter_for_laws_of_the_generic_path(space):
    rng = np.random.default_rng(3)
    C = np.geomspace(1, 1e6, 80)
    law = BrokenPowerLaw(E=0.3, A=4.0, c0=0.15, c1=0.25, d1=2e3, f1=0.3)
    L = law.predict(C=C) * np.exp(0.003 * rng.standard_normal(80))
    here, there = (fit(BrokenPowerLaw, C=C * u, L=L * v, space=space) for u, v in ((1.0, 1.0), (3e-9, 7e4)))
    assert here.status == there.status
    band, moved = here.predict(C=[10.0, 1e7]).mid, there.predict(C=[3e-8, 3e-2]).mid
    np.testing.assert_allclose(moved, band * 7e4, rtol=1e-7)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Huber(0.0), "delta = 0.0"),
        (lambda: Huber(), "give delta"),
        (lambda: Huber(mad=float("nan")), "mad = nan"),
        (lambda: LowerEnvelope(0.7), "tau = 0.7"),
        (lambda: fit(PowerLaw, C=[1, 2, 3], L=[3, 2, 1], weights=[1, 2]), "one a run"),
        (lambda: fit(PowerLaw, C=[1, 2, 3], L=[3, 2, 1], weights=[1, -2, 1]), "row 2 must be finite and not negative"),
        (lambda: fit(PowerLaw, C=[1, 2, 3], L=[3, 2, 1], weights=[1, 0, 0]), "1 runs of positive weight"),
    ],
)
def test_objectives_and_weights_that_make_no_sense_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
