"""Next runs on surfaces that level off at the loss of guessing: closed forms against complex steps and searches."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from test_chance import DEMO
from test_chance_plan import CHANCE, LAW, bent

from scalelaw.frontiers.chance import TURN
from scalelaw.laws import ChanceSizeData
from scalelaw.plan.design import basis, questions
from scalelaw.plan.design.cells import cells
from scalelaw.plan.design.information import PRIOR
from scalelaw.plan.design.questions import Questions
from scalelaw.plan.design.scales import drawn
from scalelaw.plan.design.worlds import WANTED, Worlds
from scalelaw.plan.models import candidates
from scalelaw.runs import RunTable

STEP = 1e-30
THETA = np.array([[-0.3, 0.6, 0.5, 0.4, 0.5], [-1.0, 0.9, 1.1, 0.3, 0.55]])
WORLDS = Worlds(THETA, (1.0, -0.5), replace(LAW, L0=3.0))
WORK = 4.0
"""Low: the best run feels the ceiling."""


def law_of(theta, worlds=WORLDS):
    """The law of a row of theta, which may be complex, in raw units."""
    e, a, b, alpha, beta = theta
    A, B = np.exp(a + alpha * worlds.centre[0]), np.exp(b + beta * worlds.centre[1])
    rest = {"L0": worlds.law.L0, "p": worlds.law.p} if isinstance(worlds.law, ChanceSizeData) else {}
    return type(worlds.law)(E=np.exp(e), A=A, B=B, alpha=alpha, beta=beta, **rest)


def stepped(function, theta):
    """Derivative of a function of theta by complex step, the parameters last."""
    moved = [theta + 1j * STEP * row for row in np.eye(5)]
    return np.stack([np.asarray(function(one)).imag / STEP for one in moved], axis=-1)


def test_the_jacobian_is_the_complex_step_of_the_law():
    x = np.stack(np.meshgrid(np.linspace(-3, 9, 5), np.linspace(-3, 9, 5))).reshape(2, -1)
    N, D = np.exp(x)
    found = WORLDS.jacobian(x)
    for row, theta in enumerate(THETA):
        np.testing.assert_allclose(WORLDS.log_loss(x)[row], np.log(law_of(theta).at(N, D)), rtol=1e-12)
        np.testing.assert_allclose(found[row], stepped(lambda t: np.log(law_of(t).at(N, D)), theta), atol=1e-12)
    plain = Worlds(THETA, WORLDS.centre)
    assert (plain.jacobian(x) > found).all(axis=0)[:, 0].all()  # what a ceiling hides is less told


@pytest.mark.parametrize("want", WANTED)
def test_answers_and_gradients_are_the_laws_own(want):
    def answer(theta):
        law = law_of(theta)
        if want == "exponent":
            return law.size_exponent
        return np.log(law.optimal_size(np.exp(WORK), 1.0) if want == "size" else law.optimal_loss(np.exp(WORK), 1.0))

    for row, theta in enumerate(THETA):
        assert WORLDS.answer(want, WORK)[row] == pytest.approx(float(answer(theta)))
        np.testing.assert_allclose(WORLDS.gradient(want, WORK)[row], stepped(answer, theta), atol=1e-10)


@pytest.mark.parametrize("want", ["size", "loss"])
def test_an_error_of_the_form_moves_the_answer_as_the_stencil_says(want):
    """The ceiling makes the valley flatter, so the best size moves further."""

    def delta(x, h=1e-5):
        return h * np.sin(0.4 * x[0] + 0.3) * np.cos(0.3 * x[1])

    def lowest(size):
        law, start = law_of(THETA[0]), float(WORLDS.best(WORK)[0, 0, 0])

        def log_loss(u):
            return float(np.log(law.at(np.exp(u), np.exp(WORK - u)))) + size * float(delta(np.array([u, WORK - u])))

        found = minimize_scalar(log_loss, bounds=(start - 1, start + 1), method="bounded", options={"xatol": 1e-10})
        return found.x if want == "size" else found.fun

    points, factors = WORLDS.stencil(want, WORK)
    moved = (lowest(300.0) - lowest(-300.0)) / 600
    assert float(factors[0] @ delta(points[0])) == pytest.approx(moved, rel=0.02)


def test_the_losss_unit_changes_nothing_but_the_level():
    scaled = Worlds(THETA + np.log(1000) * np.array([1, 1, 1, 0, 0]), WORLDS.centre, replace(WORLDS.law, L0=3000.0))
    x = np.array([[0.0, 3.0, 6.0], [1.0, 2.0, 5.0]])
    np.testing.assert_allclose(scaled.jacobian(x), WORLDS.jacobian(x), rtol=1e-9)
    np.testing.assert_allclose(scaled.log_loss(x), WORLDS.log_loss(x) + np.log(1000), rtol=1e-9)
    for want in WANTED:
        np.testing.assert_allclose(scaled.stencil(want, WORK)[1], WORLDS.stencil(want, WORK)[1], rtol=1e-9)


@pytest.fixture(scope="module")
def known():
    return basis.basis_of(bent(), seed=0)


def test_the_basis_is_the_surface_that_predict_takes(known):
    assert known.surface.law is ChanceSizeData
    assert (known.worlds.law.L0, known.worlds.law.p) == (pytest.approx(CHANCE), TURN)
    assert known.assumed == 0
    log_c = np.log(6) + WORK + 20
    assert known.estimate("loss", np.exp(log_c)) == pytest.approx(
        float(np.log(known.surface.estimate("optimal_loss", C=np.exp(log_c), k=6.0)))
    )
    middle = np.exp(known.worlds.log_loss(known.x).mean(axis=0))
    np.testing.assert_allclose(middle, LAW.predict(N=np.exp(known.x[0]), D=np.exp(known.x[1])), rtol=0.03)


def test_information_is_that_of_the_laws_curve(known):
    """M = J'J of every world, J by complex step."""
    models, _ = candidates(known.runs)
    grid = cells(models, float(np.exp(known.x[1].min())), float(np.exp(known.x[1].max())), None, 1e12)
    information = Questions.of(known, grid, float(np.log(1e12 / 6))).information("exponent")
    N, D = np.exp(known.x)
    for row in (0, -1):
        J = stepped(lambda t: np.log(law_of(t, known.worlds).at(N, D)), known.worlds.theta[row])
        held = information.question.scales.noise[row] ** 2 / PRIOR**2
        np.testing.assert_allclose(information.gram[row], J.T @ J + np.diag(held), rtol=1e-8, atol=1e-12)


def test_only_estimated_parameters_take_from_the_residuals(known, monkeypatch):
    """Neither those of the ceiling, nor a constant that was estimated as 0; the noise is that of the simulation."""
    given = []
    monkeypatch.setattr(questions, "drawn", lambda worlds, J, *rest: given.append(J) or drawn(worlds, J, *rest))
    grid = cells(candidates(known.runs)[0], 3e3, 2e5, None, 1e12)
    scales = Questions.of(known, grid, float(np.log(1e12 / 6))).scales
    assert np.sqrt(np.mean(scales.noise**2)) == pytest.approx(0.004, rel=0.3)
    none = basis.basis_of(RunTable.load(DEMO), seed=0)
    assert none.surface.law is ChanceSizeData
    assert none.surface.params["E"] == 0
    Questions.of(none, grid, float(np.log(1e12 / 6)))
    assert [J.shape[1] for J in given] == [5, 4]


def test_runs_at_the_loss_of_guessing_leave_assumed_surfaces_finite(monkeypatch):
    """Noise lifts some runs above it, where no sum belongs to the loss."""
    monkeypatch.setattr(basis, "STEEPEST", 0.0)
    found = basis.basis_of(bent(replace(LAW, A=250.0, B=150.0), noise=0.03), seed=0)
    loss = found.runs.val_loss.astype(float)
    assert found.surface.law is ChanceSizeData
    assert loss.max() > CHANCE
    assert found.assumed == len(found.worlds) == 9
    sums = np.minimum(found.worlds.law.sum_of(loss), basis.HIGHEST * loss)
    middle = found.worlds.law.of_sum(np.exp(np.log(sums).mean()))
    np.testing.assert_allclose(np.exp(found.worlds.log_loss(np.array(found.worlds.centre)[:, None]))[:, 0], middle)
