"""Labels that lie beside the images, in ArrayRecord files, are read before anything is made, and once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import image_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pretrained import keep, pretrained

pytest.importorskip("array_record")

from scalelaw.cli import main
from scalelaw.errors import UserError
from scalelaw.sweep import disk
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.disk import labels
from scalelaw.sweep.disk.records import Records
from scalelaw.sweep.facts import with_digest

SPEC = """
[sweep]
name = "fine"
[data]
source = "arrayrecord"
path = "set"
classes = 4
resolution = 32
eval_resolution = 32
{data}
[train]
images = 64
peak_lr = 0.1
batch_size = 16
{rest}
"""
MODEL = '[model]\nvariants = ["N0"]\n'


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(labels, "_known", {})


def records(place: str, **changed: int | bytes) -> Path:
    """Two files of 20 images each; `at13=7` gives image 13 another label, bytes another content."""
    examples = [image_files.example(image_files.encoded(k), k % 4) for k in range(40)]
    for name, what in changed.items():
        at = int(name.removeprefix("at"))
        examples[at] = what if isinstance(what, bytes) else image_files.example(image_files.encoded(at), what)
    for k in range(2):
        image_files.array_record(Path(place) / f"a-{k}.array_record", examples[20 * k : 20 * k + 20])
    return Path(place)


def plan(**more) -> None:
    with_digest(DataSection(source="arrayrecord", path="set", classes=4, **more))


def refused(capsys, *argv: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(list(argv))
    told = capsys.readouterr()
    assert end.value.code == 2, told.err
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


@pytest.mark.parametrize("command", [["sweep"], ["sweep", "--dry-run"], ["sweep", "--prepare"], ["train"], ["finetune"],
                                     ["finetune", "--dry-run"]])  # fmt: skip
@pytest.mark.parametrize("half", ["training", "held-out"])
def test_a_label_that_is_no_class_is_one_line_and_nothing_is_made(capsys, tmp_path, command, half):
    pytest.importorskip("jax", reason="the trainer needs jax")
    rest = MODEL
    if command[0] == "finetune":
        (run, *_) = pretrained(tmp_path)
        rest = f'[parent]\nrun = "{keep(tmp_path, run).relative_to(tmp_path)}"\n'
    records("set" if half == "training" else "other", at25=7, at31=9)
    data = ""
    if half == "held-out":
        records("set")
        data = 'holdout_path = "other"'
    Path("spec.toml").write_text(SPEC.format(data=data, rest=rest))
    before = sorted(Path().rglob("*"))
    told = refused(capsys, command[0], "spec.toml", *command[1:])
    place = "set" if half == "training" else "other"
    assert told == (f"scalelaw: spec.toml:7: [data] classes: {place}/a-1.array_record:5: 'label' is 7; with 4 classes "
                    "it runs from 0 to 3; set classes = 8 or more, or mend the label\n")  # fmt: skip
    made = set(Path().rglob("*")) - set(before)
    assert {path.parts[0] for path in made} <= {"cache"}
    assert not Path("results/fine").exists()


def test_the_mend_is_one_that_helps():
    records("set", at3=-1)
    with pytest.raises(UserError, match=r"a-0.array_record:3: 'label' is -1; .*; leave out images without a label"):
        plan()
    records("set", at3=2**40)
    with pytest.raises(UserError, match=r"a-0.array_record:3: 'label' is 1099511627776; .*; mend the label$"):
        plan()
    records("set", at3=9)
    with_digest(DataSection(source="arrayrecord", path="set", classes=10))
    with_digest(DataSection(source="arrayrecord", path="set", classes=5000))


def test_records_of_something_else_are_refused_and_damaged_ones_passed_over():
    noise = np.random.default_rng(0).bytes(3000)
    records("set", at7=b"\xff\xff\xff", at9=image_files.example(noise, 2), at30=image_files.example(b"no image", 2))
    path = Path("set/a-0.array_record")
    assert noise[100:200] in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(noise[100:200], bytes(100)))
    plan()
    with pytest.raises(ValueError, match="the record cannot be read"):
        Records("set", "image", "label", 4).read(9)
    records("set", at7=image_files.example(b"x", 0).replace(b"image", b"photo"))
    with pytest.raises(UserError, match=r"a-0.array_record:7: the record has no feature 'image'; name it with"):
        plan()
    with pytest.raises(UserError, match=r"a-0.array_record:0: 'label' must be bytes and 'label' a whole number"):
        plan(image_key="label")


def listed(*rows: int, name: str = "out.txt") -> str:
    """A list of images of `records`, by their rows."""
    Path(name).write_text("".join(f"a-{row // 20}.array_record:{row % 20}\n" for row in rows))
    return name


def test_records_that_a_list_leaves_out_are_passed_over():
    """Whatever they are, and whether or not the whole file was read before; the others are judged as they were."""
    held = set(disk.split_order(40, 0)[:8].tolist())
    first, second, third, fourth = sorted(set(range(20)) - held)[:4]
    other = image_files.example(b"x", 0).replace(b"image", b"photo")
    records("set", **{f"at{first}": 9, f"at{second}": -1, f"at{third}": other, f"at{fourth}": 6})
    for left_out, words in (((second, third), rf"a-0.array_record:{first}: 'label' is 9"),
                            ((first, second), rf"a-0.array_record:{third}: the record has no feature 'image'"),
                            ((first, third), rf"a-0.array_record:{second}: 'label' is -1"),
                            ((first, second, third), rf"a-0.array_record:{fourth}: 'label' is 6")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            plan(exclude=listed(*left_out), holdout_images=8)
    plan(exclude=listed(first, second, third, fourth), holdout_images=8)


def test_what_is_remembered_of_a_whole_file_serves_a_list_too():
    out, other = (int(row) for row in disk.split_order(40, 0)[[20, 30]])
    records("set")
    plan()
    swap(out)
    plan(exclude=listed(other))  # reads no record
    for path in Path("set").iterdir():
        os.utime(path, ns=(0, 0))
    for known in range(2):
        with pytest.raises(UserError, match=rf":{out % 20}: 'label' is 9"):
            plan(exclude=listed(other))
        if not known:
            plan(exclude=listed(out))
        with pytest.raises(UserError, match=rf":{out % 20}: 'label' is 9"):
            plan()
    plan(exclude=listed(out))


def test_a_list_counts_for_the_half_that_it_is_of():
    order = disk.split_order(40, 0)
    held, trained = int(order[0]), int(order[20])
    records("set", **{f"at{held}": 9})
    for key, words in (("exclude", f":{held % 20}: 'label' is 9"), ("holdout_exclude", None)):
        if words is None:
            plan(holdout_images=8, **{key: listed(held)})
        else:
            with pytest.raises(UserError, match=words):
                plan(holdout_images=8, **{key: listed(held, trained)})
    records("set")
    records("other", at3=9, at30=7)
    with pytest.raises(UserError, match=r"other/a-0.array_record:3: 'label' is 9"):
        plan(holdout_path="other", exclude=listed(3, 30))
    few = {"holdout_path": "other", "holdout_images": 2}
    plan(**few, holdout_exclude=listed(3, 30))


def swap(at: int) -> None:
    """Puts files with another label in place, of the same sizes and times."""
    stamps = {path: path.stat() for path in sorted(Path("set").iterdir())}
    records("set", **{f"at{at}": 9})
    for path, stamp in stamps.items():
        assert path.stat().st_size == stamp.st_size
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_a_second_plan_reads_no_record(monkeypatch):
    records("set")
    plan()
    swap(25)
    plan()
    monkeypatch.setattr(labels, "_known", {})  # another process
    plan()
    with pytest.raises(UserError, match="'label' is 2; with 2 classes"):
        with_digest(DataSection(source="arrayrecord", path="set", classes=2))  # what is remembered serves any number
    os.utime("set/a-0.array_record", ns=(0, 0))
    plan()  # this one is read, the other is not
    os.utime("set/a-1.array_record", ns=(0, 0))
    with pytest.raises(UserError, match=r"a-1.array_record:5: 'label' is 9"):
        plan()


def test_a_file_is_remembered_by_itself():
    """Its neighbour is mended and it is not read again."""
    records("set", at5=9)
    with pytest.raises(UserError, match=r"a-0.array_record:5: 'label' is 9"):
        plan()
    swap(25)
    records("other")
    Path("other/a-0.array_record").replace("set/a-0.array_record")
    plan()


def test_other_features_are_read_anew():
    records("set")
    plan()
    with pytest.raises(UserError, match="has no feature 'class'"):
        plan(label_key="class")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"records": [1], "labels": []}', '{"records": 5, "labels": 5}',
                                     '{"records": ["0"], "labels": [0]}', "\x00"])  # fmt: skip
def test_a_damaged_memory_is_none(monkeypatch, content):
    records("set")
    plan()
    kept = sorted(Path("cache/scalelaw/labels").iterdir())
    assert len(kept) == 2
    for path in kept:
        path.write_text(content)
    swap(25)
    monkeypatch.setattr(labels, "_known", {})
    with pytest.raises(UserError, match="'label' is 9"):
        plan()


def test_a_cache_that_cannot_be_written_is_no_error():
    Path("cache").write_text("")
    records("set")
    plan()
    swap(25)
    plan()  # this process remembers
    assert Path("cache").read_text() == ""


def test_a_worker_reads_no_label_before_it_trains(monkeypatch):
    records("set")
    data = with_digest(DataSection(source="arrayrecord", path="set", classes=4))
    remembered = Path("cache/scalelaw/labels")
    shutil.rmtree(remembered)
    monkeypatch.setattr(labels, "_known", {})  # another process
    split = disk.split(data, fresh=True)
    assert len(split.train_rows) == data.train_images
    assert not remembered.exists()
    swap(25)
    with pytest.raises(UserError, match=r"a-1.array_record:5: 'label' is 9"):
        split.images.read(25)
    with pytest.raises(UserError, match="has changed since the sweep was planned"):
        disk.split(data, fresh=True)


def test_a_long_reading_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(labels, "LONG_SECONDS", -1)
    monkeypatch.setattr(labels, "STRETCH", 3)
    records("set")
    plan()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert "set: reading the labels of 40 records" in told.err
    plan()
    assert capsys.readouterr().err == ""


@given(st.lists(st.sampled_from([-7, -1, 0, 1, 2, 3, 5, 8, 70_000, 2**50]), max_size=30), st.integers(1, 9))
def test_what_is_remembered_decides_for_any_number_of_classes(found, stretch):
    every = list(enumerate(found))
    parts = [labels.deciding_of(every[at : at + stretch]) for at in range(0, len(every), stretch)]
    deciding = labels.deciding_of(pair for part in parts for pair in part)
    assert len({label for _, label in deciding}) == len(deciding)  # few, however many records
    for classes in (2, 3, 4, 6, 9, 2**16):
        first = next((pair for pair in every if not 0 <= pair[1] < classes), None)
        assert next((pair for pair in deciding if not 0 <= pair[1] < classes), None) == first
