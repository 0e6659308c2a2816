"""One run from its data and programs to its row: the schedule, what is kept of it, and what it cost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from scalelaw import architecture, compute
from scalelaw.errors import UserError
from scalelaw.runs import Run
from scalelaw.runs.folder import CHECKPOINTS
from scalelaw.runs.lease import Lease, LeaseLost
from scalelaw.sweep import RunConfig
from scalelaw.sweep.recipes import Recipe
from scalelaw.sweep.sections import SweepSection
from scalelaw.train import final, loop, nfnet, origin, parent, processes
from scalelaw.train.checkpoint import Checkpoints
from scalelaw.train.data import Order, Source
from scalelaw.train.functions import State
from scalelaw.train.meter import Meter
from scalelaw.train.schedule import Schedule
from scalelaw.train.step import Programs
from scalelaw.train.trace import Trace


@dataclass(frozen=True)
class Habits:
    """What is kept of a run, where, and who hears of it; nothing that decides how it ends.

    Attributes:
        folder: the run's.
        settings: how often and how much.
        emit: takes the loop's events.
        threads: CPU threads of a training step, None when nobody has set them.
        any_devices: whether to go on from checkpoints that were made on other devices.
        lease: on the run; None in a process that does not lead.
        stop_at: share of the schedule at which the run is held for now; None for its end.
    """

    folder: Path
    settings: SweepSection
    emit: Callable[[dict[str, Any]], None]
    threads: int | None
    any_devices: bool
    lease: Lease | None = None
    stop_at: float | None = None


def trained(
    row: Run, config: RunConfig, source: Source, rules: Recipe, programs: Programs, habits: Habits
) -> tuple[Run, dict[str, float]]:
    """Trains a run, from its newest checkpoint where it has one. Returns its row, filled in, and seconds by kind.

    Its final weights are in place when this returns; row and checkpoints are the caller's.

    Raises:
        Elsewhere: when the checkpoint was made with other data or on other devices, or a file of published weights
            that the run begins at has changed.
        LeaseLost: when the run is no longer this process's; nothing has been written since.
        SystemExit, KeyboardInterrupt: when a signal asked to stop.
        Held: where `stop_at` says so.
    """
    assert row.run_id is not None
    assert row.macs_per_image is not None
    assert row.unique_images is not None
    settings, train = habits.settings, config.train
    order = Order(int(row.run_id, 16), row.unique_images, train.images, train.batch_size, train.repeats)
    meter = Meter(
        row.macs_per_image, known_hardware(str(row.hardware)), row.devices or 1, settings.utilisation,
        rules.passes(train.batch_size),
    )  # fmt: skip
    schedule = Schedule(order, train.peak_lr, train.evaluations, train.seed, meter, settings.trace_rows, habits.stop_at)
    through = None if habits.lease is None else habits.lease.write
    trace = Trace(
        habits.folder / "trace", utilisation_of=meter.utilisation_of, writes=processes.leads(), through=through
    )
    model = architecture.variant(config.model.variant, config.model.family)
    begun = None
    if config.parent is not None:
        body = parent.of_config(config.parent, model)
        begun, programs = parent.digest(body), replace(programs, start=partial(programs.start, body=body))
    opened: list[Checkpoints] = []

    def warn(sentence: str) -> None:
        habits.emit({"event": "warning", "message": sentence})

    told: set[tuple[str, str]] = set()

    def emit(event: dict[str, Any]) -> None:
        habits.emit(event)
        if event["event"] == "evaluated":
            for name, why in source.corrupt.items() - told:
                told.add((name, why))
                warn(f"{name}: cannot be read ({why}); another image stands in for it")

    def open_checkpoints(state: State) -> Checkpoints:
        here = origin.here(work_of(row, config, source, begun), state, programs.layout, habits.threads, source.software)
        opened.append(
            Checkpoints(
                habits.folder / CHECKPOINTS,
                here,
                minutes=settings.checkpoint_minutes,
                kept=settings.checkpoints_kept,
                warn=warn,
                any_devices=habits.any_devices,
            )
        )
        return opened[0]

    try:
        mine = None if habits.lease is None else habits.lease.check
        outcome = loop.run(schedule, programs, source, rules, trace, emit, open_checkpoints, mine)
    except LeaseLost:
        raise
    except Exception:
        with suppress(UserError):  # a run that fails keeps its trace too
            trace.flush()
        raise
    finally:
        for checkpoints in opened:
            checkpoints.close()
    if outcome.status == "finished" and settings.keep_final:
        arrays = final.gathered(outcome.state, nfnet.abstract(model, source.classes))
        if processes.leads():
            final.write(habits.folder, arrays, through)
    cost = meter.cost(outcome.images_seen, outcome.seconds["train"])
    found = outcome.evaluation
    remarks = [outcome.reason, source.remark, *(remark for checkpoints in opened for remark in checkpoints.remarks)]
    done = replace(
        row,
        status=outcome.status,
        epochs=outcome.images_seen / row.unique_images,
        images_seen=outcome.images_seen,
        train_seconds=outcome.seconds["train"],
        train_flop=meter.flop(outcome.images_seen),
        core_hours=cost.core_hours,
        total_core_hours=cost.core_hours if config.parent is None else total(cost.core_hours, row.parent_core_hours),
        core_hours_basis=cost.basis,
        utilisation=cost.utilisation,
        val_loss=None if found is None else found.loss,
        val_loss_ema=None if found is None else found.loss_ema,
        top1_error=None if found is None else found.top1_error,
        error="; ".join(filter(None, remarks)) or None,
    )
    return done, outcome.seconds


def work_of(row: Run, config: RunConfig, source: Source, begun: str | None = None) -> dict[str, Any]:
    """What a checkpoint's run must have been: the whole configuration by its id, and in words what people change.

    Args:
        begun: digest of the parent's weights; None for a run without a parent.
    """
    return {
        "run": row.run_id,
        "batch size": config.train.batch_size,
        "images": config.train.images,
        "training images": source.train_images,
        "held-out images": source.holdout_images,
        "classes": source.classes,
        "resolution": source.resolution,
        "data digest": config.data.digest,
        **({} if begun is None else {"digest of the parent's weights": begun}),
    }


def total(own: float, parents: float | None) -> float | None:
    """Core-hours of a run and its parent; None when the parent's are unknown."""
    return None if parents is None else own + parents


def known_hardware(kind: str) -> compute.Hardware:
    """The hardware row of a JAX device kind; an unknown kind has no peak, so its cost is an estimate."""
    try:
        return compute.hardware(kind)
    except UserError:
        return compute.Hardware(kind, 1, None, "not in the hardware table")
