"""Rows of pre-training and rows of fine-tuning in one table: told apart, and brought together."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from scalelaw.runs import RunTable


def apart(runs: RunTable) -> tuple[RunTable, RunTable]:
    """The runs that name no parent, and those that do."""
    if not runs.has("parent"):
        return runs, runs.where([False] * len(runs))
    tuned = runs.frame["parent"].notna().to_numpy()
    return runs.where(~tuned), runs.where(tuned)


def together(runs: RunTable, others: RunTable) -> RunTable:
    """The rows of both; a run that both hold counts once, as the first has it."""
    frame = pd.concat([runs.frame, others.frame], ignore_index=True)
    if "run_id" in frame:
        frame = frame[frame["run_id"].isna() | ~frame["run_id"].duplicated()].reset_index(drop=True)
    return replace(runs, frame=frame, source=f"{runs.source} and {others.source}", notes=runs.notes + others.notes)
