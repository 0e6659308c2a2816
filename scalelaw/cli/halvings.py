"""`scalelaw sweep --halving`: rates of a cell that are clearly behind stop early."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalelaw.launch.engines import Name
    from scalelaw.launch.workers import Limits
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import PlannedRun, Spec


def train_by_halving(
    checked: Spec,
    planned: list[PlannedRun],
    results: ResultsFolder,
    workers: int | None,
    engine: Name,
    ray_address: str | None,
    limits: Limits,
    lr: str,
    dry_run: bool,
) -> int:
    """Trains rung after rung. Returns the exit code."""
    from scalelaw.cli.sweeps import closing, record_sweep
    from scalelaw.cli.two_trials import train_round
    from scalelaw.errors import UserError
    from scalelaw.launch import engines, halving
    from scalelaw.launch.screen import listened_console
    from scalelaw.launch.two_trials import planned_cells
    from scalelaw.learning_rate.halving import FEWEST, RUNGS

    if lr != "grid":
        raise UserError("--halving: goes with --lr grid; two trials leave nothing to stop")
    few = [run for run in planned if min(RUNGS) * run.config.train.evaluations < 1]
    if few:
        raise UserError(f"--halving: {len(few)} runs are not evaluated by {min(RUNGS):.0%} of their schedule; "
                        f"set [train] evaluations to {round(1 / min(RUNGS))} or more")  # fmt: skip
    console = listened_console()
    cells = planned_cells(planned)
    if dry_run:
        hours = sum(run.cost.core_hours for run in planned)
        rungs = " and ".join(f"{share:.0%}" for share in RUNGS)
        console.print(
            f"{len(cells)} cells, {len(planned)} runs: at most {hours:.3g} TPU-v4 core-hours; at {rungs} of the "
            f"schedule all but the better half of a cell's rates, and at least {FEWEST}, may stop",
            highlight=False,
        )
        return 0
    before = None
    while True:
        rung = halving.next_rung(cells, results)
        stopped = sorted(run.run_id for run in rung.stopped)
        if not rung.open or rung == before:  # what failed again is for the next call
            record_sweep(results, checked, planned, stopped=stopped)
            results.compact()
            console.print(f"{results.shown}: {len(stopped)} runs stopped early, as pending", highlight=False)
            return closing(console, results, [run.run_id for run in planned])
        record_sweep(results, checked, planned, stopped=stopped)
        before = rung
        trainer = engines.opened(engine, checked, len(rung.open), workers, ray_address, limits, rung.stop_at)
        then = "then to their end" if rung.stop_at is None else f"up to {rung.stop_at:.0%} of their schedule"
        train_round(rung.open, results, trainer, console, then, rung.stop_at or 1.0)
