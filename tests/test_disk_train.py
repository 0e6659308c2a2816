"""Training on real image files, by the command line and by the loop: it learns, resumes in place, and says its data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import image_files
import numpy as np
import pytest
from tiny_sweep import scalelaw

pytest.importorskip("jax", reason="the trainer needs jax")
pytest.importorskip("grain", reason="images on disk need grain")

from scalelaw import architecture
from scalelaw.errors import UserError
from scalelaw.runs import RunTable
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.facts import with_digest
from scalelaw.train import data, loop, recipe, step
from scalelaw.train.data import Order

MODEL = architecture.Variant("test", "nfnet", (8,), (1,), (1,), (8,), (1,), None)
RULES = recipe.recipe("pretrain")
BATCH = 8


class Kept(loop.Trace):
    """A trace in memory."""

    def __init__(self) -> None:
        self.rows = []

    def flush(self) -> None:
        """Keeps the rows."""


def source_of(**settings):
    return data.load(with_digest(DataSection(**settings)))


def outcome_of(source, images=600):
    programs = step.build(MODEL, source, RULES, BATCH)
    order = Order(3, source.train_images, images, BATCH)
    plan = loop.Schedule(order, 0.4, 2, 0, 1e-9)
    return loop.run(plan, programs, source, RULES, Kept(), lambda images, speed: None)


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> dict[str, dict[str, object]]:
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
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["folder", "cifar10", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("parquet", "arrayrecord"))]
)
def test_training_learns_the_classes(places, kind):
    outcome = outcome_of(source_of(**places[kind]))
    assert outcome.status == "finished"
    assert outcome.val_loss < 0.5 < np.log(4)
    assert outcome.top1_error <= 0.125


SPEC = """
[sweep]
name = "files"
[data]
source = "folder"
path = "{path}"
resolution = 8
[model]
variants = ["N0"]
[train]
epochs = 2
peak_lr = 0.4
batch_size = 8
"""


@pytest.mark.slow
def test_a_sweep_on_a_folder_makes_a_row_and_says_its_data(places, tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC.format(path=places["folder"]["path"]))
    answer = scalelaw("sweep", spec, "-o", tmp_path / "out", "--workers", 1)
    assert answer.returncode == 0, answer.stderr
    (row,) = RunTable.load(tmp_path / "out").frame.to_dict("records")
    assert (row["status"], row["unique_images"], row["images_seen"], row["resolution"]) == ("finished", 32, 64, 8)
    (facts,) = (json.loads(path.read_text()) for path in (tmp_path / "out").glob("folder-*.json"))
    assert facts["class_names"] == list(image_files.CLASSES)
    assert facts["decoder"]["others"].startswith("Pillow")


def test_a_changed_folder_is_refused(tmp_path):
    place = image_files.folder(tmp_path / "folder", 40)
    source = source_of(source="folder", path=str(place), resolution=8)
    (place / "ant" / "00000.jpeg").unlink()
    with pytest.raises(UserError, match="has changed since the sweep was planned"):
        data.load(source.config)


def test_a_source_is_a_frozen_value(places):
    with pytest.raises(dataclasses.FrozenInstanceError):
        source_of(**places["folder"]).classes = 3


def test_the_place_is_no_part_of_the_set(places, tmp_path):
    moved = Path(str(places["folder"]["path"]))
    other = image_files.folder(tmp_path / "elsewhere", 40)
    configs = [with_digest(DataSection(**{**places["folder"], "path": str(path)})) for path in (moved, other)]
    assert configs[0].digest == configs[1].digest
    assert configs[0].name == configs[1].name
