"""Time for the next batch is waiting where the devices stand idle, and training where they do not."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.compute import Stopwatch  # noqa: E402
from scalelaw.train.data import Batch  # noqa: E402
from scalelaw.train.supply import Supply  # noqa: E402


class World:
    """A clock of our own, data that take so many seconds a batch, and devices that take so many a step."""

    def __init__(self, data: float, step: float) -> None:
        self.now, self.data, self.step = 0.0, data, step

    def batches(self) -> Iterator[Batch]:
        while True:
            self.now += self.data
            yield Batch({}, np.ones(1, np.float32))


class Loss:
    """The loss of a step, there when the devices have done it: they do one step after the other."""

    def __init__(self, world: World, before: Loss | None) -> None:
        self.world = world
        self.at = max(world.now, before.at if before else 0.0) + world.step

    def is_ready(self) -> bool:
        return self.world.now >= self.at

    def block_until_ready(self) -> Loss:
        self.world.now = max(self.world.now, self.at)
        return self


@pytest.mark.parametrize(
    ("data", "step", "wait_share"), [(0.02, 0.06, 0.0), (0.06, 0.02, 2 / 3), (0.0, 0.04, 0.0), (0.04, 0.0, 1.0)]
)
def test_only_time_that_the_devices_stand_idle_is_waiting(monkeypatch, data, step, wait_share):
    """Where data take longer than steps, the loop takes as long as the data do, what steps do not fill is waiting."""
    world = World(data, step)
    monkeypatch.setattr(time, "perf_counter", lambda: world.now)
    watch = Stopwatch()
    supply = Supply(world.batches(), watch)
    loss: Loss | None = None
    for _ in range(100):
        supply.next({} if loss is None else {"loss": loss})
        loss = Loss(world, loss)
    with watch("train"):
        loss.block_until_ready()
    assert sum(watch.seconds.values()) == pytest.approx(world.now)
    assert world.now == pytest.approx(100 * max(data, step), rel=0.02)
    assert watch.seconds.get("wait", 0.0) / world.now == pytest.approx(wait_share, abs=0.02)


def test_jax_numbers_can_be_asked_whether_they_are_there():
    value = jax.numpy.ones(3).sum()
    value.block_until_ready()
    assert value.is_ready()
