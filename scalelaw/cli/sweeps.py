"""The command that trains many runs: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from scalelaw.cli.dry_runs import check_fit, in_words, print_plan

if TYPE_CHECKING:
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import PlannedRun, Spec

RayAddress = Annotated[
    str | None,
    arg(
        metavar="HOST:PORT",
        help="Ray cluster to join, or auto for the one on this machine; RAY_ADDRESS unless given, else one is started.",
    ),
]
Out = Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")]


def sweep(
    spec: Positional[Path],
    out: Out = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    ray_address: RayAddress = None,
    dry_run: bool = False,
) -> int:
    """Trains every run of a TOML spec that is not finished yet.

    Args:
        spec: The sweep's TOML file.
        out: Results folder; results/NAME unless given.
        workers: Worker processes; one for each core unless given, with Ray as many as the cluster has room for.
        engine: Which engine starts the workers: those of this machine, or those of a Ray cluster, which take what the
            spec's [ray] says.
        dry_run: Only list the runs and their cost.
    """
    from scalelaw import stopping
    from scalelaw.errors import UserError
    from scalelaw.launch import engines, local, speed
    from scalelaw.launch.compaction import compacting
    from scalelaw.launch.progress import SweepProgress
    from scalelaw.launch.screen import listened_console
    from scalelaw.runs import ResultsFolder, RunTable
    from scalelaw.sweep import expand, read_spec

    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    engines.check_address(engine, ray_address)
    checked = read_spec(spec, planning=dry_run)
    planned = expand(checked)
    check_fit(checked, planned)
    root = out if out is not None else Path("results") / checked.sweep.name
    results = ResultsFolder(root, new=True)
    if (root / "sweep.json").exists():
        same_sweep(results, checked.sweep.name)
    rows = RunTable.load(root) if (root / "sweep.json").exists() else None
    done = {run_id for run_id, status in results.statuses([run.run_id for run in planned], held=False).items()
            if status in ("finished", "diverged")} if rows is not None else set()  # fmt: skip
    todo = sorted((run for run in planned if run.run_id not in done), key=lambda run: -run.priority)
    expectation = speed.expected(planned, rows)
    count = min(workers or len(local.cores()), max(len(todo), 1))
    console = listened_console()
    if dry_run:
        print_plan(checked, planned, todo, expectation, count)
        return 0
    trainer = engines.opened(engine, checked, len(todo), workers, ray_address)
    record_sweep(results, checked, planned)
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
            minutes = in_words(expectation.minutes(todo, trainer.workers))
            console.print(f"{say}; {len(todo)} to train with {trainer.words}, about {minutes}{about}", highlight=False)
            trainer.run_all(results, todo, seconds, compacting(results, progress))
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


def record_sweep(results: ResultsFolder, spec: Spec, planned: list[PlannedRun]) -> None:
    """Writes the folder's sweep.json, the texts of the spec and of what it extends in it, and a folder for each run."""
    from scalelaw.runs import files

    record = results.root / "sweep.json"
    earlier = files.read_json(record) if record.exists() else {"runs": []}
    facts = {
        **spec.sweep.model_dump(mode="json", exclude={"note"}),
        "devices": spec.devices.model_dump(include={"params", "accumulate", "remat"}),
        "runs": list(dict.fromkeys([*earlier["runs"], *(run.run_id for run in planned)])),
        "core_hours": {**earlier.get("core_hours", {}), **{run.run_id: run.cost.core_hours for run in planned}},
        "spec": spec.layers[-1].text,
        **({"extends": {layer.source: layer.text for layer in spec.layers[-2::-1]}} if spec.layers[1:] else {}),
    }
    results.begin(facts, {run.run_id: run.config.to_json() for run in planned})


def _closing(console: Any, results: ResultsFolder, run_ids: list[str]) -> int:
    statuses = list(results.statuses(run_ids).values())
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in dict.fromkeys(statuses))
    console.print(f"{results.root}: {counts}", highlight=False)
    for path, share in results.twin_shares().items():
        console.print(f"{share:.2%} of held-out images have an exact twin in training ({path.name})", highlight=False)
    return 1 if "failed" in statuses else 0
