"""Training on real image files by the worker that a sweep starts: it learns, says its data, and what it cannot read."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import image_files
import pytest
from tiny_sweep import scalelaw, start

pytest.importorskip("jax", reason="the trainer needs jax")
pytest.importorskip("grain", reason="images on disk need grain")

from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder, RunTable
from scalelaw.sweep import check_spec, expand
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.facts import with_digest
from scalelaw.train import data
from scalelaw.train.worker import Worker

TRAIN = {"images": 600, "peak_lr": 0.4, "batch_size": 8}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """The same forty pictures in every layout."""
    root = tmp_path_factory.mktemp("sets")
    image_files.folder(root / "folder", 40)
    image_files.parquet(root / "parquet" / "a.parquet", range(20))
    image_files.parquet(root / "parquet" / "b.parquet", range(20, 40))
    records = [image_files.example(image_files.encoded(number), number % 4) for number in range(40)]
    image_files.array_record(root / "records" / "s-train.array_record-00000-of-00001", records)
    image_files.cifar10(root / "cifar10")
    return {
        "folder": {"source": "folder", "path": str(root / "folder"), "resolution": 8},
        "parquet": {"source": "parquet", "path": str(root / "parquet"), "resolution": 8},
        "arrayrecord": {"source": "arrayrecord", "path": str(root / "records"), "resolution": 8, "classes": 4},
        "cifar10": {"source": "cifar10", "path": str(root / "cifar10"), "augment": "flip"},
    }


def trained(root: Path, *sections: dict[str, Any], **train: Any) -> tuple[RunTable, list[dict[str, Any]]]:
    """Trains one run on each data section in this process. Returns the rows and what was told on the way."""
    parts = [{"data": section} for section in sections[1:]]
    spec = {"sweep": {"name": "files"}, "data": sections[0], "model": {"variants": ["N0"]}, "train": {**TRAIN, **train}}
    planned = expand(check_spec({**spec, "part": parts}, "spec"))
    results = ResultsFolder(root, new=True)
    record = {"name": "files", "utilisation": 0.36, "runs": [run.run_id for run in planned]}
    results.begin(record, {run.run_id: run.config.to_json() for run in planned})
    told: list[dict[str, Any]] = []
    Worker(results, told.append).work([run.run_id for run in planned])
    return RunTable.load(root), told


@pytest.mark.slow
def test_every_layout_of_the_same_images_is_learnt_by_one_compiled_step(places, tmp_path):
    table, told = trained(tmp_path / "out", *(places[kind] for kind in ("folder", "parquet", "arrayrecord")))
    rows = table.frame.to_dict("records")
    assert [row["status"] for row in rows] == ["finished"] * 3, [row["error"] for row in rows]
    assert sum(event["event"] == "compiling" for event in told) == 1
    for row in rows:
        assert (row["unique_images"], row["images_seen"], row["resolution"]) == (32, 600, 8)
        assert row["val_loss"] < 0.5
        assert row["top1_error"] <= 0.125
    facts = {path.name.split("-")[0]: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*-32.json")}
    assert set(facts) == {"folder", "parquet", "arrayrecord"}
    assert facts["folder"]["class_names"] == list(image_files.CLASSES)
    assert facts["folder"]["decoder"]["others"].startswith("Pillow")


@pytest.mark.slow
def test_cifar_is_learnt(places, tmp_path):
    table, _ = trained(tmp_path / "out", places["cifar10"])
    (row,) = table.frame.to_dict("records")
    assert (row["status"], row["unique_images"], row["resolution"]) == ("finished", 60, 32)
    assert row["val_loss"] < 0.5


def test_too_many_unreadable_images_fail_the_run_and_are_named(tmp_path):
    place = image_files.folder(tmp_path / "folder", 40)
    for number in (0, 9):
        next(place.glob(f"*/{number:05d}.jpeg")).write_bytes(b"text")
    table, _ = trained(tmp_path / "out", {"source": "folder", "path": str(place), "resolution": 8}, images=8)
    (row,) = table.frame.to_dict("records")
    assert row["status"] == "failed"
    assert "images cannot be read, more than max_corrupt = 0.001" in row["error"]
    assert "0000" in row["error"]
    assert "Traceback" not in row["error"]


def test_a_changed_folder_is_refused(tmp_path):
    place = image_files.folder(tmp_path / "folder", 40)
    config = with_digest(DataSection(source="folder", path=str(place), resolution=8))
    assert data.load(config).train_images == 32
    (place / "ant" / "00000.jpeg").write_bytes(image_files.encoded(0) + b"\0")  # in place: no folder's time moves
    with pytest.raises(UserError, match="has changed since the sweep was planned"):
        data.load(config)


def test_the_place_is_no_part_of_the_set(places, tmp_path):
    other = image_files.folder(tmp_path / "elsewhere", 40)
    configs = [with_digest(DataSection(**{**places["folder"], "path": str(path)}))
               for path in (places["folder"]["path"], other)]  # fmt: skip
    assert configs[0].digest == configs[1].digest
    assert configs[0].name == configs[1].name


SPEC = """
[sweep]
name = "files"
checkpoint_minutes = 0.001
[data]
source = "folder"
path = "{path}"
resolution = 8
max_corrupt = 0.2
[model]
variants = ["N0"]
[train]
images = 20000
peak_lr = 0.4
batch_size = 8
"""


@pytest.mark.slow
def test_a_run_stopped_and_gone_on_with_ends_as_one_that_was_not(tmp_path):
    """With an unreadable image among the files, whose place another takes each time."""
    place = image_files.folder(tmp_path / "folder", 40)
    (place / "bee" / "00009.jpeg").write_bytes(b"text")
    weights = []
    for name, moments in (("calm", ()), ("harried", (0.2, 0.7, 1.2))):
        out, spec = tmp_path / name, tmp_path / f"{name}.toml"
        spec.write_text(SPEC.format(path=place))
        for seconds in moments:
            process = start("train", spec, "-o", out, "--threads", 1)
            end = time.monotonic() + 120
            while not list(out.glob("*/checkpoint/*")) and time.monotonic() < end and process.poll() is None:
                time.sleep(0.02)
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL if seconds > 1 else signal.SIGTERM)
            process.communicate()
            assert process.returncode in (75, -signal.SIGKILL), process.returncode
        answer = scalelaw("train", spec, "-o", out, "--threads", 1)
        assert answer.returncode == 0, answer.stderr
        (final,) = out.glob("*/final/weights.npz")
        weights.append(final.read_bytes())
    assert weights[0] == weights[1]
