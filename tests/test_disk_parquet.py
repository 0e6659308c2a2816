"""Parquet files listed and read: rows, labels, row groups in memory or unpacked; and every mistake said in one line."""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import image_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from disk_sections import refused, section

from scalelaw.sweep.disk import split, split_order
from scalelaw.sweep.facts import with_digest


def test_parquet_rows_are_read_from_many_files_in_order(tmp_path):
    for k in range(3):
        image_files.parquet(tmp_path / "sub" / f"part-{k}.parquet", range(10 * k, 10 * k + 10), plain=k == 1)
    whole = split(section(tmp_path, "parquet")).images
    assert whole.count == 30
    assert [whole.name(row) for row in (0, 10, 29)] == [
        "sub/part-0.parquet:0",
        "sub/part-1.parquet:0",
        "sub/part-2.parquet:9",
    ]
    for row in np.random.default_rng(0).permutation(30).tolist():
        assert whole.read(row) == (image_files.encoded(row), row % 4)
    pattern = split(section(tmp_path / "sub" / "part-[02].*", "parquet")).images
    assert [pattern.name(row) for row in (0, 10)] == ["part-0.parquet:0", "part-2.parquet:0"]
    one = split(section(tmp_path / "sub" / "part-1.parquet", "parquet")).images
    assert one.read(3) == (image_files.encoded(13), 1)


@pytest.mark.parametrize("held", [1, 2**30])
@pytest.mark.parametrize("cached", [True, False])
def test_row_groups_are_kept_or_unpacked(tmp_path, monkeypatch, held, cached):
    from scalelaw.sweep.disk import groups, parquet

    monkeypatch.setattr(groups, "HELD_BYTES", held)
    image_files.parquet(tmp_path / "a.parquet", range(30), group=10)
    reads = []
    honest = parquet.Parquet._read_group
    monkeypatch.setattr(parquet.Parquet, "_read_group", lambda self, *at: reads.append(at) or honest(self, *at))
    images = parquet.Parquet(
        str(tmp_path / "a.parquet"), "image", "label", cache=str(tmp_path / "c") if cached else None
    )
    for row in np.random.default_rng(1).integers(0, 30, 90).tolist():
        assert images.read(row) == (image_files.encoded(row), row % 4)
    assert len(reads) == 3 if cached or held > 1 else len(reads) > 30
    assert (tmp_path / "c").exists() == cached
    if cached:
        again = parquet.Parquet(str(tmp_path / "a.parquet"), "image", "label", cache=str(tmp_path / "c"))
        assert again.read(29)[0] == image_files.encoded(29)
        assert len(reads) == 3  # another process finds them


@pytest.mark.parametrize("labels", [[0] * 6, ["ant"] * 6])
def test_images_of_one_class_are_no_set_to_learn(tmp_path, labels):
    images = [image_files.encoded(k) for k in range(6)]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "one.parquet")
    assert refused(section(tmp_path, "parquet")) == [
        f"{tmp_path}: 'label' has 1 class; give images of 2 to 65,536 classes"
    ]
    image_files.parquet(tmp_path / "two" / "two.parquet", range(8), words=isinstance(labels[0], str))
    several = section(tmp_path / "two", "parquet", holdout_path=str(tmp_path / "one.parquet"))
    assert with_digest(several).holdout_images == 6


def test_hidden_folders_hold_no_rows_unless_a_pattern_names_them(tmp_path):
    for name in ("a", "b/c", ".trash/a", "b/_temporary/c"):
        image_files.parquet(tmp_path / f"{name}.parquet", range(5))
    assert split(section(tmp_path, "parquet")).images.files == ["a.parquet", "b/c.parquet"]
    assert split(section(tmp_path / "b" / "_temporary" / "*.parquet", "parquet")).images.files == ["c.parquet"]


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there it is a pattern")
def test_what_is_no_pattern_is_said(tmp_path):
    image_files.parquet(tmp_path / "a.parquet", range(5))
    (line,) = refused(section(tmp_path / "**.parquet", "parquet"))
    assert line.endswith(
        "**.parquet is no pattern ('**' can only be an entire path component); write /**/* for all below a folder"
    )


def test_row_groups_in_memory_count_their_bytes_once_whichever_threads_read_them(monkeypatch):
    """Where few fit, one may be read anew while another thread still waits for its first reading."""
    from scalelaw.sweep.disk import groups

    monkeypatch.setattr(groups, "HELD_BYTES", 400)

    def read(file: int, group: int) -> pa.Array:
        time.sleep(2e-4)
        return pa.array([bytes([group]) * 100] * 3)

    kept = groups.InMemory(read)

    def ask(seed: int) -> None:
        for group in np.random.default_rng(seed).integers(0, 3, 200).tolist():
            assert kept.image(0, group, 1) == bytes([group]) * 100

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(ask, range(8)))
    assert kept._bytes == sum(images.nbytes for images in kept._groups.values()) <= 400


def test_an_unpacked_row_group_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """Else a power cut leaves an empty file, whose images would count as unreadable ever after."""
    from scalelaw.sweep.disk import groups

    done: list[tuple[str, int]] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append(("sync", os.fstat(file).st_size)), sync(file)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(("name", os.stat(a).st_size)), replace(a, b)))
    unpacked = groups.Unpacked(str(tmp_path / "c"), lambda file, group: pa.array([b"one", b"three"]))
    assert unpacked.image(0, 0, 1) == b"three"
    size = 3 * groups.WORD + 8
    assert done == [("sync", size), ("name", size)]


def test_another_column_of_images_is_not_taken_from_the_unpacked_ones(tmp_path):
    from scalelaw.sweep.disk import parquet

    images = {key: [image_files.encoded(first + k) for k in range(4)] for key, first in (("image", 0), ("depth", 9))}
    pq.write_table(pa.table({**images, "label": [0, 1, 0, 1]}), tmp_path / "a.parquet")
    for key in ("image", "depth"):
        found = parquet.Parquet(str(tmp_path / "a.parquet"), key, "label", cache=str(tmp_path / "c"))
        assert [found.read(row)[0] for row in range(4)] == images[key]


def test_class_names_come_from_words_or_hugging_faces_notes(tmp_path):
    words = image_files.parquet(tmp_path / "words.parquet", range(12), words=True)
    found = split(section(words, "parquet")).images
    assert (found.class_names, found.read(2)[1]) == (image_files.CLASSES, 2)
    table = pq.read_table(image_files.parquet(tmp_path / "a.parquet", range(12)))
    notes = {"info": {"features": {"label": {"names": ["a", "b", "c", "d", "e"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({b"huggingface": json.dumps(notes).encode()}), tmp_path / "a.parquet")
    found = split(section(tmp_path / "a.parquet", "parquet")).images
    assert (found.class_names, found.classes) == (("a", "b", "c", "d", "e"), 5)


def test_parquet_mistakes_are_said(tmp_path):
    path = image_files.parquet(tmp_path / "a.parquet", range(12), image_key="img", label_key="y")
    lines = refused(section(path, "parquet"))
    assert len(lines) == 2
    assert "has no column 'image'" in lines[0]
    assert "(columns: id, img, y); name it with image_key" in lines[0]
    assert with_digest(section(path, "parquet", image_key="img", label_key="y")).classes == 4
    assert "'id' is int64; give encoded images" in refused(section(path, "parquet", image_key="id", label_key="y"))[0]
    assert "one class per image" in refused(section(path, "parquet", image_key="img", label_key="img"))[0]

    def labelled(labels):
        pq.write_table(pa.table({"image": [b"x"] * len(labels), "label": labels}), tmp_path / "b.parquet")
        return section(tmp_path / "b.parquet", "parquet")

    assert "b.parquet, row 2: has no 'label'" in refused(labelled([0, 1, None, 1, 1]))[0]
    assert "b.parquet, row 1: 'label' is -1" in refused(labelled([0, -1, 1, 1, 1]))[0]
    assert "a fifth is held out" in refused(labelled([0, 1]))[0]
    (tmp_path / "c.parquet").write_bytes(b"text")
    assert "c.parquet: not a Parquet file" in refused(section(tmp_path / "c.parquet", "parquet"))[0]
    assert "is not there; name a Parquet file" in refused(section(tmp_path / "d.parquet", "parquet"))[0]
    assert "holds no such file" in refused(section(tmp_path / "*.pq", "parquet"))[0]
    assert len(list(tmp_path.iterdir())) == 3  # nothing was written


@pytest.mark.parametrize(("bad", "words"), [
    (-1, "'label' is -1; labels run from 0 to 3 here, leave out what has none"),
    (None, "has no 'label'; leave out images without a label"),
    (2**40, "'label' is 1099511627776; labels run from 0 to 3 here"),
])  # fmt: skip
def test_labels_of_rows_that_a_list_leaves_out_are_passed_over(tmp_path, bad, words):
    order = split_order(40, 0).tolist()
    held, (other, *trained) = order[:8], sorted(order[8:])
    labels = [k % 4 for k in range(40)]
    for row in (held[0], trained[0], trained[-1]):
        labels[row] = bad
    table = pa.table({"image": [image_files.encoded(k) for k in range(40)], "label": pa.array(labels, pa.int64())})
    pq.write_table(table.slice(0, 20), tmp_path / "a.parquet")
    pq.write_table(table.slice(20), tmp_path / "b.parquet")

    def listed(name, *rows):
        path = tmp_path / f"{name}.txt"
        path.write_text("".join(f"{'ab'[row // 20]}.parquet:{row % 20}\n" for row in rows))
        return str(path)

    def planned(exclude, holdout):
        lists = {"exclude": listed("exclude", *exclude), "holdout_exclude": listed("holdout", *holdout)}
        return section(tmp_path, "parquet", holdout_images=8, **({"classes": 4} if bad else {}), **lists)

    good = with_digest(planned([held[0], trained[0], trained[-1]], [held[0]]))
    assert (good.classes, good.train_images, good.holdout_images) == (4, 30, 7)
    found = split(good)
    rows = [*found.train_rows.tolist(), *found.held_rows.tolist()]
    assert [found.images.read(row)[1] for row in rows] == [row % 4 for row in rows]
    for exclude, holdout, named in (([other], [held[0]], trained[0]), ([trained[0]], [held[0]], trained[-1]),
                                    ([held[0], trained[0], trained[-1]], [held[1]], held[0])):  # fmt: skip
        (line,) = refused(planned(exclude, holdout))
        assert line.startswith(f"{tmp_path}/{'ab'[named // 20]}.parquet, row {named % 20}: {words}")


def test_a_word_that_only_left_out_rows_have_is_no_class_of_held_out_images(tmp_path):
    image_files.parquet(tmp_path / "train.parquet", range(40), words=True)
    images, labels = [image_files.encoded(k) for k in range(6)], ["ant", "bee", "eel", None, "bee", "cat"]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "held.parquet")

    def planned(*rows):
        (tmp_path / "out.txt").write_text("".join(f"held.parquet:{row}\n" for row in rows))
        path, lists = str(tmp_path / "held.parquet"), {"holdout_exclude": str(tmp_path / "out.txt")}
        return section(tmp_path / "train.parquet", "parquet", holdout_path=path, **lists)

    (line,) = refused(planned(3))
    assert line == f"{tmp_path}/held.parquet: class 'eel' is not among the training images' 4; leave it out"
    assert refused(planned(2)) == [f"{tmp_path}/held.parquet, row 3: has no 'label'; leave out images without a label"]
    data = with_digest(planned(2, 3))
    found = split(data)
    assert sorted(found.held.read(int(row))[1] for row in found.held_rows) == [0, 1, 1, 2]


@pytest.mark.parametrize("words", [False, True])
def test_classes_are_those_of_the_rows_that_no_list_leaves_out(tmp_path, words):
    """Whatever part of these trains; a number that is stated, or was when the run was planned, is kept."""
    order = split_order(40, 0).tolist()
    held, trained = order[0], order[-1]
    stray = "aardvark" if words else 9
    labels = [image_files.CLASSES[k % 4] if words else k % 4 for k in range(40)]
    images = [image_files.encoded(k) for k in range(40)]

    def planned(out, *strays, **more):
        mixed = [stray if k in strays else label for k, label in enumerate(labels)]
        pq.write_table(pa.table({"image": images, "label": mixed}), tmp_path / "a.parquet")
        (tmp_path / "out.txt").write_text("".join(f"a.parquet:{row}\n" for row in out))
        return section(tmp_path / "a.parquet", "parquet", exclude=str(tmp_path / "out.txt"), **more)

    every = 5 if words else 10
    data = with_digest(planned([trained], trained))
    found = split(data)
    rows = [*found.train_rows.tolist(), *found.held_rows.tolist()]
    assert data.classes == found.images.classes == 4
    assert [found.images.read(row)[1] for row in rows] == [row % 4 for row in rows]
    assert found.images.class_names == (image_files.CLASSES if words else None)
    assert split(data.model_copy(update={"classes": every})).images.classes == every  # planned when all rows counted
    assert with_digest(planned([trained], trained, classes=every)).classes == every
    assert with_digest(planned([trained], trained, classes=4)).classes == 4
    assert with_digest(planned([trained], trained, train_images=5)).classes == 4
    for out, strays in (([order[-2]], [trained]), ([trained], [trained, order[-2]]), ([held], [held])):
        assert with_digest(planned(out, *strays)).classes == every  # one is left, the last of the held-out half
        assert with_digest(planned(out, *strays, train_images=5)).classes == every
    two = [row for row in range(40) if row % 4]
    lists = {"holdout_exclude": str(tmp_path / "out.txt")}
    assert refused(planned(two, **lists)) == [
        f"{tmp_path}/a.parquet: 'label' has 1 class; give images of 2 to 65,536 classes"
    ]


@pytest.mark.parametrize("words", [False, True])
def test_a_class_that_held_out_images_have_stays(tmp_path, words):
    """Also where their files are others and no training image is left that has it: so the same runs are planned."""
    label = image_files.CLASSES.__getitem__ if words else int
    images = [image_files.encoded(k) for k in range(12)]
    pq.write_table(pa.table({"image": images, "label": [label(k % 3) for k in range(11)] + [label(3)]}),
                   tmp_path / "train.parquet")  # fmt: skip
    pq.write_table(pa.table({"image": images[:4], "label": [label(k) for k in (1, 3, 0, 2)]}),
                   tmp_path / "held.parquet")  # fmt: skip
    (tmp_path / "out.txt").write_text("train.parquet:11\n")
    (tmp_path / "held.txt").write_text("held.parquet:1\n")
    lists = {"exclude": str(tmp_path / "out.txt"), "holdout_path": str(tmp_path / "held.parquet")}
    data = with_digest(section(tmp_path / "train.parquet", "parquet", **lists))
    found = split(data)
    assert (data.classes, found.held.classes, sorted(found.held.labels.tolist())) == (4, 4, [0, 1, 2, 3])
    assert with_digest(section(tmp_path / "train.parquet", "parquet", holdout_images=1, **lists)).classes == 4
    lists["holdout_exclude"] = str(tmp_path / "held.txt")
    data = with_digest(section(tmp_path / "train.parquet", "parquet", **lists))
    found = split(data)
    assert (data.classes, found.images.classes, found.held.classes) == (3, 3, 3)
    assert sorted(found.held.read(row)[1] for row in found.held_rows.tolist()) == [0, 1, 2]


def test_classes_that_the_files_name_stay_whatever_is_left_out(tmp_path):
    table = pq.read_table(image_files.parquet(tmp_path / "a.parquet", range(12)))
    notes = {"info": {"features": {"label": {"names": ["a", "b", "c", "d", "e"], "_type": "ClassLabel"}}}}
    pq.write_table(table.replace_schema_metadata({b"huggingface": json.dumps(notes).encode()}), tmp_path / "a.parquet")
    (tmp_path / "out.txt").write_text("".join(f"a.parquet:{row}\n" for row in (3, 7, 11)))
    lists = dict.fromkeys(("exclude", "holdout_exclude"), str(tmp_path / "out.txt"))
    assert with_digest(section(tmp_path / "a.parquet", "parquet", **lists)).classes == 5
