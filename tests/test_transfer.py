"""Is the lowest loss the best start: rank correlation at equal compute, regret of choosing by loss, and differences."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from transfer_runs import sweep_and_transfer

from scalelaw.errors import UserError
from scalelaw.runs import RunTable
from scalelaw.transfer import association, choice, compare_starts, starts_of
from scalelaw.transfer.groups import groups_of


def table(loss, error, cost=None, size=None):
    """Fine-tuned runs, one a start, that carry the facts of their parents."""
    n = len(loss)
    facts = {
        "run_id": [f"tuned{k}" for k in range(n)], "parent": [f"start{k}" for k in range(n)], "status": "finished",
        "parent_core_hours": np.ones(n) if cost is None else cost, "parent_val_loss": loss, "top1_error": error,
        "parent_epochs": 1.0, "parent_peak_lr": 1.0, "macs_per_image": np.ones(n) if size is None else size,
        "variant": "N0", "peak_lr": 0.1,
    }  # fmt: skip
    return RunTable.from_frame(pd.DataFrame(facts))


def sample(rng, n, by_loss, by_cost=1.0):
    """ln cost; loss falls with cost and noise; error with cost and, by `by_loss`, with that same noise."""
    cost = rng.normal(size=n)
    own = rng.normal(size=n)
    loss = -by_cost * cost + own
    error = -by_cost * cost + by_loss * own + rng.normal(size=n)
    return np.exp(loss / 10), 1 / (1 + np.exp(-error / 10)), np.exp(cost)


def test_the_partial_correlation_is_that_of_what_a_line_in_ranks_leaves():
    loss, error, cost = sample(np.random.default_rng(0), 40, 1.0)
    x, y, z = (stats.rankdata(values) for values in (loss, error, cost))
    left = [v - np.polyval(np.polyfit(z, v, 1), z) for v in (x, y)]
    expected = stats.pearsonr(*left).statistic
    assert association.partial(loss, error, cost) == pytest.approx(expected, abs=1e-12)
    assert association.simple(loss, error) == pytest.approx(stats.spearmanr(loss, error).statistic, abs=1e-12)


def test_ranks_know_no_units():
    loss, error, cost = sample(np.random.default_rng(1), 30, 1.0)
    plain = compare_starts(table(loss, error, cost)).pooled
    assert compare_starts(table(3 * loss + 1, error**2, cost**3)).pooled == plain


def test_a_seed_is_a_whole_number_from_0_on():
    with pytest.raises(UserError, match="compare_starts: seed = -1 must be a whole number, 0 or more"):
        compare_starts(table(*sample(np.random.default_rng(1), 30, 1.0)), seed=-1)


@pytest.mark.parametrize("by_loss", [0.0, 1.0])
def test_intervals_hold_the_correlation_of_a_large_sample(by_loss):
    rng = np.random.default_rng(2)
    truth = float(association.partial(*sample(rng, 200_000, by_loss)))
    held, told = 0, 0
    for seed in range(150):
        found = association.pooled(*sample(rng, 30, by_loss), seed=seed, draws=400)
        held += found.interval[0] <= truth <= found.interval[1]
        told += found.verdict != "cannot tell"
    assert held >= 0.88 * 150
    if by_loss == 0:
        assert abs(truth) < 0.02  # independence given compute is not quite 0 in ranks
        assert told <= 0.12 * 150
    else:
        assert truth > 0.5
        assert told >= 0.8 * 150


def test_compute_alone_makes_no_association():
    """Loss and error both fall with compute and know nothing else of one another: simply correlated, not partially."""
    loss, error, cost = sample(np.random.default_rng(5), 400, 0.0, by_cost=3.0)
    assert association.simple(loss, error) > 0.7
    assert abs(association.partial(loss, error, cost)) < 0.15


def test_groups_hold_what_costs_at_most_a_tenth_more_than_their_cheapest():
    cost = np.array([1.0, 1.09, 1.0999, 1.2, 2.0, 2.3])
    assert groups_of(cost).tolist() == [0, 0, 0, 1, 2, 3]


def test_the_regret_is_what_the_lowest_loss_loses_on_average():
    loss = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5] * 2)
    error = np.array([0.30, 0.25, 0.40, 0.41, 0.42, 0.43, 0.10, 0.11, 0.12, 0.13, 0.14, 0.15])
    found = compare_starts(table(loss, error, [1.0] * 6 + [5.0] * 6, size=[1, 2, 3, 4, 5, 6] * 2))
    assert found.regret.mean == pytest.approx((0.05 + 0) / 2)
    assert [group.association.starts for group in found.groups] == [6, 6]
    (size,) = [difference for difference in found.differences if difference.what == "size"]
    assert size.ratio == pytest.approx(2**0.5)
    assert (found.groups[0].best, found.groups[0].lowest_loss) == ("start1", "start0")


def test_one_group_is_called_one():
    loss = np.linspace(1, 2, 8)
    told = str(compare_starts(table(loss, loss / 10)))
    assert "8 pre-training runs were fine-tuned; 1 group of equal compute (within 10%), 1 of at least 6 starts" in told
    assert "over 1 group;" in told
    told = str(compare_starts(table(np.tile(loss, 2), np.tile(loss, 2) / 10, [1.0] * 8 + [5.0] * 8)))
    assert "; 2 groups of equal compute" in told
    assert "over 2 groups;" in told


def test_no_regret_where_loss_and_error_agree():
    loss = np.linspace(1, 2, 8)
    found = compare_starts(table(loss, loss / 10))
    assert (found.regret.mean, found.regret.interval) == (0.0, (0.0, 0.0))
    assert found.groups[0].association.estimate == pytest.approx(1.0)
    assert all(difference.ratio is difference.interval is None for difference in found.differences)  # all alike


@pytest.mark.parametrize(("sign", "word"), [(1, "larger"), (-1, "smaller")])
def test_larger_starts_are_told_from_smaller_ones(sign, word):
    """Five groups in which error falls steeply with size, or rises, and loss is lowest in the middle."""
    rng = np.random.default_rng(3)
    ln_size = np.tile(np.linspace(-1, 1, 8), 5)
    loss = 1 + ln_size**2 + 0.01 * rng.normal(size=40)
    error = 0.3 - 0.05 * sign * ln_size + 0.001 * rng.normal(size=40)
    found = compare_starts(table(loss, error, np.repeat(10.0 ** np.arange(5), 8), np.exp(ln_size)))
    (size,) = [difference for difference in found.differences if difference.what == "size"]
    assert size.verdict == word
    assert size.ratio**sign > 1.5
    assert found.regret.interval[0] > 0.01
    assert {difference.verdict for difference in found.differences if difference.what != "size"} == {"cannot tell"}


@pytest.mark.parametrize(("shift", "size", "epochs"), [(3.0, "larger", "shorter"), (1.0, "cannot tell", "cannot tell")])
def test_a_sweep_whose_errors_favour_larger_and_shorter_runs_says_so(shift, size, epochs):
    """Budgets of equal compute, with noise and without: the verdicts, and ratios that hold the noiseless ones."""
    noiseless, found = (
        {one.what: one for one in compare_starts(sweep_and_transfer(shift, *noise, grid=False)).differences}
        for noise in ((0.0, 0.0), (0.004, 0.01))
    )
    assert (found["size"].verdict, found["epochs"].verdict) == (size, epochs)
    assert found["peak_lr"].ratio is None  # one rate in pre-training
    for what in ("size", "epochs"):
        low, high = found[what].interval
        assert low * (1 - 1e-9) <= noiseless[what].ratio <= high * (1 + 1e-9)


def test_few_starts_cannot_tell():
    found = compare_starts(table(np.linspace(1, 2, 5), np.linspace(0.1, 0.2, 5)))
    assert (found.pooled.estimate, found.pooled.verdict) == (None, "cannot tell")
    assert (found.regret.mean, found.regret.groups) == (None, 0)
    assert all(difference.verdict == "cannot tell" for difference in found.differences)
    assert "cannot tell, below 6" in str(found)
    assert found.to_dict()["association"]["interval"] is None


def test_a_start_has_the_mean_over_seeds_at_its_best_fine_tuning():
    tuned = pd.DataFrame({
        "run_id": list("abcde"), "parent": ["p", "p", "p", "p", "q"], "peak_lr": [0.1, 0.1, 0.2, 0.2, 0.1],
        "seed": [0, 1, 0, 1, 0], "top1_error": [0.30, 0.34, 0.28, 0.40, 0.5], "status": "finished",
    })  # fmt: skip
    parents = pd.DataFrame({
        "run_id": ["p", "q"], "core_hours": [1.0, 2.0], "val_loss": [3.0, 2.0], "epochs": [1.0, 2.0],
        "peak_lr": [1.6, 0.8], "status": "finished",
    })  # fmt: skip
    found = starts_of(RunTable.from_frame(pd.concat([tuned, parents], ignore_index=True)))
    assert found.names == ("p", "q")
    np.testing.assert_allclose(found.error, [0.32, 0.5])
    np.testing.assert_allclose(found.loss, [3.0, 2.0])
    np.testing.assert_allclose(found.peak_lr, [1.6, 0.8])
    assert found.tunings.tolist() == [2, 1]


def test_a_start_that_was_fine_tuned_itself_costs_what_its_own_start_cost_too():
    """With its row in the table or without."""
    chain = pd.DataFrame({
        "run_id": list("abc"), "parent": [None, "a", "b"], "status": "finished", "top1_error": [0.5, 0.4, 0.3],
        "core_hours": [100.0, 10.0, 1.0], "total_core_hours": [100.0, 110.0, 111.0], "val_loss": [1.0, 0.9, 0.8],
        "parent_core_hours": [np.nan, 100.0, 110.0], "parent_val_loss": [np.nan, 1.0, 0.9],
    })  # fmt: skip
    for rows in ("abc", "ac", "bc", "c"):
        found = starts_of(RunTable.from_frame(chain[chain["run_id"].isin(list(rows))].reset_index(drop=True)))
        costs = dict(zip(found.names, zip(found.core_hours, found.total_core_hours, strict=True), strict=True))
        assert costs["b"] == (110.0, 111.0)
        assert costs.get("a", (100.0, 110.0)) == (100.0, 110.0)


def test_copies_that_only_some_starts_had_favour_none():
    runs = table([1.0, 1.1], [0.2, 0.3]).frame
    runs["config"] = '{"train": {}}'
    more = runs.assign(config='{"train": {"repeats": 4}}', top1_error=[0.1, 0.15], run_id=["x", "y"])
    some, all_ = (compare_starts(RunTable.from_frame(pd.concat([runs, more[:n]]))).starts for n in (1, 2))
    assert some.error.tolist() == [0.2, 0.3]
    assert some.notes == ("left out: 1 fine-tuned runs with 4 copies of an image, which not every start had",)
    assert all_.error.tolist() == [0.1, 0.15]
    assert not all_.notes


def test_what_is_left_out_is_counted():
    runs = table([1.0, np.nan, 1.2], [0.1, 0.2, np.nan])
    assert starts_of(runs).notes == (
        "left out: 1 fine-tuned runs of unknown error",
        "left out: 1 starts of unknown loss or cost",
    )


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"run_id": ["a"], "top1_error": [0.1]}, "no run names a parent"),
        ({"run_id": ["a"], "parent": ["p"]}, "top1_error"),
        ({"run_id": ["a"], "parent": ["p"], "top1_error": [0.1]}, "neither rows of the parents"),
    ],
)
def test_tables_that_cannot_tell_say_what_they_lack(frame, words):
    with pytest.raises(UserError, match=words):
        compare_starts(RunTable.from_frame(pd.DataFrame(frame)))


def test_a_pick_is_the_lowest_of_those_drawn():
    drawn = np.array([[0, 1, 2], [2, 2, 1]])
    assert choice.picks(np.array([3.0, 2.0, 1.0]), [np.array([0, 1, 2])], drawn).tolist() == [[2], [2]]
    assert choice.picks(np.array([1.0, 2.0, 3.0]), [np.array([0, 1, 2])], drawn).tolist() == [[0], [1]]


def test_the_command_says_the_same_in_words_and_in_json(tmp_path, capsys):
    from scalelaw.cli import main

    loss, error, cost = sample(np.random.default_rng(4), 12, 1.0)
    place = tmp_path / "tuned.parquet"
    table(loss, error, cost).write(place)
    answers = []
    for flags in ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main(["transfer", str(place), *flags])
        assert ended.value.code == 0
        answers.append(capsys.readouterr().out)
    found = json.loads(answers[1])
    assert found["starts"] == 12
    assert f"{found['association']['estimate']:.2f}" in answers[0]
    assert found["regret"]["mean"] is None  # no two starts cost the same
