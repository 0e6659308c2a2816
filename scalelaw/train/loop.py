"""The training loop: it owns time and files; the step is pure.

Metrics are read one step late, so that the next step is already under way while the host looks at the last. All that
the loop knows beside the state is its `Standing`, so that a run goes on from a checkpoint as if it had never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from scalelaw import stopping
from scalelaw.compute import Stopwatch
from scalelaw.runs import Status
from scalelaw.sweep.recipes import Recipe
from scalelaw.train import processes
from scalelaw.train.checkpoint import Checkpoints
from scalelaw.train.data import Source
from scalelaw.train.evaluation import Evaluation, Stopped, diverging, evaluate, guessing
from scalelaw.train.functions import State
from scalelaw.train.outcome import Outcome
from scalelaw.train.schedule import Held, Schedule, learning_rate
from scalelaw.train.standing import Standing
from scalelaw.train.step import Programs
from scalelaw.train.supply import Supply
from scalelaw.train.trace import Trace

LOOKS = 64  # the training loss is looked at about so often in a run, whatever its length and the trace's rows
QUICK_HOLDOUT = 1024  # held-out images of the evaluations on the way; the last takes all
DIVERGED_EVALUATIONS = 3
EVENT_SECONDS = 0.5
FLUSH_SECONDS = 30.0
Emit = Callable[[dict[str, Any]], None]


def run(
    schedule: Schedule,
    programs: Programs,
    source: Source,
    rules: Recipe,
    trace: Trace,
    emit: Emit,
    open_checkpoints: Callable[[State], Checkpoints] | None = None,
    mine: Callable[[], None] | None = None,
) -> Outcome:
    """Trains one schedule from its newest checkpoint, or from its start.

    A signal ends it between two steps, with a checkpoint.

    Args:
        emit: called now and then with what goes on: `progress`, `evaluated`, `resumed`, `checkpoint`, `warning`.
        open_checkpoints: initial state -> where they are kept; None for a run that is never gone on with.
        mine: asked after every step; raises when the run has become another process's, and nothing more is written.

    Raises:
        Elsewhere: when the checkpoint there is of another place or other data.
        SystemExit, KeyboardInterrupt: when a signal asked to stop.
        Held: at the evaluation at which the schedule holds the run.
    """
    state = programs.start(schedule.seed)
    checkpoints = None if open_checkpoints is None else open_checkpoints(state)
    standing = Standing()
    if checkpoints is not None and checkpoints.steps():
        like = jax.tree.map(_shape, state)
        jax.tree.map(lambda x: x.delete(), state)  # two states may not fit the devices
        found = checkpoints.restore(like)
        if found is None:
            state = programs.start(schedule.seed)
        else:
            state, standing = found[0], Standing.from_dict(found[1]["standing"])
            images = min(standing.step * schedule.order.batch_size, schedule.order.images)
            emit({"event": "resumed", "step": standing.step, "steps": schedule.order.steps, "images": images})
    mine = mine or (lambda: None)
    mine()  # reading a checkpoint may have taken long
    for sentence in trace.begin(standing.traced_step):
        emit({"event": "warning", "message": sentence})
    return _Training(schedule, programs, source, rules, trace, emit, checkpoints, mine, state, standing).through()


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """Scalars of the devices, or of a checkpoint, as floats; two thirds of the time that `jax.device_get` takes."""
    for value in metrics.values():
        if isinstance(value, jax.Array):
            value.copy_to_host_async()
    return {name: float(np.asarray(value)) for name, value in metrics.items()}


def _shape(array: jax.Array) -> Any:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


class _Training:
    """One schedule under way."""

    def __init__(
        self,
        schedule: Schedule,
        programs: Programs,
        source: Source,
        rules: Recipe,
        trace: Trace,
        emit: Emit,
        checkpoints: Checkpoints | None,
        mine: Callable[[], None],
        state: State,
        standing: Standing,
    ) -> None:
        self.schedule, self.programs, self.source, self.rules = schedule, programs, source, rules
        self.trace, self.emit, self.checkpoints, self.mine = trace, emit, checkpoints, mine
        self.state, self.now = state, standing
        self.order = order = schedule.order
        self.unheard = False  # whoever watched has gone: the run is interrupted, not failed
        self.train_loss: float | None = None  # the last one looked at
        self.watch = Stopwatch()
        self.watch.seconds.update(standing.seconds)
        self.warmup = rules.warmup(order.steps, order.n / order.batch_size)
        rates = learning_rate(np.arange(order.steps), order.steps, schedule.peak_lr, self.warmup)
        self.rates = rates.astype(np.float32)
        self.look_every = max(1, order.steps // LOOKS)
        self.trace_every = max(1, order.steps // schedule.trace_rows)
        count = schedule.evaluations
        self.evaluate_after = {round(order.steps * k / count) for k in range(1, count + 1)} - {0}

    def through(self) -> Outcome:
        """Every step that is left."""
        order, now = self.order, self.now
        if now.unevaluated and (ended := self._evaluate()):
            return ended
        self._hold({})
        supply = Supply(self.source.feed(order, now.step, self.programs.rows), self.watch)
        last_event = last_flush = time.monotonic()
        metrics: dict[str, jax.Array] = {}
        unread: dict[str, Any] | None = None  # of the step before; from a checkpoint they come as numbers
        if now.unread is not None:
            unread, now.unread = now.unread, None
        for step in range(now.step + 1, order.steps + 1):
            batch = supply.next(metrics)
            with self.watch("train"):
                self.state, metrics = self.programs.train(self.state, self.source.arrays, batch, self.rates[step - 1])
            now.step = step
            self.mine()
            if unread is not None:  # one step late
                loss, unread = self._read(step - 1, unread), None
                if not math.isfinite(loss):
                    return self._ended("diverged", f"training loss is {loss} after {step - 1} steps")
            if step in self.evaluate_after:
                now.unread, now.unevaluated = metrics, True
                if ended := self._evaluate():
                    return ended
                self._hold(metrics)
            elif step % self.look_every == 0 or step % self.trace_every == 0:
                unread = metrics
            clock = time.monotonic()
            if clock - last_event > EVENT_SECONDS:
                last_event = clock
                speed = self._images() / self.watch.seconds["train"]
                self._tell("progress", images=self._images(), images_per_second=speed, train_loss=self.train_loss)
            if clock - last_flush > FLUSH_SECONDS:
                last_flush = clock
                with self.watch("wait"):
                    self.trace.flush()
            due = self.checkpoints is not None and self.checkpoints.due()
            stop, save = processes.agreed(step, stopping.asked() or self.unheard, due)
            if (stop or save) and step < order.steps:
                now.unread = unread
                self._save(metrics, wait=stop)
                unread, now.unread = now.unread, None
                if stop:
                    self._stop()
        return self._ended("finished", self._remark())

    def _images(self) -> int:
        return min(self.now.step * self.order.batch_size, self.order.images)

    def _read(self, step: int, metrics: dict[str, Any], evaluation: Evaluation | None = None) -> float:
        """Reads the metrics of a step and adds a row to the trace, if one is due. Returns the training loss."""
        now, meter = self.now, self.schedule.meter
        with self.watch("train"):
            values = numbers(metrics)
        loss = self.train_loss = values.pop("loss")
        if evaluation is None and step % self.trace_every:
            return loss
        images, seconds = min(step * self.order.batch_size, self.order.images), self.watch.seconds["train"]
        speed = (images - now.traced_images) / max(seconds - now.traced_seconds, 1e-9)
        cost = meter.cost(images, seconds)
        self.trace.add(
            step=step,
            images_seen=images,
            epochs=images / self.order.n,
            core_hours=cost.core_hours,
            core_hours_basis=cost.basis,
            learning_rate=float(self.rates[step - 1]),
            train_loss=loss,
            images_per_second=speed,
            utilisation=meter.utilisation(speed),
            **values,
            **({} if evaluation is None else evaluation.columns()),
        )
        now.traced_step, now.traced_images, now.traced_seconds = step, images, seconds
        return loss

    def _evaluate(self) -> Outcome | None:
        """Evaluates after the step just done. Returns the outcome when that shows that the run has diverged."""
        now, classes = self.now, self.source.classes
        step, metrics = now.step, now.unread or {}
        try:
            with self.watch("train"):
                jax.block_until_ready(metrics)  # the whole step: none is evaluation
            with self.watch("evaluate"):
                at_most = None if step == self.order.steps else QUICK_HOLDOUT
                found = evaluate(self.programs, self.source, self.state, at_most)
        except Stopped:
            self._save(metrics, wait=True)
            self._stop()
        loss = self._read(step, metrics, found)
        now.unread, now.unevaluated, now.evaluation = None, False, found.to_dict()
        self._tell("evaluated", steps=self.order.steps, images=self._images(), train_loss=loss, **found.columns())
        if not math.isfinite(found.loss):
            return self._ended("diverged", f"held-out loss is {found.loss} after {step} steps")
        now.bad_evaluations += step > self.warmup and diverging(found.loss, loss, classes)
        if now.bad_evaluations >= DIVERGED_EVALUATIONS:
            return self._ended("diverged", f"held-out loss {found.loss:.2f} and training loss {loss:.2f} are above "
                               f"that of guessing, {math.log(classes):.2f}")  # fmt: skip
        return None

    def _save(self, metrics: dict[str, Any], *, wait: bool) -> None:
        if self.checkpoints is None:
            return
        self.mine()
        now = self.now
        with self.watch("train"):
            jax.block_until_ready((self.state, metrics))
            if now.unread is not None:
                now.unread = numbers(now.unread)
        with self.watch("wait"):
            self.trace.flush()
            now.seconds = dict(self.watch.seconds)
            begun = self.checkpoints.save(now.step, self.state, {"standing": now.to_dict()}, wait=wait)
        if begun:
            self._tell("checkpoint", images=self._images())

    def _stop(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.close()
        stopping.raise_if_asked()
        if self.unheard:
            raise BrokenPipeError
        raise SystemExit(stopping.PREEMPTED)  # another process of this run was asked

    def _hold(self, metrics: dict[str, Any]) -> None:
        """Ends at the evaluation at which the run is to be held, or where it goes on behind that one."""
        share, whole = self.schedule.stop_at, self.order.images
        evaluated = max((step for step in self.evaluate_after if step <= self.now.step), default=0)
        if share is not None and share * whole <= evaluated * self.order.batch_size and self._images() < whole:
            if metrics:  # else it is where its checkpoint has it
                self._save(metrics, wait=True)
            raise Held

    def _remark(self) -> str | None:
        """What to say of a schedule that ended as planned: a network that learned nothing, if it did not."""
        assert self.now.evaluation is not None
        return guessing(Evaluation(**self.now.evaluation), self.source.classes)

    def _ended(self, status: Status, reason: str | None) -> Outcome:
        self.trace.flush()
        found = None if self.now.evaluation is None else Evaluation(**self.now.evaluation)
        if found is not None and not math.isfinite(found.loss):
            found = None
        return Outcome(status, found, self._images(), dict(self.watch.seconds), reason, self.state)

    def _tell(self, event: str, **facts: Any) -> None:
        try:
            self.emit({"event": event, "step": self.now.step, **facts})
        except BrokenPipeError:
            self.unheard = True
