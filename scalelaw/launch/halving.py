"""A sweep in which the rates of a cell that are clearly behind stop early, rung by rung.

What has stopped keeps its checkpoint and has no row: it is no finished schedule, and no fit sees it. Which rates go on
depends on the evaluations in the traces and on which runs have diverged alone, so a sweep that is killed and started
again stops the same runs, and so do two launchers on one folder. (Where a kept rate diverges behind its rung, others of
its cell may move up and go on.) How far a run is trained, each launcher tells its own workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from scalelaw.launch.two_trials import PlannedCell, rows_of
from scalelaw.learning_rate.halving import RUNGS, kept
from scalelaw.runs import ResultsFolder, files
from scalelaw.runs.recording import STOPPED
from scalelaw.runs.traces import traces
from scalelaw.sweep import PlannedRun


@dataclass(frozen=True)
class Rung:
    """What is to be trained next: the runs, up to a share of their schedule (None: the end), and what has stopped."""

    open: tuple[PlannedRun, ...]
    stop_at: float | None
    stopped: tuple[PlannedRun, ...]


def next_rung(cells: Sequence[PlannedCell], results: ResultsFolder) -> Rung:
    """Decides rung by rung until runs are missing."""
    rows = rows_of(results)
    every = [run for one in cells for runs in one.runs.values() for run in runs]
    seen = _evaluations(results, [run.run_id for run in every]) if rows or results.root.exists() else {}
    going: list[dict[float, tuple[PlannedRun, ...]]] = [dict(one.runs) for one in cells]
    stopped: list[PlannedRun] = []
    for share in RUNGS:
        open_runs = [
            run
            for rates in going
            for runs in rates.values()
            for run in runs
            if rows.get(run.run_id, ("", None))[0] not in ("finished", "diverged") and _at(seen, run, share) is None
        ]
        if open_runs:
            return Rung(tuple(open_runs), share, tuple(stopped))
        for rates in going:
            losses: dict[float, float | None] = {}
            for rate, runs in rates.items():
                found = [_at(seen, run, share) for run in runs]
                diverged = any(rows.get(run.run_id, ("", None))[0] == "diverged" for run in runs)
                known = [loss for loss in found if loss is not None]
                losses[rate] = None if diverged or not known else float(np.exp(np.mean(np.log(known))))
            on = kept(losses)
            for rate in set(rates) - set(on):
                stopped += [
                    run
                    for run in rates.pop(rate)
                    if rows.get(run.run_id, ("", None))[0] not in ("finished", "diverged")
                ]
    rest = [run for rates in going for runs in rates.values() for run in runs]
    left = [run for run in rest if rows.get(run.run_id, ("", None))[0] not in ("finished", "diverged")]
    return Rung(tuple(left), None, tuple(stopped))


def stopped_among(results: ResultsFolder, runs: Sequence[PlannedRun]) -> list[str]:
    """Those of some runs that a sweep by halving has stopped, as the folder's record has it."""
    record = results.root / "sweep.json"
    noted = set(files.read_json(record).get(STOPPED, [])) if record.exists() else set()
    return [run.run_id for run in runs if run.run_id in noted]


def unevaluated(results: ResultsFolder, runs: Sequence[PlannedRun], share: float) -> list[PlannedRun]:
    """Those of some runs that have no evaluation at this share of their schedule, as far as can be seen here."""
    seen = _evaluations(results, [run.run_id for run in runs])
    return [run for run in runs if _at(seen, run, share) is None]


def _evaluations(results: ResultsFolder, run_ids: Sequence[str]) -> dict[str, list[tuple[int, float]]]:
    """Images seen and held-out loss of every evaluation, by run."""
    table = traces(results.bring_traces(run_ids), run_ids).to_table(columns=["run_id", "images_seen", "val_loss"])
    table = table.filter(pc.is_valid(table["val_loss"])).sort_by("images_seen")
    found: dict[str, list[tuple[int, float]]] = {}
    for row in table.to_pylist():
        found.setdefault(row["run_id"], []).append((row["images_seen"], row["val_loss"]))
    return found


def _at(seen: dict[str, list[tuple[int, float]]], run: PlannedRun, share: float) -> float | None:
    """The first evaluation at this share of the schedule or later."""
    images = share * run.config.train.images
    return next((loss for at, loss in seen.get(run.run_id, []) if at >= images), None)
