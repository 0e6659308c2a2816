"""A schedule interrupted at random steps and gone on with is the schedule that nobody interrupted."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw import architecture, compute, stopping  # noqa: E402
from scalelaw.sweep import recipes  # noqa: E402
from scalelaw.train import evaluation, loop, origin, schedule, step, trace  # noqa: E402
from scalelaw.train.checkpoint import Checkpoints  # noqa: E402
from scalelaw.train.data import Batch, Order, hierarchy  # noqa: E402
from scalelaw.train.meter import Meter  # noqa: E402

BATCH, IMAGES = 16, 2508
MODEL = architecture.Variant("test", "nfnet", (8,), (1,), (1,), (8,), (1,), None)
RULES = recipes.recipe("pretrain")
SOURCE = hierarchy.make(
    train_images=500, holdout_images=50, classes=4, symbols=8, levels=1, rules=2, patch=2, noise=0.1
)


@pytest.fixture(scope="module")
def programs() -> step.Programs:
    return step.build(MODEL, SOURCE, RULES, BATCH)


class Killed(BaseException):
    """As a kill does it: no handler of errors sees it."""


class Remembering:
    """The source, and every batch it fed: (step, indices)."""

    def __init__(self) -> None:
        self.fed: list[tuple[int, list[int]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(SOURCE, name)

    def feed(self, order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        for number, batch in enumerate(SOURCE.feed(order, first_step, rows), first_step):
            self.fed.append((number, batch.inputs["index"][batch.weights > 0].tolist()))
            yield batch


class Bench:
    """One run's folder, and what was said."""

    def __init__(self, programs: step.Programs, folder: Path, rules: recipes.Recipe = RULES, copies: int = 1) -> None:
        self.programs, self.folder, self.rules, self.copies = programs, folder, rules, copies
        self.source = Remembering()
        self.events: list[dict[str, Any]] = []
        self.opened: list[Checkpoints] = []

    def checkpoints(self, state: Any) -> Checkpoints:
        here = origin.here({"batch size": BATCH}, state, self.programs.layout, 1)
        self.opened.append(Checkpoints(self.folder / "checkpoint", here, minutes=0, warn=pytest.fail))
        return self.opened[-1]

    def run(self, *, kill_after: int | None = None, evaluate: Any = None, stop_at: float | None = None) -> loop.Outcome:
        """Runs to the end, or until so many steps are done."""
        done = 0

        def train(*args: Any) -> Any:
            nonlocal done
            done += 1
            if done == kill_after:
                raise Killed
            return self.programs.train(*args)

        programs = dataclasses.replace(self.programs, train=train)
        if evaluate is not None:
            programs = dataclasses.replace(programs, evaluate=evaluate)
        order = Order(7, SOURCE.train_images, IMAGES, BATCH, self.copies)
        planned = loop.Schedule(order, 0.4, 5, 0, Meter(1e6, compute.hardware("cpu")), stop_at=stop_at)
        rows = trace.Trace(self.folder / "trace")
        try:
            return loop.run(planned, programs, self.source, self.rules, rows, self.events.append, self.checkpoints)
        finally:
            for checkpoints in self.opened:
                checkpoints.close()

    def killed(self, times: int, random: np.random.Generator) -> loop.Outcome:
        """Runs to the end, killed so often on the way."""
        for kills in range(times):
            try:
                self.run(kill_after=int(random.integers(1, 16)))
            except Killed:
                continue
            pytest.fail(f"it was through after {kills} kills")
        return self.run()

    def lineage(self) -> list[int]:
        """What it saw: of what was fed again the last time, for the weights of the first are gone."""
        last_fed = dict(self.source.fed)
        assert len(last_fed) < len(self.source.fed)
        return [index for number in sorted(last_fed) for index in last_fed[number]]

    def trace(self) -> pa.Table:
        parts = [pq.read_table(part) for part in sorted((self.folder / "trace").iterdir())]
        return pa.concat_tables(parts).drop_columns(list(trace.UNREPEATABLE))

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


@pytest.fixture(scope="module")
def calm(programs, tmp_path_factory) -> tuple[Bench, loop.Outcome]:
    bench = Bench(programs, tmp_path_factory.mktemp("calm"))
    return bench, bench.run()


def same(found: loop.Outcome, expected: loop.Outcome) -> None:
    assert dataclasses.replace(found, state={}, seconds={}) == dataclasses.replace(expected, state={}, seconds={})
    jax.tree.map(np.testing.assert_array_equal, found.state, expected.state)


def test_interrupted_twenty_times_it_is_the_same_run_and_saw_every_example_once_an_epoch(programs, calm, tmp_path):
    bench = Bench(programs, tmp_path)
    same(bench.killed(20, np.random.default_rng(3)), calm[1])
    assert bench.trace().equals(calm[0].trace())
    resumed = [event["step"] for event in bench.said("resumed")]
    assert resumed == sorted(resumed)
    assert len(set(resumed)) > 10
    lineage = bench.lineage()
    assert len(lineage) == IMAGES
    for epoch in range(5):
        assert Counter(lineage[epoch * 500 : (epoch + 1) * 500]) == Counter(range(500))


def test_so_is_one_of_sharpness_aware_steps_on_copies(tmp_path):
    """Recipe finetune: two gradients a step, averaged weights, random drops that tell an image's copies apart."""
    rules = dataclasses.replace(recipes.recipe("finetune"), sam_share=0.2)
    programs = step.build(MODEL, SOURCE, rules, BATCH)
    calm, bench = (Bench(programs, tmp_path / name, rules, copies=4) for name in ("calm", "killed"))
    expected = calm.run()
    same(bench.killed(8, np.random.default_rng(3)), expected)
    assert bench.trace().equals(calm.trace())
    assert expected.images_seen == len(bench.lineage()) == IMAGES
    assert Counter(bench.lineage()[:2000]) == dict.fromkeys(range(500), 4)


def test_time_lost_to_a_kill_is_not_counted(programs, tmp_path):
    bench = Bench(programs, tmp_path)
    with pytest.raises(Killed):
        bench.run(kill_after=100)
    (step_done,) = bench.opened[-1].steps()[-1:]
    beside = bench.opened[-1]._read_beside(step_done)
    bench.opened[-1].close()
    kept = beside["standing"]["seconds"]["train"]
    assert kept > 0
    outcome = bench.run()
    assert outcome.seconds["train"] > kept
    frame = pq.read_table(sorted((tmp_path / "trace").iterdir())[-1]).to_pandas()
    assert frame["step"].is_monotonic_increasing


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
@pytest.mark.parametrize("when", ["training", "evaluating", "last evaluation"])
def test_a_signal_saves_at_once_and_the_run_goes_on_from_there(programs, calm, tmp_path, number, kind, when):
    bench = Bench(programs, tmp_path)
    steps = -(-IMAGES // BATCH)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stopping.listen()

    def feed(order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        for at, batch in enumerate(SOURCE.feed(order, first_step, rows), first_step):
            if at == 40 and when == "training":
                os.kill(os.getpid(), number)
            yield batch

    evaluations = 0

    def evaluate(*args: Any) -> Any:
        nonlocal evaluations
        evaluations += 1
        if (when, evaluations) in (("evaluating", 6), ("last evaluation", 4 * 4 + 2)):
            os.kill(os.getpid(), number)
        return programs.evaluate(*args)

    bench.source.feed = feed
    try:
        with pytest.raises(kind) as stop, stopping.deferred():
            bench.run(evaluate=evaluate)
        assert kind is KeyboardInterrupt or stop.value.code == 75
    finally:
        stopping._asked.clear()
        for each, handler in before.items():
            signal.signal(each, handler)
    at = {"training": 41, "evaluating": 63, "last evaluation": steps}[when]
    assert bench.opened[-1].steps()[-1] == at
    del bench.source.feed
    outcome = bench.run()
    assert bench.said("resumed")[-1]["step"] == at
    same(outcome, calm[1])
    assert bench.trace().equals(calm[0].trace())


def test_divergence_is_counted_over_a_resumption(programs, tmp_path):
    """Two bad evaluations before the kill and one after make three."""

    def bad(state: Any, arrays: Any, batch: Batch) -> dict[str, Any]:
        images = float(batch.weights.sum())
        return {"loss": images * 9.0, "wrong": images, "images": images}

    def train(*args: Any) -> Any:
        state, metrics = programs.train(*args)
        return state, {**metrics, "loss": np.float32(9.0)}

    bench = Bench(dataclasses.replace(programs, train=train), tmp_path)
    with pytest.raises(Killed):
        bench.run(kill_after=80, evaluate=bad)
    outcome = bench.run(evaluate=bad)
    assert outcome.status == "diverged"
    assert outcome.images_seen == 94 * BATCH  # the third of five evaluations
    assert bench.trace()["step"].to_pylist()[-1] == 94


def test_a_part_of_the_trace_that_is_beyond_the_checkpoint_goes_and_the_rest_stays(tmp_path):
    kept = trace.Trace(tmp_path / "trace")
    kept.begin()
    for first in (1, 11, 21):
        for number in range(first, first + 10):
            kept.add(step=number)
        kept.flush()
    (tmp_path / "trace" / ".part-00003.parquet.x").write_text("torn")
    again = trace.Trace(tmp_path / "trace")
    assert again.begin(15) == []
    again.add(step=16)
    again.flush()
    parts = sorted((tmp_path / "trace").iterdir())
    assert [pq.read_table(part)["step"].to_pylist() for part in parts] == [
        list(range(1, 11)), list(range(11, 16)), [16]
    ]  # fmt: skip
    parts[0].write_text("damaged")
    (sentence,) = trace.Trace(tmp_path / "trace").begin(16)
    assert "part-00000" in sentence


@pytest.mark.parametrize(
    ("loss", "error", "sentence"),
    [(1.3863, 0.75, True), (1.38, 0.74, True), (1.37, 0.75, False), (2.5, 0.40, False), (2.5, 0.76, True)],
)
def test_a_network_that_guesses_is_told_from_one_that_is_sure_and_wrong(loss, error, sentence):
    """ln 4 = 1.3863; error .75 within 3 x sqrt(.25 x .75 / 1000) = .041."""
    found = evaluation.guessing(evaluation.Evaluation(loss, error, 1000), 4)
    assert (found is not None) == sentence


def test_killed_between_where_it_is_to_be_held_and_the_evaluation_there_it_goes_on_to_that(programs, tmp_path):
    """Held without it, a run would be open at its rung for ever, and every call would hold it where it is."""
    bench = Bench(programs, tmp_path)
    with pytest.raises(Killed):
        bench.run(kill_after=46, stop_at=0.25)  # from step 40 on it is due, and step 63 is the next to be evaluated
    for _ in range(2):  # called again it stays there
        with pytest.raises(schedule.Held):
            bench.run(stop_at=0.25)
        # twice where the kill came before the checkpoint after it was on disk
        assert {event["images"] for event in bench.said("evaluated")} == {31 * BATCH, 63 * BATCH}
        assert max(map(int, os.listdir(tmp_path / "checkpoint"))) == 63
