"""Fits and laws at their edges: level objectives, idle parameters, equal losses, powers beyond floating point."""

import numpy as np
import pytest
from scipy.optimize import linprog

from scalelaw.errors import UserError
from scalelaw.fitting import AbsoluteDeviation, Huber, curvature, fit
from scalelaw.laws import (
    BrokenPowerLaw,
    ChanceSizeData,
    KaplanJoint,
    OffsetPowerLaw,
    Overfit,
    PowerLaw,
    ShiftedPowerLaw,
    SizeData,
)

SURFACE = SizeData(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4)


def surface_runs(seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    N, D = np.repeat(np.geomspace(1e5, 1e7, 8), 3), np.exp(rng.uniform(np.log(1e4), np.log(3e5), 24))
    return {"N": N, "D": D, "L": SURFACE.predict(N=N, D=D) * np.exp(noise * rng.standard_normal(24))}


def lowest_sum(C, L):
    """The least sum of absolute residuals of a line in log-log, by linear programming."""
    runs = len(C)
    design = np.c_[np.ones(runs), -np.log(C), -np.eye(runs), np.eye(runs)]
    free = [(None, None)] * 2 + [(0, None)] * (2 * runs)
    return linprog(np.r_[0, 0, np.ones(2 * runs)], A_eq=design, b_eq=np.log(L), bounds=free).fun


@pytest.mark.parametrize("runs", [8, 12, 16])
@pytest.mark.parametrize("objective", [AbsoluteDeviation(), Huber(1e-3), Huber(1e-6)], ids=str)
def test_a_level_minimum_is_an_optimum(objective, runs):
    """Evenly spaced runs often leave the best line some play: no residual is small, and the Hessian is 0."""
    C = np.geomspace(1e-3, 1e3, runs)
    for seed in range(12):
        L = 0.3 * C**-0.2 * np.exp(0.02 * np.random.default_rng(seed).standard_normal(runs))
        found = fit(PowerLaw, objective=objective, C=C, L=L)
        assert found.status == "converged"
        assert found.decrement < 1e-7
        if isinstance(objective, AbsoluteDeviation):
            assert found.objective_value == pytest.approx(lowest_sum(C, L), rel=1e-9)


def test_an_idle_ceiling_leaves_profiles_closed():
    """Far below the loss of guessing L0 and p move no prediction. A second method: the fit pinned at the ends."""
    for step in (1, -1):  # the order of rows decides where the idle ones end
        runs = {name: values[::step] for name, values in surface_runs().items()}
        found = fit(ChanceSizeData, **runs)
        assert found.status == "not_identified"
        for name in ("E", "alpha", "beta"):
            for end in found.interval(name):
                assert end is not None
                rise = fit(ChanceSizeData, fix={name: end}, **runs).objective_value - found.objective_value
                t = np.sqrt(rise / found.objective_value * found.point.dof)
                assert 0.9 < t / 2.101 < 2.5  # by independent runs; by sizes intervals may be wider


def test_equal_losses_tell_no_bend():
    found = fit(ShiftedPowerLaw, C=np.geomspace(1e-3, 1e3, 24), L=np.full(24, 2.0))
    assert found.status == "not_identified"
    assert found.stderr["gamma"] is None


@pytest.mark.parametrize("c1", [0.3, -0.3])
def test_a_sharp_break_far_behind_is_a_power_law(c1):
    """(C / d)^(1 / f) is beyond floating point there, the loss is not."""
    law = BrokenPowerLaw(E=0.1, A=1.0, c0=0.2, c1=c1, d1=1e3, f1=0.01)
    assert law.predict(C=1e7) == pytest.approx(0.1 + 1e7**-0.2 * 1e4**-c1, rel=1e-12)
    assert law.predict(C=np.array([10.0, 1e7])).shape == (2,)


def test_a_steep_size_term_does_not_overflow():
    law = KaplanJoint(Nc=8.8e13, Dc=5.4e13, aN=1.0, aD=0.01)
    assert law.predict(N=1e9, D=1e10) == pytest.approx(88000.0, rel=1e-9)


def test_unseen_unique_data_are_not_beyond_the_runs():
    N, D = np.repeat(np.geomspace(1e5, 1e7, 6), 6), np.tile(np.geomspace(1e4, 1e6, 6), 6)
    truth = Overfit(E=0.8, A=60.0, B=120.0, alpha=0.35, beta=0.4, P=0.02, delta=1.0, kappa=0.2)
    U = np.full(36, 1e5)
    noise = np.exp(0.003 * np.random.default_rng(0).standard_normal(36))
    found = fit(Overfit, N=N, D=D, U=U, L=truth.predict(N=N, D=D, U=U) * noise)
    assert found.beyond(N=1e6, D=5e4, U=1e8) == found.beyond(N=1e6, D=5e4, U=5e4) == 1.0


def test_budgets_that_differ_by_rounding_are_one():
    """Two budgets have no curvature, even where one of them was computed in two ways."""
    C, L = np.array([1.0, 1.0, 1.0 + 1e-15, 2.0, 2.0, 2.0 * (1 + 1e-15)]), [1.0, 0.9, 0.95, 0.8, 0.7, 0.75]
    assert curvature(C, L) is None
    assert curvature([1.0, 1.0 + 1e-6, 2.0], L[:3]) is not None


@pytest.mark.parametrize(
    ("law", "bounds"),
    [(SizeData, {"E": (1.0, None)}), (SizeData, {"A": (100.0, None)}), (SizeData, {"B": (50.0, 60.0)})],
)
def test_an_interval_ends_at_the_bound_that_was_given(law, bounds):
    found = fit(law, bounds=bounds, **surface_runs())
    ((name, (least, most)),) = bounds.items()
    assert found.status == "at_bound"
    low, high = found.interval(name)
    assert low == least
    assert least < high <= (most or np.inf)


def test_what_is_asked_nowhere_or_in_vain_has_an_answer():
    """No points make no band, a loss below the floor no interval; several losses at once are refused in words."""
    C = np.geomspace(1.0, 1e4, 30)
    L = (0.5 + C**-0.3) * np.exp(0.01 * np.random.default_rng(0).standard_normal(30))
    found = fit(OffsetPowerLaw, C=C, L=L)
    empty = found.predict(C=[])
    assert empty.mid.shape == empty.beyond.shape == (0,)
    assert found.estimate("compute_for", L=0.4) == np.inf
    assert found.interval("compute_for", L=0.4) == (None, None)
    with pytest.raises(UserError, match="one place at a time"):
        found.interval("compute_for", L=np.array([0.6, 0.7]))
    with pytest.raises(UserError, match="no objective"):
        fit(OffsetPowerLaw, objective="huber", C=C, L=L)
