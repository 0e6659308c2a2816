"""predict(): the best buildable model at a budget, its loss with an interval, and honest limits."""

import json

import numpy as np
import pandas as pd
import pytest
from test_frontiers import IMAGES, SIZES, demo, truth

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.plan import candidates, predict
from scalelaw.runs import RunTable

RNG = np.random.default_rng(1)


def with_rates(table, rates=(0.8, 1.6, 3.2), noise=0.0005, best=1.7):
    """The same runs at several learning rates around a best one."""
    parts = []
    for rate in rates:
        part = table.frame.copy()
        u = np.log(rate / best)
        part["peak_lr"] = rate
        part["val_loss"] *= np.exp(0.02 * u * u + noise * RNG.standard_normal(len(part)))
        parts.append(part)
    return RunTable.from_frame(pd.concat(parts, ignore_index=True))


@pytest.fixture(scope="module")
def runs():
    return with_rates(demo(0.5, noise=0.002))


def test_the_chosen_model_is_the_truths(runs):
    """Among all buildable variants at their own cost per image, the one the true surface likes best (or nearly)."""
    plan = predict(runs, compute.Budget(times=4))
    surface = truth(0.5)
    losses = {
        name: float(surface.predict(N=size.macs_per_image, D=plan.train_flop / 6 / size.macs_per_image))
        for name, size in (
            (v, architecture.size(m, 8, 100)) for v, m in architecture.FAMILIES["nfnet"].items() if v[0] == "N"
        )
    }
    assert losses[plan.variant] <= min(losses.values()) * 1.003
    assert plan.params == architecture.size(architecture.variant(plan.variant), 8, 100).params
    assert plan.images == pytest.approx(plan.train_flop / 6 / plan.macs_per_image, abs=1)
    assert plan.epochs == pytest.approx(plan.images / IMAGES, rel=1e-4)
    assert plan.loss_low < plan.loss < plan.loss_high
    assert plan.loss_low < losses[plan.variant] * 1.0005 < plan.loss_high
    assert plan.peak_lr == pytest.approx(1.7, rel=0.1)
    assert plan.status == "converged"


def test_prediction_intervals_cover_a_further_run():
    hits = []
    for seed in range(20):
        plan = predict(demo(0.5, seed=seed, noise=0.003), compute.Budget(times=3))
        drawn = float(truth(0.5).predict(N=plan.macs_per_image, D=plan.images))
        drawn *= np.exp(0.003 * np.random.default_rng(1000 + seed).standard_normal())
        hits.append(plan.loss_low <= drawn <= plan.loss_high)
    assert np.mean(hits) >= 0.8


def test_budgets_in_hours_flop_and_times_agree(runs):
    largest = float(runs.train_flop.max())
    times = predict(runs, compute.Budget(times=3))
    flop = predict(runs, compute.Budget(flop=3 * largest))
    hours = predict(runs, compute.Budget(core_hours=compute.core_hours(3 * largest)))
    assert times.extrapolation_factor == pytest.approx(3)
    for other in (flop, hours):
        assert other.loss == pytest.approx(times.loss, rel=1e-9)
        assert other.core_hours == pytest.approx(times.core_hours, rel=1e-9)
        assert other.variant == times.variant


def test_far_budgets_warn_are_refused_and_say_so_first(runs):
    assert not any("extrapolation" in warning for warning in predict(runs, compute.Budget(times=2)).warnings)
    assert "extrapolation" in predict(runs, compute.Budget(times=20)).warnings[0]
    with pytest.raises(UserError, match="--far"):
        predict(runs, compute.Budget(times=200))
    far = predict(runs, compute.Budget(times=200), far=True)
    assert far.status == "far_extrapolation"
    assert str(far).startswith("far extrapolation")
    assert far.loss_high - far.loss_low > 0


def test_leaving_the_sizes_of_the_runs_is_said(runs):
    plan = predict(runs, compute.Budget(times=60))
    assert plan.macs_per_image > max(size.macs_per_image for size in SIZES.values())
    assert any("outside the sizes" in warning for warning in plan.warnings)


def test_dearer_steps_are_said_and_core_hours_buy_what_they_did(runs):
    """Every step of the runs made two passes: an hour bought half, a FLOP of the plan is still a plain step's."""
    plain = runs.frame.assign(train_flop=6 * runs.macs_per_image * runs.images_seen)
    dear = plain.assign(train_flop=2 * plain.train_flop, core_hours=2 * plain.core_hours)
    budget = 2 * float(plain.core_hours.max())
    once = predict(RunTable.from_frame(plain), compute.Budget(core_hours=budget))
    twice = predict(RunTable.from_frame(dear), compute.Budget(core_hours=2 * budget))
    assert twice.images == once.images
    said = [[one.sentence for one in plan.caveats if one.name == "dearer steps"] for plan in (once, twice)]
    assert said[0] == []
    assert "costs 2 times a plain one" in said[1][0]


def test_candidates_are_the_buildable_variants_of_the_same_series(runs):
    found, remarks = candidates(runs)
    assert [candidate.variant for candidate in found] == [f"N{k}" for k in range(len(architecture.NANO_WIDTHS))]
    assert not remarks
    for candidate in found:
        assert (
            candidate.macs_per_image
            == architecture.size(architecture.variant(candidate.variant), 8, 100).macs_per_image
        )


def test_unknown_models_fall_back_on_the_tables_variants(runs):
    frame = runs.frame.copy()
    frame["params"] += 1  # no longer what arithmetic gives
    found, remarks = candidates(RunTable.from_frame(frame))
    assert [candidate.variant for candidate in found] == list(SIZES)
    assert remarks
    assert predict(RunTable.from_frame(frame), compute.Budget(times=2)).variant in SIZES


def test_missing_columns_are_missing_answers(runs):
    bare = runs.frame.drop(columns=["peak_lr", "unique_images", "core_hours", "utilisation", "epochs"])
    plan = predict(RunTable.from_frame(bare), compute.Budget(times=2))
    assert plan.peak_lr is None
    assert plan.epochs is None
    assert plan.core_hours is None
    assert len(plan.warnings) >= 2
    with pytest.raises(UserError, match="FLOP"):
        predict(RunTable.from_frame(bare), compute.Budget(core_hours=1.0))
    with pytest.raises(UserError, match="macs_per_image"):
        predict(RunTable.from_frame(runs.frame.drop(columns="macs_per_image")), compute.Budget(times=2))
    with pytest.raises(UserError, match="no finished run"):
        predict(RunTable.from_frame(runs.frame.assign(status="failed")), compute.Budget(times=2))


def test_to_dict_has_the_promised_keys_and_repeats_to_the_bit(runs):
    first, second = (json.dumps(predict(runs, compute.Budget(times=4)).to_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    assert list(json.loads(first)) == [
        "variant", "params", "epochs", "images", "peak_lr", "core_hours", "train_flop", "loss", "loss_low", "loss_high",
        "extrapolation_factor", "status", "warnings", "batch_size", "macs_per_image", "interval", "other_forms", "rate",
        "neighbours", "alternatives", "caveats", "surface", "cost", "lifetime", "needed", "repetition",
    ]  # fmt: skip
    text = str(predict(runs, compute.Budget(times=4)))
    for word in ("budget", "model", "epochs", "learning rate", "loss", "status"):
        assert word in text
