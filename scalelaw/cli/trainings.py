"""The commands that train in this very process: train, run."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from scalelaw.cli.parent_duplicates import without_duplicates
from scalelaw.cli.parents import check_parents, need_trainer
from scalelaw.cli.sweeps import Out, record_sweep, same_sweep
from scalelaw.cli.tables import PathOrUri

if TYPE_CHECKING:
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import PlannedRun, Spec

Coordinator = Annotated[
    str | None,
    arg(
        metavar="HOST:PORT",
        help="Train one run in several processes: where the first of them listens, the same in all; auto where the "
        "cluster tells (TPU pods, Slurm, Open MPI).",
    ),
]
Processes = Annotated[int | None, arg(help="How many processes; with --coordinator HOST:PORT.")]
Process = Annotated[int | None, arg(help="Which of them this is, from 0; with --coordinator HOST:PORT.")]
Events = Annotated[bool, arg(help="Print one JSON object for each event.")]


def train(
    spec: Positional[Path],
    out: Out = None,
    threads: int | None = None,
    any_devices: bool = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> int:
    """Trains the one run of a TOML spec of single values, and goes on with it when run again.

    Args:
        spec: The run's TOML file.
        out: Results folder, a path or a URI (s3://, gs://, abfss://, hdfs://, file:///); results/NAME unless given.
        threads: CPU threads; one for each core unless given. Results are bit-identical only at one thread count.
        any_devices: Go on from a checkpoint that other devices made: the same examples, equal up to rounding.
    """
    from scalelaw import stopping
    from scalelaw.cli.narration import Narration
    from scalelaw.errors import UserError
    from scalelaw.launch import accelerators
    from scalelaw.launch.screen import listened_console
    from scalelaw.runs import files, open_results
    from scalelaw.sweep import expand, read_spec

    count = len(accelerators.cores()) if threads is None else threads
    _check_threads(count)
    _check_processes(coordinator, processes, process)
    checked = read_spec(spec)
    planned = expand(checked)
    check_parents(checked, lambda: _prepare_jax(count))
    if len(planned) > 1:
        raise UserError(f"{spec}: is {len(planned)} runs, and scalelaw train trains exactly one: {_spanned(checked)}; "
                        f"keep one of each, or train them all with scalelaw sweep {spec}")  # fmt: skip
    (run,) = planned
    where = out if out is not None else Path("results") / checked.sweep.name
    _check_shared(where, coordinator)
    results = open_results(where, new=True)
    root = results.root
    if (root / "sweep.json").exists():
        same_sweep(results, checked.sweep.name)
    checked = without_duplicates(checked, results)
    (run,) = planned = expand(checked)
    if (root / "sweep.json").exists():
        _same_run(results, run, files.read_json(root / "sweep.json")["runs"])
    if coordinator is not None:
        _prepare_jax(count)
        _join(coordinator, processes, process)
    leads = coordinator is None or _leads()
    if leads:
        record_sweep(results, checked, planned)
    console = listened_console(quiet=not leads)
    for remark in checked.remarks:
        console.print(remark, highlight=False)
    with stopping.unfinished_if_unheard(), Narration(run, results.shown, console) as narration:
        _prepare_jax(count)
        from scalelaw.train.processes import meet
        from scalelaw.train.worker import Worker

        meet("recorded")
        try:
            failed = Worker(results, narration, threads=count, any_devices=any_devices).work([run.run_id])
        finally:
            if leads:
                results.compact()
    if narration.held_elsewhere:
        raise UserError(f"{results.shown}: run {run.run_id} is being trained by another process; wait for it, or name "
                        "another folder with -o")  # fmt: skip
    return 1 if failed else 0


def run(
    results: PathOrUri,
    ids: Positional[tuple[str, ...]],
    json: Events = False,
    threads: int = 1,
    any_devices: bool = False,
    stop_at: float | None = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process: Process = None,
) -> int:
    """Trains the named runs of a results folder: the one command that every engine calls.

    Args:
        results: Results folder that a sweep has made, a path or a URI (s3://, gs://, abfss://, hdfs://, file:///).
        ids: Runs to train; scalelaw status RESULTS --runs lists them.
        threads: CPU threads of the training steps. Results are bit-identical only at one thread count.
        any_devices: Go on from checkpoints that other devices made: the same examples, equal up to rounding.
        stop_at: Hold each run at its first evaluation from this share of its schedule on, with a checkpoint; called
            again without it, runs go on to their end.
    """
    from scalelaw import stopping
    from scalelaw.errors import UserError
    from scalelaw.launch.compaction import compact_by_lot, compact_if_due
    from scalelaw.runs import open_results
    from scalelaw.runs.store import is_uri

    _check_threads(threads)
    _check_processes(coordinator, processes, process)
    if stop_at is not None and not 0 < stop_at < 1:
        raise UserError(f"--stop-at {stop_at:g}: must be a share of the schedule between 0 and 1; leave it out to "
                        "train to the end")  # fmt: skip
    if not ids:
        raise UserError(f"no run named; scalelaw status {results} --runs lists them")
    _check_shared(results, coordinator)
    folder = open_results(results)
    for run_id in ids:
        folder.config(run_id)
    _prepare_jax(threads)
    if coordinator is not None:
        _join(coordinator, processes, process)
    from scalelaw.train.worker import Worker

    def emit(event: dict[str, Any]) -> None:
        if json:
            print(json_module.dumps(event), flush=True)
        elif event["event"] == "done":
            loss = "" if event["val_loss"] is None else f", held-out loss {event['val_loss']:.4f}"
            print(f"{event['run_id']}: {event['status']}{loss}", flush=True)
        elif event["event"] == "warning":
            print(f"{event['run_id']}: {event['message']}", flush=True)
        elif event["event"] == "lost":
            print(f"{event['run_id']}: {event['reason']}", flush=True)
        elif event["event"] == "watched":
            print(f"{event['run_id']}: its holder is on {event['host']}; watching for up to {event['seconds']:.0f} s "
                  "whether it still lives", flush=True)  # fmt: skip
        elif event["event"] == "resumed":
            print(f"{event['run_id']}: goes on at step {event['step']} of {event['steps']}", flush=True)
        elif event["event"] not in ("progress", "evaluated", "checkpoint", "compiled"):
            print(f"{event['run_id']}: {event['event']}", flush=True)

    with stopping.unfinished_if_unheard():
        failed = Worker(folder, emit, threads=threads, any_devices=any_devices, stop_at=stop_at).work(ids)
    if is_uri(results):
        compact_by_lot(folder, ids)
    elif coordinator is None or _leads():
        compact_if_due(folder)
    return 1 if failed else 0


def _check_threads(threads: int) -> None:
    from scalelaw.errors import UserError

    if threads < 1:
        raise UserError(f"--threads {threads}: must be at least 1")


def _check_processes(coordinator: str | None, processes: int | None, process: int | None) -> None:
    from scalelaw.errors import UserError

    given = [name for name, value in (("--processes", processes), ("--process", process)) if value is not None]
    if coordinator in (None, "auto"):
        if given:
            raise UserError(f"{' and '.join(given)}: go with --coordinator HOST:PORT; add it, or leave them out")
        return
    if processes is None or process is None:
        raise UserError(f"--coordinator {coordinator}: needs --processes N and --process I too, or is auto")
    if not 0 <= process < processes:
        raise UserError(f"--process {process}: must be from 0 to {processes - 1}, one below --processes {processes}")


def _check_shared(results: str | Path, coordinator: str | None) -> None:
    """Raises UserError for a run of several processes in an object store: they write one checkpoint together."""
    from scalelaw.errors import UserError
    from scalelaw.runs.store import is_uri

    if coordinator is not None and is_uri(results):
        raise UserError(f"--coordinator {coordinator}: the processes of one run write its checkpoints together, which "
                        "takes a folder that all of them share; name one in place of a URI")  # fmt: skip


def _join(coordinator: str, processes: int | None, process: int | None) -> None:
    """Makes this one of several processes that train one run."""
    import jax

    from scalelaw import stopping
    from scalelaw.errors import UserError

    try:
        if coordinator == "auto":
            jax.distributed.initialize()
        else:
            jax.distributed.initialize(coordinator, num_processes=processes, process_id=process)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"--coordinator {coordinator}: {str(error).splitlines()[0]}") from error
    stopping.listen(alone=False)  # jax has put a handler of its own in the place of ours


def _leads() -> bool:
    from scalelaw.train import processes

    return processes.leads()


def _prepare_jax(threads: int) -> None:
    """Sets what must be set before jax starts: CPU threads, and where compiled programs are kept.

    XLA cuts its loops by the number of threads, which moves the last bits of sums. NPROC is how its CPU client is told
    that number, whatever the cores that it sees; programs of different numbers are kept apart, as their cache is not
    told. On a core of its own a step runs in the thread that asks for it: handing it to another one gains nothing where
    the two cannot run side by side, and costs 6 % of N1's speed.
    """
    import os

    from scalelaw.launch.accelerators import cores
    from scalelaw.runs.files import user_cache

    cache = user_cache(f"jax-{threads}-threads")
    os.environ["NPROC"] = str(threads)
    if threads == 1:
        flags = "--xla_cpu_multi_thread_eigen=false"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
        if len(cores()) == 1:
            os.environ.setdefault("JAX_CPU_ENABLE_ASYNC_DISPATCH", "0")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # the small ones add up to half a second
    from scalelaw.train import memory

    memory.keep_freed(threads)
    need_trainer()


def _spanned(spec: Spec) -> str:
    """What makes a spec more than one run."""
    found, together = [], False
    for grid in spec.grids:
        for section in ("model", "train"):
            for name, value in getattr(grid, section):
                if isinstance(value, tuple) and len(value) > 1:
                    found.append(f"[{section}] {name} has {len(value)} values")
        for (section, name), given in grid.settings.items():
            if given.nth is not None and given.nth[1] > 1:
                if "zip" in given.path:
                    together = True
                else:
                    found.append(f"[{section}] {name} has {given.nth[1]} values")
    starts = len({(grid.parent.name, grid.parent.averaged) for grid in spec.grids if grid.parent is not None})
    found += [f"[parent] means {starts} starts"] if starts > 1 else []
    parts = max(grid.part for grid in spec.grids)
    said = [*dict.fromkeys(found), *(["a zip"] if together else []), *([f"{parts} further [[part]]"] if parts else [])]
    return ", ".join(said)


def _same_run(results: ResultsFolder, run: PlannedRun, held: list[str]) -> None:
    """Raises UserError when the folder holds another run: one cannot change under way."""
    from scalelaw.errors import UserError

    if not held or run.run_id in held:
        return
    asked, there = _flat(run.config.to_json()), _flat(results.config(held[0]))
    names = [name for name in {**there, **asked} if asked.get(name) != there.get(name)]
    said = ", ".join(f"{name} {there.get(name, 'at its default')}, now {asked.get(name, 'at its default')}"
                     for name in names)  # fmt: skip
    raise UserError(f"{results.shown}: holds a run with {said}; a run cannot change under way: bring that back, or "
                    "name another folder with -o")  # fmt: skip


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for section, values in config.items() for name, value in values.items()}
