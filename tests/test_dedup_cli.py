"""`scalelaw dedup` as a person and a machine see it; killed and started again; its lists."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import made_images as made
from PIL import Image

from scalelaw.cli import main
from scalelaw.dedup import exclusions, sources
from scalelaw.errors import UserError
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.disk import split

RNG = np.random.default_rng(0)
IMAGES = [made.dead_leaves(RNG, 64, 100) for _ in range(12)]


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made.save(Path("held"), IMAGES[:4])
    made.save(Path("train/cats"), IMAGES[4:])
    made.save(Path("train/dogs"), [made.jpeg(IMAGES[0]), IMAGES[1][:, ::-1], made.resized(0.5)(IMAGES[2], RNG)])


def said(capsys: pytest.CaptureFixture[str], *argv: Any, code: int = 0) -> str:
    with pytest.raises(SystemExit) as end:
        main(["dedup", *(str(word) for word in argv)])
    captured = capsys.readouterr()
    assert end.value.code == code, captured.err
    return captured.out if code == 0 else captured.err


def test_for_a_person(capsys):
    lines = said(capsys, "train", "--against", "held").splitlines()
    assert lines[:2] == ["train: 11 images", "held: 4 images"]
    rows = [line.split() for line in lines[3:6]]
    assert [row[:3] for row in rows] == [
        ["dogs/00000.jpg", "00000.jpg", "identical"],
        ["dogs/00001.jpg", "00001.jpg", "mirrored"],
        ["dogs/00002.jpg", "00002.jpg", "copy"],
    ]
    assert lines[6].startswith("3 near-duplicates (1 identical, 1 copy, 1 mirrored) among 44 pairs")
    assert lines[-1] == "3 of 11 training images to leave out"


def test_as_json(capsys):
    out = said(capsys, "train", "--against", "held", "--within", "--decoys", "--json")
    assert out.count("\n") == 1
    answer = json.loads(out)
    assert answer["excluded"] == 3
    assert answer["train"] == {"path": "train", "images": 11, "plain": 0, "other_files": 0, "corrupt": []}
    assert [pair["index"] for pair in answer["against"]["pairs"]] == [8, 9, 10]
    assert answer["warnings"] == []
    assert answer["within"]["pairs"] == answer["decoys"]["pairs"] == []
    assert answer["facts"]["fingerprint"] == sources.listing(Path("train")).fingerprint


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt"])
def test_a_list_is_read_back(capsys, suffix):
    out = said(capsys, "train", "--against", "held", "-o", f"lists/leave_out{suffix}")
    assert f"listed in lists/leave_out{suffix}" in out
    found = exclusions.read(Path(f"lists/leave_out{suffix}"))
    assert found.names == ("dogs/00000.jpg", "dogs/00001.jpg", "dogs/00002.jpg")
    assert found.indices == (() if suffix == ".txt" else (8, 9, 10))
    assert found.facts["images"] == 11
    assert found.facts["fingerprint"] == sources.listing(Path("train")).fingerprint
    names = [picture.name for picture in sources.pictures(Path("train"))]
    assert [names[k] for k in found.indices] == list(found.names[: len(found.indices)])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt"])
def test_near_duplicates_whose_names_are_no_text_leave_training(capsys, suffix):
    """A file's name is any bytes; what one system wrote another must leave out."""
    named = {"cats/caf\udce9.jpg", "dogs/00001.jpg", "dogs/00002.jpg"}
    Path("train/dogs/00000.jpg").rename("train/cats/caf\udce9.jpg")
    out = said(capsys, "train", "--against", "held", "-o", f"list{suffix}")
    assert "cats/caf\ufffd.jpg" in out
    assert set(exclusions.read(Path(f"list{suffix}")).names) == named
    found = split(DataSection(source="folder", path="train", exclude=f"list{suffix}", holdout_images=1))
    assert named - {found.held.name(int(row)) for row in found.held_rows} == set(found.excluded)
    assert not named & {found.images.name(int(row)) for row in found.train_rows}
    pairs = json.loads(said(capsys, "train", "--against", "held", "--json"))["against"]["pairs"]
    assert "cats/caf\ufffd.jpg" in [pair["name"] for pair in pairs]


def test_a_list_in_parquet_is_text_where_its_names_are(capsys):
    said(capsys, "train", "--against", "held", "-o", "list.parquet")
    assert {str(pq.read_schema("list.parquet").field(name).type) for name in ("name", "other")} == {"string"}


@pytest.mark.parametrize("content", ["", "a.jpg\n", "# {}\nname\nx\n", "# [\n"])
def test_other_files_are_no_lists(content):
    Path("x.csv").write_text(content)
    with pytest.raises(UserError, match="not written by `scalelaw dedup`"):
        exclusions.read(Path("x.csv"))


@pytest.mark.parametrize(("argv", "says"), [
    (["train"], "--against"),
    (["train", "--against", "nowhere"], "nowhere: cannot be read"),
    (["train", "--against", "held", "-o", "list.json"], ".parquet, .csv, .txt"),
    (["train", "--against", "held", "--radius", "40"], "--radius 40"),
    (["train", "--against", "held", "--correlation", "0"], "--correlation 0"),
    (["train", "--against", "held", "--max-corrupt", "2"], "--max-corrupt 2"),
    (["train", "--against", "held", "--workers", "0"], "--workers 0"),
    (["train", "--within", "--decoys"], "--decoys"),
    (["train", "--against", "held", "--column", "photo"],
     "--column photo: train and held have no columns, which Parquet and ArrayRecord files have; leave it out"),
    (["set.npz", "--within", "--column", "images"], "--column images: set.npz has no columns"),
])  # fmt: skip
def test_bad_input_is_one_line(capsys, argv, says):
    np.savez("set.npz", images=np.zeros((2, 8, 8), np.uint8))
    err = said(capsys, *argv, code=2)
    assert err.count("\n") == 1
    assert says in err


def test_a_column_is_of_the_path_that_has_columns(capsys):
    """Held-out images may be files while those of training are rows."""
    rows = {"photo": [made.jpeg(image) for image in (*IMAGES[4:], IMAGES[0])], "image": [b"none"] * 9}
    pq.write_table(pa.table(rows), "train.parquet")
    for argv in (["train.parquet", "--against", "held"], ["held", "--against", "train.parquet"]):
        answer = json.loads(said(capsys, *argv, "--column", "photo", "--json"))
        assert [{pair["name"], pair["other"]} for pair in answer["against"]["pairs"]] == [
            {"train.parquet:8", "00000.jpg"}
        ]


def test_corrupt_images_are_named_and_too_many_stop_it(capsys):
    Path("train/cats/00003.jpg").write_bytes(made.jpeg(IMAGES[7])[:900])
    Path("train/dogs/blank.png").write_bytes(b"")
    out = said(capsys, "train", "--against", "held", "--max-corrupt", "0.2")
    assert "corrupt: cats/00003.jpg (image file is truncated" in out
    assert "corrupt: dogs/blank.png (is empty)" in out
    assert "3 of 12 training images to leave out" in out
    err = said(capsys, "train", "--against", "held", "--max-corrupt", "0.1", code=2)
    assert err.count("\n") == 1
    assert "2 of 12 images cannot be read, more than --max-corrupt 0.1; the first is cats/00003.jpg" in err


def test_an_image_that_changed_is_read_again(capsys):
    said(capsys, "train", "--against", "held")
    Path("train/cats/00000.jpg").write_bytes(made.jpeg(IMAGES[3]))
    assert "4 near-duplicates" in said(capsys, "train", "--against", "held")


def test_a_killed_command_goes_on(monkeypatch):
    """SIGKILL while parts are made: those that are there stay, byte for byte, and the answer is the same."""
    made.save(Path("many"), [made.jpeg(image) for image in IMAGES] * 100)
    command = [sys.executable, "-m", "scalelaw", "dedup", "many", "--against", "held", "--json", "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    cache = Path("cache/scalelaw/dedup")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not list(cache.glob("*.parquet")) and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in cache.glob("*.parquet")}
    assert 0 < len(there) < 4  # three parts of `many` and one of `held`
    again = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    whole = subprocess.run(
        [*command, "--cache", "other", "--workers", "2"], env=environment, capture_output=True, check=True
    )
    assert json.loads(again.stdout) == json.loads(whole.stdout)
    assert json.loads(again.stdout)["excluded"] == 4 * 100
    assert json.loads(again.stdout)["warnings"][-1].startswith("33% of the training images is much")


def test_a_damaged_part_is_named_and_made_again(capsys):
    said(capsys, "train", "--against", "held")
    part = next(Path("cache/scalelaw/dedup").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:500])
    assert "is damaged and has been removed" in said(capsys, "train", "--against", "held", code=2)
    assert "3 near-duplicates" in said(capsys, "train", "--against", "held")


def test_memory_is_that_of_thumbnails_not_of_images():
    """One image is decoded at a time: 300 MB of pixels raise the peak by less than 60 MB."""
    Image.fromarray(np.tile(IMAGES[0], (13, 13, 1))).save(content := io.BytesIO(), "PNG", compress_level=1)
    made.save(Path("large"), [content.getvalue()] * 145)
    script = (
        "import resource, sys; from pathlib import Path; from scalelaw.dedup import hashing, sources\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "hashing.keep(sources.listing(Path('held')), Path('c'), workers=1); before = peak()\n"
        "hashing.keep(sources.listing(Path('large')), Path('c'), workers=1); print(peak() - before)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    answer = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(answer.stdout) * unit < 60e6
