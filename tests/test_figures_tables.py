"""Figures of tables that are not one sweep on one training set with core-hours: without core-hours, with two sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from drawings import sweep

from scalelaw.figures import FIGURES
from scalelaw.frontiers import frontier
from scalelaw.runs import RunTable

FITTED = ("equal_compute", "surface", "residuals", "roll_outs", "prediction")


@pytest.mark.parametrize("name", FITTED)
def test_without_core_hours_compute_is_flop(name: str) -> None:
    table = RunTable.from_frame(sweep(noise=0.01).frame.drop(columns=["core_hours", "utilisation"], errors="ignore"))
    assert not table.has("core_hours")
    drawn = FIGURES[name].collect(table)
    assert "core_hours are unknown: compute is train_flop" in drawn["notes"]
    assert drawn.get("compute", "train_flop") == "train_flop"
    FIGURES[name].make(drawn)


@pytest.mark.parametrize("name", FITTED)
def test_repeats_of_a_smaller_training_set_are_left_out_as_the_frontier_does(name: str) -> None:
    largest = sweep(noise=0.01).frame
    images = largest["images_seen"].astype(float)
    smaller = largest.assign(unique_images=np.round(images.min() / 8), run_id="s" + largest["run_id"].astype(str))
    smaller = smaller.assign(val_loss=smaller["val_loss"] * 1.2, epochs=images / smaller["unique_images"])
    both = RunTable.from_frame(pd.concat([largest, smaller], ignore_index=True))
    note = next(note for note in frontier(both).notes if "sizes of training set" in note)
    drawn = FIGURES[name].collect(both)
    alone = FIGURES[name].collect(RunTable.from_frame(largest))
    assert note in drawn["notes"]
    if name == "residuals":
        assert drawn["runs"] == alone["runs"]
    if name == "surface":
        assert drawn["runs"] == alone["runs"]
