"""What a worker writes of a run under way: now and then, whole, and gone with the run's row."""

from __future__ import annotations

import json
import time

import pytest

from scalelaw.runs import progress
from scalelaw.runs.progress import Progress, Reporter


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_note_now_and_then(tmp_path, clock):
    report = Reporter(tmp_path)
    assert progress.read(tmp_path) is None
    report({"event": "compiled", "seconds": 3.0})
    assert progress.read(tmp_path) is None
    report({"event": "progress", "step": 1, "images": 64, "images_per_second": 10.0, "train_loss": None})
    found = progress.read(tmp_path)
    assert (found.images, found.images_per_second, found.train_loss, found.val_loss) == (64, 10.0, None, None)
    assert abs(found.at - time.time()) < 60
    clock[0] += progress.EVERY_SECONDS / 2
    report({"event": "evaluated", "images": 128, "train_loss": 1.5, "val_loss": 1.75})
    assert progress.read(tmp_path).images == 64  # too soon
    clock[0] += progress.EVERY_SECONDS / 2
    report({"event": "progress", "images": 192, "images_per_second": 12.0})
    found = progress.read(tmp_path)
    assert (found.images, found.images_per_second, found.train_loss, found.val_loss) == (192, 12.0, 1.5, 1.75)


def test_the_next_attempt_starts_without_the_note_of_the_last(tmp_path):
    Reporter(tmp_path)({"event": "progress", "images": 64})
    Reporter(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"images": null}', '{"images": "many"}', '{"images": true}', '{"images": NaN}']
)
def test_a_note_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / progress.NAME).write_text(text)
    assert progress.read(tmp_path) is None


def test_a_loss_that_is_no_number_is_unknown(tmp_path):
    Reporter(tmp_path)({"event": "progress", "images": 64, "train_loss": float("nan"), "val_loss": float("inf")})
    found = progress.read(tmp_path)
    assert found == Progress(64, at=found.at)


def test_a_full_disk_or_a_folder_that_went_ends_no_run(tmp_path, monkeypatch):
    report = Reporter(tmp_path / "gone")
    report({"event": "progress", "images": 64})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    Reporter(tmp_path)({"event": "progress", "images": 64})
    assert progress.read(tmp_path) is None


@pytest.mark.slow
def test_a_worker_writes_it_and_removes_it_with_the_row(tmp_path, monkeypatch):
    pytest.importorskip("jax", reason="the trainer needs jax")
    from tiny_sweep import TINY, spec

    from scalelaw.cli.sweeps import record_sweep
    from scalelaw.runs import ResultsFolder
    from scalelaw.sweep import expand, read_spec
    from scalelaw.train import loop
    from scalelaw.train.worker import Worker

    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(loop, "EVENT_SECONDS", 0.0)
    path = spec(tmp_path, TINY)
    checked = read_spec(path)
    run = expand(checked)[0]
    results = ResultsFolder(tmp_path / "out", new=True)
    record_sweep(results, checked, [run])
    seen = []

    def emit(event):
        if event["event"] in ("progress", "evaluated"):
            note = json.loads((results.run_path(run.run_id) / progress.NAME).read_text())
            assert note["images"] == event["images"]
            seen.append(note)

    assert Worker(results, emit).work([run.run_id]) == 0
    assert seen[-1]["images"] == run.config.train.images
    table, _ = results.read_rows()
    assert seen[-1]["val_loss"] == pytest.approx(table["val_loss"][0].as_py())
    assert seen[-1]["train_loss"] > 0
    assert not list(results.run_path(run.run_id).glob("*progress*"))
    assert not list(results.run_path(run.run_id).glob(".*progress*"))
