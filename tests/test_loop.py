"""The training loop: what it measures, when it stops, and that it learns."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw import architecture, compute  # noqa: E402
from scalelaw.sweep import recipes  # noqa: E402
from scalelaw.train import evaluation, loop, nfnet, step, trace  # noqa: E402
from scalelaw.train import schedule as schedules  # noqa: E402
from scalelaw.train.data import Batch, Order, hierarchy  # noqa: E402
from scalelaw.train.meter import Meter  # noqa: E402
from scalelaw.train.packing import unpacked  # noqa: E402

BATCH = 16
MODEL = architecture.Variant("test", "nfnet", (8,), (1,), (1,), (8,), (1,), None)
RULES = recipes.recipe("pretrain")
SOURCE = hierarchy.make(
    train_images=500, holdout_images=50, classes=4, symbols=8, levels=1, rules=2, patch=2, noise=0.1
)


@pytest.fixture(scope="module")
def programs() -> step.Programs:
    return step.build(MODEL, SOURCE, RULES, BATCH)


class Kept(trace.Trace):
    """A trace in memory."""

    def __init__(self) -> None:
        self.rows = []

    def begin(self, through_step: int = 0) -> list[str]:
        """Has nothing yet."""
        return []

    def flush(self) -> None:
        """Keeps the rows."""


METER = Meter(1e6, compute.hardware("cpu"))


def schedule(images: int, peak_lr: float = 0.4, evaluations: int = 4, order_seed: int = 7) -> loop.Schedule:
    return loop.Schedule(Order(order_seed, SOURCE.train_images, images, BATCH), peak_lr, evaluations, 0, METER)


def run(programs: step.Programs, plan: loop.Schedule, rows: trace.Trace | None = None) -> loop.Outcome:
    return loop.run(plan, programs, SOURCE, RULES, Kept() if rows is None else rows, lambda event: None)


def test_learns_an_easy_hierarchy(programs):
    rows = Kept()
    outcome = run(programs, schedule(4000), rows)
    losses = [row["val_loss"] for row in rows.rows if "val_loss" in row]
    assert outcome.status == "finished"
    untrained = evaluation.evaluate(programs, SOURCE, programs.start(0)).loss
    assert outcome.evaluation.loss < 0.2 < math.log(SOURCE.classes) == pytest.approx(untrained, abs=0.3)
    assert outcome.evaluation.top1_error < 0.05
    assert outcome.images_seen == 4000
    assert losses[-1] == outcome.evaluation.loss == min(losses)


def test_every_rate_is_served_by_one_executable(programs):
    run(programs, schedule(64))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, seconds, **_: compiled.append(name))
    before = len(compiled)
    try:
        losses = {run(programs, schedule(200, rate)).evaluation.loss for rate in (0.1, 0.2, 0.7)}
        assert len(losses) == 3
        assert [name for name in compiled[before:] if "compile" in name] == []
        jax.jit(lambda x: x + 12345)(1)
        assert [name for name in compiled[before:] if "compile" in name], "the listener hears no compilation at all"
    finally:
        jax.monitoring.clear_event_listeners()


def test_evaluation_weighs_the_last_partial_batch_exactly(programs):
    """Against the mean over all 50 held-out images at once: 50 is not a multiple of the batch."""
    state = programs.start(3)
    params = unpacked(state["params"], nfnet.abstract(MODEL, SOURCE.classes))
    images, labels = SOURCE.batch(SOURCE.arrays, SOURCE.holdout_indices())
    apply = jax.jit(lambda params, images: nfnet.apply(MODEL, SOURCE.classes, params, images))
    logits = np.asarray(apply(params, images), np.float64)
    labels = np.asarray(labels)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = evaluation.evaluate(programs, SOURCE, state)
    assert found.images == 50
    assert found.loss == pytest.approx(-log_p[np.arange(50), labels].mean(), rel=1e-5)
    assert found.top1_error == pytest.approx((logits.argmax(axis=1) != labels).mean(), abs=1e-7)
    assert found.loss_ema is None
    quick = evaluation.evaluate(programs, SOURCE, state, at_most=10)
    assert quick.images == 10
    assert quick.loss == pytest.approx(-log_p[np.arange(10), labels[:10]].mean(), rel=1e-5)


def stepped(programs: step.Programs, indices: Any, weights: Any) -> tuple[Any, dict[str, float]]:
    indices = np.asarray(indices, np.int32)
    batch = Batch({"index": indices, "epoch": np.zeros_like(indices)}, np.asarray(weights, np.float32))
    state, metrics = programs.train(programs.start(0), SOURCE.arrays, batch, np.float32(0.5))
    return jax.tree.map(np.asarray, state["params"]), {name: float(value) for name, value in metrics.items()}


def test_padding_of_weight_zero_leaves_the_gradient_of_the_real_images(programs):
    """Eight images, each twice, have the mean gradient of the eight alone, which padding must not touch."""
    real = np.arange(8)
    twice, expected = stepped(programs, np.concatenate([real, real]), np.ones(16))
    padded, found = stepped(programs, np.concatenate([real, np.zeros(8)]), [1] * 8 + [0] * 8)
    other, again = stepped(programs, np.concatenate([real, 100 + real]), [1] * 8 + [0] * 8)
    for name in ("loss", "gradient_norm"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)
        assert again[name] == pytest.approx(expected[name], rel=1e-5)
    start = jax.tree.map(np.asarray, programs.start(0)["params"])
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), twice, start)
    assert max(jax.tree.leaves(moved)) > 1e-3
    for tree in (padded, other):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), tree, twice)


def test_metrics_are_read_one_step_late(programs, monkeypatch):
    said: list[str] = []
    train, numbers, get = programs.train, loop.numbers, jax.device_get

    def spied_train(*args: Any) -> Any:
        said.append("step")
        return train(*args)

    def spied_numbers(metrics: Any) -> Any:
        said.append("read")
        return numbers(metrics)

    def spied_get(value: Any) -> Any:
        said.append("evaluation")
        return get(value)

    monkeypatch.setattr(loop, "numbers", spied_numbers)
    monkeypatch.setattr(jax, "device_get", spied_get)
    run(dataclasses.replace(programs, train=spied_train), schedule(6 * BATCH, evaluations=1))
    assert said == ["step", "step", "read", "step", "read", "step", "read", "step", "read", "step", "read",
                    "evaluation", "read"]  # fmt: skip


def test_a_rate_that_blows_up_is_a_diverged_outcome_with_its_trace(programs):
    rows = Kept()
    outcome = run(programs, schedule(2000, peak_lr=1e30), rows)
    assert outcome.status == "diverged"
    assert outcome.evaluation is None
    assert "loss is" in outcome.reason
    assert 0 < outcome.images_seen < 2000
    assert rows.rows


def failing(programs: step.Programs, val_excess: float, train_excess: float) -> step.Programs:
    """Programs whose losses lie so many nats above that of guessing, in evaluation and in training."""
    guess = math.log(SOURCE.classes)

    def evaluate(state: Any, arrays: Any, batch: Batch) -> dict[str, Any]:
        images = float(batch.weights.sum())
        return {"loss": images * (guess + val_excess), "wrong": images, "images": images}

    def train(*args: Any) -> Any:
        state, metrics = programs.train(*args)
        return state, {**metrics, "loss": np.float32(guess + train_excess)}

    return dataclasses.replace(programs, evaluate=evaluate, train=train)


@pytest.mark.parametrize(
    ("val_excess", "train_excess", "status"),
    [(0.6, 0.1, "diverged"), (0.4, 0.1, "finished"), (5.0, -0.1, "finished")],
)
def test_three_bad_evaluations_after_warm_up_are_divergence(programs, val_excess, train_excess, status):
    """Wrong with confidence, ln K + 0.5, and no better than guessing in training; images known by heart are neither."""
    rows = Kept()
    outcome = run(failing(programs, val_excess, train_excess), schedule(40 * BATCH, evaluations=10), rows)
    evaluated = [row["step"] for row in rows.rows if "val_loss" in row]
    assert outcome.status == status
    assert outcome.evaluation.loss == pytest.approx(math.log(SOURCE.classes) + val_excess)
    assert "guessing" in outcome.reason
    if status == "diverged":
        assert evaluated == [4, 8, 12]  # warm-up ends after two steps
    else:
        assert len(evaluated) == 10
        assert outcome.reason.startswith("no better than guessing")


def test_evaluations_during_warm_up_do_not_count_as_divergence(programs):
    slow = dataclasses.replace(RULES, warmup_share=0.5)
    rows = Kept()
    plan = schedule(8 * BATCH, evaluations=8)
    outcome = loop.run(plan, failing(programs, 10.0, 10.0), SOURCE, slow, rows, lambda event: None)
    assert outcome.status == "diverged"
    assert [row["step"] for row in rows.rows if "val_loss" in row] == [1, 2, 3, 4, 5, 6, 7]


def test_kinds_of_time_are_kept_apart(programs):
    outcome = run(programs, schedule(1000))
    assert set(outcome.seconds) == {"train", "evaluate", "wait"}
    assert all(seconds > 0 for seconds in outcome.seconds.values())
    assert programs.compile_seconds > 0
    slow = dataclasses.replace(
        programs, evaluate=lambda *args: (__import__("time").sleep(0.1), programs.evaluate(*args))[1]
    )
    slowed = run(slow, schedule(1000))
    assert slowed.seconds["evaluate"] > outcome.seconds["evaluate"] + 0.5
    assert slowed.seconds["train"] < 0.5 + 3 * outcome.seconds["train"]


def test_the_trace_says_what_happened_in_units(programs, tmp_path):
    images = 3001  # 188 steps, the last one short
    plan = schedule(images)
    outcome = run(programs, plan, trace.Trace(tmp_path / "trace"))
    parts = sorted((tmp_path / "trace").iterdir())
    assert [part.name for part in parts] == ["part-00000.parquet"]
    table = pq.read_table(parts[0])
    units = {field.name: field.metadata[b"unit"].decode() for field in table.schema}
    assert units == {"step": "1", "images_seen": "images", "epochs": "1", "core_hours": "TPU-v4 core-hours",
                     "core_hours_basis": "", "learning_rate": "1", "train_loss": "nats", "gradient_norm": "1",
                     "parameter_norm": "1", "clipped_share": "1", "images_per_second": "images/s", "utilisation": "1",
                     "val_loss": "nats", "val_top1_error": "1", "val_loss_ema": "nats", "val_top1_error_ema": "1",
                     "val_images": "images"}  # fmt: skip
    frame = table.to_pandas()
    assert frame["step"].is_monotonic_increasing
    assert frame["step"].is_unique
    assert frame["step"].iloc[-1] == plan.order.steps == 188
    assert frame["images_seen"].iloc[-1] == images
    assert 64 <= len(frame) <= 140
    np.testing.assert_array_equal(frame["images_seen"], np.minimum(frame["step"] * BATCH, images))
    np.testing.assert_allclose(frame["epochs"], frame["images_seen"] / SOURCE.train_images)
    np.testing.assert_allclose(
        frame["core_hours"], [METER.cost(images, 1.0).core_hours for images in frame["images_seen"]]
    )
    rates = schedules.learning_rate(frame["step"].to_numpy() - 1, 188, 0.4, int(188 * RULES.warmup_share))
    np.testing.assert_allclose(frame["learning_rate"], rates, rtol=1e-6, atol=1e-7)
    assert (frame["images_per_second"] > 0).all()
    assert (frame["gradient_norm"] > 0).all()
    assert frame["train_loss"].iloc[0] > 3 * frame["train_loss"].iloc[-20:].mean()
    evaluated = frame[frame["val_loss"].notna()]
    assert list(evaluated["step"]) == [47, 94, 141, 188]
    assert evaluated["val_loss"].iloc[-1] == outcome.evaluation.loss
    assert (evaluated["val_images"] == 50).all()


def test_a_new_attempt_starts_a_new_trace(programs, tmp_path):
    earlier = trace.Trace(tmp_path / "trace")
    for step_done in (1, 2):
        earlier.add(step=step_done)
        earlier.flush()
    assert len(list((tmp_path / "trace").iterdir())) == 2
    run(programs, schedule(160, evaluations=1), trace.Trace(tmp_path / "trace"))
    (part,) = (tmp_path / "trace").iterdir()
    assert pq.read_table(part)["step"].to_pylist() == list(range(1, 11))


def test_equal_schedules_give_equal_bits_and_another_order_does_not(programs):
    first, again, other = (run(programs, schedule(800, order_seed=seed)).evaluation.loss for seed in (1, 1, 2))
    assert first == again
    assert first != other
