"""Comparing tables that hold runs on several training sets."""

from __future__ import annotations

import numpy as np
import pandas as pd
from drawings import sweep

from scalelaw import plan
from scalelaw.runs import RunTable


def test_repeats_of_a_smaller_training_set_play_no_part_and_are_named() -> None:
    largest = sweep(noise=0.01).frame
    images = largest["images_seen"].astype(float)
    smaller = largest.assign(unique_images=np.round(images.min() / 8), val_loss=largest["val_loss"] * 1.2)
    smaller = smaller.assign(epochs=images / smaller["unique_images"])
    one, both = RunTable.from_frame(largest), RunTable.from_frame(pd.concat([largest, smaller], ignore_index=True))
    at = float(largest["core_hours"].median())
    found = plan.compare(both, one, at, replicates=20)
    assert found.front == "surface"
    assert abs(float(found.at.value or 0) - 1) < 0.02
    assert any(note.startswith("A: 2 sizes of training set") for note in found.warnings)
