"""Runs that begin at another's weights, trained: where they begin, what their rows say, and what a kill changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pretrained import FINETUNE, keep, pretrained, weights_of
from tiny_sweep import repeatable

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw import architecture  # noqa: E402
from scalelaw.cli.sweeps import record_sweep  # noqa: E402
from scalelaw.runs import ResultsFolder, RunTable  # noqa: E402
from scalelaw.sweep import PlannedRun, expand, read_spec  # noqa: E402
from scalelaw.train import final, nfnet, weights  # noqa: E402
from scalelaw.train.origin import Elsewhere  # noqa: E402
from scalelaw.train.packing import unpacked  # noqa: E402
from scalelaw.train.worker import Worker  # noqa: E402

SMALL = architecture.Variant("N0", "nfnet", (8,), (1,), (1,), (8,), (1,), None)  # compiles in a third of the time


class Killed(BaseException):
    """As a kill does it: no handler of errors sees it."""


class Bench(Worker):
    """A worker that remembers the states at which runs began, and that can be killed after some steps."""

    kill_after: int | None = None

    def programs(self, *args: Any) -> Any:
        programs, seconds = super().programs(*args)
        self.began: list[Any] = []
        done = 0

        def start(*args: Any, **more: Any) -> Any:
            state = programs.start(*args, **more)
            self.began.append(jax.tree.map(np.array, state))
            return state

        def train(*args: Any) -> Any:
            nonlocal done
            done += 1
            if done == self.kill_after:
                raise Killed
            return programs.train(*args)

        return dataclasses.replace(programs, start=start, train=train), seconds


@dataclasses.dataclass
class Case:
    folder: Path
    child: PlannedRun
    parent: PlannedRun
    params: Any
    worker: Bench


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Any:
    """A parent with drawn weights, a child of it that was trained, and the worker with the compiled programs."""
    folder = tmp_path_factory.mktemp("finetune")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(architecture.FAMILIES["nfnet"], "N0", SMALL)
        parent = pretrained(folder)[0]
        params = weights_of(parent)
        place = keep(folder, parent, params)
        (folder / "fine.toml").write_text(f"{FINETUNE}run = '{place.relative_to(folder)}'\n")
        spec = read_spec(folder / "fine.toml")
        (child,) = expand(spec)
        results = ResultsFolder(folder / "results" / "fine", new=True)
        record_sweep(results, spec, [child])
        sweep = json.loads((results.root / "sweep.json").read_text())
        (results.root / "sweep.json").write_text(json.dumps({**sweep, "checkpoint_minutes": 1e-9}))
        worker = Bench(results, lambda event: None)
        assert worker.work([child.run_id]) == 0
        yield Case(folder, child, parent, params, worker)


def test_it_begins_at_the_parents_body_with_a_head_of_its_own(case):
    (began,) = case.worker.began
    fresh = nfnet.drawn(SMALL, 5, jax.random.key(0))
    params = unpacked(began["params"], fresh)
    assert set(params) == set(case.params)
    for module, tree in params.items():
        jax.tree.map(np.testing.assert_array_equal, tree, fresh[module] if module == "linear" else case.params[module])
    jax.tree.map(np.testing.assert_array_equal, began["ema"], began["params"])


def test_its_row_carries_the_parents_cost_its_own_and_the_sum(case):
    (row,) = RunTable.load(case.folder / "results" / "fine").frame.to_dict("records")
    own, parents = case.child.cost.core_hours, case.parent.cost.core_hours
    assert (row["core_hours"], row["parent_core_hours"], row["total_core_hours"]) == (own, parents, own + parents)
    assert (row["parent"], row["parent_val_loss"], row["parent_peak_lr"]) == (case.parent.run_id, 1.5, 0.4)
    assert (row["status"], row["parent_epochs"], row["epochs"]) == ("finished", 2.0, 3.0)


def again(case: Case, name: str) -> Bench:
    """A folder with the same run, untrained, and a worker with the same programs."""
    root = case.folder / "results" / name
    for path in ("sweep.json", f"{case.child.run_id}/config.json"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(case.worker.results.root / path, root / path)
    worker = Bench(ResultsFolder(root), lambda event: None)
    worker._programs, worker._sources = case.worker._programs, case.worker._sources
    return worker


def killed(worker: Bench, run_id: str) -> None:
    worker.kill_after = 6
    with pytest.raises(Killed):
        worker.work([run_id])
    worker.kill_after = None


def test_killed_and_gone_on_with_it_is_the_same_run(case):
    worker, run_id = again(case, "killed"), case.child.run_id
    killed(worker, run_id)
    events = []
    worker.emit = events.append
    assert worker.work([run_id]) == 0
    assert "resumed" in [event["event"] for event in events]
    first, second = (repeatable(case.folder / "results" / name) for name in ("fine", "killed"))
    assert first.equals(second)
    one, two = (final.final_weights(case.folder / "results" / name / run_id) for name in ("fine", "killed"))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_a_parent_that_has_changed_meanwhile_is_refused(case):
    worker, run_id = again(case, "changed"), case.child.run_id
    killed(worker, run_id)
    place = case.folder / "results" / "pretrain" / case.parent.run_id
    final.write(place, final.gathered({"params": weights_of(case.parent, seed=1)}, case.params))
    try:
        with pytest.raises(Elsewhere, match="digest of the parent's weights"):
            worker.work([run_id])
    finally:
        final.write(place, final.gathered({"params": case.params}, case.params))


def test_a_parent_that_is_gone_fails_the_run_with_a_line(case):
    worker = again(case, "gone")
    place = final.path_of(case.folder / "results" / "pretrain" / case.parent.run_id)
    place.rename(aside := place.with_name("aside"))
    try:
        assert worker.work([case.child.run_id]) == 1
    finally:
        aside.rename(place)
    (error,) = RunTable.load(case.folder / "results" / "gone").frame["error"]
    assert "no such file" in error
    assert "\n" not in error


def test_a_file_of_weights_that_has_changed_meanwhile_is_refused_and_no_failure(case, monkeypatch):
    monkeypatch.chdir(case.folder)
    weights.save(case.folder / "published.npz", case.params)
    text = FINETUNE.replace('"fine"', '"file"') + "weights = 'published.npz'\n[model]\nvariants = ['N0']\n"
    (case.folder / "file.toml").write_text(text)
    spec = read_spec(case.folder / "file.toml")
    (run,) = expand(spec)
    results = ResultsFolder(case.folder / "results" / "file", new=True)
    record_sweep(results, spec, [run])
    worker = Bench(results, lambda event: None)
    worker._programs, worker._sources = case.worker._programs, case.worker._sources
    weights.save(case.folder / "published.npz", weights_of(case.parent, seed=1))
    with pytest.raises(Elsewhere, match="has changed since the sweep was planned"):
        worker.work([run.run_id])
    assert results.statuses([run.run_id]) == {run.run_id: "pending"}
    weights.save(case.folder / "published.npz", case.params)
    assert worker.work([run.run_id]) == 0
