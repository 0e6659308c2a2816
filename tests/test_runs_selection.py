"""Selections of runs: what is best, what is on the envelope, and what is left out, which is said."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from table_rows import runs

from scalelaw.runs import RunTable
from scalelaw.runs.table import EQUAL_COMPUTE


def test_finished_counts_what_it_leaves_out():
    table = runs(
        {"status": "finished"}, {"status": "failed"}, {"status": "diverged"}, {"status": "failed"}, val_loss=1.0
    )
    assert len(table.finished()) == 1
    assert table.finished().notes == ("left out: 2 failed, 1 diverged",)
    assert len(runs({}, {}).finished()) == 2


def test_fine_tuned_runs_beside_others_are_left_out_and_counted():
    """Else the cheapest child of the best parent would lie on the front of pre-training."""
    both = runs({"val_loss": 2.0}, {"val_loss": 1.0, "parent": "a"}, {"val_loss": 1.1, "parent": "a"})
    assert both.finished().val_loss.tolist() == [2.0]
    assert both.finished().notes == ("left out: 2 fine-tuned runs, which scalelaw transfer reads",)
    assert len(both.finished(fine_tuned=True)) == 3
    alone = both.where([False, True, True])
    assert alone.finished().val_loss.tolist() == [1.0, 1.1]


def test_best_is_by_mean_over_seeds_and_keeps_the_median_run():
    table = runs(
        {"peak_lr": 1.0, "seed": 0, "val_loss": 2.0},
        {"peak_lr": 1.0, "seed": 1, "val_loss": 2.3},
        {"peak_lr": 1.0, "seed": 2, "val_loss": 2.1},
        {"peak_lr": 2.0, "seed": 0, "val_loss": 1.0},  # a lucky draw of a worse rate
        {"peak_lr": 2.0, "seed": 1, "val_loss": 4.0},
        {"peak_lr": 4.0, "seed": 0, "val_loss": np.nan},
        {"variant": "N1", "peak_lr": 2.0, "val_loss": 5.0},
    )
    best = table.best_over("peak_lr")
    assert (best.peak_lr.tolist(), best.val_loss.tolist(), best.points) == ([1.0, 2.0], [2.1, 5.0], "best")
    assert best.notes == ("left out: 1 run of unknown loss or cost", "best over peak_lr: 2 of 6 runs kept")


def test_of_equally_good_rates_the_lowest_is_best():
    table = runs(
        {"peak_lr": 4.0, "val_loss": 2.0}, {"peak_lr": 2.0, "val_loss": 1.9}, {"peak_lr": 2.0, "val_loss": 2.1}
    )
    best = table.best_over()
    assert (best.peak_lr.tolist(), best.val_loss.tolist()) == ([2.0], [1.9])


def test_a_cell_of_unknown_rates_is_kept():
    best = runs({"peak_lr": None, "val_loss": 2.0}, {"variant": "N1", "peak_lr": 1.0, "val_loss": 3.0}).best_over()
    assert best.val_loss.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    "column", ["variant", "params", "images_seen", "dataset", "epochs", "batch_size", "unique_images"]
)
def test_runs_that_differ_in_more_than_rate_and_seed_are_different_cells(column):
    table = runs({column: 1}, {column: 2}, {column: 2, "peak_lr": 3.0, "seed": 5})
    assert table.cells().tolist() == [0, 1, 1]


def test_settings_that_have_no_column_tell_cells_apart():
    def config(**changes):
        train = {"peak_lr": 1.0, "images": 10, **{k: v for k, v in changes.items() if k != "path"}}
        return {"config": json.dumps({"data": {"path": changes.get("path", "x")}, "train": train})}

    table = runs(
        config(), config(peak_lr=2.0), config(seed=3), config(path="y"), config(weight_decay=0.1), {"config": "?"}
    )
    assert table.cells().tolist() == [0, 0, 0, 0, 1, 2]


def test_lengths_known_by_cost_alone_are_lengths():
    table = RunTable.from_frame(pd.DataFrame({"variant": "N0", "core_hours": [1.0, 1.0, 2.0]}))
    assert table.cells().tolist() == [0, 0, 1]


def test_envelope_of_a_hand_drawn_set():
    cost = [1.0, 1.01, 2.0, 3.0, 4.0, 4.05, 9.0, np.nan, 0.5]
    loss = [3.0, 2.9, 2.9, 2.0, 1.5, 1.4, 1.4, 1.0, np.nan]
    table = RunTable.from_frame(pd.DataFrame({"core_hours": cost, "val_loss": loss}))
    front = table.envelope()
    assert (front.core_hours.tolist(), front.val_loss.tolist()) == ([1.01, 3.0, 4.05], [2.9, 2.0, 1.4])
    assert front.points == "envelope"
    assert front.notes == (
        "left out: 2 runs of unknown loss or cost",
        "envelope: 3 of 7 runs are matched by no cheaper one",
    )


def test_selections_of_nothing_are_empty():
    nothing = RunTable.from_frame(pd.DataFrame({"core_hours": [], "peak_lr": [], "val_loss": [], "variant": []}))
    unknown = RunTable.from_frame(pd.DataFrame({"core_hours": [None], "peak_lr": [1.0], "val_loss": [None]}))
    for table in (nothing, unknown):
        assert len(table.finished().best_over()) == len(table.envelope()) == 0


COSTS = st.floats(1, 1.3) | st.sampled_from([1.0, 1.02, 1.1, 50.0])


LOSSES = st.sampled_from([1.0, 2.0, 2.5, 3.0])


@given(st.lists(st.tuples(COSTS, LOSSES), min_size=1, max_size=30))
@settings(deadline=None, max_examples=150)
def test_envelope_properties(points):
    cost, loss = np.array(points).T
    front = RunTable.from_frame(pd.DataFrame({"core_hours": cost, "val_loss": loss})).envelope()
    kept_cost, kept_loss = front.core_hours, front.val_loss
    assert len(front) >= 1
    assert (np.diff(kept_cost) > 0).all()
    assert (np.diff(kept_loss) < 0).all()
    assert kept_loss.min() == loss.min()
    for c, l in zip(kept_cost, kept_loss, strict=True):
        cheaper = (cost < c) & (loss <= l)
        equally_cheap = (cost <= c * (1 + EQUAL_COMPUTE)) & (loss < l)
        assert not (cheaper | equally_cheap).any()
    for c, l in points:  # and every run left out is matched
        if not ((kept_cost == c) & (kept_loss == l)).any():
            assert ((cost <= c * (1 + EQUAL_COMPUTE)) & ((loss < l) | ((loss == l) & (cost < c)))).any()


def test_masks_and_notes():
    table = runs({"val_loss": 1.0}, {"val_loss": 2.0})
    kept = table.where(table.val_loss > 1.5, "left out: low ones")
    assert (kept.val_loss.tolist(), kept.notes, table.notes) == ([2.0], ("left out: low ones",), ())
