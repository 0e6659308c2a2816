"""How far a sweep is, by its results folder alone: what `scalelaw status` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

from scalelaw.compute import DEFAULT_UTILISATION
from scalelaw.launch.law_so_far import LawSoFar, law_so_far
from scalelaw.launch.money import Money, Prices, money
from scalelaw.launch.speed import measured_speeds, wall_seconds
from scalelaw.launch.unfinished import Unfinished, unfinished
from scalelaw.runs import STATUSES, ResultsFolder, RunTable, Status, files
from scalelaw.runs.folder import DONE
from scalelaw.text import clock, columns

WIDTH = 80
LISTED = 12
"""Runs under way, and failed ones, that are printed; `to_dict` has all."""


@dataclass(frozen=True)
class SweepStatus:
    """How far a sweep is.

    Attributes:
        source: the results folder, as it was named.
        statuses: of every run, by its id.
        core_hours_spent: TPU v4: of the rows there are, and of the shares of runs under way.
        core_hours_left: of what is neither finished nor diverged; None where the sweep did not note a run's cost.
        running: the runs under way.
        failures: failed runs, each with the last line of its error.
        seconds_left: wall-clock seconds until all is done, with as many workers as are at work; None when none is, or
            when nothing tells.
        worker_seconds_left: of one worker; None when nothing tells.
        measured: whether the two rest on measured speeds alone.
        money: dollars, where a price was named.
        law: the law so far.
        problems: a sentence for every row that cannot be read.
        runs_later: at most, that a sweep in two trials has still to choose; `core_hours_left` has their cost.
        stopped_early: pending runs that a sweep by halving goes on with no more; nothing of them is left.
    """

    source: str
    statuses: Mapping[str, Status]
    core_hours_spent: float
    core_hours_left: float | None
    running: tuple[Unfinished, ...]
    failures: tuple[tuple[str, str], ...]
    seconds_left: float | None
    worker_seconds_left: float | None
    measured: bool
    money: Money | None
    law: LawSoFar
    problems: tuple[str, ...]
    runs_later: int = 0
    stopped_early: int = 0

    @property
    def counts(self) -> dict[Status, int]:
        """Runs by status."""
        found = list(self.statuses.values())
        return {word: found.count(word) for word in STATUSES}

    @property
    def ended(self) -> bool:
        """Whether nothing is under way or still to be tried for the first time."""
        counts = self.counts
        return not counts["running"] and counts["pending"] <= self.stopped_early and not self.runs_later

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown."""
        return {
            **{str(word): count for word, count in self.counts.items()},
            "core_hours_spent": self.core_hours_spent,
            "core_hours_left": self.core_hours_left,
            "runs_later": self.runs_later,
            "stopped_early": self.stopped_early,
            "seconds_left": self.seconds_left,
            "worker_seconds_left": self.worker_seconds_left,
            "time_left_basis": "measured" if self.measured else "assumed",
            "under_way": [run.to_dict() for run in self.running],
            "failures": dict(self.failures),
            "money": None if self.money is None else self.money.to_dict(),
            "law": self.law.to_dict(),
        }

    def line(self) -> str:
        """All of it in one line."""
        counts = self.counts
        total, done = len(self.statuses), sum(counts[word] for word in DONE)
        odd = "".join(f", {counts[word]} {word}" for word in ("diverged", "failed", "running") if counts[word])
        speeds = [run.progress.images_per_second or 0.0 for run in self.running if run.progress is not None]
        speed = f" · {sum(speeds):,.0f} images/s" if sum(speeds) else ""
        left = "" if self.seconds_left is None or self.ended else f" · {clock(self.seconds_left)} left"
        return f"{done}/{total} runs done{odd}{speed}{left}"

    def __str__(self) -> str:
        lines = [f"{self.source}: {len(self.statuses)} runs"]
        lines += [f"  {word:<9} {count:>5}" for word, count in self.counts.items()]
        if self.stopped_early:
            lines.append(f"  of those pending {self.stopped_early} were stopped early, their rate being behind")
        if self.runs_later:
            lines.append(f"  and at most {self.runs_later} more, whose rates are chosen as these runs end")
        to_go = "unknown" if self.core_hours_left is None else f"{self.core_hours_left:.3g}"
        lines.append(f"TPU-v4 core-hours: {self.core_hours_spent:.3g} spent, {to_go} left")
        if self.money is not None:
            lines += _filled(str(self.money))
        lines += _filled(self._time())
        lines += self._under_way()
        lines += _filled(str(self.law))
        if self.failures:
            lines.append("failed runs are tried again by the same sweep command; why they failed:")
            for run_id, why in self.failures[:LISTED]:
                lines += _filled(f"{run_id}: {why}", first="  ")
            lines += _more(len(self.failures))
        return "\n".join(lines)

    def _time(self) -> str:
        if self.ended:
            return ""
        basis = "measured" if self.measured else "assumed, until a run of each shape is done"
        basis += "; without the runs still to be chosen" if self.runs_later else ""
        if self.seconds_left is not None:
            workers = len(self.running)
            return f"time left: {clock(self.seconds_left)} with {workers} at work (speeds {basis})"
        if self.worker_seconds_left is not None:
            return f"time left: nobody trains now; {clock(self.worker_seconds_left)} for one worker (speeds {basis})"
        return "time left: unknown"

    def _under_way(self) -> list[str]:
        if not self.running:
            return []
        rows = [("under way", "variant", "done", "images/s", "loss", "held-out", "left")]
        for run in self.running[:LISTED]:
            seen = run.progress
            silent = run.silent_seconds
            rows.append((
                run.run_id,
                run.variant or "?",
                "starting" if seen is None else f"{run.share:.0%}",
                "" if seen is None or seen.images_per_second is None else f"{seen.images_per_second:,.0f}",
                "" if seen is None or seen.train_loss is None else f"{seen.train_loss:.4g}",
                "" if seen is None or seen.val_loss is None else f"{seen.val_loss:.4g}",
                _silence(silent) if silent is not None else "" if run.seconds_left is None else clock(run.seconds_left),
            ))  # fmt: skip
        return [*columns(rows, left=(0, 1)), *_more(len(self.running))]


def sweep_status(
    folder: ResultsFolder, prices: Prices | None = None, before: SweepStatus | None = None, *, watch: bool = False
) -> SweepStatus:
    """Reads how far a sweep is.

    Args:
        folder: the results.
        prices: to say what it costs.
        before: an earlier answer of the same folder: its law is kept while the same runs are done.
        watch: for whoever asks again and again: leases of other machines are judged by what was seen of them so far.

    Raises:
        UserError: when the folder or its sweep.json cannot be read.
    """
    table, problems = folder.read_rows()
    rows = replace(RunTable.from_frame(table.to_pandas()), source=folder.shown)
    path = folder.root / "sweep.json"
    record: dict[str, Any] = files.read_json(path) if path.exists() else {}
    own_ids = table["run_id"].to_pylist()
    named = dict.fromkeys([*record.get("runs", []), *own_ids])
    run_ids = [*named, *folder.run_ids(named)]
    statuses = folder.statuses(run_ids, watch=watch, rows=table)
    costs, utilisation = record.get("core_hours", {}), record.get("utilisation", DEFAULT_UTILISATION)
    later = record.get("two_trial", {})
    stopped = {run_id for run_id in record.get("stopped_early", []) if statuses.get(run_id) == "pending"}
    not_done = {run_id: how for run_id, how in statuses.items() if how not in DONE and run_id not in stopped}
    open_runs = unfinished(folder.root, not_done, speeds=measured_speeds(rows), costs=costs, utilisation=utilisation)
    running = tuple(run for run in open_runs if statuses[run.run_id] == "running")
    spent = sum((hours or 0.0 for hours in table["core_hours"].to_pylist()), 0.0)
    spent += sum((run.core_hours or 0.0) * run.share for run in running)
    known = [run.core_hours * (1 - run.share) for run in open_runs if run.core_hours is not None]
    wall, work = _seconds(open_runs, len(running))
    errors = zip(own_ids, table["status"].to_pylist(), table["error"].to_pylist(), strict=True)
    if before is not None and _done(before.statuses) == _done(statuses) and before.statuses.keys() == statuses.keys():
        law = replace(before.law, runs_later=later.get("runs_later", 0) > 0)
    else:
        cells = {run.run_id: run.cell for run in open_runs}
        law = law_so_far(rows, cells, runs_later=later.get("runs_later", 0) > 0)
    return SweepStatus(
        source=folder.shown,
        statuses=statuses,
        core_hours_spent=spent,
        core_hours_left=sum(known, later.get("core_hours_later", 0.0)) if len(known) == len(open_runs) else None,
        running=running,
        failures=tuple(
            (run_id, (error or "unknown").splitlines()[-1])
            for run_id, status, error in errors
            if status == "failed" and statuses[run_id] == "failed"
        ),
        seconds_left=wall,
        worker_seconds_left=work,
        measured=all(run.measured for run in open_runs),
        money=None if prices is None else money(prices, rows, open_runs, utilisation=utilisation),
        law=law,
        problems=tuple(problems),
        runs_later=later.get("runs_later", 0),
        stopped_early=len(stopped),
    )


def _seconds(open_runs: list[Unfinished], workers: int) -> tuple[float | None, float | None]:
    """Wall-clock seconds with so many workers, and with one; None when nothing tells."""
    seconds = [run.seconds_left for run in open_runs if run.seconds_left is not None]
    if len(seconds) < len(open_runs):
        return None, None
    if not open_runs:
        return 0.0, 0.0
    new = len({run.shape for run in open_runs if not run.measured})  # others are kept compiled, or in the cache
    at_work = min(workers, len(seconds))
    return (wall_seconds(seconds, new, at_work) if workers else None), wall_seconds(seconds, new, 1)


def _done(statuses: Mapping[str, Status]) -> set[str]:
    return {run_id for run_id, status in statuses.items() if status in DONE}


def _filled(text: str, first: str = "") -> list[str]:
    return wrap(text, WIDTH, initial_indent=first, subsequent_indent="    ", break_long_words=False)


def _silence(seconds: float) -> str:
    return f"silent {seconds / 3600:,.0f} h" if seconds > 7200 else f"silent {seconds / 60:.0f} min"


def _more(count: int) -> list[str]:
    return [f"  and {count - LISTED} more"] if count > LISTED else []
