"""A sweep that tries two learning rates in every cell: which runs of its grid to train next, from the rows there are.

A cell is what differs in learning rate and seed alone; a trial is one of its rates with all of its seeds. Only rows of
runs that the rule itself chose are looked at, so the same spec and the same rows give the same choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from scalelaw.launch.unfinished import cell_of
from scalelaw.learning_rate.trials import Cell, Trial
from scalelaw.learning_rate.two_trials import TRIALS, schedule
from scalelaw.runs import ResultsFolder, Status, files
from scalelaw.sweep import PlannedRun

KEY = "two_trial"
"""Of sweep.json: cells of a round, and what is still to be chosen."""
Row = tuple[Status, float | None]


@dataclass(frozen=True)
class PlannedCell:
    """A cell and, for every rate, its runs (one for each seed)."""

    cell: Cell
    runs: Mapping[float, tuple[PlannedRun, ...]]


@dataclass(frozen=True)
class Choice:
    """What is to be trained.

    Attributes:
        chosen: every run chosen so far, in the order of the choice.
        open: those of them that are not finished or diverged.
        later_runs: runs that are still to be chosen, at most (rates may have unlike seeds).
        later_core_hours: what these cost, at most.
    """

    chosen: tuple[PlannedRun, ...]
    open: tuple[PlannedRun, ...]
    later_runs: int
    later_core_hours: float


def planned_cells(planned: Sequence[PlannedRun]) -> tuple[PlannedCell, ...]:
    """The cells of a sweep, in the order of their text."""

    def key(run: PlannedRun) -> str:
        return str(cell_of(run.config.to_json()))

    found = []
    for _, alike in groupby(sorted(planned, key=lambda run: (key(run), run.config.train.peak_lr, run.run_id)), key):
        rows = list(alike)
        first = rows[0]
        train = first.config.train
        rates = {rate: tuple(runs) for rate, runs in groupby(rows, lambda run: run.config.train.peak_lr)}
        cell = Cell(
            size=float(first.cost.size.macs_per_image),
            length=float(train.images),
            rates=tuple(rates),
            batch=float(train.batch_size),
            words=_words(first),
        )
        found.append(PlannedCell(cell, rates))
    return tuple(found)


def _words(run: PlannedRun) -> tuple[str, ...]:
    """What else tells cells apart."""
    config = run.config
    others = config.train.model_dump(mode="json", exclude={"images", "batch_size", "peak_lr", "seed", "evaluations"})
    return (config.data.name, str(config.data.train_images), config.model.family, files.canonical(others))


def choice(cells: Sequence[PlannedCell], rows: Mapping[str, Row], at_a_time: int) -> Choice:
    """Which runs are chosen by now.

    Args:
        cells: of the sweep.
        rows: status and held-out loss of the runs that have a row, by run id.
        at_a_time: cells of a round.
    """

    def outcome(at: int, rate: float) -> Trial | None:
        runs = cells[at].runs[rate]
        found = [rows.get(run.run_id, ("pending", None)) for run in runs]
        if not all(status in ("finished", "diverged") for status, _ in found):
            return None
        losses = [loss for status, loss in found if status == "finished" and loss is not None and loss > 0]
        # a rate at which any seed diverged is too high, whatever its other seeds reached
        log_loss = float(np.mean(np.log(losses))) if len(losses) == len(found) else None
        return Trial(at, rate, log_loss, len(found))

    now = schedule([one.cell for one in cells], outcome, at_a_time)
    open_runs = [run for at, rate in now.open for run in cells[at].runs[rate]]
    chosen = [run for trial in now.tried for run in cells[trial.cell].runs[trial.rate]] + open_runs
    later_runs, later_core_hours = at_most([cells[at] for at in now.later])
    return Choice(
        chosen=tuple(chosen),
        open=tuple(run for run in open_runs if rows.get(run.run_id, ("", None))[0] not in ("finished", "diverged")),
        later_runs=later_runs,
        later_core_hours=later_core_hours,
    )


def at_most(cells: Sequence[PlannedCell]) -> tuple[int, float]:
    """Runs and core-hours of two rates in each of some cells, at most."""
    trials = [(min(TRIALS, len(one.runs)), *_trial(one)) for one in cells]
    return sum(count * runs for count, runs, _ in trials), sum((count * hours for count, _, hours in trials), 0.0)


def _trial(one: PlannedCell) -> tuple[int, float]:
    """Runs and core-hours of one rate, at most; all runs of a cell cost the same."""
    seeds = max(len(runs) for runs in one.runs.values())
    return seeds, seeds * next(iter(one.runs.values()))[0].cost.core_hours


def rows_of(results: ResultsFolder) -> dict[str, Row]:
    """Status and held-out loss of the rows there are."""
    if not results.root.exists():
        return {}
    table, _ = results.read_rows()
    columns = (table[name].to_pylist() for name in ("run_id", "status", "val_loss"))
    return {run_id: (status, loss) for run_id, status, loss in zip(*columns, strict=True)}


def cells_of_a_round(results: ResultsFolder, cells: Sequence[PlannedCell], workers: int) -> int:
    """As many as keep the workers busy; a sweep that goes on keeps its number, whoever trains it.

    The fewer the better, for cells of a round know nothing of each other.
    """
    record = results.root / "sweep.json"
    noted = files.read_json(record).get(KEY) if record.exists() else None
    if noted is not None:
        return int(noted["cells_of_a_round"])
    seeds = min(len(runs) for one in cells for runs in one.runs.values())
    return max(1, -(-workers // (TRIALS * seeds)))


def note(made: Choice, at_a_time: int) -> dict[str, Any]:
    """For sweep.json."""
    return {
        KEY: {"cells_of_a_round": at_a_time, "runs_later": made.later_runs, "core_hours_later": made.later_core_hours}
    }


__all__ = [
    "KEY",
    "TRIALS",
    "Choice",
    "PlannedCell",
    "at_most",
    "cells_of_a_round",
    "choice",
    "note",
    "planned_cells",
    "rows_of",
]
