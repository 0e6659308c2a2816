"""The cheapest model over its life: the compute-optimal one without use, never a larger one with more use."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_frontiers import demo, truth
from test_inverse import dense, surface_of

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.plan import candidates, predict
from scalelaw.plan.lifetime import lifetime


@pytest.fixture(scope="module")
def best():
    return demo(0.5, noise=0.004)


@pytest.fixture(scope="module")
def surface(best):
    return surface_of(best)


@pytest.fixture(scope="module")
def draws(surface):
    return surface.bootstrap(300, starts=1)


def test_without_use_it_is_the_compute_optimal_model(best, surface, draws):
    options, _ = candidates(best)
    plan = predict(best, compute.Budget(times=3))
    found = lifetime(surface, plan.train_flop, options, 0, draws=draws)
    assert (found.variant, found.training_best) == (plan.variant, plan.variant)
    assert found.images == pytest.approx(plan.images, rel=1e-5)
    assert found.loss == pytest.approx(plan.loss, rel=1e-9)
    assert (found.inference_flop, found.total_flop) == (0, pytest.approx(plan.train_flop))
    assert found.budget_ratio == pytest.approx(1)
    assert found.saved_share == pytest.approx(0)


@given(st.lists(st.floats(0, 12), min_size=2, max_size=6), st.floats(9, 13))
@settings(deadline=None, max_examples=25)
def test_more_use_never_makes_the_model_larger(surface, draws, best, logs, log_flop):
    options, _ = candidates(best)
    found = [lifetime(surface, 10**log_flop, options, 10**at, draws=draws) for at in sorted(logs)]
    sizes = [one.macs_per_image for one in found]
    assert sizes == sorted(sizes, reverse=True)
    for one in found:
        assert one.budget_ratio >= 1 - 1e-12
        assert one.total_flop <= one.training_best_total * (1 + 1e-12)
        assert surface.predict(N=one.macs_per_image, D=one.images).mid == pytest.approx(one.loss, rel=1e-9)


def test_the_choice_satisfies_the_condition_of_the_continuous_optimum(surface, draws):
    """d/dM of 6 M D(M) + 2 M I is 0: 3 D (1 - alpha A M^-alpha / (beta B D^-beta)) + I = 0."""
    law = surface.fitted
    options = dense(1e3, 1e7, per_decade=400)
    found = lifetime(surface, 1e12, options, 3e5, draws=draws)
    M, D = found.macs_per_image, found.images
    slope = 3 * D * (1 - law.alpha * law.A * M**-law.alpha / (law.beta * law.B * D**-law.beta)) + 3e5
    assert abs(slope) < 0.02 * 3e5
    assert found.saved_share > 0
    assert found.images > lifetime(surface, 1e12, options, 0, draws=draws).images


def test_what_is_chosen_is_within_what_the_truth_would_choose(best):
    """On each of several noisy tables the true total of the choice is within a percent of the true best."""
    options, _ = candidates(best)
    law = truth(0.5)
    regrets, covered = [], []
    for seed in range(10):
        fitted = surface_of(demo(0.5, seed=seed, noise=0.004))
        found = lifetime(fitted, 1e12, options, 1e6, draws=fitted.bootstrap(200, starts=1))
        loss = min(float(law.predict(N=o.macs_per_image, D=1e12 / 6 / o.macs_per_image)) for o in options)
        totals = {}
        for one in options:
            left = loss - law.E - law.A * one.macs_per_image**-law.alpha
            if left > 0:
                totals[one.variant] = one.macs_per_image * (6 * (law.B / left) ** (1 / law.beta) + 2e6)
        regrets.append(totals[found.variant] / min(totals.values()) - 1)
        low, high = found.total_interval
        true = totals[found.variant]  # where the choice is the best for training too, the low end but for rounding
        covered.append(low is not None and low <= true * (1 + 1e-9) and (high is None or true <= high))
    assert np.mean(regrets) < 0.01
    assert np.mean(covered) >= 0.7


def test_replicates_are_counted_and_caveats_said(best, surface, draws):
    options, _ = candidates(best)
    found = lifetime(surface, 2e12, options, 1e7, draws=draws)
    assert found.same_model + sum(count for _, count in found.others) == found.replicates == 300
    assert any("times the longest run" in warning for warning in found.warnings)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["total_flop"] == found.total_flop
    for words in ("replicates choose it", "whatever the model", "x the budget"):
        assert words in str(found)
    smallest = lifetime(surface, 1e9, options, 1e12, draws=draws)
    assert any("smallest model" in warning for warning in smallest.warnings)


@pytest.mark.parametrize(
    ("flop", "use"), [(0, 1), (-1.0, 1), (1e12, -1), (1e12, float("nan")), (True, 1), (1e12, "many")]
)
def test_numbers_out_of_range_are_refused(surface, best, flop, use):
    with pytest.raises(UserError, match="lifetime: "):
        lifetime(surface, flop, candidates(best)[0], use)
