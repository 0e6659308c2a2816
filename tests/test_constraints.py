"""Pinned and bounded parameters: faces of the problem, solved as such."""

import numpy as np
import pytest

from scalelaw.errors import UserError
from scalelaw.fitting import AbsoluteDeviation, Huber, LeastSquares, fit
from scalelaw.laws import M4, DataRepetition, OffsetPowerLaw, PowerLaw, SizeData

TRUTH = SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)


def runs(noise=0.01, n=60, seed=0):
    rng = np.random.default_rng(seed)
    N = np.exp(rng.uniform(np.log(1e5), np.log(1e7), n))
    D = np.exp(rng.uniform(np.log(1e4), np.log(3e5), n))
    return {"N": N, "D": D, "L": TRUTH.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(n))}


def test_a_pinned_exponent_leaves_a_linear_problem():
    """With alpha pinned, E and A of least squares in linear space are a regression on C^-alpha."""
    C = np.geomspace(1, 1e4, 25)
    L = 0.5 + 2 * C**-0.3 + 0.01 * np.random.default_rng(0).standard_normal(25)
    found = fit(OffsetPowerLaw, C=C, L=L, space="linear", fix={"alpha": 0.3})
    (E, A), *_ = np.linalg.lstsq(np.stack([np.ones(25), C**-0.3], axis=1), L, rcond=None)
    assert found.params == {"E": pytest.approx(E, rel=1e-9), "A": pytest.approx(A, rel=1e-9), "alpha": 0.3}
    assert found.status == "converged"
    assert found.stderr["alpha"] is None
    assert found.interval("alpha") == (None, None)


@pytest.mark.parametrize("objective", [LeastSquares(), Huber(5e-3), AbsoluteDeviation()], ids=str)
@pytest.mark.parametrize("name", ["E", "A", "B", "alpha", "beta"])
def test_pinning_at_the_estimate_changes_nothing(objective, name):
    data = runs()
    free = fit(SizeData, objective=objective, **data)
    held = fit(SizeData, objective=objective, fix={name: free.params[name]}, **data)
    assert held.objective_value == pytest.approx(free.objective_value, rel=1e-7)
    for other, value in free.params.items():
        assert held.params[other] == pytest.approx(value, rel=1e-3)
    assert held.params[name] == free.params[name]


def test_pinning_elsewhere_costs_what_the_profile_says():
    data = runs()
    free = fit(SizeData, **data)
    values = [fit(SizeData, fix={"alpha": a}, **data).objective_value for a in (0.3, 0.35, 0.4)]
    assert min(values) >= free.objective_value
    curve = np.polyfit([0.3, 0.35, 0.4], values, 2)
    assert -curve[1] / (2 * curve[0]) == pytest.approx(free.params["alpha"], abs=0.02)


def test_a_constant_of_zero_is_the_law_without_it():
    data = runs()
    held = fit(SizeData, fix={"E": 0}, **data)
    assert held.params["E"] == 0.0
    assert held.status in ("converged", "not_identified")
    C = np.geomspace(1, 1e4, 25)
    L = 0.5 + 2 * C**-0.3
    power, offset = fit(PowerLaw, C=C, L=L), fit(OffsetPowerLaw, C=C, L=L, fix={"E": 0.0})
    assert offset.params["alpha"] == pytest.approx(power.params["alpha"], rel=1e-10)
    assert offset.objective_value == pytest.approx(power.objective_value, rel=1e-12)
    assert offset.status == "converged"


@pytest.mark.parametrize("name", ["E", "A", "alpha"])
@pytest.mark.parametrize("side", ["low", "high"])
def test_a_bound_that_holds_is_a_pin_there_and_one_that_does_not_is_nothing(name, side):
    data = runs()
    free = fit(SizeData, **data)
    estimate = free.params[name]
    end = estimate * (1.05 if side == "low" else 0.95)
    held = fit(SizeData, bounds={name: (end, None) if side == "low" else (None, end)}, **data)
    pinned = fit(SizeData, fix={name: end}, **data)
    assert held.status == "at_bound"
    assert held.params[name] == pytest.approx(end, rel=1e-12)
    assert held.objective_value == pytest.approx(pinned.objective_value, rel=1e-9)
    assert [w.name for w in held.warnings if w.name == "bound reached"]
    assert held.stderr[name] is None
    loose = fit(SizeData, bounds={name: (0.5 * estimate, 2 * estimate)}, **data)
    assert loose.objective_value == pytest.approx(free.objective_value, rel=1e-10)
    assert loose.status == free.status
    assert loose.stderr["beta"] == pytest.approx(free.stderr["beta"], rel=1e-4)


def test_several_bounds_at_once_are_the_lowest_of_their_faces():
    """Every face of the box, one by one, finds nothing lower inside it."""
    data = runs(0.03)
    bounds = {"alpha": (0.36, 0.5), "beta": (0.2, 0.38), "E": (0.5, 0.7)}
    held = fit(SizeData, bounds=bounds, **data)
    for name, (low, high) in bounds.items():
        assert low * (1 - 1e-12) <= held.params[name] <= high * (1 + 1e-12)
    lowest = np.inf
    for alpha in (None, 0.36, 0.5):
        for beta in (None, 0.2, 0.38):
            for E in (None, 0.5, 0.7):
                face = {k: v for k, v in {"alpha": alpha, "beta": beta, "E": E}.items() if v is not None}
                found = fit(SizeData, fix=face, **data)
                inside = all(lo - 1e-9 <= found.params[k] <= hi + 1e-9 for k, (lo, hi) in bounds.items())
                lowest = min(lowest, found.objective_value if inside else np.inf)
    assert held.objective_value == pytest.approx(lowest, rel=1e-9)


def test_the_generic_path_takes_pins_and_bounds_too():
    C = np.geomspace(1e-2, 1e4, 60)
    law = M4(E=0.4, E0=3.0, a=0.4, B=0.6, c=0.5)
    L = law.predict(C=C) * np.exp(0.003 * np.random.default_rng(0).standard_normal(60))
    free = fit(M4, C=C, L=L)
    pinned = fit(M4, C=C, L=L, fix={"E0": 3.0, "E": 0.4})
    assert (pinned.params["E0"], pinned.params["E"]) == (3.0, 0.4)
    assert pinned.objective_value >= free.objective_value
    assert pinned.stderr["c"] < free.stderr["c"]
    high = 0.95 * free.params["c"]
    bounded = fit(M4, C=C, L=L, bounds={"c": (None, high)})
    assert bounded.status == "at_bound"
    assert bounded.params["c"] == pytest.approx(high, rel=1e-12)
    assert bounded.objective_value == pytest.approx(fit(M4, C=C, L=L, fix={"c": high}).objective_value, rel=1e-7)


def test_fewer_runs_do_when_parameters_are_pinned():
    data = {letter: values[:4] for letter, values in runs(0.0).items()}
    found = fit(SizeData, fix={"E": 0.8, "alpha": 0.35}, **data)
    assert found.params["beta"] == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"fix": {"gamma": 1}}, "no parameter 'gamma'"),
        ({"fix": {"alhpa": 1}}, "did you mean 'alpha'"),
        ({"fix": {"E": "much"}}, "E = 'much' is not a number"),
        ({"fix": {"E": float("nan")}}, "finite"),
        ({"fix": {"A": -1}}, "A = -1 must be above 0"),
        ({"bounds": {"alpha": (1, 0)}}, "the first must be the lower"),
        ({"bounds": {"alpha": 3}}, "must be a pair"),
        ({"bounds": {"A": (None, 0)}}, "must be able to be above 0"),
        ({"fix": {"E": 1}, "bounds": {"E": (0, 1)}}, "also pinned"),
        ({"fix": {0: 1.0}}, "no parameter 0"),
        ({"fix": "E"}, r"^fix: is of type str; pass a mapping of parameters, as fix=\{'alpha': 0.3\}$"),
        ({"fix": ["E", "A"]}, "^fix: is of type list"),
        ({"fix": [("E", 0.5)]}, "^fix: is of type list"),
        ({"fix": 0.5}, "^fix: is of type float"),
        ({"fix": 0}, "^fix: is of type int"),
        ({"fix": np.ones(2)}, "^fix: is of type ndarray"),
        ({"bounds": (0, 1)}, r"^bounds: is of type tuple; .*, as bounds=\{'alpha': \(0, 1\)\}$"),
    ],
)
def test_constraints_that_make_no_sense_are_refused(held, words):
    with pytest.raises(UserError, match=words):
        fit(SizeData, **held, **runs())


def test_a_pin_holds_in_intervals_and_replicates_where_the_parameter_may_vanish():
    """R_N at 5 is 5 everywhere, not the 0 at which the search would count it as gone; so is a bound that is reached."""
    law = DataRepetition(E=0.5, A=40.0, B=50.0, alpha=0.35, beta=0.4, R_D=6.0, R_N=5.0)
    N, D, U = (x.ravel() for x in np.meshgrid(np.geomspace(2e4, 4e6, 5), 3e3 * 2.0 ** np.arange(7), [3e3, 1.2e4]))
    L = law.predict(N=N, D=D, U=U) * np.exp(0.01 * np.random.default_rng(0).standard_normal(len(N)))
    at = {"N": 4e6, "D": 9.6e4, "U": 3e3}
    for held in ({"fix": {"R_N": 5.0}}, {"bounds": {"R_N": (8.0, None)}}):
        found = fit(DataRepetition, N=N, D=D, U=U, L=L, **held)
        low, high = found.interval("log_gain", **at)
        assert low < found.estimate("log_gain", **at) < high < 2 * low
        assert found.bootstrap(20, starts=1).values("R_N").min() > 4.999
