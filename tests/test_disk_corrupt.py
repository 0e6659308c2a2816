"""Unreadable images: named, counted, replaced in the same way every time, and too many of them stop the run."""

from __future__ import annotations

import image_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("jax", reason="the trainer needs jax")
pytest.importorskip("grain", reason="images on disk need grain")

from scalelaw.errors import UserError
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.facts import with_digest
from scalelaw.train import data
from scalelaw.train.data import Order

COUNT = 40
DAMAGE = {"text": b"not an image\n", "cut": image_files.encoded(3)[:200], "empty": b""}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def place(tmp_path):
    return image_files.folder(tmp_path / "folder", COUNT)


def source_of(place, **settings):
    settings = {"source": "folder", "resolution": 8, "max_corrupt": 0.2, "augment": "none", **settings}
    return data.load(with_digest(DataSection(path=str(place), **settings)))


def damage(place, source, index, kind="text"):
    """Makes the training image of this index unreadable. Returns its name."""
    name = source.split.images.name(int(source.split.train_rows[index]))
    (place / name).write_bytes(DAMAGE[kind])
    return name


def epoch_of(source, threads_seed=0):
    (batch,) = source.feed(Order(threads_seed, source.train_images, 32, 32), 0, slice(0, 32))
    return dict(zip(batch.inputs["index"].tolist(), zip(batch.inputs["image"], batch.inputs["label"], strict=True),
                    strict=True)), batch.weights  # fmt: skip


def test_the_next_readable_image_takes_the_place_with_its_own_label(place):
    before, _ = epoch_of(source_of(place))
    whole = source_of(place)
    names = [
        damage(place, whole, index, kind) for index, kind in ((4, "text"), (5, "cut"), (20, "empty"), (31, "text"))
    ]
    source = source_of(place)
    for _ in range(2):
        after, weights = epoch_of(source)
        assert (weights == 1).all()
        for index in range(32):
            taken = {4: 6, 5: 6, 20: 21, 31: 0}.get(index, index)
            assert after[index][0].tobytes() == before[taken][0].tobytes(), index
            assert after[index][1] == before[taken][1]
    assert sorted(source.corrupt) == sorted(names)
    assert all(source.corrupt.values())


def test_a_replacement_is_the_same_in_any_batch(place):
    damage(place, source_of(place), 7)
    source = source_of(place, augment="crop-flip")
    order = Order(2, 32, 64, 8)
    whole = list(source.feed(order, 0, slice(0, 8)))
    parts = [batch for first in range(8) for batch in list(source.feed(order, first, slice(0, 8)))[:1]]
    for one, other in zip(whole, parts, strict=True):
        assert one.inputs["image"].tobytes() == other.inputs["image"].tobytes()
        assert one.inputs["label"].tolist() == other.inputs["label"].tolist()


def test_too_many_stop_the_run_and_the_first_are_named(place):
    whole = source_of(place)
    names = [damage(place, whole, index) for index in (1, 2, 3)]
    source = source_of(place, max_corrupt=2 / 32)
    with pytest.raises(UserError) as caught:
        epoch_of(source)
    assert "of 32 training images cannot be read, more than max_corrupt = 0.0625" in str(caught.value)
    assert all(name in str(caught.value) for name in names)
    assert epoch_of(source_of(place, max_corrupt=3 / 32))[1].sum() == 32
    with pytest.raises(UserError, match=r"[123] of 32 training images"):
        epoch_of(source_of(place, max_corrupt=0.001))


def test_nothing_readable_stops_the_run(place):
    for file in place.rglob("*.jpeg"):
        file.write_bytes(b"text")
    with pytest.raises(UserError, match="cannot be read"):
        epoch_of(source_of(place, max_corrupt=0.999))


def test_a_file_that_vanishes_is_one_of_them(place):
    source = source_of(place)
    name = source.split.images.name(int(source.split.train_rows[0]))
    (place / name).unlink()
    epoch_of(source)
    assert source.corrupt == {name: "No such file or directory"}


def test_an_unreadable_held_out_image_has_no_weight(place):
    whole = source_of(place)
    name = whole.split.held.name(int(whole.split.held_rows[2]))
    (place / name).write_bytes(b"text")
    source = source_of(place)
    (batch,) = source.held_out(8, None, slice(0, 8))
    assert batch.weights.tolist() == [1, 1, 0, 1, 1, 1, 1, 1]
    assert list(source.corrupt) == [name]
    with pytest.raises(UserError, match="of 8 held-out images"):
        list(source_of(place, max_corrupt=0.1).held_out(8, None, slice(0, 8)))


# Parquet and ArrayRecord


class Evil:
    """Unpickling this raises."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_pickles_in_parquet_are_bytes_like_any_other(tmp_path):
    import pickle

    images = [image_files.encoded(k) for k in range(40)]
    images[5] = pickle.dumps(Evil())
    images[6] = None
    table = pa.table({"image": pa.array(images, pa.binary()), "label": [k % 4 for k in range(40)]})
    notes = {b"pandas": pickle.dumps(Evil()), b"huggingface": pickle.dumps(Evil())}
    pq.write_table(table.replace_schema_metadata(notes), tmp_path / "a.parquet")
    settings = {"source": "parquet", "path": str(tmp_path / "a.parquet"), "resolution": 8, "max_corrupt": 0.3}
    source = data.load(with_digest(DataSection(**settings)))
    epoch_of(source)
    list(source.held_out(8, None, slice(0, 8)))
    assert sorted(source.corrupt) == ["a.parquet:5", "a.parquet:6"]
    assert source.corrupt["a.parquet:6"] == "no image in this row"


def test_records_that_are_none_are_counted_and_labels_out_of_range_are_refused(tmp_path):
    records = [image_files.example(image_files.encoded(k), k % 4) for k in range(40)]
    records[3], records[9] = b"\xff\xff\xff", image_files.example(b"text", 1)
    path = image_files.array_record(tmp_path / "a" / "x.array_record", records)
    settings = {"source": "arrayrecord", "path": str(path), "resolution": 8, "classes": 4, "max_corrupt": 0.3}
    source = data.load(with_digest(DataSection(**settings)))
    epoch_of(source)
    list(source.held_out(8, None, slice(0, 8)))
    assert sorted(source.corrupt) == ["x.array_record:3", "x.array_record:9"]
    for label, words in ((4, "'label' is 4; with 4 classes it runs from 0 to 3"), (-1, "'label' is -1")):
        records[9] = image_files.example(image_files.encoded(1), 1)
        image_files.array_record(path, records)
        source = data.load(with_digest(DataSection(**settings, holdout_images=1)))
        records[9] = image_files.example(image_files.encoded(1), label)
        image_files.array_record(path, records)  # while the run is under way
        with pytest.raises(UserError, match=words):
            list(source.feed(Order(0, 39, 39, 39), 0, slice(0, 39)))


def test_a_record_without_the_feature_is_named(tmp_path):
    plain, other = (image_files.example(b"", 0).replace(b"image", name) for name in (b"image", b"photo"))
    path = image_files.array_record(tmp_path / "x.array_record", [plain] * 5)
    section = DataSection(source="arrayrecord", path=str(path), resolution=8, classes=2)
    source = data.load(with_digest(section))
    image_files.array_record(path, [other] * 5)
    with pytest.raises(UserError, match=r"x.array_record:0: the record has no feature 'image'"):
        with_digest(section)
    with pytest.raises(UserError, match=r"x.array_record:\d: the record has no feature 'image'"):
        list(source.feed(Order(0, 4, 4, 4), 0, slice(0, 4)))
    assert np.array_equal(source.split.images.name(3), "x.array_record:3")
