"""Near-duplicates in ArrayRecord files: named as training names them, whatever the path, the parts and the damage."""

from __future__ import annotations

import io
import json
import pickle
import sys
from pathlib import Path

import image_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import made_images as made
from PIL import Image

pytest.importorskip("array_record")

from scalelaw.cli import main
from scalelaw.dedup import hashing, pairs, sources
from scalelaw.errors import UserError
from scalelaw.sweep.disk.records import Records

RNG = np.random.default_rng(0)
IMAGES = [made.dead_leaves(RNG, 64, 100) for _ in range(24)]


def jpeg(image: np.ndarray | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    Image.fromarray(image).save(out := io.BytesIO(), "JPEG", quality=90)
    return out.getvalue()


def records(place: Path, images: list) -> Path:
    """Two files of records in a folder within `place`, beside notes as TensorFlow Datasets leaves them."""
    examples = [image_files.example(jpeg(image), k % 3) for k, image in enumerate(images)]
    half = len(examples) // 2 + 1
    for k, part in enumerate((examples[:half], examples[half:])):
        image_files.array_record(place / "1.0.0" / f"a-train.array_record-0000{k}-of-00002", part)
    (place / "1.0.0" / "features.json").write_text("{}")
    return place


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def found(train: Path, held: Path) -> list[tuple]:
    kept = [hashing.keep(sources.listing(path), Path("thumbnails"), workers=1) for path in (train, held)]
    one, other = (pairs.hashed(each) for each in kept)
    return [(pair.index, pair.other_index, pair.kind) for pair in pairs.near_duplicates(one, other).pairs]


def test_the_same_pairs_as_of_the_same_images_in_a_folder():
    copies = [made.jpeg(IMAGES[0]), IMAGES[1][:, ::-1], made.resized(0.5)(IMAGES[2], RNG), *IMAGES[8:]]
    content = [jpeg(image) for image in copies]
    held = [jpeg(image) for image in IMAGES[:8]]
    for name, images in (("train", content), ("held", held)):
        made.save(Path("files") / name, images)
        records(Path("records") / name, images)
    want = found(Path("files/train"), Path("files/held"))
    assert [pair[:2] for pair in want] == [(0, 0), (1, 1), (2, 2)]
    assert {pair[2] for pair in want} == {"identical", "copy", "mirrored"}
    for one in ("files", "records"):
        for other in ("files", "records"):
            assert found(Path(one) / "train", Path(other) / "held") == want


@pytest.mark.parametrize("path", ["set", "set/1.0.0", "set/*/a-train*", "set/1.0.0/a-train.array_record-00001-of-00002",
                                  "set/1.0.0/*-0000[0]-of-00002"])  # fmt: skip
def test_names_and_order_are_those_of_training(path):
    """With what a walk and a glob treat differently beside them."""
    records(Path("set"), IMAGES)
    for other in ("1.0.0/_a-train.array_record", "1.0.0/.b.array_record", ".hidden/c.array_record", "B.array_record"):
        if path == "set" or "_" in other:
            image_files.array_record(Path("set") / other, [image_files.example(jpeg(IMAGES[0]), 0)])
    images = Records(path, "image", "label", 3)
    listed = list(sources.pictures(Path(path)))
    assert [picture.name for picture in listed] == list(images.names())
    assert [picture.read() for picture in listed] == [images.read(row)[0] for row in range(images.count)]


def test_parts_are_the_same_from_one_process_and_from_two(monkeypatch):
    from scalelaw.dedup import array_records

    monkeypatch.setattr(array_records, "PART_IMAGES", 5)
    listing = sources.listing(records(Path("set"), IMAGES))
    assert [part.images for part in listing.parts] == [5, 5, 3, 5, 5, 1]
    assert all(pickle.loads(pickle.dumps(part)) == part for part in listing.parts)
    one, two = (hashing.keep(listing, Path(f"cache{k}"), workers=k) for k in (1, 2))
    every = np.arange(24)
    assert [picture.read() for part in listing.parts for picture in part.pictures()] == [*map(jpeg, IMAGES)]
    assert np.array_equal(one.some(every), two.some(every))
    assert np.array_equal(one.digests, two.digests)
    assert one.names(every) == two.names(every)
    assert one.some(every).any(axis=(1, 2)).all()


def test_records_that_give_no_image_are_corrupt_and_named():
    good = [image_files.example(jpeg(image), 0) for image in IMAGES]
    good[3] = b"\xff\xff\xff"
    good[5] = image_files.example(b"text", 0)
    good[6] = image_files.example(b"", 0).replace(b"image", b"photo")
    noise = RNG.bytes(3000)
    good[20] = image_files.example(noise, 0)
    place = image_files.array_record(Path("a.array_record"), good)
    content = place.read_bytes()
    assert noise[100:200] in content
    place.write_bytes(content.replace(noise[100:200], bytes(100)))
    kept = hashing.keep(sources.listing(place), Path("thumbnails"), workers=1)
    reasons = dict(kept.mistakes)
    assert list(reasons) == [f"a.array_record:{k}" for k in (3, 5, 6, 20)]
    assert "not a tf.train.Example" in reasons["a.array_record:3"]
    assert reasons["a.array_record:6"] == "the record has no feature 'image'"
    assert "the record cannot be read" in reasons["a.array_record:20"]
    assert all("\n" not in reason for reason in reasons.values())
    assert kept.some(np.array([19, 21])).any(axis=(1, 2)).all()  # its neighbours are read


def test_the_column_is_the_feature(capsys):
    photos = [image_files.example(b"none", 0, photo=jpeg(image)) for image in IMAGES]
    image_files.array_record(Path("a.array_record"), photos)
    assert len(set(sources.pictures(Path("a.array_record"), "photo"))) == 24
    with pytest.raises(SystemExit) as end:
        main(["dedup", "a.array_record", "--within", "--column", "phot", "--json"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.count("\n") == 1
    assert "24 of 24 images cannot be read" in said
    assert "a.array_record:0 (the record has no feature 'phot')" in said


def test_without_their_reader_a_line_says_what_to_install(monkeypatch, capsys):
    records(Path("set"), IMAGES)
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(SystemExit) as end:
        main(["dedup", "set", "--within"])
    assert end.value.code == 2
    assert capsys.readouterr().err == ("scalelaw: ArrayRecord files need array_record: pip install 'scalelaw[train]'\n")


@pytest.mark.parametrize("kind", ["parquet", "arrayrecord"])
def test_patterns_name_files_of_either_kind(kind, capsys):
    for k in range(3):
        part = [jpeg(image) for image in IMAGES[8 * k :][:8]] + [jpeg(IMAGES[0])]
        if kind == "parquet":
            pq.write_table(pa.table({"image": part}), f"train-{k}.parquet")
        else:
            examples = [image_files.example(image, 0) for image in part]
            image_files.array_record(Path(f"train-{k}.array_record"), examples)
    Path("other.txt").write_text("")
    ending = {"parquet": "parquet", "arrayrecord": "array_record"}[kind]
    with pytest.raises(SystemExit):
        main(["dedup", "train-[12]*", "--within", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["train"]["images"] == 18
    assert [(pair["name"], pair["other"]) for pair in answer["within"]["pairs"]] == [
        (f"train-2.{ending}:8", f"train-1.{ending}:8")
    ]


def test_bad_places_are_a_line():
    Path("bad.array_record").write_bytes(b"text" * 100)
    Path("one").mkdir()
    Path("one/a.txt").write_text("")
    pq.write_table(pa.table({"image": [b""]}), "one/b.parquet")
    image_files.array_record(Path("two/a.array_record"), [image_files.example(b"", 0)])
    pq.write_table(pa.table({"image": [b""]}), "two/b.parquet")
    for path, says in (
        ("bad.array_record", "bad.array_record: not an ArrayRecord file that can be read"),
        ("none-*", "none-*: there are no Parquet files or ArrayRecord files; name a file"),
        ("one/*", "one/*: a.txt is no Parquet or ArrayRecord file by its name"),
        ("two/*", "two/*: b.parquet is of another kind"),
        ("two", "two: holds image files, Parquet files, ArrayRecord files or CIFAR's binaries side by side"),
    ):
        with pytest.raises(UserError) as caught:
            sources.listing(Path(path))
        assert len(caught.value.messages) == 1
        assert says in str(caught.value)
    made.save(Path("three"), IMAGES[:2])
    image_files.array_record(Path("three/_a.array_record"), [image_files.example(b"", 0)])
    assert sources.listing(Path("three")).images == 2  # a program's notes make no second kind
    assert sources.listing(Path("two"), None, "arrayrecord").images == 1  # what is known needs no guess


def test_sets_of_one_size_are_told_apart(tmp_path):
    """Files are whole blocks long: three records of other lengths are as many bytes."""
    facts = []
    for name, first in (("a", 0), ("b", 3), ("c", 0)):
        place = tmp_path / name / "set.array_record"
        image_files.array_record(place, [image_files.example(jpeg(image), 0) for image in IMAGES[first : first + 3]])
        found = Records(str(place), "image", "label", 2)
        facts.append((place.stat().st_size, sources.listing(place).fingerprint, found.digest))
    one, other, copy = facts
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert one[2] != other[2]
    assert copy == one
