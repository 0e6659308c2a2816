"""What predict() says of other forms of the surface, beside the fitted one's loss."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_frontiers import demo, truth
from test_repetition import drawn as repeating
from transfer_runs import sweep_and_transfer

import scalelaw as sl
from scalelaw.cli import main
from scalelaw.fitting.straightness import t_quantile
from scalelaw.frontiers.surface import fit_surface
from scalelaw.plan import predict, predict_by_error, predict_for
from scalelaw.plan.average import mean_of_forms
from scalelaw.plan.average.posterior import Runs
from scalelaw.plan.design.forms import NAMES
from scalelaw.plan.ground import Ground
from scalelaw.plan.interval import LossInterval, Part, Spread
from scalelaw.plan.other_forms import NOISIEST, OtherForms, other_forms
from scalelaw.plan.planning import plan_on
from scalelaw.plan.remarks import about_other_forms
from scalelaw.runs import RunTable

RECORDED = Path(__file__).parents[1] / "runs" / "recorded"
TRUTH = truth(0.5)
FOUR = sl.Budget(times=4)


def loss_of(macs, images, factor):
    """E + A N^-alpha + B D^-beta and an interaction."""
    size, data = TRUTH.A * macs**-TRUTH.alpha, TRUTH.B * images**-TRUTH.beta
    return TRUTH.E + size + data + 0.3 * factor * np.sqrt(size * data)


def drawn(factor, noise=0.002):
    """The demo's layout on a surface with an interaction of that factor."""
    frame, rng = demo(0.5).frame, np.random.default_rng(0)
    macs, images = (frame[name].to_numpy(float) for name in ("macs_per_image", "images_seen"))
    return RunTable.from_frame(
        frame.assign(val_loss=loss_of(macs, images, factor) * np.exp(noise * rng.standard_normal(len(frame))))
    )


@pytest.fixture(scope="module")
def runs():
    return drawn(0.0)


@pytest.fixture(scope="module")
def plan(runs):
    return predict(runs, FOUR)


@pytest.fixture(scope="module")
def mixed():
    return drawn(2.0)


def names(plan):
    return [caveat.name for caveat in plan.caveats]


def test_the_interval_is_of_one_run_by_its_arithmetic(runs, plan):
    """t times the root of the squares of seeds and of the mean's own deviation, in ln loss."""
    best, spread = runs.frame, plan.interval.spread
    measured = Runs(
        np.log(best[["macs_per_image", "images_seen"]].to_numpy(float).T),
        np.log(best[["val_loss"]].to_numpy(float).T),
        np.ones((1, len(best))),
        np.array([spread.seeds]),
    )
    start = np.log([[TRUTH.E, TRUTH.A, TRUTH.B, np.exp(TRUTH.alpha), np.exp(TRUTH.beta)]])
    at = np.log([[plan.macs_per_image], [plan.train_flop / 6 / plan.macs_per_image]])
    found = mean_of_forms(TRUTH, measured, start, at)
    half = t_quantile(0.95, spread.dof) * np.sqrt(found.sd[0, 0] ** 2 + spread.seeds**2)
    others = plan.other_forms
    assert others.loss == pytest.approx(np.exp(found.log_loss[0, 0]), rel=1e-4)
    assert np.log(others.high / others.loss) == pytest.approx(half, rel=1e-3)
    assert np.log(others.loss / others.low) == pytest.approx(half, rel=1e-3)
    assert list(others.weights) == list(NAMES)
    assert list(others.weights.values()) == pytest.approx(found.weights[0], abs=1e-3)
    assert others.floor == pytest.approx(found.floor[0], abs=1e-3)


def test_noise_is_that_of_seeds(runs):
    """Of seed replicates where there are some; the interval is never narrower than one run's spread."""
    again = runs.frame.assign(seed=1, val_loss=runs.frame["val_loss"] * 1.05)
    ground = Ground.of(RunTable.from_frame(runs.frame))
    noisy = predict(RunTable.from_frame(pd.concat([runs.frame, again])), FOUR)
    assert noisy.interval.spread.replicated
    others, seeds = noisy.other_forms, noisy.interval.spread.seeds
    assert seeds == pytest.approx(np.log(1.05) / np.sqrt(2), rel=1e-6)
    assert np.log(others.high / others.low) > 2 * t_quantile(0.95, 60.0) * seeds
    spread = Spread(0.01, 30.0, 0.0, True)
    few = other_forms(ground, spread, 1e6, 1e5)
    many = other_forms(ground, replace(spread, seeds=0.04), 1e6, 1e5)
    assert np.log(many.high / many.low) > 3 * np.log(few.high / few.low)


def test_it_is_printed_and_in_json(plan):
    others = plan.other_forms
    lines = str(plan).splitlines()
    (at,) = (k for k, line in enumerate(lines) if line.lstrip().startswith("other forms  "))
    assert lines[at].lstrip() == f"other forms  {others}"
    assert [line.split()[0] for line in lines[at - 3 : at]] == ["parameters", "seeds", "form"]
    record = json.loads(json.dumps(plan.to_dict(), allow_nan=False))["other_forms"]
    assert record == {"loss": others.loss, "low": others.low, "high": others.high, "weights": others.weights,
                      "floor": others.floor}  # fmt: skip
    said = OtherForms(0.66312, 0.5512, 0.8012, dict(zip(NAMES, (0.47, 0.24, 0.14, 0.15), strict=True)), 0.311)
    assert str(said) == (
        "0.6631 (95 % of runs between 0.5512 and 0.8012): additive 47 %, interaction 24 %, break of size 14 %, "
        "break of data 15 %; a floor 31 %"
    )


def test_the_inverse_says_it_too(runs, plan, capsys, tmp_path):
    found = predict_for(runs, plan.loss)[1].other_forms
    assert found.loss == pytest.approx(plan.other_forms.loss, rel=1e-3)
    path = tmp_path / "runs.csv"
    runs.frame.to_csv(path)
    with pytest.raises(SystemExit, match="0"):
        main(["predict", str(path), "--loss", f"{plan.loss:.6f}", "--json"])
    assert json.loads(capsys.readouterr().out)["other_forms"]["loss"] == pytest.approx(found.loss, rel=1e-3)


def test_an_interaction_is_told_and_what_the_surface_says_stays(mixed):
    """The truth is in the mean's interval, which errs by less than a quarter of what the surface does."""
    plan = predict(mixed, FOUR)
    others = plan.other_forms
    assert others.likeliest == "interaction"
    assert others.weights["interaction"] > 0.95
    there = float(loss_of(plan.macs_per_image, plan.images, 2.0))
    assert others.low < there < others.high
    assert abs(np.log(others.loss / there)) < 0.25 * abs(np.log(plan.loss / there))
    (said,) = (caveat.sentence for caveat in plan.caveats if caveat.name == "other forms disagree")
    assert f"{others.loss:.4f}" in said
    assert f"{plan.loss:.4f}" in said
    assert "favour another form: interaction is likeliest (100 %)" in said
    assert "other forms disagree" in str(plan)
    surface = Ground.of(mixed).surface
    assert plan.loss == pytest.approx(
        float(surface.predict(N=plan.macs_per_image, D=plan.train_flop / 6 / plan.macs_per_image).mid)
    )


def test_an_additive_truth_gets_no_caveat(plan):
    assert plan.other_forms.likeliest == "additive"
    assert "other forms disagree" not in names(plan)


def interval(loss, half):
    part = None if half is None else Part(half, half, "")
    return LossInterval(loss, part, Part(0.0, 0.0, ""), Part(0.0, 0.0, ""), None)


WEIGHTS = dict(zip(NAMES, (0.6, 0.2, 0.1, 0.1), strict=True))


@pytest.mark.parametrize(
    ("loss", "half", "others", "said"),
    [
        (1.0, 0.1, (1.05, 0.9, 1.2), False),
        (1.0, 0.02, (1.05, 0.9, 1.2), True),  # the mean is outside the surface's interval
        (1.0, 0.1, (1.05, 1.02, 1.08), True),  # the surface's loss is outside the mean's
        (1.0, None, (1.05, 1.02, 1.08), True),
        (1.0, None, (1.05, 0.9, 1.2), False),
    ],
)
def test_either_outside_the_others_interval_is_said(loss, half, others, said):
    found = about_other_forms(interval(loss, half), OtherForms(*others, WEIGHTS, 0.5))
    assert [caveat.name for caveat in found] == ["other forms disagree"] * said
    if said:
        assert "of the forms additive is likeliest (60 %)" in found[0].sentence
        assert "favour" not in found[0].sentence
    assert about_other_forms(interval(loss, half), None) == []


@pytest.mark.parametrize(
    "spread", [None, *(Spread(seeds, 20.0, 0.0, True) for seeds in (0.0, np.nan, NOISIEST * 1.01, np.inf))]
)
def test_noise_that_is_unknown_none_or_too_large_says_nothing(runs, spread):
    ground = Ground.of(runs)
    assert other_forms(ground, Spread(NOISIEST, 20.0, 0.0, True), 1e6, 1e5) is not None
    assert other_forms(ground, spread, 1e6, 1e5) is None


def test_a_surface_that_says_nothing_is_no_ground_for_others(runs):
    spread = Spread(0.01, 20.0, 0.0, True)
    repeated = Ground.of(RunTable.load(RECORDED / "repetition"))
    assert repeated.surface.status == "not_identified"
    assert other_forms(repeated, spread, 1e6, 1e5) is None
    ground = Ground.of(runs)
    line = sl.fit(sl.laws.PowerLaw, C=ground.flop, L=ground.best.val_loss)
    assert other_forms(replace(ground, surface=line), spread, 1e6, 1e5) is None


def test_without_it_there_is_no_row():
    """The digits' runs scatter by .6 in ln loss."""
    plan = predict(RunTable.load(RECORDED / "digits"), FOUR)
    assert plan.interval.spread.seeds > NOISIEST
    assert plan.other_forms is None
    assert plan.to_dict()["other_forms"] is None
    assert "other forms" not in str(plan)


def test_plans_by_error_have_none():
    found = predict_by_error(sweep_and_transfer(1.0), sl.Budget(times=2))
    assert found.plan.other_forms is None
    assert found.by_loss.other_forms is not None
    assert "other forms" not in str(found)


def test_plans_by_a_law_of_repetition_have_none():
    """Though the surface beside that law would do: a converged one, put in the place of the repeated runs' own."""
    repeated = Ground.of(repeating("repetition"))
    fresh = sl.laws.SizeData(E=0.4, A=41.0, B=60.0, alpha=0.354, beta=0.418).predict(N=repeated.macs, D=repeated.images)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(fresh)))
    ground = replace(repeated, surface=fit_surface(repeated.macs, repeated.images, fresh * noise, "best"))
    assert ground.surface.status == "converged"
    found = [
        plan_on(ground, sl.Budget(times=1), machines=None, unique_images=unique, monotone=False, far=False)
        for unique in (None, 3072)
    ]
    assert [plan.surface.law for plan in found] == ["size-data", "repetition"]
    assert [plan.other_forms is None for plan in found] == [False, True]


@pytest.mark.parametrize("name", ["demo", "two_trial", "transfer_parents"])
def test_dead_terms_of_recorded_surfaces_are_only_a_start(name):
    """Their E is 0."""
    plan = predict(RunTable.load(RECORDED / name), FOUR)
    others = plan.other_forms
    assert others.low < others.loss < others.high
    assert plan.loss_low < others.loss < plan.loss_high
    assert sum(others.weights.values()) == pytest.approx(1)
    assert 0 < others.floor < 0.5


def test_runs_trained_after_the_demos_prediction_lie_inside():
    others = predict(RunTable.load(RECORDED / "demo"), FOUR).other_forms
    frame = RunTable.load(RECORDED / "prediction").finished().frame
    outcomes = frame.loc[frame["variant"] == "N5", "val_loss"]
    assert len(outcomes) == 3
    assert outcomes.between(others.low, others.high).all()
