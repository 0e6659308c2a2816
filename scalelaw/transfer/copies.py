"""Repeated augmentation in fine-tuned runs, and a search of settings that is the same for all starts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.runs import RunTable


def copies_of(runs: RunTable) -> NDArray[np.int64]:
    """Differently augmented copies of an image in one batch, (runs,); 1 where no configuration says otherwise."""
    if not runs.has("config"):
        return np.ones(len(runs), np.int64)

    def of(config: Any) -> int:
        try:
            return int(json.loads(config)["train"].get("repeats", 1))
        except (TypeError, ValueError, KeyError, AttributeError):
            return 1

    return np.array([of(config) for config in runs.column("config")], np.int64)


def alike(runs: RunTable) -> RunTable:
    """The runs without fine-tuning at numbers of copies that only some starts had, which would favour those.

    `notes` says how many are left out. Where no number of copies was tried on every start, all runs.
    """
    if not runs.has("parent"):
        return runs
    copies, parent = copies_of(runs), runs.frame["parent"]
    done = (runs.frame["status"] == "finished").to_numpy() if runs.has("status") else np.ones(len(runs), bool)
    tuned = parent.notna().to_numpy()
    starts = parent[tuned & done].nunique()
    tried = {int(count): parent[tuned & done & (copies == count)].nunique() for count in np.unique(copies[tuned])}
    shared = [count for count, had in tried.items() if had == starts]
    left = tuned & ~np.isin(copies, shared)
    if not shared or not left.any():
        return runs
    several = ", ".join(str(count) for count in tried if count not in shared)
    note = f"{int(left.sum())} fine-tuned runs with {several} copies of an image, which not every start had"
    return runs.where(~left, f"left out: {note}")
