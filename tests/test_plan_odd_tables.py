"""Tables and budgets that cannot be right: what plans, rates and transfer say of them. One bad run is never silent."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scalelaw as sl
from scalelaw import plan, transfer
from scalelaw.cli import main
from scalelaw.learning_rate import optimal_learning_rates

RECORDED = Path(__file__).parents[1] / "runs" / "recorded"


def table(seeds=1, rates=3):
    """Five sizes at five lengths on L = .3 + 40 N^-.3 + 300 D^-.4, noise 1 %, rates around a falling best one."""
    rng = np.random.default_rng(0)
    rows = []
    for macs in 2e5 * 4.0 ** np.arange(5):
        for images in 5_000 * 3.0 ** np.arange(5):
            best = 0.5 * (macs / 1e6) ** -0.2
            for rate in 2.0 ** (np.arange(rates) - rates // 2) * best:
                loss = (0.3 + 40 * macs**-0.3 + 300 * images**-0.4) * np.exp(0.1 * np.log(rate / best) ** 2)
                for seed in range(seeds):
                    row = {"macs_per_image": macs, "images_seen": images, "peak_lr": rate, "seed": seed}
                    rows.append({**row, "val_loss": loss * np.exp(0.01 * rng.standard_normal()), "status": "finished"})
    return pd.DataFrame(rows)


TABLE = table()


def runs(frame):
    return sl.RunTable.from_frame(frame)


def test_a_budget_that_pays_no_image_is_refused():
    with pytest.raises(sl.UserError, match="less than one image"):
        sl.predict(runs(table()), sl.Budget(flop=1e3))


def test_a_plan_shorter_than_every_run_says_so():
    found = sl.predict(runs(table()), sl.Budget(times=1e-5))
    assert found.images < 5_000
    assert "shorter than any run" in [caveat.name for caveat in found.caveats]


def test_budgets_beyond_floating_point_are_refused():
    with pytest.raises(sl.UserError, match="the spend comes to inf FLOP, which is beyond floating point"):
        plan.next_runs(runs(table()), sl.Budget(times=4), sl.Budget(times=1e300))
    with pytest.raises(sl.UserError, match="the budget comes to inf FLOP"):
        sl.predict(runs(table()), sl.Budget(times=1e300), far=True)


def test_copies_are_no_seeds():
    frame = pd.concat([table(), table()])
    assert optimal_learning_rates(runs(frame)).noise is None
    found = plan.next_runs(runs(frame), sl.Budget(times=4), sl.Budget(times=1))
    assert (found.noise, found.noise_replicates, found.status) == (None, 0, "seeds_first")


def test_copies_are_named_where_no_run_id_tells():
    frame = table()
    (said,) = runs(pd.concat([frame, frame.iloc[:7]])).problems
    assert "7 rows equal to an earlier one" in said
    assert f"row {len(frame) + 1}" in said
    assert not runs(frame).problems


@pytest.mark.parametrize(("column", "value"), [("val_loss", -1.0), ("val_loss", np.nan), ("peak_lr", np.nan)])
def test_rates_count_the_runs_that_they_leave_out(column, value):
    frame = table()
    frame.loc[[10, 20], column] = value
    notes = optimal_learning_rates(runs(frame)).notes
    assert "left out: 2 runs without a positive, finite loss and learning rate" in notes
    assert not any("left out" in note for note in optimal_learning_rates(runs(table())).notes)


def test_diverged_runs_are_not_left_out():
    frame = table()
    frame.loc[[11, 20], ["status", "val_loss"]] = ["diverged", np.nan]
    assert not any("left out" in note for note in optimal_learning_rates(runs(frame)).notes)


def test_rates_of_a_table_without_finished_runs():
    with pytest.raises(sl.UserError, match="no finished run"):
        optimal_learning_rates(runs(table().assign(status="failed", variant="V")))


def test_next_runs_say_what_they_leave_out():
    frame = table()
    frame.loc[[10, 11, 12], "macs_per_image"] = np.nan
    found = plan.next_runs(runs(frame), sl.Budget(times=4), sl.Budget(times=1))
    assert "left out: 3 finished runs without a positive, finite size, number of images and loss." in found.warnings


def test_a_plan_names_the_run_whose_loss_cannot_be_right():
    frame = table().assign(run_id=[f"run{k}" for k in range(75)])
    frame.loc[40, "val_loss"] = -1.0
    with pytest.raises(sl.UserError, match=r"val_loss of 1 of the best runs .* as -1 of the run with run_id run40,"):
        sl.predict(runs(frame), sl.Budget(times=4))


def test_a_multiplier_beyond_floating_point_is_none(tmp_path, capsys):
    ours, theirs = tmp_path / "a.csv", tmp_path / "b.csv"
    compute = 10.0 ** np.arange(8, 14)
    pd.DataFrame({"train_flop": compute, "val_loss": 2 * compute**-0.001}).to_csv(ours, index=False)
    pd.DataFrame({"train_flop": compute, "val_loss": 2e-1 * compute**-0.001}).to_csv(theirs, index=False)
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(ours), str(theirs), "--at", "1e12", "--front", "power", "--json"])
    assert not ended.value.code
    assert json.loads(capsys.readouterr().out)["multiplier"] is None


@pytest.mark.parametrize("factor", [100, -1])
def test_transfer_takes_errors_as_shares(factor):
    known = sl.RunTable.load(RECORDED / "transfer")
    with pytest.raises(sl.UserError, match="give errors as shares"):
        transfer.compare_starts(runs(known.frame.assign(top1_error=factor * known.top1_error)))


def test_starts_without_a_positive_cost_are_of_unknown_cost():
    known = sl.RunTable.load(RECORDED / "transfer")
    first = known.frame["parent"] == known.frame["parent"].iloc[0]
    costs = known.frame["parent_core_hours"].mask(first, 0.0)
    found = transfer.compare_starts(runs(known.frame.assign(parent_core_hours=costs)))
    assert len(found.starts) == len(transfer.compare_starts(known).starts) - 1
    assert "left out: 1 starts of unknown loss or cost" in found.starts.notes


def test_a_lifetime_interval_holds_what_the_budget_itself_pays():
    """Replicates whose best model for training is the chosen one need the budget's images, and no rounding more."""
    odd = 0
    for times in (1.0, 2.0, 3.0, 4.0):
        found = sl.predict(runs(TABLE), sl.Budget(times=float(times)), inference_images=1e3).lifetime
        if found.variant == found.training_best and found.same_model > 975:
            odd += 1
            assert found.images_interval[0] <= found.images
            assert found.total_interval[0] <= found.total_flop
    assert odd > 1
