"""Files listed: classes, names, splits, exclusion lists, digests; and every mistake said in one line."""

from __future__ import annotations

import image_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from disk_sections import refused, section
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.sweep import data_facts, describe
from scalelaw.sweep.config import DataConfig, DataSection
from scalelaw.sweep.disk import base, exclusion, split
from scalelaw.sweep.facts import with_digest


@pytest.fixture
def place(tmp_path):
    return image_files.folder(tmp_path / "folder", 40)


def names(found, rows, images=None):
    return [(images or found.images).name(int(row)) for row in rows]


def test_a_folder_is_listed_in_one_order_with_its_labels(place):
    (place / "bee" / "more" / "deep").mkdir(parents=True)
    (place / "bee" / "more" / "deep" / "x.PNG").write_bytes(image_files.encoded(1, "PNG"))
    for noise in (".hidden.jpg", "._00001.jpeg", "README.txt", "Thumbs.db"):
        (place / "bee" / noise).write_bytes(b"noise")
    (place / "_notes").mkdir()
    (place / "list.csv").write_text("a")
    found = split(section(place, holdout_images=1)).images
    assert found.class_names == image_files.CLASSES
    assert found.count == 41
    listed = list(found.names())
    assert listed[0] == "ant/00000.jpeg"
    assert "bee/more/deep/x.PNG" in listed
    assert len(set(listed)) == 41
    assert listed == sorted(listed)
    for row, name in enumerate(listed):
        content, label = found.read(row)
        assert image_files.CLASSES[label] == name.split("/")[0]
        assert content == (place / name).read_bytes()


def test_names_need_not_be_text(place):
    """A file's name is any bytes; what one system wrote another must read."""
    (place / "cat" / "bl\udcff\udcfeb.jpg").write_bytes(image_files.encoded(2))
    found = split(section(place)).images
    (row,) = [row for row, name in enumerate(found.names()) if "\udcff" in name]
    assert found.read(row)[0] == image_files.encoded(2)
    assert len(found.digest) == 64


@given(held=st.integers(1, 30), seed=st.integers(0, 2**31 - 1), train=st.integers(1, 32))
@settings(max_examples=20, deadline=None)
def test_the_split_is_disjoint_complete_and_the_same_for_any_size(tmp_path_factory, held, seed, train):
    place = tmp_path_factory.getbasetemp() / "split"
    if not place.exists():
        image_files.folder(place, 40)
    whole = split(section(place, holdout_images=held, seed=seed))
    rows = [*whole.train_rows.tolist(), *whole.held_rows.tolist()]
    assert sorted(rows) == list(range(40))
    assert len(whole.held_rows) == min(held, 8)
    part = split(section(place, holdout_images=held, seed=seed, train_images=train))
    assert part.train_rows.tolist() == whole.train_rows[:train].tolist()
    assert part.held_rows.tolist() == whole.held_rows.tolist()


def test_a_place_of_their_own_for_held_out_images(place, tmp_path):
    held = image_files.folder(tmp_path / "held", 12, first=100)
    for file in (held / "ant").iterdir():
        file.unlink()
    (held / "ant").rmdir()  # a class may lack held-out images, and the others keep their labels
    data = with_digest(section(place, holdout_path=str(held), resolution=8))
    assert (data.train_images, data.holdout_images, data.classes) == (40, 9, 4)
    found = split(data)
    assert {found.held.read(int(row))[1] for row in found.held_rows} == {1, 2, 3}
    assert with_digest(section(place, holdout_path=str(held), holdout_images=5)).holdout_images == 5
    (held / "eel").mkdir()
    (held / "eel" / "a.jpeg").write_bytes(image_files.encoded(0))
    (line,) = refused(section(place, holdout_path=str(held)))
    assert "class 'eel' is not among the training images' 4" in line


def test_excluded_images_are_left_out_counted_and_part_of_the_identity(place, tmp_path):
    before = with_digest(section(place))
    whole = split(before)
    out = names(whole, whole.train_rows[:3])
    held = names(whole, whole.held_rows[:1])
    listing = tmp_path / "exclude.txt"
    listing.write_text("\n".join([*out, *held, "cat/absent.jpeg", ""]))
    data = with_digest(section(place, exclude=str(listing)))
    found = split(data)
    assert found.excluded == tuple(sorted(out))
    assert not set(names(found, found.train_rows)) & set(out)
    assert found.held_rows.tolist() == whole.held_rows.tolist()
    assert (data.train_images, data.excluded_images, data.digest) == (29, 3, before.digest)
    assert data.name != before.name
    assert "3 excluded by" in describe(data)
    listing.write_text("\n".join([*reversed(out), "dog/other.jpeg"]))  # another order, other strangers: the same set
    assert with_digest(section(place, exclude=str(listing))).exclude_digest == data.exclude_digest
    listing.write_text(out[0])
    with pytest.raises(UserError, match="has changed since the sweep was planned"):
        split(data)
    listing.write_text("nothing.jpg\n")
    assert "none of the 1 names" in refused(section(place, exclude=str(listing)))[0]
    assert "ant/00000.jpeg" in refused(section(place, exclude=str(listing)))[0]
    listing.write_text("")
    assert with_digest(section(place, exclude=str(listing))).name == before.name
    assert "exclude: " in refused(section(place, exclude=str(tmp_path / "no.txt")))[0]
    listing.write_text('# {"train": "a"}\n' + "\n".join(out))  # what dedup writes
    pq.write_table(pa.table({"index": [1, 2, 3], "name": out}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").write_text(
        '# {"train": "a"}\nindex,name\n' + "\n".join(f"{k},{name}" for k, name in enumerate(out))
    )
    for kind in (listing, tmp_path / "x.parquet", tmp_path / "x.csv"):
        assert with_digest(section(place, exclude=str(kind))).exclude_digest == data.exclude_digest
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert "has no column 'name'" in refused(section(place, exclude=str(tmp_path / "x.csv")))[0]


def test_the_digest_follows_names_and_sizes(place):
    digests = [with_digest(section(place)).digest]
    (place / "ant" / "00000.jpeg").rename(place / "ant" / "renamed.jpeg")
    digests.append(with_digest(section(place)).digest)
    (place / "ant" / "renamed.jpeg").write_bytes(b"longer" * 1000)
    digests.append(with_digest(section(place)).digest)
    (place / "ant" / "renamed.jpeg").rename(place / "bee" / "renamed.jpeg")
    digests.append(with_digest(section(place)).digest)
    assert len(set(digests)) == 4


def test_facts_need_no_second_look_at_the_disk(place):
    data = with_digest(section(place, resolution=64))
    for file in place.rglob("*.jpeg"):
        file.unlink()
    facts = data_facts(DataConfig.model_validate_json(data.model_dump_json(exclude_defaults=True)))
    assert (facts.classes, facts.resolution, facts.train_images) == (4, 64, 32)
    assert (data_facts(DataConfig(source="folder", train_images=3)).resolution, data.eval_side) == (224, 73)
    assert section(place).eval_side == 256


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"source": "folder"}, ["path: is missing; source = 'folder' reads a folder"]),
        ({"source": "folder", "path": "absent"}, ["path: absent cannot be read (No such file or directory)"]),
        ({"source": "folder", "path": ".", "noise": 0.1, "image_key": "a", "crop_area": (0.9, 0.1)},
         ["noise: belong to the built-in images, source = 'folder' has none",
          "image_key: source = 'folder' has no such setting ('parquet' or 'arrayrecord' has); leave it out",
          "crop_area: must be two shares, the lower first, at most 1, not [0.9, 0.1]"]),
        ({"source": "parquet", "path": ".", "resolution": 4, "eval_resolution": 5000, "crop_aspect": (2, 1),
          "label_key": ""},
         ["label_key: is empty", "resolution: must be a whole number from 8 to 2048, not 4",
          "eval_resolution: must be a", "crop_aspect: must be two ratios"]),
        ({"source": "npz", "path": "a.npz", "resolution": 32}, ["resolution: source = 'npz' has no such setting ("]),
        ({"source": "hierarchy", "train_images": 9, "augment": "flip"}, ["augment: 'flip' changes what"]),
        ({"source": "cifar10", "path": "nowhere"}, ["path: nowhere/data_batch_1.bin cannot be read"] + ["path: "] * 5),
        ({"source": "arrayrecord", "path": "nowhere"}, ["path: nowhere is not there; name an ArrayRecord file"]),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line(settings, lines):
    found = refused(DataSection(**settings))
    assert len(found) == len(lines), found
    for said, line in zip(found, lines, strict=True):
        assert said.startswith(f"[data] {line}"), said


@pytest.mark.parametrize(("name", "content", "names"), [
    ("a.txt", "\ufeffa/1.png\r\nb/2.png\r\n", {"a/1.png", "b/2.png"}),  # as Windows' editors write it
    ("a.txt", "# {}\na/1\x85.png\na/\u20282.png\n\n", {"a/1\x85.png", "a/\u20282.png"}),
    ("a.csv", "\ufeffname,kind\r\na/1.png,copy\r\n", {"a/1.png"}),
    ("a.csv", '# {"radius": 12}\nindex,name\n1,"a, b/1.png"\n', {"a, b/1.png"}),
])  # fmt: skip
def test_a_list_names_what_its_lines_say(tmp_path, name, content, names):
    (tmp_path / name).write_bytes(content.encode())
    assert exclusion.names_in(str(tmp_path / name)) == names


def test_a_csv_that_cannot_be_read_is_said(place, tmp_path):
    (tmp_path / "a.csv").write_text(f"name\n{'x' * 200_000}\n")
    (line,) = refused(section(place, exclude=str(tmp_path / "a.csv")))
    assert line.startswith("[data] exclude: ")


def test_folders_that_are_no_set_are_said(tmp_path):
    assert "has 0 folders" in refused(section(tmp_path))[0]
    (tmp_path / "a").mkdir()
    assert "has 1 folders; give it one for each class, two at least" in refused(section(tmp_path))[0]
    (tmp_path / "b").mkdir()
    assert "2 classes have no image (first: a)" in refused(section(tmp_path))[0]
    image_files.folder(tmp_path / "c", 40)
    assert "classes: " in refused(section(tmp_path / "c", classes=5))[0]
    assert "ask for at most 32" in refused(section(tmp_path / "c", train_images=33))[0]
    (tmp_path / "c" / "ant" / "loop").symlink_to(tmp_path / "c" / "ant")
    assert "does a link lead back?" in refused(section(tmp_path / "c"))[0]


def test_more_images_than_an_index_counts_are_refused():
    base.too_many("here", 2**31 - 1)
    with pytest.raises(UserError, match="here: 2,147,483,648 images; at most 2,147,483,647 can be counted"):
        base.too_many("here", 2**31)
