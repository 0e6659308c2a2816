"""What `scalelaw sweep --dry-run` prints: every run, its cost, and the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.launch.speed import Expected
    from scalelaw.sweep import PlannedRun, Spec


def print_plan(
    spec: Spec, planned: list[PlannedRun], todo: list[PlannedRun], expectation: Expected, workers: int
) -> None:
    """Every run with its cost, then the whole."""
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
    print(f"with {workers} workers here about {in_words(expectation.minutes(todo, workers))}")
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


def check_fit(spec: Spec, planned: list[PlannedRun]) -> None:
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
            wrong[error.messages] = f"{spec.place('devices', 'hardware')}: {error.messages[0]}"
    if wrong:
        raise UserError(*wrong.values())


def in_words(minutes: float) -> str:
    """A length of time."""
    return f"{minutes:.0f} minutes" if minutes >= 1.5 else f"{60 * minutes:.0f} seconds"
