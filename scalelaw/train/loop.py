"""The training loop: it owns time and files; the step is pure.

Metrics are read one step late, so that the next step is already under way while the host looks at the last.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from scalelaw import stopping
from scalelaw.compute import Stopwatch
from scalelaw.runs import Status
from scalelaw.sweep.recipes import Recipe
from scalelaw.train.data import Order, Source
from scalelaw.train.schedule import learning_rate
from scalelaw.train.step import Programs, State
from scalelaw.train.trace import Trace

TRACE_ROWS = 64  # about so many rows of a run's trace, whatever its length
QUICK_HOLDOUT = 1024  # held-out images of the evaluations on the way; the last takes all
DIVERGED_ABOVE = 0.5  # nats above the loss of guessing, ln(classes)
DIVERGED_EVALUATIONS = 3
EVENT_SECONDS = 0.5
FLUSH_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule.

    Attributes:
        status: finished or diverged.
        val_loss, top1_error: of the last evaluation; None where they are not finite.
        images_seen: training images shown.
        seconds: by kind of work: train, evaluate, wait (for the next batch and for files).
        reason: why it diverged, else None.
    """

    status: Status
    val_loss: float | None
    top1_error: float | None
    images_seen: int
    seconds: dict[str, float]
    reason: str | None


@dataclass(frozen=True)
class Schedule:
    """One run's schedule.

    Attributes:
        order: which example comes when.
        peak_lr: learning rate at the end of warm-up.
        evaluations: how many, evenly spaced, the last at the end.
        seed: of the initial weights.
        core_hours_per_image: for the trace.
    """

    order: Order
    peak_lr: float
    evaluations: int
    seed: int
    core_hours_per_image: float


def run(
    schedule: Schedule,
    programs: Programs,
    source: Source,
    rules: Recipe,
    trace: Trace,
    on_progress: Callable[[int, float], None],
) -> Outcome:
    """Trains one schedule from its start.

    Args:
        on_progress: called now and then with images seen and images per second.
    """
    order, watch = schedule.order, Stopwatch()
    state, batches = programs.start(schedule.seed), source.feed(order, 0, programs.rows)
    steps = np.arange(order.steps)
    warmup = rules.warmup(order.steps, order.n / order.batch_size)
    rates = learning_rate(steps, order.steps, schedule.peak_lr, warmup).astype(np.float32)
    evaluate_after = {round(order.steps * k / schedule.evaluations) for k in range(1, schedule.evaluations + 1)} - {0}
    trace_every = max(1, order.steps // TRACE_ROWS)
    guess = math.log(source.classes)
    pending: tuple[int, dict[str, jax.Array]] | None = None
    above = 0
    val_loss, top1_error = math.nan, math.nan
    traced_images, traced_seconds, last_event, last_flush = 0, 0.0, time.monotonic(), time.monotonic()

    def images_after(steps: int) -> int:
        return min(steps * order.batch_size, order.images)

    def read(step: int, metrics: dict[str, jax.Array], **more: Any) -> float:
        nonlocal traced_images, traced_seconds
        with watch("train"):
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        images, seconds = images_after(step), watch.seconds["train"]
        speed = (images - traced_images) / max(seconds - traced_seconds, 1e-9)
        trace.add(
            step=step,
            images_seen=images,
            epochs=images / order.n,
            core_hours=images * schedule.core_hours_per_image,
            learning_rate=float(rates[step - 1]),
            train_loss=values.pop("loss"),
            images_per_second=speed,
            **values,
            **more,
        )
        traced_images, traced_seconds = images, seconds
        return float(trace.rows[-1]["train_loss"])

    def ended(status: Status, steps: int, reason: str | None = None) -> Outcome:
        trace.flush()
        loss = val_loss if math.isfinite(val_loss) else None
        error = top1_error if math.isfinite(val_loss) else None
        return Outcome(status, loss, error, images_after(steps), dict(watch.seconds), reason)

    for step in range(1, order.steps + 1):
        stopping.raise_if_asked()
        with watch("wait"):
            batch = next(batches)
        with watch("train"):
            state, metrics = programs.train(state, source.arrays, batch, rates[step - 1])
        if pending is not None:  # one step late
            loss, pending = read(*pending), None
            if not math.isfinite(loss):
                return ended("diverged", step, f"training loss is {loss} after {step - 1} steps")
        if step in evaluate_after:
            last = step == order.steps
            with watch("train"):
                metrics["loss"].block_until_ready()  # the whole step, so that none of it is timed as evaluation
            with watch("evaluate"):
                val_loss, top1_error, count = evaluate(programs, source, state, None if last else QUICK_HOLDOUT)
            read(step, metrics, val_loss=val_loss, val_top1_error=top1_error, val_images=count)
            if not math.isfinite(val_loss):
                return ended("diverged", step, f"held-out loss is {val_loss} after {step} steps")
            above += step > warmup and val_loss > guess + DIVERGED_ABOVE
            if above >= DIVERGED_EVALUATIONS:
                return ended("diverged", step, f"held-out loss {val_loss:.2f} is above that of guessing, {guess:.2f}")
        elif step % trace_every == 0:
            pending = (step, metrics)
        now = time.monotonic()
        if now - last_event > EVENT_SECONDS:
            last_event = now
            on_progress(images_after(step), images_after(step) / watch.seconds["train"])
        if now - last_flush > FLUSH_SECONDS:
            last_flush = now
            with watch("wait"):
                trace.flush()
    return ended("finished", order.steps)


def evaluate(programs: Programs, source: Source, state: State, at_most: int | None = None) -> tuple[float, float, int]:
    """Mean loss (nats), top-1 error and number of held-out images, the last batch weighted exactly.

    Args:
        at_most: only the first so many held-out images; None for all.
    """
    batches = source.held_out(programs.evaluation_size, at_most, programs.evaluation_rows)
    totals = [programs.evaluate(state, source.arrays, batch) for batch in batches]
    sums = [{name: float(value) for name, value in part.items()} for part in jax.device_get(totals)]
    images = sum(part["images"] for part in sums)
    return sum(p["loss"] for p in sums) / images, sum(p["wrong"] for p in sums) / images, round(images)
