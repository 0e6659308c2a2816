"""`scalelaw sweep --lr two-trial`: two rates of the grid in every cell, one cell or a few after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scalelaw.launch.engines import Engine, Name
    from scalelaw.launch.two_trials import Choice, PlannedCell
    from scalelaw.launch.workers import Limits
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import PlannedRun, Spec


def train_in_two_trials(
    checked: Spec,
    planned: list[PlannedRun],
    results: ResultsFolder,
    workers: int | None,
    engine: Name,
    ray_address: str | None,
    limits: Limits,
    dry_run: bool,
) -> list[str]:
    """Trains round after round until every cell has its two trials. Returns the chosen runs' ids."""
    from scalelaw.cli.sweeps import record_sweep
    from scalelaw.launch import engines, two_trials
    from scalelaw.launch.screen import listened_console

    cells = two_trials.planned_cells(planned)
    if dry_run:
        _print_cells(checked, cells, len(planned))
        return []
    console = listened_console()
    at_a_time = two_trials.cells_of_a_round(results, cells, workers or engines.local_workers(checked))
    before: tuple[PlannedRun, ...] | None = None
    while True:
        made = two_trials.choice(cells, two_trials.rows_of(results), at_a_time)
        record_sweep(results, checked, list(made.chosen), two_trials.note(made, at_a_time))
        ids = [run.run_id for run in made.chosen]
        if not made.open or made.open == before:  # what failed again is for the next call
            _said(console, results, cells, made)
            return ids
        before = made.open
        trainer = engines.opened(engine, checked, len(made.open), workers, ray_address, limits)
        train_round(
            made.open, results, trainer, console, f"then {made.later_runs} more" if made.later_runs else "the last"
        )


def train_round(
    open_runs: tuple[PlannedRun, ...],
    results: ResultsFolder,
    trainer: Engine,
    console: Any,
    then: str,
    share: float = 1.0,
) -> None:
    """Trains some runs, up to a share of their schedule."""
    from scalelaw import stopping
    from scalelaw.cli.dry_runs import in_words
    from scalelaw.launch import speed
    from scalelaw.launch.compaction import compacting
    from scalelaw.launch.progress import SweepProgress
    from scalelaw.runs import RunTable
    from scalelaw.text import counted

    todo = list(open_runs)
    expectation = speed.expected(todo, RunTable.load(results.address))
    seconds = {run.run_id: share * expectation.seconds[run.run_id] for run in todo}
    images = {run.run_id: run.config.train.images for run in todo}
    models = dict.fromkeys(run.config.model.variant for run in todo)
    try:
        with stopping.unfinished_if_unheard(), SweepProgress(seconds, images, console) as progress:
            console.print(
                f"{results.shown}: {counted(len(todo), 'run')} ({', '.join(models)}) with {trainer.words}, about "
                f"{in_words(share * expectation.minutes(todo, trainer.workers))}; {then}",
                highlight=False,
            )
            trainer.run_all(results, todo, seconds, compacting(results, progress))
    finally:
        results.compact()


def _said(console: Any, results: ResultsFolder, cells: tuple[PlannedCell, ...], made: Choice) -> None:
    from scalelaw.launch.two_trials import rows_of

    rows = rows_of(results)
    every = sum(len(runs) for one in cells for runs in one.runs.values())
    console.print(f"{results.shown}: {len(made.chosen)} runs chosen of the {every} of the grid", highlight=False)
    tried = {run.run_id for run in made.chosen}
    if beside := len(set(rows) - tried):
        console.print(f"{beside} rows of other runs were not looked at", highlight=False)


def _print_cells(checked: Spec, cells: tuple[PlannedCell, ...], grid: int) -> None:
    from textwrap import fill

    from scalelaw.launch.two_trials import TRIALS, at_most
    from scalelaw.sweep import describe
    from scalelaw.text import columns

    lines = [("variant", "epochs", "batch", f"peak lr, {TRIALS} of", "seeds", "core-hours a rate")]
    for one in cells:
        first = next(iter(one.runs.values()))[0]
        rates = one.cell.rates
        seeds = max(len(runs) for runs in one.runs.values())
        lines.append((first.config.model.variant, f"{first.cost.epochs:.3g}", str(first.config.train.batch_size),
                      " ".join(f"{rate:.4g}" for rate in rates), str(seeds),
                      f"{seeds * first.cost.core_hours:.3g}"))  # fmt: skip
    print(*columns(lines, left=(0, 3)), sep="\n")
    runs, hours = at_most(cells)
    data = next(iter(cells[0].runs.values()))[0].config.data
    print(fill(describe(data), 80))
    print(f"{len(cells)} cells, {TRIALS} rates each: at most {runs} of the grid's {grid} runs")
    print(f"at most {hours:.3g} TPU-v4 core-hours at {checked.sweep.utilisation:.0%} utilisation")
    print("surest cells first, whatever they cost")
