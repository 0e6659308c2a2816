"""How long a sweep takes here: by speed measured in it, else by this machine in others, else assumed; and which."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from test_dry_run import here, parsed, said
from tiny_sweep import TINY

from scalelaw.launch import speed
from scalelaw.runs import RunTable
from scalelaw.sweep import expand, read_spec

__all__ = ["here"]  # a folder and a cache of the test's own, for every test


def test_speeds_that_this_machine_measured_serve_other_sweeps(capsys):
    """Noted for the runs that our own workers trained, by model, batch and multiply-adds; no other run gains by it."""
    Path("spec.toml").write_text(TINY)
    runs = expand(read_spec(Path("spec.toml")))
    macs = runs[0].cost.size.macs_per_image
    frame = pd.DataFrame({"run_id": ["a", "b", "c"], "variant": "N0", "batch_size": 16, "images_seen": [400, 600, 1],
                          "macs_per_image": float(macs), "train_seconds": [1.0, 1.0, 100.0],
                          "status": "finished"})  # fmt: skip
    events = []
    heard = speed.Heard(events.append)
    for run_id, status in (("a", "finished"), ("b", "finished"), ("c", "failed")):
        heard({"event": "done", "run_id": run_id, "status": status})
    heard({"event": "already done", "run_id": "c"})
    assert len(events) == 4
    assert heard.trained == ["a", "b"]
    speed.note(RunTable.from_frame(frame), heard.trained)
    (known,) = speed.read_notes().values()
    assert known == pytest.approx(1000 / 2)
    found = parsed(capsys, "sweep", "spec.toml", "--dry-run")
    assert {run["seconds_basis"] for run in found["runs"]} == {"this machine"}
    assert found["runs"][0]["seconds"] == pytest.approx(found["runs"][0]["images"] / 500)
    assert "speed measured on this machine" in said(capsys, "sweep", "spec.toml", "--dry-run")
    for change in (("patch = 4", "patch = 2"), ("batch_size = 16", "batch_size = 8"), ('"N0"', '"N1"')):
        Path("other.toml").write_text(TINY.replace(*change))
        other = parsed(capsys, "sweep", "other.toml", "--dry-run")
        assert {run["seconds_basis"] for run in other["runs"]} == {"assumed"}


def test_too_short_a_run_is_not_noted_and_a_broken_note_is_none(tmp_path):
    frame = pd.DataFrame({"run_id": ["a"], "variant": "N0", "batch_size": 16, "images_seen": [400],
                          "macs_per_image": 1e4, "train_seconds": [0.5], "status": "finished"})  # fmt: skip
    speed.note(RunTable.from_frame(frame), ["a"])
    assert not speed.notes_path().exists()
    speed.notes_path().parent.mkdir(parents=True)
    for text in ("{", "[]", json.dumps({"N0": "x"}), json.dumps({"N0": None})):
        speed.notes_path().write_text(text)
        assert speed.read_notes() == {}


def test_speeds_of_a_sweep_of_two_sizes_of_image_are_kept_apart():
    Path("spec.toml").write_text(TINY + "[[part]]\ndata.patch = 8\n")
    runs = expand(read_spec(Path("spec.toml")))
    sizes = sorted({run.cost.size.macs_per_image for run in runs})
    frame = pd.DataFrame({"variant": "N0", "batch_size": 16, "images_seen": [100, 100], "macs_per_image": sizes,
                          "train_seconds": [1.0, 4.0], "status": "finished"})  # fmt: skip
    found = speed.expected(runs, RunTable.from_frame(frame))
    for run in runs:
        per_second = {sizes[0]: 100, sizes[1]: 25}[run.cost.size.macs_per_image]
        assert found.seconds[run.run_id] == pytest.approx(run.config.train.images / per_second)
