"""Plans on a surface that levels off at the loss of guessing: each answer against a search on the law itself."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from test_frontiers import demo
from test_inverse import dense

import scalelaw as sl
from scalelaw.frontiers.chance import TURN
from scalelaw.frontiers.surface import fit_surface
from scalelaw.laws import ChanceSizeData, SizeData
from scalelaw.laws.chance import below, sum_below
from scalelaw.plan import candidates, compare
from scalelaw.plan.crossing import crossing
from scalelaw.plan.fronts import Fronts
from scalelaw.plan.inverse import compute_for
from scalelaw.plan.lifetime import lifetime
from scalelaw.plan.planning import predict_for
from scalelaw.plan.surfaces import Surfaces, compute_of
from scalelaw.runs import RunTable

CHANCE = float(np.log(100))  # the demo's classes
LAW = ChanceSizeData(E=0.8, A=93.4, B=59.2, alpha=0.375, beta=0.375, L0=CHANCE, p=TURN)


def bent(law=LAW, seed=0, noise=0.004, **columns):
    """The demo's layout with the losses of a law."""
    frame, rng = demo(0.5).frame, np.random.default_rng(seed)
    loss = law.predict(N=frame["macs_per_image"], D=frame["images_seen"])
    return RunTable.from_frame(frame.assign(val_loss=loss * np.exp(noise * rng.standard_normal(len(frame))), **columns))


def surface_of(best, unit=1.0):
    macs, images = best.macs_per_image.astype(float), best.images_seen.astype(float)
    return fit_surface(macs, images, unit * best.val_loss.astype(float), "best", unit * CHANCE)


@pytest.fixture(scope="module")
def best():
    return bent()


@pytest.fixture(scope="module")
def surface(best):
    found = surface_of(best)
    assert found.law is ChanceSizeData
    return found


@pytest.fixture(scope="module")
def draws(surface):
    return surface.bootstrap(200, starts=1)


def flop_by_search(law, loss):
    """Compute at which the lowest loss of any size is `loss`."""
    return float(np.exp(brentq(lambda log_c: float(law.optimal_loss(np.exp(log_c), k=6.0)) - loss, -60, 400)))


def test_without_a_ceiling_sums_and_losses_are_the_same_numbers():
    S = np.array([1e-3, 1.0, 7.0, 1e300, np.inf])
    for convert in (below, sum_below):
        assert (convert(S, np.inf, 1.0) == S).all()


def test_the_ceiling_holds_at_any_magnitude():
    S = np.array([1e-200, 1e-80, 1e80, 1e300])
    np.testing.assert_allclose(below(S, CHANCE, 12.0), [1e-200, 1e-80, CHANCE, CHANCE])
    step = below(np.array([0.3, 1.0, 40.0]) * (1 + 1e-30j), CHANCE, TURN)
    np.testing.assert_allclose(step.imag / step.real * 1e30, LAW.steepness(np.array([0.3, 1.0, 40.0])))


@given(st.floats(0.2, 1.2), st.floats(0.2, 1.2), st.floats(0.0, 2.0), st.floats(0.05, 0.95), st.floats(1, 10))
@settings(deadline=None, max_examples=40)
def test_the_compute_for_a_loss_is_the_root_of_the_laws_lowest_loss(alpha, beta, E, share, p):
    law = ChanceSizeData(E=E, A=3.0, B=7.0, alpha=alpha, beta=beta, L0=CHANCE, p=p)
    lowest = float(law.of_sum(np.array(E)))
    loss = lowest + share * (CHANCE - lowest)
    (found,) = compute_of(Surfaces.of(law), loss)
    assert found == pytest.approx(flop_by_search(law, loss), rel=1e-6)
    assert Fronts.of(law, -np.log(6)).log_compute(np.array([loss]))[0] == pytest.approx(np.log(found), abs=1e-9)
    per_mille = replace(law, **{name: 1000 * getattr(law, name) for name in ("E", "A", "B", "L0")})
    assert compute_of(Surfaces.of(per_mille), 1000 * loss)[0] == pytest.approx(found, rel=1e-9)


def test_a_model_reaches_a_loss_where_the_fits_own_prediction_does(surface, best, draws):
    options, _ = candidates(best)
    loss = 2.0
    found = compute_for(surface, loss, options, draws=draws)
    wanted = {}
    for one in options:
        above = lambda log_d, macs=one.macs_per_image: float(surface.predict(N=macs, D=np.exp(log_d)).mid) - loss  # noqa: E731
        if above(60.0) < 0:
            wanted[one.variant] = 6 * one.macs_per_image * np.exp(brentq(above, 0, 60))
    assert found.variant == min(wanted, key=wanted.get)
    assert found.train_flop == pytest.approx(wanted[found.variant], rel=1e-6)
    low, high = found.flop_interval
    macs = [one.macs_per_image for one in options]
    (true,) = Surfaces.of(LAW).cheapest(macs, loss)[1]
    assert low < true < high


def test_what_guessing_has_takes_no_training(surface, best, draws):
    options, _ = candidates(best)
    for loss in (surface.params["L0"], 7.0):
        found = compute_for(surface, loss, options, draws=draws)
        assert (found.reachable, found.status, found.train_flop, found.variant) == (True, "no_training", 0.0, None)
        assert "takes no training: guessing alone has 4.605" in found.warnings[0]
        assert "guessing is as good" in str(found)
        json.dumps(found.to_dict(), allow_nan=False)
    needed, plan = predict_for(best, 7.0)
    assert (needed.status, plan) == ("no_training", None)
    plain = fit_surface(surface.data["N"], surface.data["D"], surface.data["L"], "best")
    assert compute_for(plain, 7.0, options).train_flop > 0


def test_no_compute_reaches_a_loss_below_the_irreducible_one(surface, best, draws):
    """E is a sum, not a loss: what it costs lies a little lower."""
    options, _ = candidates(best)
    lowest = float(surface.predict(N=1e30, D=1e30).mid)
    assert lowest < surface.params["E"]
    found = compute_for(surface, lowest * (1 - 1e-6), options, draws=draws)
    assert (found.reachable, found.status) == (False, "not_reachable")
    assert f"irreducible loss is {lowest:.4g}" in found.warnings[0]
    (_, high) = surface.interval("E")
    models = dense(1e3, 1e14, per_decade=30)
    for S, closed in ((0.99 * high, False), (1.01 * high, True)):
        near = compute_for(surface, float(surface.fitted.of_sum(np.array(S))), models, far=True, draws=draws)
        assert any("no upper end" in warning for warning in near.warnings) != closed
    few = compute_for(surface, lowest + 0.2, options[:2], draws=draws)
    floor = float(surface.predict(N=options[1].macs_per_image, D=1e30).mid)
    assert f"stays above {floor:.4g}" in few.warnings[0]


@pytest.mark.parametrize("asked", [1e5, 1e7, 1e9])
def test_a_lifetime_is_what_a_search_over_models_and_lengths_finds(surface, best, draws, asked):
    options, _ = candidates(best)
    flop = 1e11
    found = lifetime(surface, flop, options, asked, draws=draws)
    lengths = np.geomspace(1e2, 1e13, 40_001)
    loss = min(float(surface.predict(N=o.macs_per_image, D=flop / 6 / o.macs_per_image).mid) for o in options)
    assert found.loss == pytest.approx(loss, rel=1e-9)
    totals = {}
    for one in options:
        reached = surface.fitted.at(np.array(one.macs_per_image), lengths) <= loss * (1 + 1e-12)
        if reached.any():
            totals[one.variant] = one.macs_per_image * (6 * lengths[reached].min() + 2 * asked)
    assert found.variant == min(totals, key=totals.get)
    assert found.total_flop == pytest.approx(totals[found.variant], rel=2e-3)


def test_the_losss_unit_does_not_matter(surface, best, draws):
    options, _ = candidates(best)
    bits = surface_of(best, 1 / np.log(2))
    redrawn = bits.bootstrap(200, starts=1)
    mine, other = (
        compute_for(surface, 2.0, options, draws=draws),
        compute_for(bits, 2.0 / np.log(2), options, draws=redrawn),
    )
    assert other.train_flop == pytest.approx(mine.train_flop, rel=1e-5)
    assert other.flop_interval == pytest.approx(mine.flop_interval, rel=1e-3)
    one, two = lifetime(surface, 1e11, options, 1e7, draws=draws), lifetime(bits, 1e11, options, 1e7, draws=redrawn)
    assert (one.variant, one.same_model) == (two.variant, two.same_model)
    assert two.total_flop == pytest.approx(one.total_flop, rel=1e-5)


@pytest.mark.parametrize("other", [CHANCE, float(np.log(10)), None])
def test_a_multiplier_and_a_crossing_are_roots_of_the_laws(other):
    """Equal ceilings, different ones, and none on one side."""
    law = SizeData(*list(LAW.params.values())[:5]) if other is None else replace(LAW, L0=other)
    law = replace(law, A=60.0, B=30.0, E=1.0)
    a, b = (Fronts.of(one, -np.log(6)) for one in (LAW, law))
    for C in (1e6, 1e9, 1e13):
        loss = float(law.optimal_loss(C, k=6.0))
        log_c = float(a.log_compute(b.loss(np.array([C])))[0, 0])
        lowest = float(LAW.of_sum(np.array(LAW.E)))
        assert b.loss(C)[0] == pytest.approx(loss)
        end = np.inf if loss <= lowest else -np.inf if loss >= CHANCE else None
        expected = end or np.log(flop_by_search(LAW, loss))
        assert log_c == pytest.approx(expected, abs=1e-6)
    found = crossing((a, b), None, 3e14, (1e13, 1e15))
    gap = lambda log_c: float(LAW.optimal_loss(np.exp(log_c), k=6.0) - law.optimal_loss(np.exp(log_c), k=6.0))  # noqa: E731
    assert found.compute == pytest.approx(np.exp(brentq(gap, np.log(1e14), np.log(1e15))), rel=1e-6)
    assert found.a_better == "above"


def test_comparing_tables_recovers_the_laws_multiplier_below_their_ceiling(best):
    times = 3.0
    slow = bent(replace(LAW, B=LAW.B * times**LAW.beta), seed=1)
    found = compare(slow, best, 1e11, basis="train_flop", replicates=100)
    assert found.front == "surface"
    assert found.at.low < times < found.at.high
    assert found.at.value == pytest.approx(times, rel=0.15)
    assert not any("classes" in warning for warning in found.warnings)
    unknown = bent(seed=1, variant="mine")
    assert any("number of classes of A is unknown" in one
               for one in compare(unknown, best, 1e11, basis="train_flop", replicates=20).warnings)  # fmt: skip


def test_fewer_classes_have_the_loss_by_guessing(best):
    """Of two tables with different heads each has its own ceiling."""
    frame = best.frame
    channels = (frame["params"] - frame["params_body"]) // 100
    law = replace(LAW, L0=float(np.log(5)), A=20.0, B=12.0)
    few = bent(law, seed=2, params=frame["params_body"] + 5 * channels)
    found = compare(few, best, 2e8, basis="train_flop", replicates=200)
    assert any("different numbers of classes" in warning for warning in found.warnings)
    assert found.losses[1] > np.log(5) > found.losses[0]
    assert (found.at.value, found.at.low, found.at.high) == (0.0, 0.0, 0.0)
    assert any("A needs nothing" in warning for warning in found.warnings)
    json.dumps(found.to_dict(), allow_nan=False)


def test_predict_and_the_plans_rest_on_the_same_surface(best, surface, draws):
    plan = sl.predict(best, sl.Budget(times=3))
    options, _ = candidates(best)
    found = lifetime(surface, plan.train_flop, options, 0, draws=draws)
    assert found.variant == plan.variant
    assert found.loss == pytest.approx(plan.loss, rel=1e-9)
    assert compute_for(surface, plan.loss, options, draws=draws).train_flop <= plan.train_flop * (1 + 1e-6)
