"""next_runs(): what is bought, what it costs, when nothing is, and a spec that trains it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest

import scalelaw as sl
from scalelaw import cli
from scalelaw.errors import UserError
from scalelaw.plan.design.seeds import ENOUGH, SHARE
from scalelaw.runs import RunTable
from scalelaw.simulate import RateBasin, Truth, balanced, draw, layout_of
from scalelaw.sweep import check_spec, expand

SPEC = {
    "sweep": {"name": "small"},
    "data": {"source": "hierarchy", "train_images": 32768},
    "model": {"variants": ["N0", "N1", "N2", "N3"]},
    "train": {"epochs": [0.125, 0.25, 0.5, 1], "peak_lr": {"around": 1.6, "factor": 2, "points": 3}},
    "part": [{"model": {"variants": ["N0", "N2"]}, "train": {"epochs": 0.25, "seeds": [1, 2, 3]}}],
}
LAYOUT = layout_of(check_spec(SPEC, "small.toml"))
TRUTH = Truth(balanced(LAYOUT), RateBasin(rate=1.6, size=LAYOUT.middle("macs_per_image")), noise=0.01)
TARGET, SPEND = sl.Budget(times=20), sl.Budget(times=4)


@pytest.fixture(scope="module")
def runs():
    return draw(LAYOUT, TRUTH, 1)


@pytest.fixture(scope="module")
def plan(runs):
    return sl.next_runs(runs, TARGET, SPEND)


@pytest.fixture(scope="module")
def one_seed(runs):
    return runs.where(runs.seed == 0)


def test_the_runs_fit_into_the_spend_and_help(runs, plan):
    assert plan.status == "chosen"
    assert 0.5 * plan.spend_flop < plan.cost_flop <= plan.spend_flop * (1 + 1e-9)
    assert plan.spend_flop == pytest.approx(4 * float(runs.train_flop.max()))
    assert plan.extrapolation_factor == pytest.approx(20)
    assert sum(one.seeds for one in plan.runs) <= 24
    asked = plan.expected["size"]
    assert asked.after < 0.8 * asked.before
    assert asked.chance_after < asked.after
    assert asked.smallest_after < asked.smallest_before
    assert plan.noise == pytest.approx(0.01, rel=0.7)
    assert plan.noise_replicates == 6
    for one in plan.runs:
        assert one.flop == pytest.approx(6 * one.macs_per_image * one.images)
        assert one.core_hours == pytest.approx(one.flop / plan.flop_per_core_hour)
        assert one.images >= float(runs.images_seen.min())
        assert one.epochs <= 4


def test_the_smallest_effect_is_a_tests_power(plan):
    """By simulation: a difference of that size is seen in 80 % of two-sided 5 % t tests."""
    rng = np.random.default_rng(0)
    asked = plan.expected["size"]
    dof = 16 + 6 - 5
    t = (asked.smallest_before / asked.before + rng.standard_normal(200_000)) / np.sqrt(
        rng.chisquare(dof, 200_000) / dof
    )
    assert float((np.abs(t) > 2.1098).mean()) == pytest.approx(0.8, abs=0.02)


def test_what_is_asked_for_is_what_gets_surer(runs):
    """No plan made for another question expects a smaller error of this one."""
    words = ("size", "loss", "exponent")
    plans = {one: sl.next_runs(runs, TARGET, sl.Budget(times=1), one).expected for one in words}
    for want in words:
        assert plans[want][want].after <= min(plan[want].after for plan in plans.values()) * 1.02


def test_more_money_buys_a_smaller_error(runs):
    spends = [sl.Budget(times=t) for t in (0.2, 1, 5)]
    errors = [sl.next_runs(runs, TARGET, spend, "loss").expected["loss"].after for spend in spends]
    assert errors[0] > errors[1] > errors[2]


def test_seeds_come_before_sizes_while_noise_is_unknown(one_seed):
    plan = sl.next_runs(one_seed, TARGET, SPEND)
    assert plan.status == "seeds_first"
    assert plan.noise is None
    first, *others = plan.runs
    assert first.replicates
    assert first.seeds == ENOUGH
    assert first.seeds * first.flop <= SHARE * plan.spend_flop
    frame = one_seed.frame
    same = frame[(frame["variant"] == first.variant) & (frame["images_seen"] == first.images)]
    assert first.peak_lr in set(same["peak_lr"])
    assert first.first_seed == 1
    assert others
    assert plan.cost_flop <= plan.spend_flop * (1 + 1e-9)
    assert "noise" in plan.sentence


def test_a_spend_that_pays_no_run_says_so(runs):
    plan = sl.next_runs(runs, TARGET, sl.Budget(times=1e-6))
    assert plan.status == "nothing_affordable"
    assert not plan.runs
    assert plan.toml is None
    assert plan.expected["size"].after == plan.expected["size"].before
    assert str(plan).startswith("nothing_affordable: the spend")


def test_a_spend_too_small_to_matter_says_so(runs):
    """One run of the smallest model changes nothing that 22 others do not tell."""
    smallest = float(runs.train_flop.min())
    plan = sl.next_runs(runs, TARGET, sl.Budget(flop=1.01 * smallest), "loss")
    assert plan.status == "nothing_helps"
    assert not plan.runs
    assert "no affordable run" in plan.sentence


def test_the_toml_trains_the_chosen_runs(runs, plan):
    spec = check_spec(tomllib.loads(plan.toml), "next.toml")
    planned = expand(spec)
    assert sum(run.cost.train_flop for run in planned) == pytest.approx(plan.cost_flop)
    assert len(planned) == sum(one.seeds for one in plan.runs)
    assert not {run.run_id for run in planned} & set(runs.run_id)
    rates = {run.config.train.peak_lr for run in planned}
    assert rates == {one.peak_lr for one in plan.runs}
    drawn = draw(spec, TRUTH, 1)  # and the results make the fit surer
    assert set(drawn.status) == {"finished"}


def test_units_of_size_and_images_do_not_matter(runs):
    frame = runs.frame.drop(columns=["family", "config"])
    plain = sl.next_runs(RunTable.from_frame(frame), TARGET, SPEND)
    scaled = frame.assign(macs_per_image=frame["macs_per_image"] * 1e3, core_hours=frame["core_hours"] * 7)
    other = sl.next_runs(RunTable.from_frame(scaled), TARGET, SPEND)
    assert [(one.images, one.seeds) for one in plain.runs] == [(one.images, one.seeds) for one in other.runs]
    for name, one in plain.expected.items():
        assert other.expected[name].after == pytest.approx(one.after, rel=1e-6)
    assert plain.toml is None
    assert "config" in plain.no_toml
    assert {one.variant for one in plain.runs} <= {"N0", "N1", "N2", "N3"}


def test_equal_input_gives_equal_plans(runs, plan):
    again = sl.next_runs(runs, TARGET, SPEND)
    assert json.dumps(again.to_dict(), allow_nan=False) == json.dumps(plan.to_dict(), allow_nan=False)


def test_the_order_of_rows_does_not_matter(runs, plan):
    shuffled = replace(runs, frame=runs.frame.sample(frac=1, random_state=3).reset_index(drop=True))
    again = sl.next_runs(shuffled, TARGET, SPEND)
    bought = [[(one.variant, one.images, one.seeds) for one in each.runs] for each in (again, plan)]
    assert bought[0] == bought[1]
    for want, one in plan.expected.items():
        assert again.expected[want].after == pytest.approx(one.after, rel=1e-9)


def test_what_the_runs_say_now_does_not_depend_on_the_spend(runs, plan):
    cheaper = sl.next_runs(runs, TARGET, sl.Budget(times=0.5))
    assert cheaper.size_effect == plan.size_effect
    for want in ("size", "loss"):
        assert cheaper.expected[want].before == pytest.approx(plan.expected[want].before, rel=1e-9)


def test_losses_that_rise_with_size_are_planned_from_assumed_surfaces_and_said(runs):
    """No surface with an optimum follows from such runs."""
    odd = runs.where(runs.seed == 0)
    odd = RunTable.from_frame(odd.frame.assign(val_loss=1 / odd.frame["val_loss"]))
    plan = sl.next_runs(odd, TARGET, SPEND)
    assert any("assumed" in warning for warning in plan.warnings)
    assert plan.expected["size"].estimate is None
    assert plan.runs


def test_a_budget_may_be_given_in_hours_of_hardware(runs):
    spend = sl.Budget(device_hours=1e-6, hardware="h100", utilisation=0.5)
    found = sl.next_runs(runs, TARGET, spend)
    assert found.spend_flop == pytest.approx(1e-6 * 3600 * 0.5 * 989.4e12)
    assert any("of its peak, as given" in warning for warning in found.warnings)


def test_the_toml_takes_over_what_the_runs_record(runs, plan):
    spec = tomllib.loads(plan.toml)
    assert spec["sweep"] == {"name": "small-next", "utilisation": 0.36}
    assert {run.config.train.batch_size for run in expand(check_spec(spec, "next.toml"))} == set(runs.batch_size)
    nowhere = RunTable.from_frame(runs.frame.assign(config=runs.frame["config"].str.replace('"hierarchy"', '"npz"')))
    found = sl.next_runs(nowhere, TARGET, SPEND)
    assert found.toml is None
    assert "does not say where its data lie" in found.no_toml


def test_refused_input(runs):
    for change, match in (
        ({"want": "sizes"}, "want"),
        ({"most": 0}, "most"),
        ({"target": sl.Budget(times=1000)}, "--far"),
    ):
        with pytest.raises(UserError, match=match):
            sl.next_runs(runs, **{"target": TARGET, "spend": SPEND, **change})
    assert sl.next_runs(runs, sl.Budget(times=1000), SPEND, far=True).runs
    bare = RunTable.from_frame(runs.frame.drop(columns=["core_hours", "utilisation"]))
    with pytest.raises(UserError, match="FLOP"):
        sl.next_runs(bare, sl.Budget(core_hours=1e-5), SPEND)
    with pytest.raises(UserError, match="macs_per_image"):
        sl.next_runs(RunTable.from_frame(runs.frame.drop(columns="macs_per_image")), TARGET, SPEND)
    with pytest.raises(UserError, match="settings"):
        sl.next_runs(runs.where(runs.variant == "N1"), TARGET, SPEND)
    with pytest.raises(UserError, match="finished"):
        sl.next_runs(RunTable.from_frame(runs.frame.assign(status="failed")), TARGET, SPEND)


def test_the_command(runs, tmp_path, capsys):
    table, spec = tmp_path / "runs.parquet", tmp_path / "next.toml"
    runs.write(table)

    def run(*words, code=0):
        with pytest.raises(SystemExit) as end:
            cli.main(["plan", str(table), *words])
        assert end.value.code == code
        return capsys.readouterr()

    asked = ("--unit", "times", "--target", "20", "--spend", "4", "--for", "loss")
    found = json.loads(run(*asked, "--json", "--toml", str(spec)).out)
    assert found["want"] == "loss"
    assert found["cost_flop"] <= found["spend_flop"] * (1 + 1e-9)
    assert len(expand(check_spec(tomllib.loads(spec.read_text()), "x"))) == sum(one["seeds"] for one in found["runs"])
    assert "is there already" in run(*asked, "--toml", str(spec), code=2).err
    text = run(*asked).out
    for word in ("chosen:", "ln lowest loss", "80 % power", "noise of a run"):
        assert word in text
    assert "plan --spend: budget" in run("--target", "1", "--spend=-1", code=2).err
    assert "--far" in run("--unit", "times", "--target", "500", "--spend", "1", code=2).err


def test_a_plan_that_is_one_large_run_says_so(runs):
    asked = sl.next_runs(runs, TARGET, sl.Budget(times=8), "loss")
    dearest = asked.runs[0]
    assert dearest.seeds == 1
    assert dearest.flop > 0.8 * asked.cost_flop
    assert f"one run of {dearest.variant} for {dearest.images:,} images is" in asked.sentence
    assert "one run of" not in sl.next_runs(runs, TARGET, sl.Budget(times=0.1), "loss").sentence
