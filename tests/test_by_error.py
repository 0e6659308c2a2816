"""Plans by top-1 error: a known optimum of errors beside another one of losses, and what must be said of them."""

import json

import numpy as np
import pytest
from test_frontiers import truth
from transfer_runs import error_truth, sweep_and_transfer

from scalelaw import architecture, compute
from scalelaw.cli import main
from scalelaw.errors import UserError
from scalelaw.plan import predict, predict_by_error
from scalelaw.runs import RunTable
from scalelaw.transfer.rows import apart, together

SHIFT = 3.0
BUDGET = compute.Budget(times=4)


@pytest.fixture(scope="module")
def runs():
    return sweep_and_transfer(SHIFT, error_noise=0.01)


@pytest.fixture(scope="module")
def plan(runs):
    return predict_by_error(runs, BUDGET)


def design(found):
    return {"N": found.macs_per_image, "D": found.train_flop / 6 / found.macs_per_image}


def best_of(law, flop):
    """The buildable model that a true surface likes best."""
    sizes = {v: architecture.size(m, 8, 100) for v, m in architecture.FAMILIES["nfnet"].items() if v[0] == "N"}
    values = {v: float(law.predict(N=s.macs_per_image, D=flop / 6 / s.macs_per_image)) for v, s in sizes.items()}
    return min(values, key=values.get), values


def changed(runs, **columns):
    return RunTable.from_frame(runs.frame.assign(**columns))


def test_the_choices_by_error_and_by_loss_are_those_of_their_true_surfaces(plan):
    by_error, errors = best_of(error_truth(SHIFT), plan.plan.train_flop)
    by_loss, _ = best_of(truth(0.5), plan.plan.train_flop)
    assert errors[plan.plan.variant] <= errors[by_error] * 1.005
    assert plan.by_loss.variant == by_loss != plan.plan.variant
    true = errors[by_loss] - errors[plan.plan.variant]
    assert 0 < plan.gain.low <= true <= plan.gain.high
    assert plan.gain.verdict == "choose by error"
    assert plan.size.low <= SHIFT <= plan.size.high
    assert plan.size.low < plan.size.ratio < plan.size.high
    assert plan.size.verdict == "larger"
    assert plan.plan.loss_low < errors[plan.plan.variant] < plan.plan.loss_high
    assert plan.error_by_loss.low < errors[by_loss] < plan.error_by_loss.high
    assert plan.loss.low < float(truth(0.5).predict(**design(plan.plan))) < plan.loss.high


def test_where_loss_and_error_agree_nothing_is_claimed():
    found = predict_by_error(sweep_and_transfer(1.0, error_noise=0.01, seed=1), BUDGET)
    assert found.plan.variant == found.by_loss.variant
    assert (found.gain.difference, found.gain.low, found.gain.verdict) == (0.0, None, "same model")
    assert found.size.low < 1 < found.size.high
    assert found.size.verdict == "cannot tell"
    assert "the same model" in str(found)


def test_few_and_noisy_starts_cannot_tell():
    found = predict_by_error(sweep_and_transfer(SHIFT, error_noise=0.1, seed=2, budgets=0), BUDGET)
    assert found.gain.verdict == found.size.verdict == "cannot tell"
    assert found.plan.variant == found.by_loss.variant or found.gain.low is None or found.gain.low <= 0


def test_units_do_not_matter(runs):
    """Sizes in thousands of multiply-adds, errors of another task: the same choice and the same ratios."""
    frame = runs.frame.assign(params=runs.frame["params"] + 1)  # models of the table alone
    scaled = frame.assign(macs_per_image=frame["macs_per_image"] * 1e-3, top1_error=frame["top1_error"] / 2)
    one, other = (predict_by_error(RunTable.from_frame(each), compute.Budget(times=2)) for each in (frame, scaled))
    assert (one.plan.variant, one.by_loss.variant) == (other.plan.variant, other.by_loss.variant)
    assert other.plan.loss == pytest.approx(one.plan.loss / 2, rel=1e-6)
    assert other.gain.difference == pytest.approx(one.gain.difference / 2, rel=1e-4)
    for end in ("ratio", "low", "high"):
        assert getattr(other.size, end) == pytest.approx(getattr(one.size, end), rel=1e-4)


def test_without_fine_tuned_runs_errors_are_the_runs_own(runs, plan):
    pretrained, tuned = apart(runs)
    best = tuned.frame.groupby("parent")["top1_error"].min()
    own = predict_by_error(changed(pretrained, top1_error=pretrained.frame["run_id"].map(best), parent=None), BUDGET)
    assert own.plan.loss == pytest.approx(plan.plan.loss, rel=1e-9)
    assert own.tuning is own.fine_tuning_core_hours is None
    assert "own errors" in {caveat.name for caveat in own.plan.caveats}
    assert not own.to_dict()["after_fine_tuning"]


def test_the_total_is_pre_training_and_one_fine_tuning_run(runs, plan):
    _, tuned = apart(runs)
    ratio = (tuned.core_hours / tuned.macs_per_image)[0]  # 20,000 images of every model
    assert plan.fine_tuning_core_hours == pytest.approx(ratio * plan.plan.macs_per_image, rel=1e-6)
    assert plan.total_core_hours == pytest.approx(plan.plan.core_hours + plan.fine_tuning_core_hours)
    assert plan.tuning.tried == 2


def test_a_plan_by_loss_leaves_fine_tuned_runs_out(runs):
    whole, own = predict(runs, BUDGET), predict(apart(runs)[0], BUDGET)
    assert (whole.variant, whole.loss, whole.loss_low) == (own.variant, own.loss, own.loss_low)
    assert any("120 runs name a parent" in caveat.sentence for caveat in whole.caveats)


def test_starts_that_are_cheaper_than_the_runs_are_said(runs):
    frame = runs.frame
    dear = frame["core_hours"].where(frame["parent"].isna(), frame["parent_core_hours"]) > 1e-6
    found = predict_by_error(RunTable.from_frame(frame[frame["parent"].isna() | ~dear]), BUDGET)
    assert any("the largest run that was fine-tuned" in caveat.sentence for caveat in found.plan.caveats)
    assert found.plan.extrapolation_factor > 4
    assert found.by_loss.extrapolation_factor == pytest.approx(4)
    assert found.plan.train_flop == found.by_loss.train_flop


def few(frame):
    return frame[frame["variant"].isin(["N0", "N1"])]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (few, "of 2 sizes and .* lengths; a surface of errors needs 8, of 3 sizes and 3 lengths"),
        (lambda frame: frame[frame["parent"].notna()], "--pretraining"),
        (lambda frame: frame[frame["parent"].isna()].drop(columns="top1_error"), "has no column 'top1_error'"),
        (lambda frame: frame.assign(top1_error=100 * frame["top1_error"]), "as shares, not per cent"),
        (lambda frame: frame.assign(top1_error=0 * frame["top1_error"]), "too small to see any"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_its_mend(runs, change, words):
    with pytest.raises(UserError, match=words):
        predict_by_error(RunTable.from_frame(change(runs.frame)), BUDGET)


def test_rows_brought_together_count_once(runs):
    pretrained, _ = apart(runs)
    assert len(together(runs, pretrained)) == len(runs)


def said(capsys, *argv, code=0):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in argv])
    answer = capsys.readouterr()
    assert ended.value.code == code, answer.err
    return answer.err if code else answer.out


def test_the_command_takes_parents_from_another_place_and_prints_the_agreed_words(tmp_path, runs, plan, capsys):
    pretrained, tuned = apart(runs)
    for table, name in ((pretrained, "pretrained"), (tuned, "tuned")):
        table.write(tmp_path / f"{name}.parquet")
    line = ["predict", tmp_path / "tuned.parquet", "--pretraining", tmp_path / "pretrained.parquet", "--times", 4]
    found = json.loads(said(capsys, *line, "--metric", "top1_error", "--json"))
    expected = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    sourced = ("warnings", "caveats")  # they name the files
    assert {k: v for k, v in found.items() if k not in sourced} == {
        k: v for k, v in expected.items() if k not in sourced
    }
    assert list(found)[:20] == [
        "variant", "params", "epochs", "images", "peak_lr", "core_hours", "train_flop", "loss", "loss_low", "loss_high",
        "extrapolation_factor", "status", "warnings", "metric", "after_fine_tuning", "top1_error", "top1_error_low",
        "top1_error_high", "fine_tuning_core_hours", "total_core_hours",
    ]  # fmt: skip
    other = {"variant", "epochs", "images", "peak_lr", "loss", "loss_low", "top1_error", "top1_error_high", "gain"}
    assert other <= set(found["by_loss"])
    assert {"top1_error", "difference"} <= set(found["neighbours"][0])
    assert "by the lowest loss instead:" in str(plan)
    for flags in (["--loss", 2.0], ["--times", 4, "--unique-images", 100]):
        told = said(capsys, "predict", tmp_path / "pretrained.parquet", *flags, "--metric", "top1_error", code=2)
        assert "worked out by loss alone" in told
    assert "belongs to --metric" in said(capsys, *line, code=2)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [1.0, SHIFT])
def test_intervals_hold_what_is_true(shift):
    law, rng = error_truth(shift), np.random.default_rng(5)
    ratios, gains, outcomes, claims = [], [], [], []
    for seed in range(30):
        found = predict_by_error(sweep_and_transfer(shift, seed=seed), BUDGET)
        first, second = (float(law.predict(**design(one))) for one in (found.plan, found.by_loss))
        outcomes.append(found.plan.loss_low <= first * np.exp(0.02 * rng.standard_normal()) <= found.plan.loss_high)
        claims.append(found.size.verdict == "larger")
        if found.size.low is not None and found.size.high is not None:
            ratios.append(found.size.low <= shift <= found.size.high)
        if found.gain.low is not None:
            gains.append(found.gain.low <= second - first <= found.gain.high)
    assert len(ratios) >= 20
    assert min(np.mean(ratios), np.mean(outcomes), np.mean(gains or [1.0])) >= 0.85
    assert np.mean(claims) >= 0.7 if shift > 1 else np.mean(claims) <= 0.1
