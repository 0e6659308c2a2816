"""Batches from disk: the same bytes from any step, by any number of processes and threads, and every image once."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import Any

import image_files
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")
pytest.importorskip("grain", reason="images on disk need grain")

from scalelaw.errors import UserError  # noqa: E402
from scalelaw.sweep.config import DataSection  # noqa: E402
from scalelaw.sweep.facts import with_digest  # noqa: E402
from scalelaw.train import data  # noqa: E402
from scalelaw.train.data import Order, augment  # noqa: E402
from scalelaw.train.data.pipeline import Place, Places  # noqa: E402

COUNT, BATCH = 40, 12
EVERYTHING = slice(0, BATCH)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return image_files.folder(tmp_path_factory.mktemp("feed") / "folder", COUNT)


def source_of(place, **settings):
    return data.load(with_digest(DataSection(source="folder", path=str(place), resolution=8, **settings)))


@pytest.fixture(scope="module")
def source(place):
    return source_of(place)


def order_of(source, seed=5, images=100, batch=BATCH):
    return Order(seed, source.train_images, images, batch)


def equal(one: Any, other: Any, rows: slice = slice(None)) -> bool:
    """All arrays of two batches, the first one's rows only, are equal to the bit."""
    pairs = [(one.inputs[name][rows], other.inputs[name]) for name in one.inputs]
    pairs.append((one.weights[rows], other.weights))
    return set(one.inputs) == set(other.inputs) and all(a.tobytes() == b.tobytes() for a, b in pairs)


def test_batches_are_the_same_from_any_step(source):
    order = order_of(source)
    whole = list(source.feed(order, 0, EVERYTHING))
    assert len(whole) == order.steps == 9
    for first in (0, 1, 4, 8):
        again = list(source.feed(order, first, EVERYTHING))
        assert len(again) == len(whole) - first
        assert all(map(equal, whole[first:], again))
    assert list(source.feed(order, order.steps, EVERYTHING)) == []


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
def test_processes_share_every_batch(source, processes):
    order, each = order_of(source), BATCH // processes
    whole = list(source.feed(order, 2, EVERYTHING))
    for process in range(processes):
        rows = slice(process * each, (process + 1) * each)
        part = list(source.feed(order, 2, rows))
        assert len(part) == len(whole)
        assert all(equal(one, other, rows) for one, other in zip(whole, part, strict=True))


def test_threads_change_nothing(place):
    batches = [list(s.feed(order_of(s), 0, EVERYTHING)) for s in (source_of(place, decode_threads=k) for k in (1, 7))]
    assert all(map(equal, *batches))


def test_the_batches_are_those_of_the_order(source):
    order = order_of(source)
    for step, batch in enumerate(source.feed(order, 0, EVERYTHING)):
        indices, weights = order.batch(step)
        assert batch.inputs["index"].tolist() == indices.tolist()
        assert batch.inputs["epoch"].tolist() == order.epochs(step).tolist()
        assert batch.weights.tolist() == weights.tolist()
        assert batch.inputs["image"].dtype == np.uint8
        assert batch.inputs["image"].shape == (BATCH, 8, 8, 3)
    assert batch.weights.tolist() == [1] * 4 + [0] * 8
    assert not batch.inputs["image"][4:].any()


def test_every_epoch_shows_every_image_once_with_its_label(place):
    """Without augmentation an image's pixels say which one it is."""
    source = source_of(place, augment="none")
    n = source.train_images
    order = Order(9, n, 3 * n, 10)
    batches = list(source.feed(order, 0, slice(0, 10)))
    images = np.concatenate([batch.inputs["image"] for batch in batches])[: 3 * n]
    labels = np.concatenate([batch.inputs["label"] for batch in batches])[: 3 * n]
    seen = Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    assert len(seen) == n == 32
    assert set(seen.values()) == {3}
    held = source_of(place, eval_resolution=8).held_out(8, None, slice(0, 8))
    shown = {image for image, _ in seen}
    assert not shown & {image.tobytes() for batch in held for image in batch.inputs["image"]}


def test_labels_belong_to_their_images(source):
    """The strongest colours of a class name it, whatever the crop."""
    (batch,) = source.feed(order_of(source, images=32, batch=32), 0, slice(0, 32))
    means = batch.inputs["image"].astype(float).mean((1, 2))
    nearest = ((means[:, None] - image_files.COLOURS - 15) ** 2).sum(-1).argmin(1)
    assert nearest.tolist() == batch.inputs["label"].tolist()


def test_augmentation_is_a_function_of_seed_epoch_and_index(source):
    def image(seed, index, epoch):
        return source.training_example(seed, Place(index, epoch, 1.0))[1].tobytes()

    places = [(seed, index, epoch) for seed in (0, 1) for index in range(3) for epoch in range(3)]
    first = {place: image(*place) for place in places}
    assert {place: image(*place) for place in reversed(places)} == first
    assert len(set(first.values())) == len(places)
    for batch in source.feed(order_of(source, seed=1), 0, EVERYTHING):  # in whichever batch it comes
        for row, index in enumerate(batch.inputs["index"][batch.weights > 0].tolist()):
            key = (1, index, int(batch.inputs["epoch"][row]))
            assert first.get(key, batch.inputs["image"][row].tobytes()) == batch.inputs["image"][row].tobytes()


def test_held_out_images_come_whole_in_order_and_never_change(source):
    batches = [list(source.held_out(5, None, slice(0, 5))) for _ in range(2)]
    assert all(map(equal, *batches))
    assert [batch.weights.tolist() for batch in batches[0]] == [[1] * 5, [1, 1, 1, 0, 0]]
    assert batches[0][0].inputs["image"].shape == (5, 9, 9, 3)
    (few,) = source.held_out(5, 3, slice(0, 5))
    assert few.weights.tolist() == [1, 1, 1, 0, 0]
    assert few.inputs["image"][:3].tobytes() == batches[0][0].inputs["image"][:3].tobytes()
    halves = [list(source.held_out(4, None, rows)) for rows in (slice(0, 2), slice(2, 4))]
    together = list(source.held_out(4, None, slice(0, 4)))
    for rows, part in zip((slice(0, 2), slice(2, 4)), halves, strict=True):
        assert all(equal(one, other, rows) for one, other in zip(together, part, strict=True))


def test_without_grain_the_mend_is_named(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(UserError, match=r"images on disk need grain: pip install 'scalelaw\[train\]'"):
        next(source.feed(order_of(source), 0, EVERYTHING))


def decoding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "grain" in thread.name]


def test_closing_the_batches_ends_their_threads(source):
    batches = source.feed(order_of(source, images=10**6), 0, EVERYTHING)
    next(batches)
    assert decoding()
    batches.close()
    end = time.monotonic() + 10
    while decoding() and time.monotonic() < end:
        time.sleep(0.01)
    assert not decoding()


def test_a_run_without_end_costs_no_memory_ahead():
    order = Order(0, 100, 10**12, 64)
    places = Places(order, 10**9, slice(32, 64))
    assert len(places) == (order.steps - 10**9) * 32
    indices, _ = order.batch(10**9 + 5)
    assert [places[5 * 32 + row].image for row in range(32)] == indices[32:].tolist()
    for step in range(100):
        assert places[step * 32].epoch == order.epochs(10**9 + step)[32]
    assert len(places._steps) <= 16


# On the device

augmented = jax.jit(augment.augmented, static_argnames="crop")


def draw(count, crop, seed=3, epoch=0, side=16):
    images = jax.random.normal(jax.random.key(0), (count, side, side, 3))
    index, epoch = np.arange(count), np.full(count, epoch)
    return np.asarray(images), np.asarray(augmented(images, augment.key_of(seed, count), epoch, index, crop=crop))


def test_mirroring_takes_half_of_the_images():
    before, after = draw(2000, crop=False)
    mirrored = (after == before[:, :, ::-1]).all((1, 2, 3))
    assert ((after == before).all((1, 2, 3)) ^ mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / 2000**0.5


def test_crops_move_each_way_evenly_and_bring_in_the_mean_colour():
    before, after = draw(1000, crop=True)
    moves = Counter()
    for number in range(len(before)):
        padded = {flip: np.pad(before[number, :, ::flip], ((2, 2), (2, 2), (0, 0))) for flip in (1, -1)}
        found = [(i, j, flip) for i in range(5) for j in range(5) for flip in (1, -1)
                 if (padded[flip][i : i + 16, j : j + 16] == after[number]).all()]  # fmt: skip
        assert len(found) == 1
        moves[found[0]] += 1
    assert len(moves) == 50
    expected = 1000 / 50
    assert sum((count - expected) ** 2 / expected for count in moves.values()) < 49 + 5 * (2 * 49) ** 0.5


def test_device_augmentation_is_a_function_of_seed_epoch_and_index():
    images = jax.random.normal(jax.random.key(1), (6, 16, 16, 3))
    index, epoch, key = np.arange(6) + 10, np.arange(6) // 2, augment.key_of(7, 6)
    whole = np.asarray(augmented(images, key, epoch, index, crop=True))
    shuffled = np.array([4, 0, 5, 2, 1, 3])
    for rows in (shuffled, shuffled[:2], [3]):
        part = augmented(images[np.array(rows)], key[: len(rows)], epoch[rows], index[rows], crop=True)
        assert np.asarray(part).tobytes() == whole[rows].tobytes()
    for other in (augmented(images, augment.key_of(8, 6), epoch, index, crop=True),
                  augmented(images, key, epoch + 1, index, crop=True)):  # fmt: skip
        assert (np.asarray(other) != whole).any()
