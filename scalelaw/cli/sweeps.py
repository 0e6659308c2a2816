"""The command that trains many runs: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.launch.speed import Expected
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import PlannedRun, Spec

Out = Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")]


def sweep(
    spec: Positional[Path],
    out: Out = None,
    workers: int | None = None,
    engine: Literal["local"] = "local",
    dry_run: bool = False,
) -> int:
    """Trains every run of a TOML spec that is not finished yet.

    Args:
        spec: The sweep's TOML file.
        out: Results folder; results/NAME unless given.
        workers: Worker processes; one for each core unless given.
        engine: Which engine starts the workers.
        dry_run: Only list the runs and their cost.
    """
    from scalelaw import stopping
    from scalelaw.errors import UserError
    from scalelaw.launch import local, speed
    from scalelaw.launch.compaction import compacting
    from scalelaw.launch.progress import SweepProgress
    from scalelaw.launch.screen import listened_console
    from scalelaw.runs import ResultsFolder, RunTable
    from scalelaw.sweep import expand, read_spec

    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    checked = read_spec(spec)
    planned = expand(checked)
    _check_fit(checked, planned)
    root = out if out is not None else Path("results") / checked.sweep.name
    results = ResultsFolder(root, new=True)
    if (root / "sweep.json").exists():
        same_sweep(results, checked.sweep.name)
    rows = RunTable.load(root) if (root / "sweep.json").exists() else None
    done = {run_id for run_id, status in results.statuses([run.run_id for run in planned], held=False).items()
            if status in ("finished", "diverged")} if rows is not None else set()  # fmt: skip
    todo = [run for run in planned if run.run_id not in done]
    expectation = speed.expected(planned, rows)
    count = min(workers or len(local.cores()), max(len(todo), 1))
    console = listened_console()
    if dry_run:
        _print_plan(checked, planned, todo, expectation, count)
        return 0
    record_sweep(results, checked, planned, spec)
    results.drop_checkpoints(done)
    seconds = {run.run_id: expectation.seconds[run.run_id] for run in todo}
    say = f"{root}: {len(planned)} runs, {len(done)} already done"
    if not todo:
        results.compact()
        console.print(f"{say}; nothing to train", highlight=False)
        return _closing(console, results, [run.run_id for run in planned])
    about = "" if expectation.measured else " (by assumed speed)"
    images = {run.run_id: run.config.train.images for run in todo}
    try:
        with stopping.unfinished_if_unheard(), SweepProgress(seconds, images, console) as progress:
            console.print(f"{say}; {len(todo)} to train with {count} workers, "
                          f"about {_minutes(expectation.minutes(todo, count))}{about}", highlight=False)  # fmt: skip
            local.run_all(results, todo, seconds, count, compacting(results, progress))
    finally:
        results.compact()
    return _closing(console, results, [run.run_id for run in planned])


def same_sweep(results: ResultsFolder, name: str) -> None:
    """Raises UserError when the folder holds a sweep of another name."""
    from scalelaw.errors import UserError
    from scalelaw.runs import files

    other = files.read_json(results.root / "sweep.json").get("name")
    if other != name:
        raise UserError(f"{results.root}: holds the sweep {other!r}, not {name!r}; choose another folder with -o")


def record_sweep(results: ResultsFolder, spec: Spec, planned: list[PlannedRun], path: Path) -> None:
    """Writes the folder's sweep.json and a folder for each run."""
    from scalelaw.runs import files

    record = results.root / "sweep.json"
    earlier = files.read_json(record) if record.exists() else {"runs": []}
    facts = {
        **spec.sweep.model_dump(mode="json"),
        "devices": spec.devices.model_dump(include={"params", "accumulate", "remat"}),
        "runs": list(dict.fromkeys([*earlier["runs"], *(run.run_id for run in planned)])),
        "core_hours": {**earlier.get("core_hours", {}), **{run.run_id: run.cost.core_hours for run in planned}},
        "spec": path.read_text(encoding="utf-8"),
    }
    results.begin(facts, {run.run_id: run.config.to_json() for run in planned})


def _print_plan(
    spec: Spec, planned: list[PlannedRun], todo: list[PlannedRun], expectation: Expected, workers: int
) -> None:
    from textwrap import fill

    from scalelaw.sweep import describe
    from scalelaw.sweep.device_memory import gigabytes, memory_per_device

    lines = [("run", "variant", "epochs", "batch", "peak lr", "seed", "core-hours", "seconds", "")]
    waiting = {run.run_id for run in todo}
    for run in planned:
        train = run.config.train
        lines.append((run.run_id, run.config.model.variant, f"{run.cost.epochs:.3g}", str(train.batch_size),
                      f"{train.peak_lr:.4g}", str(train.seed), f"{run.cost.core_hours:.3g}",
                      f"{expectation.seconds[run.run_id]:.1f}", "" if run.run_id in waiting else "done"))  # fmt: skip
    print(*columns(lines, left=(0, 1, 8)), sep="\n")
    hours = sum(run.cost.core_hours for run in planned)
    left = sum(run.cost.core_hours for run in todo)
    basis = "measured speed" if expectation.measured else "assumed speed, until a run of each shape has been measured"
    print(fill(describe(planned[0].config.data), 80))
    print(f"{len(planned)} runs: {hours:.3g} TPU-v4 core-hours at {spec.sweep.utilisation:.0%} utilisation")
    print(f"{len(todo)} to train: {left:.3g} core-hours")
    print(f"with {workers} workers here about {_minutes(expectation.minutes(todo, workers))}")
    print(f"({basis})")
    needs = {_model_words(run): memory_per_device(run.config, run.cost.facts, spec.devices).total for run in planned}
    words = ", ".join(f"{model} {gigabytes(total)}" for model, total in needs.items())
    print(fill(f"memory of one device in training, by arithmetic ({_layout(spec)}): {words}", 80))


def _model_words(run: PlannedRun) -> str:
    return f"{run.config.model.variant} with batch {run.config.train.batch_size}"


def _layout(spec: Spec) -> str:
    devices = spec.devices
    said = "one device" if devices.planned == 1 else f"{devices.planned} devices"
    said += f" of {devices.hardware}" if devices.hardware else ""
    said += f", {devices.params} to a copy of the parameters" if devices.params > 1 else ""
    said += f", batches in {devices.accumulate} parts" if devices.accumulate > 1 else ""
    return said + (", blocks computed anew" if devices.remat else "")


def _check_fit(spec: Spec, planned: list[PlannedRun]) -> None:
    """Refuses a sweep of which a run does not fit the hardware that [devices] names."""
    from scalelaw.errors import UserError
    from scalelaw.sweep.device_memory import board_memory, check_memory

    limit = None if spec.devices.hardware is None else board_memory(spec.devices.hardware)
    if limit is None:
        return
    wrong = {}
    for run in planned:
        try:
            check_memory(run.config, run.cost.facts, spec.devices, limit, str(spec.devices.hardware))
        except UserError as error:
            wrong[error.messages] = f"{spec.source}: {error.messages[0]}"
    if wrong:
        raise UserError(*wrong.values())


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"


def _closing(console: Any, results: ResultsFolder, run_ids: list[str]) -> int:
    statuses = list(results.statuses(run_ids).values())
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in dict.fromkeys(statuses))
    console.print(f"{results.root}: {counts}", highlight=False)
    for path, share in results.twin_shares().items():
        console.print(f"{share:.2%} of held-out images have an exact twin in training ({path.name})", highlight=False)
    return 1 if "failed" in statuses else 0
