"""The solver against closed forms, finite differences, and what any optimum must satisfy."""

import numpy as np
import pytest

from scalelaw import newton
from scalelaw.fitting import Huber, LeastSquares
from scalelaw.newton.descent import certify
from scalelaw.newton.walk import Rows

RNG = np.random.default_rng(3)
FORM = newton.Form(True, ((0,), (1,)))
LOGS = np.stack([RNG.uniform(12, 17, 60), RNG.uniform(9, 13, 60)])
TRUTH = np.array([np.log(0.9), 3.0, 0.3, 2.5, 0.35])


def log_prediction(theta, logs):
    return np.log(np.exp(theta[0]) + np.exp(theta[1] - theta[2] * logs[0]) + np.exp(theta[3] - theta[4] * logs[1]))


LOSS = log_prediction(TRUTH, LOGS) + 0.01 * RNG.standard_normal(60)


def problem(objective=None, space="log", logs=LOGS, loss=LOSS):
    return newton.SumProblem.of(FORM, logs, loss, objective or LeastSquares(), space)


def best(p, weights=None):
    weights = np.ones((1, p.x.shape[1])) if weights is None else weights
    starts, _ = newton.screen(p, weights)
    found = newton.solve(p, starts[0], weights)
    return found, int(np.argmin(np.where(found.certified, found.value, np.inf)))


@pytest.mark.parametrize("space", ["log", "linear"])
@pytest.mark.parametrize("objective", [LeastSquares(), Huber(0.3)], ids=str)
def test_gradient_and_hessian_equal_finite_differences(objective, space):
    p = problem(objective, space)
    theta = p.from_natural(TRUTH + 0.1)
    weights, alive = RNG.uniform(0.5, 2, (1, 60)), np.ones((1, 3), bool)

    def at(theta):
        return newton.derivatives(p, theta[None], weights, alive)

    found, h = at(theta), 1e-5
    for j in range(5):
        up, down = theta.copy(), theta.copy()
        up[j] += h
        down[j] -= h
        slope = (at(up).value[0] - at(down).value[0]) / (2 * h)
        assert found.gradient[0, j] == pytest.approx(slope, rel=1e-6, abs=1e-8)
        bend = (at(up).gradient[0] - at(down).gradient[0]) / (2 * h)
        np.testing.assert_allclose(found.hessian[0, j], bend, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dead", [(), (0,), (2,)], ids=["alive", "no constant", "no product"])
def test_derivatives_hold_with_a_product_of_variables_and_with_dead_terms(dead):
    form = newton.Form(True, ((0,), (0, 1)))
    p = newton.SumProblem.of(form, LOGS, LOSS, Huber(0.1), "log")
    theta, weights, alive = (
        np.array([-0.7, -0.9, 0.4, -1.2, 0.3, -0.2]),
        RNG.uniform(0.5, 2, (1, 60)),
        np.ones((1, 3), bool),
    )
    alive[0, list(dead)] = False
    moving = np.flatnonzero(p.owned(alive)[0])

    def at(theta):
        return newton.derivatives(p, theta[None], weights, alive)

    found, h = at(theta), 1e-5
    curve = p.curve(theta[None], alive)  # written out on its own
    r = curve.f - p.y
    np.testing.assert_allclose(found.gradient, (curve.jacobian * (weights * Huber(0.1).psi(r))[:, None]).sum(axis=2))
    for j in moving:
        move = h * np.eye(6)[j]
        bend = (at(theta + move).gradient[0] - at(theta - move).gradient[0]) / (2 * h)
        np.testing.assert_allclose(found.hessian[0, j, moving], bend[moving], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [900.0, -900.0])
def test_predictions_beyond_floating_point_keep_their_derivatives(shift):
    p = problem()
    theta, ones, alive = p.from_natural(TRUTH), np.ones((1, 60)), np.ones((1, 3), bool)
    moved = theta + shift * np.array([1, 1, 0, 1, 0])
    near, far = (newton.derivatives(p, t[None], ones, alive, y) for t, y in ((theta, p.y), (moved, p.y + shift)))
    np.testing.assert_allclose(far.hessian, near.hessian, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(far.gradient, near.gradient, atol=1e-9)
    assert far.value[0] == pytest.approx(near.value[0], rel=1e-9)


def test_threads_change_nothing():
    p = problem(Huber(0.005))
    weights = RNG.multinomial(60, np.full(60, 1 / 60), size=1100).astype(float)  # more than one chunk
    start = np.repeat(p.from_natural(TRUTH)[None], 1100, axis=0)
    one, two = (newton.solve(p, start, weights, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.theta, two.theta)
    np.testing.assert_array_equal(one.steps, two.steps)


def test_exact_data_give_the_truth_back():
    p = problem(loss=log_prediction(TRUTH, LOGS))
    found, at = best(p)
    T, shift = p.to_natural
    assert found.certified[at]
    np.testing.assert_allclose(T @ found.theta[at] + shift, TRUTH, rtol=1e-6)


def test_the_optimum_is_one_for_scipy_too():
    """A second method: BFGS on the same objective, written out again, finds nothing lower."""
    from scipy.optimize import minimize

    p = problem(Huber(0.005))
    found, at = best(p)
    T, shift = p.to_natural
    ours = T @ found.theta[at] + shift

    def objective(theta):
        r = np.abs(log_prediction(theta, LOGS) - LOSS)
        return np.where(r < 0.005, r * r / 2, 0.005 * (r - 0.0025)).sum()

    assert found.value[at] == pytest.approx(objective(ours), rel=1e-10)
    assert minimize(objective, ours, method="Nelder-Mead", options={"maxiter": 4000}).fun >= found.value[at] * (
        1 - 1e-9
    )
    assert minimize(objective, TRUTH, method="BFGS").fun >= found.value[at] * (1 - 1e-9)


def test_weights_mean_repeated_runs():
    counts = RNG.integers(0, 3, 60)
    p = problem()
    weighted = newton.solve(p, p.from_natural(TRUTH)[None], counts[None].astype(float))
    again = problem(logs=np.repeat(LOGS, counts, axis=1), loss=np.repeat(LOSS, counts))
    repeated, at = best(again)
    T, shift = p.to_natural
    S, move = again.to_natural
    np.testing.assert_allclose(T @ weighted.theta[0] + shift, S @ repeated.theta[at] + move, rtol=1e-7)


def test_rows_do_not_disturb_each_other():
    p = problem(Huber(0.005))
    weights = RNG.multinomial(60, np.full(60, 1 / 60), size=300).astype(float)
    start = np.repeat(p.from_natural(TRUTH)[None], 300, axis=0)
    together = newton.solve(p, start, weights)
    alone = newton.solve(p, start[123:124], weights[123:124])
    assert together.certified.all()
    np.testing.assert_allclose(together.theta[123], alone.theta[0], rtol=1e-9)


def test_a_constant_that_the_data_reject_is_switched_off():
    line = 2.0 - 0.2 * LOGS[0] + 0.001 * RNG.standard_normal(60) - 0.004 * (LOGS[0] - LOGS[0].mean()) ** 2
    p = newton.SumProblem.of(newton.Form(True, ((0,),)), LOGS[:1], line, LeastSquares(), "log")
    starts, _ = newton.screen(p, np.ones((1, 60)))
    found = newton.solve(p, starts[0], np.ones((1, 60)))
    at = int(np.argmin(found.value))
    assert found.certified[at]
    assert not found.alive[at, 0]
    slope = np.polyfit(LOGS[0], line, 1)[0]
    assert found.theta[at, 2] / p.scale[0] == pytest.approx(-slope, rel=1e-9)


def test_held_parameters_stay():
    p = problem()
    free = np.array([[True, True, False, True, True]])
    start = p.from_natural(TRUTH)[None]
    held = newton.solve(p, start, np.ones((1, 60)), free=free)
    assert held.theta[0, 2] == start[0, 2]
    assert held.certified[0]
    assert held.value[0] >= best(p)[0].value.min()


def test_a_poor_point_is_not_certified():
    p = problem()
    stuck = newton.solve(p, p.from_natural(TRUTH + 0.2)[None], np.ones((1, 60)), free=np.zeros((1, 5), bool))
    moved = newton.solve(p, p.from_natural(TRUTH + 0.2)[None], np.ones((1, 60)))
    assert stuck.certified[0]  # nothing was free to move
    assert moved.certified[0]
    rows = Rows(np.ones((1, 60)), p.y, np.ones((1, 5), bool))
    judged = certify(p, stuck.theta, rows, stuck.alive, stuck.steps, exact=True)
    assert not judged.certified[0]
    assert judged.decrement[0] > 1e-3
