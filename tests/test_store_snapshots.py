"""Checkpoints in an object store are whole or not there, and the one before stays until the next one is."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from scalelaw.runs.store import pushing, snapshots
from scalelaw.runs.store.claim import Holder
from scalelaw.runs.store.place import Place, StoreError, opened

RUN = "0123abcd"


@pytest.fixture
def place(tmp_path) -> Place:
    return opened((tmp_path / "store").as_uri())


def train(folder: Path, step: int) -> None:
    """What training leaves at a step: a committed checkpoint, and one more part of the trace."""
    (folder / "trace").mkdir(parents=True, exist_ok=True)
    (folder / "trace" / f"part-{len(list((folder / 'trace').iterdir())):05d}.parquet").write_text(f"to {step}")
    aside = folder / "checkpoint" / f"{step}.tmp"
    (aside / "state").mkdir(parents=True)
    (aside / "state" / "array").write_bytes(step.to_bytes(4, "little") * 1000)
    (aside / "beside.json").write_text("{}")
    aside.rename(folder / "checkpoint" / str(step))


def push(place: Place, folder: Path, step: int) -> None:
    snapshots.push(place, RUN, step, snapshots.stage(folder, step))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for name in ("checkpoint", "trace") for path in (folder / name).rglob("*") if path.is_file()}  # fmt: skip


def stored(place: Place) -> list[str]:
    return sorted(name.rpartition("/")[2].split("-")[0] for name in place.listing(f"{RUN}/checkpoint"))


def test_what_is_pushed_is_brought_to_another_machine_byte_for_byte(place, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    assert snapshots.bring(place, RUN, there) is None
    train(here, 10)
    push(place, here, 10)
    assert snapshots.bring(place, RUN, there) == 10
    assert contents(there) == contents(here)
    assert sorted(path.name for path in there.iterdir()) == ["checkpoint", "trace"]


def test_the_two_newest_stay_and_what_is_newer_on_disk_is_left(place, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for step in (10, 20, 30):
        train(here, step)
        push(place, here, step)
    assert [entry["step"] for entry in snapshots.pushed(place, RUN)] == [30, 20]
    assert stored(place) == ["20", "30", "manifest.json"]
    for step in (5, 40):
        train(there, step)
    before = contents(there)
    assert snapshots.bring(place, RUN, there) is None
    assert contents(there) == before
    assert snapshots.bring(place, RUN, here) is None


def test_a_newer_one_takes_the_place_of_an_earlier_attempts(place, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for step in (10, 20):
        train(here, step)
    push(place, here, 20)
    for step in (4, 8, 12):
        train(there, step)
    assert snapshots.bring(place, RUN, there) == 20
    assert snapshots.local_steps(there) == [20]
    assert len(snapshots.trace_parts(there)) == 2


@pytest.mark.parametrize("moment", ["archive", "manifest"])
def test_until_a_new_one_is_whole_the_one_before_is_valid(place, tmp_path, monkeypatch, moment):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    train(here, 10)
    push(place, here, 10)
    train(here, 20)
    write = Place.writing

    def torn(self: Place, name: str):
        if name.endswith(".tar" if moment == "archive" else ".json"):
            raise StoreError("the network is away")
        return write(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Place, "writing", torn)
        with pytest.raises(StoreError):
            push(place, here, 20)
    assert snapshots.bring(place, RUN, there) == 10
    push(place, here, 20)
    assert snapshots.bring(place, RUN, there) == 20


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "other"])
def test_a_damaged_archive_is_passed_over_for_the_one_before(place, tmp_path, capfd, damage):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    for step in (10, 20):
        train(here, step)
        push(place, here, step)
    (newest,) = (name for name in place.listing(RUN) if "/20-" in name)
    content = bytearray(place.read(newest) or b"")
    if damage == "flipped":
        at = content.index((20).to_bytes(4, "little") * 100)
        content[at] ^= 1
    place.write(
        newest, {"cut": bytes(content[: len(content) // 2]), "other": b"x" * 20_000}.get(damage, bytes(content))
    )
    if damage == "gone":
        place.remove(newest)
    assert snapshots.bring(place, RUN, there) == 10
    assert snapshots.local_steps(there) == [10]
    assert not list(there.glob(".*"))
    assert "the checkpoint of step 20 is damaged" in capfd.readouterr().err


def test_a_manifest_that_cannot_be_read_is_said(place, tmp_path, capfd):
    place.write(f"{RUN}/checkpoint/manifest.json", b"{}")
    assert snapshots.bring(place, RUN, tmp_path) is None
    assert "cannot be read" in capfd.readouterr().err


def test_an_archive_cannot_write_outside_its_folder(place, tmp_path):
    here, there = tmp_path / "here", tmp_path / "x" / "there"
    there.mkdir(parents=True)
    train(here, 10)
    staged = snapshots.stage(here, 10)
    (staged / "checkpoint" / "10" / "link").symlink_to("../../../../outside")
    snapshots.push(place, RUN, 10, staged)
    assert snapshots.bring(place, RUN, there) is None
    assert not (there / "checkpoint").exists()


@pytest.fixture
def quick(monkeypatch) -> None:
    monkeypatch.setattr(pushing, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(pushing, "PAUSE_SECONDS", 0.05)


def until(what) -> None:
    end = time.monotonic() + 100
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_new_checkpoints_are_pushed_beside_the_training(place, tmp_path, quick, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    write, written = Place.write, Counter()

    def counted(self: Place, name: str, content: bytes) -> None:
        written[name] += 1
        write(self, name, content)

    monkeypatch.setattr(Place, "write", counted)
    with pushing.Pusher(place, RUN, here, Holder(place, RUN)) as pusher:
        train(here, 10)
        until(lambda: pusher.step == 10)
        (here / "status.json").write_text("{}")
        pusher.push_notes()
        train(here, 20)
    assert [entry["step"] for entry in snapshots.pushed(place, RUN)] == [20, 10]
    assert {"status.json", "trace/part-00000.parquet", "trace/part-00001.parquet"} <= {
        name.removeprefix(f"{RUN}/") for name in place.listing(RUN)
    }
    assert not list(here.glob(".*"))
    assert written == {f"{RUN}/checkpoint/manifest.json": 2, f"{RUN}/status.json": 1,
                       f"{RUN}/trace/part-00000.parquet": 1, f"{RUN}/trace/part-00001.parquet": 1}  # fmt: skip
    before = place.listing()
    with pushing.Pusher(place, RUN, here, Holder(place, RUN)):
        time.sleep(0.1)
    assert place.listing() == before, "what the store has was pushed again"


def test_training_does_not_wait_for_the_store_and_a_refusal_is_said_once(place, tmp_path, quick, monkeypatch, capfd):
    here, away = tmp_path / "here", threading.Event()
    here.mkdir()
    write = Place.writing

    def refusing(self: Place, name: str):
        if not away.is_set():
            raise StoreError("the network is away")
        return write(self, name)

    monkeypatch.setattr(Place, "writing", refusing)
    with pushing.Pusher(place, RUN, here, Holder(place, RUN)) as pusher:
        train(here, 10)
        time.sleep(0.3)
        assert pusher.step == -1
        away.set()
        until(lambda: pusher.step == 10)
    assert capfd.readouterr().err.count("the network is away; training goes on") == 1


def test_the_end_leaves_the_whole_trace_and_nothing_but_it(place, tmp_path):
    here = tmp_path / "here"
    for step in (10, 20):
        train(here, step)
    (here / "final").mkdir()
    (here / "final" / "weights.npz").write_bytes(b"weights")
    for name in ("trace/part-00007.parquet", "progress.json"):
        place.write(f"{RUN}/{name}", b"of an earlier attempt")
    pushing.Pusher(place, RUN, here, Holder(place, RUN)).push_end()
    assert {name.removeprefix(f"{RUN}/") for name in place.listing()} == {
        "trace/part-00000.parquet", "trace/part-00001.parquet", "final/weights.npz"
    }  # fmt: skip
    assert place.read(f"{RUN}/final/weights.npz") == b"weights"
