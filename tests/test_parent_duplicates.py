"""Files that a parent was trained on leave both halves of the fine-tuning set before anything trains."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import image_files
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pretrained import keep, pretrained

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import made_images as made

from scalelaw.cli.parent_duplicates import without_duplicates
from scalelaw.errors import UserError
from scalelaw.runs import ResultsFolder
from scalelaw.sweep import disk, expand, read_spec
from scalelaw.sweep.facts import with_digest
from scalelaw.sweep.memory import in_memory

RNG = np.random.default_rng(0)
IMAGES = [made.dead_leaves(RNG, 64, 100) for _ in range(22)]
SPEC = """
[sweep]
name = "{name}"
[data]
source = "folder"
path = "{name}"
{data}
[train]
images = 64
peak_lr = 0.1
batch_size = 16
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A parent trained on ten images; of twelve others and three copies of those, 3 are held out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made.save(Path("pretrain/one"), IMAGES[:5])
    made.save(Path("pretrain/two"), IMAGES[5:10])
    made.save(Path("fine/cats"), IMAGES[10:])
    made.save(Path("fine/dogs"), [made.jpeg(IMAGES[0]), IMAGES[1][:, ::-1], made.resized(0.5)(IMAGES[2], RNG)])
    model = '[model]\nvariants = ["N0"]\n'
    for run in pretrained(tmp_path, SPEC.format(name="pretrain", data="resolution = 32") + model):
        keep(tmp_path, run)
    return tmp_path


def spec(data: str = "", parent: str = "") -> Path:
    path = Path("fine.toml")
    path.write_text(f'{SPEC.format(name="fine", data=data)}[parent]\nresults = "results/pretrain"\n{parent}\n')
    return path


def names(rows, images) -> set[str]:
    every = list(images.names())
    return {every[row] for row in rows}


def test_near_duplicates_leave_training_and_held_out_images_and_are_counted(here):
    path, results = spec("resolution = 32"), ResultsFolder(Path("results/fine"), new=True)
    planned = read_spec(path)
    assert "will be looked for" in without_duplicates(planned, results, dry_run=True).remarks[0]
    assert not Path("results/fine").exists()
    cleaned = without_duplicates(planned, results)
    (run,), (before,) = expand(cleaned), expand(planned)
    data = run.config.data
    assert (data.excluded_images, data.excluded_holdout_images) == (2, 1)
    assert (data.train_images, data.holdout_images) == (10, 2)
    (remark,) = cleaned.remarks
    assert remark.startswith("2 training and 1 held-out images of fine are near-duplicates of images in pretrain")
    assert run.run_id != before.run_id
    split = disk.split(data)  # of the completed settings, as a worker reads them
    left = names(split.train_rows, split.images) | names(split.held_rows, split.held)
    assert left == {f"cats/{k:05d}.jpg" for k in range(12)}
    assert names(split.held_rows, split.held) < names(disk.split(before.config.data).held_rows, split.held)
    again = without_duplicates(planned, ResultsFolder(Path("results/fine"), new=True), dry_run=True)
    assert expand(again)[0].run_id == run.run_id
    other = spec("resolution = 32", "dedup = false")
    assert without_duplicates(read_spec(other), results).remarks == ()


def test_what_lies_beside_the_images_of_a_folder_is_no_obstacle(here):
    """Training reads the images alone, so they alone are compared."""
    for place in ("pretrain", "fine"):
        pq.write_table(pa.table({"file_name": ["a"]}), Path(place) / "metadata.parquet")
        Path(place, "one.bin").write_bytes(bytes(3073))
    results = ResultsFolder(Path("results/fine"), new=True)
    (run,) = expand(without_duplicates(read_spec(spec("resolution = 32")), results))
    assert (run.config.data.excluded_images, run.config.data.excluded_holdout_images) == (2, 1)


def test_files_whose_names_are_no_text_leave_too(here):
    Path("fine/dogs/00000.jpg").rename("fine/dogs/caf\udce9.jpg")
    Path("fine/cats/00003.jpg").rename("fine/cats/caf\udce9.jpg")  # no near-duplicate: left out by the list before
    Path("before.txt").write_bytes(b"cats/caf\xe9.jpg\n")
    results = ResultsFolder(Path("results/fine"), new=True)
    (run,) = expand(without_duplicates(read_spec(spec('resolution = 32\nexclude = "before.txt"')), results))
    split = disk.split(run.config.data)
    left = names(split.train_rows, split.images) | names(split.held_rows, split.held)
    assert left == {f"cats/{k:05d}.jpg" for k in range(12) if k != 3}


def as_rows(kind: str, place: str, images: list[bytes]) -> dict[str, Any]:
    """The images in two files of a kind, of classes 0 and 1, and what [data] says of them."""
    for k, part in enumerate((images[:6], images[6:])):
        path, classes = Path(place) / f"{place}-{k}.{ENDINGS[kind]}", [number % 2 for number in range(len(part))]
        if kind == "arrayrecord":
            examples = [image_files.example(image, label) for image, label in zip(part, classes, strict=True)]
            image_files.array_record(path, [one.replace(b"\x05image", b"\x05photo") for one in examples])
        else:
            path.parent.mkdir(exist_ok=True)
            pq.write_table(pa.table({"photo": part, "label": classes, "image": [b"none"] * len(part)}), path)
    return {"source": kind, "path": place, "image_key": "photo", **({"classes": 2} if kind == "arrayrecord" else {})}


ENDINGS = {"arrayrecord": "array_record", "parquet": "parquet"}


@pytest.mark.parametrize("pattern", [False, True], ids=["folder", "pattern"])
@pytest.mark.parametrize(("child", "parent"), [
    ("arrayrecord", "folder"), ("folder", "arrayrecord"), ("arrayrecord", "arrayrecord"),
    ("parquet", "arrayrecord"), ("parquet", "parquet"),
])  # fmt: skip
def test_whatever_the_sets_are_kept_in(tmp_path, monkeypatch, capsys, child, parent, pattern):
    pytest.importorskip("array_record")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    copies = [made.jpeg(IMAGES[0]), made.jpeg(IMAGES[1][:, ::-1]), made.jpeg(made.resized(0.5)(IMAGES[2], RNG))]
    sets = {"pretrain": [made.jpeg(image) for image in IMAGES[:10]],
            "fine": [*(made.jpeg(image) for image in IMAGES[10:]), *copies]}  # fmt: skip
    specs = {}
    for (place, images), kind in zip(sets.items(), (parent, child), strict=True):
        if kind == "folder":
            for k in range(2):
                made.save(Path(place) / "ab"[k], images[k::2])
            specs[place] = SPEC.format(name=place, data="resolution = 32")
            continue
        said = as_rows(kind, place, images)
        if pattern:
            said["path"] = f"{place}/{place}-*"
            Path(place, "aside.txt").write_text("passed over")  # `fine-*` does not name it
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in said.items())
        head = f'source = "folder"\npath = "{place}"\n'
        specs[place] = SPEC.format(name=place, data="resolution = 32").replace(head, f"{lines}\n")
    for run in pretrained(tmp_path, specs["pretrain"] + '[model]\nvariants = ["N0"]\n'):
        keep(tmp_path, run)
    Path("fine.toml").write_text(f'{specs["fine"]}[parent]\nresults = "results/pretrain"\n')
    planned = read_spec(Path("fine.toml"))
    cleaned = without_duplicates(planned, ResultsFolder(Path("results/fine"), new=True))
    (before,), (after,) = expand(planned), expand(cleaned)
    had, data = before.config.data, after.config.data
    assert (data.excluded_images > 0) + (data.excluded_holdout_images > 0) == 2
    assert data.excluded_images + data.excluded_holdout_images == 3
    assert data.train_images == had.train_images - data.excluded_images
    assert data.holdout_images == had.holdout_images - data.excluded_holdout_images
    (remark,) = cleaned.remarks
    assert remark.startswith(f"{data.excluded_images} training and {data.excluded_holdout_images} held-out images of "
                             f"{data.path} are near-duplicates of images in ")  # fmt: skip
    found = disk.split(data)
    rows = [*((found.images, row) for row in found.train_rows), *((found.held, row) for row in found.held_rows)]
    left = {images.read(int(row))[0] for images, row in rows}
    assert left == set(sets["fine"]) - set(copies)


@pytest.mark.parametrize("path", ["c", "c/cifar-10-batches-bin"])
def test_cifar_may_be_named_by_the_folder_it_was_unpacked_in(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    noise = np.random.default_rng(0).integers(0, 256, (72, 32, 32, 3), np.uint8)
    files = [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]
    Path("c/cifar-10-batches-bin").mkdir(parents=True)
    for k, file in enumerate(files):
        rows = noise[12 * k : 12 * (k + 1)].transpose(0, 3, 1, 2).reshape(12, -1)
        labels = np.arange(12, dtype=np.uint8)[:, None] % 10
        Path("c/cifar-10-batches-bin", file).write_bytes(np.concatenate([labels, rows], axis=1).tobytes())
    seen = [0, 13, 59, 60, 71]  # three for training and two of the test images
    np.savez("seen.npz", images=noise[seen], labels=np.arange(5) % 2)
    text = SPEC.replace('"folder"', '"{source}"').replace('path = "{name}"', 'path = "{path}"')
    for run in pretrained(tmp_path, text.format(name="pretrain", source="npz", path="seen.npz", data="")
                          + '[model]\nvariants = ["N0"]\n'):  # fmt: skip
        keep(tmp_path, run)
    Path("fine.toml").write_text(
        text.format(name="fine", source="cifar10", path=path, data="") + '[parent]\nresults = "results/pretrain"\n'
    )
    (run,) = expand(without_duplicates(read_spec(Path("fine.toml")), ResultsFolder(Path("results/fine"), new=True)))
    assert (run.config.data.excluded_images, run.config.data.excluded_holdout_images) == (3, 2)
    assert (run.config.data.train_images, run.config.data.holdout_images) == (57, 10)


def test_two_parents_sets_of_equal_names_and_sizes_have_lists_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sets = {"a/images.npz": IMAGES[:5], "b/images.npz": IMAGES[5:10], "fine.npz": [*IMAGES[10:], *IMAGES[3:6]]}
    for place, images in sets.items():
        Path(place).parent.mkdir(exist_ok=True)
        np.savez(place, images=np.stack(images), labels=np.arange(len(images)) % 2)
    assert Path("a/images.npz").stat().st_size == Path("b/images.npz").stat().st_size
    text = SPEC.replace('"folder"', '"npz"').replace('path = "{name}"', "path = {path}")
    parents = text.format(name="pretrain", path='["a/images.npz", "b/images.npz"]', data="")
    for run in pretrained(tmp_path, parents + '[model]\nvariants = ["N0"]\n'):
        keep(tmp_path, run)
    Path("fine.toml").write_text(
        text.format(name="fine", path='"fine.npz"', data="") + '[parent]\nresults = "results/pretrain"\n'
    )
    runs = expand(without_duplicates(read_spec(Path("fine.toml")), ResultsFolder(Path("results/fine"), new=True)))
    assert {
        run.config.parent.data.path: run.config.data.excluded_images + run.config.data.excluded_holdout_images
        for run in runs
    } == {"a/images.npz": 2, "b/images.npz": 1}


def test_a_set_that_the_parent_has_seen_whole_is_refused_with_the_mend(here):
    path, results = spec("resolution = 32"), ResultsFolder(Path("results/fine"), new=True)
    path.write_text(path.read_text().replace('path = "fine"', 'path = "pretrain"'))
    with pytest.raises(UserError, match=r"set \[parent\] dedup = false") as caught:
        without_duplicates(read_spec(path), results)
    assert len(caught.value.messages) == 1
    assert not Path("results/fine").exists()
    results.root.mkdir()
    (results.root / "near-duplicates-0.txt").write_text("")
    with pytest.raises(UserError):
        without_duplicates(read_spec(path), results)
    assert [file.name for file in results.root.iterdir()] == ["near-duplicates-0.txt"]


def test_held_out_images_of_an_archive_can_be_left_out_by_number(here):
    images = np.stack([np.asarray(image)[:16, :16].mean(axis=2) for image in IMAGES])
    np.savez("images.npz", images=images, labels=np.arange(22) % 2)
    section = read_spec(spec("resolution = 32")).grids[0].data
    plain = section.model_validate({"source": "npz", "path": "images.npz"})
    whole = in_memory(plain)
    Path("list.txt").write_text(f"{whole.held_rows[1]}\n{whole.train_rows[0]}\n")
    data = with_digest(plain.model_copy(update={"holdout_exclude": "list.txt"}))
    assert (data.holdout_images, data.excluded_holdout_images, data.train_images) == (3, 1, 18)
    found = in_memory(data)
    assert found.held_rows.tolist() == [*whole.held_rows[:1], *whole.held_rows[2:]]
    assert found.train_rows.tolist() == whole.train_rows.tolist()
    from scalelaw.train.data import load

    assert load(data).holdout_images == 3
