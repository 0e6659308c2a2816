"""The command that trains many runs: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from scalelaw.cli.dry_runs import check_fit, in_words, refuse_flags, show
from scalelaw.cli.parent_duplicates import without_duplicates
from scalelaw.cli.parents import check_parents, need_trainer
from scalelaw.cli.tables import Json, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import PlannedRun, Spec

RayAddress = Annotated[
    str | None,
    arg(
        metavar="HOST:PORT",
        help="Ray cluster to join, or auto for the one on this machine; RAY_ADDRESS unless given, else one is started.",
    ),
]
Memory = Annotated[
    float | None,
    arg(
        metavar="GB",
        help="Main memory (1e9 bytes) that a worker of this machine may hold; one that holds more is killed, and its "
        "run fails. Any unless given.",
    ),
]
Start = Annotated[
    str | None,
    arg(
        name="from",
        metavar="RUN",
        help="Begin at the weights of this run (results/NAME/RUN_ID), of every finished run of a results folder or of "
        "another spec's sweep, or of a file of published weights, in place of what [parent] says.",
    ),
]
Out = Annotated[str | None, arg(aliases=["-o"], metavar="FOLDER")]
"""Of results: a path or a URI."""


def sweep(
    spec: Positional[Path],
    out: Out = None,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    ray_address: RayAddress = None,
    lr: Literal["grid", "two-trial"] = "grid",
    halving: bool = False,
    memory: Memory = None,
    attempts: int | None = None,
    dry_run: bool = False,
    prepare: bool = False,
    hardware: str | None = None,
    devices: int | None = None,
    price: float | None = None,
    utilisation: float | None = None,
    start: Start = None,
    json: Json = False,
) -> int:
    """Trains every run of a TOML spec that is not finished yet.

    Args:
        spec: The sweep's TOML file.
        out: Results folder, a path or a URI (s3://, gs://, abfss://, hdfs://, file:///); results/NAME unless given.
        workers: Worker processes; unless given one for each core, or for each GPU or TPU chip where jax has any (as
            many of them as [devices] count says), with Ray as many as the cluster has room for.
        engine: Which engine starts the workers: those of this machine, or those of a Ray cluster, which take what the
            spec's [ray] says.
        lr: Which learning rates are trained: the whole grid, or two rates of it in every cell, chosen by what the cells
            before it have shown, surest cells first; two trials go with --engine local.
        halving: Stop the rates of a cell that are clearly behind at a quarter and at half of their schedule; they keep
            a checkpoint and have no row. Each launcher on a folder holds its own runs only: one without --halving
            trains all to their end.
        attempts: How often a run is tried that takes its worker down with it, unless it gets further each time; 2
            unless given.
        dry_run: Only list the runs and their cost: core-hours, time here, memory; image files that the spec counts need
            not be there. --json goes with it.
        prepare: Only make the results folder, for scalelaw run in a job of your own.
        hardware: With --dry-run: device-hours on it, a100, h100, h200 or tpu-v2 to tpu-v6e; [devices] hardware else.
        devices: With --dry-run: so many devices of --hardware share every batch; [devices] count, or 1, else.
        price: With --dry-run: dollars an hour of one device of --hardware costs.
        utilisation: With --dry-run: share of the peak of --hardware that training reaches; unless given what was
            measured in this sweep, the spec's own, or a published range.
    """
    from scalelaw import stopping
    from scalelaw.errors import UserError
    from scalelaw.launch import engines, forecast, speed
    from scalelaw.launch.compaction import compacting
    from scalelaw.launch.halving import stopped_among
    from scalelaw.launch.progress import SweepProgress
    from scalelaw.launch.screen import listened_console
    from scalelaw.runs import RunTable, open_results
    from scalelaw.sweep import expand, read_spec
    from scalelaw.text import counted

    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    engines.check_address(engine, ray_address)
    if prepare and (lr == "two-trial" or halving):
        raise UserError("--prepare: here runs are chosen as others end; leave it out, or take the whole grid")
    if engine == "ray" and lr == "two-trial":
        # every round would start a cluster, and its size be that of this machine instead of the cluster's
        raise UserError("--engine ray: two trials go in rounds sized by this machine; leave it out, or --lr grid")
    if json and (lr == "two-trial" or halving):
        raise UserError("--json: here runs are chosen as others end; leave it out, or plan the whole grid")
    if not dry_run:
        refuse_flags({"--hardware": hardware, "--devices": devices, "--price": price, "--utilisation": utilisation,
                      "--json": json or None})  # fmt: skip
    limits = engines.limits_of(engine, memory, attempts)
    checked = read_spec(spec, planning=dry_run, start=start)
    planned = expand(checked)
    check_parents(checked, need_trainer)
    check_fit(checked, planned)
    results = open_results(out if out is not None else Path("results") / checked.sweep.name, new=True)
    root = results.root
    if (root / "sweep.json").exists():
        same_sweep(results, checked.sweep.name)
    if (cleaned := without_duplicates(checked, results, dry_run)) is not checked:
        checked, planned = cleaned, expand(cleaned)
    if halving:
        from scalelaw.cli.halvings import train_by_halving

        return train_by_halving(checked, planned, results, workers, engine, ray_address, limits, lr, dry_run)
    if lr == "two-trial":
        from scalelaw.cli.two_trials import train_in_two_trials

        ids = train_in_two_trials(checked, planned, results, workers, engine, ray_address, limits, dry_run)
        return 0 if dry_run else closing(listened_console(), results, ids)
    rows = RunTable.load(results.address) if (root / "sweep.json").exists() else None
    done = {run_id for run_id, status in results.statuses([run.run_id for run in planned], held=False).items()
            if status in ("finished", "diverged")} if rows is not None else set()  # fmt: skip
    expectation = speed.expected(planned, rows, speed.read_notes())
    if dry_run:
        count = min(workers or engines.workers_or_one(checked), max(len(planned) - len(done), 1))
        machines = forecast.machines_of(checked, hardware, devices, price, utilisation)
        found = forecast.forecast(checked, planned, frozenset(done), expectation, count, machines, rows)
        if json:
            print_json(found.to_dict())
        else:
            print(show(found))
        return 0
    todo = [run for run in planned if run.run_id not in done]
    console = listened_console()
    for remark in checked.remarks:
        console.print(remark, highlight=False)
    if prepare:
        record_sweep(results, checked, planned)
        print(
            f"{root}: {counted(len(planned), 'run')}, {len(done)} already done; scalelaw run {root} ID... trains them"
        )
        return 0
    trainer = engines.opened(engine, checked, len(todo), workers, ray_address, limits)
    if stopped := stopped_among(results, todo):
        console.print(f"{len(stopped)} runs that were stopped early go on to their end; with --halving they stay as "
                      "they are", highlight=False)  # fmt: skip
    record_sweep(results, checked, planned)
    results.drop_checkpoints(done)
    seconds = {run.run_id: expectation.seconds[run.run_id] for run in todo}
    say = f"{results.shown}: {counted(len(planned), 'run')}, {len(done)} already done"
    if not todo:
        results.compact()
        console.print(f"{say}; nothing to train", highlight=False)
        return closing(console, results, [run.run_id for run in planned])
    about = "" if expectation.measured else " (by assumed speed)"
    images = {run.run_id: run.config.train.images for run in todo}
    try:
        with stopping.unfinished_if_unheard(), SweepProgress(seconds, images, console) as progress:
            minutes = in_words(expectation.minutes(todo, trainer.workers))
            console.print(f"{say}; {len(todo)} to train with {trainer.words}, about {minutes}{about}", highlight=False)
            heard = speed.Heard(compacting(results, progress))
            trainer.run_all(results, todo, seconds, heard)
    finally:
        results.compact()
    if engine == "local":
        speed.note(RunTable.load(results.address), heard.trained)
    return closing(console, results, [run.run_id for run in planned])


def same_sweep(results: ResultsFolder, name: str) -> None:
    """Raises UserError when the folder holds a sweep of another name."""
    from scalelaw.runs import files

    check_name(results, files.read_json(results.root / "sweep.json"), name)


def check_name(results: ResultsFolder, record: dict[str, Any], name: str) -> None:
    """Raises UserError when that record of the folder is of a sweep of another name."""
    from scalelaw.errors import UserError

    other = record.get("name")
    if other != name:
        raise UserError(f"{results.shown}: holds the sweep {other!r}, not {name!r}; choose another folder with -o")


def record_sweep(
    results: ResultsFolder,
    spec: Spec,
    planned: list[PlannedRun],
    more: dict[str, Any] | None = None,
    stopped: Sequence[str] = (),
) -> None:
    """Writes the folder's sweep.json, the texts of the spec and of what it extends and `more` in it, and a folder for
    each run. What it holds of runs of other specs stays.

    Args:
        stopped: runs of the spec that go on no more.
    """
    with results.recording() as earlier:
        _record(results, spec, planned, earlier, more or {}, stopped)


def _record(
    results: ResultsFolder,
    spec: Spec,
    planned: list[PlannedRun],
    earlier: dict[str, Any],
    more: dict[str, Any],
    stopped: Sequence[str],
) -> None:
    from scalelaw.runs import recording

    if earlier:  # of a launcher that began at the same moment
        check_name(results, earlier, spec.sweep.name)
    facts = {
        **spec.sweep.model_dump(mode="json", exclude={"note"}),
        "devices": spec.devices.model_dump(include={"params", "accumulate", "remat"}),
        "runs": [run.run_id for run in planned],
        "core_hours": {run.run_id: run.cost.core_hours for run in planned},
        "spec": spec.layers[-1].text,
        **({"extends": {layer.source: layer.text for layer in spec.layers[-2::-1]}} if spec.layers[1:] else {}),
        **({"from": spec.start} if spec.start is not None else {}),
        recording.STOPPED: [*stopped],
        **more,
    }
    results.begin(recording.joined(earlier, facts), {run.run_id: run.config.to_json() for run in planned})


def closing(console: Any, results: ResultsFolder, run_ids: list[str]) -> int:
    """Says how the runs stand. Returns the exit code."""
    from scalelaw.runs import parent_twins

    statuses = list(results.statuses(run_ids).values())
    counts = ", ".join(f"{statuses.count(word)} {word}" for word in dict.fromkeys(statuses))
    console.print(f"{results.shown}: {counts}", highlight=False)
    for path, share in results.twin_shares().items():
        console.print(f"{share:.2%} of held-out images have an exact twin in training ({path.name})", highlight=False)
    for sentence in parent_twins.sentences(results.root):
        console.print(sentence, highlight=False)
    return 1 if "failed" in statuses else 0
