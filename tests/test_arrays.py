"""Images from a NumPy archive: split, normalised, and every broken file named with its mend."""

import hashlib
import io
import zipfile

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.disk import split_order
from scalelaw.sweep.facts import data_facts, with_digest
from scalelaw.train.data import arrays, load

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (50, 6, 6, 3), np.uint8), np.arange(50) % 4


@pytest.fixture
def save(tmp_path):
    """Writes an archive and returns its path; the images carry their number in the corner."""

    def write(**content):
        path = tmp_path / "images.npz"
        np.savez(path, **content)
        return str(path)

    return write


def draw(source, indices):
    images, labels = jax.jit(source.batch)(source.arrays, np.array(indices, np.int32))
    return np.asarray(images), np.asarray(labels)


def numbered(n):
    """n images in which the first pixel tells which one it is."""
    images = RNG.normal(size=(n, 4, 4))
    images[:, 0, 0] = np.arange(n)
    return images


def numbers(source, indices):
    """Which of the `numbered` images these are."""
    images = np.asarray(source.batch(source.arrays, np.array(indices, np.int32))[0])
    mean, std = np.asarray(source.arrays["mean"]), np.asarray(source.arrays["std"])
    return np.rint(images[:, 0, 0, 0] * std[0] + mean[0]).astype(int).tolist()


@given(n=st.integers(10, 60), held=st.integers(1, 20), seed=st.integers(0, 2**40), share=st.floats(0.1, 1))
@settings(max_examples=10, deadline=None)
def test_the_split_is_disjoint_and_loses_nothing(tmp_path_factory, n, held, seed, share):
    path = str(tmp_path_factory.mktemp("split") / "images.npz")
    labels = np.arange(n) % 7
    np.savez(path, images=numbered(n), labels=labels)
    source = arrays.make(path=path, holdout_images=held, seed=seed)
    assert source.holdout_images == min(held, n // 5)
    every = numbers(source, [*range(source.train_images), *source.holdout_indices()])
    train, holdout = every[: source.train_images], every[source.train_images :]
    assert sorted(train + holdout) == list(range(n))
    assert np.asarray(source.arrays["labels"]).tolist() == labels[every].tolist()  # labels stay with their images
    few = max(1, int(share * source.train_images))
    subset = arrays.make(path=path, holdout_images=held, seed=seed, train_images=few)
    assert subset.train_images == few
    # One held-out set for all sizes.
    assert numbers(subset, [*range(few), *subset.holdout_indices()]) == train[:few] + holdout
    assert set(subset.holdout_indices().tolist()).isdisjoint(range(few))


def test_another_seed_holds_out_others(save):
    path = save(images=numbered(50), labels=LABELS)
    held = {tuple(sorted(numbers(s, s.holdout_indices()))) for s in (arrays.make(path=path, seed=k) for k in range(5))}
    assert len(held) == 5


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_training_images_have_mean_0_and_variance_1_per_channel(save, dtype):
    source = arrays.make(path=save(images=IMAGES.astype(dtype), labels=LABELS))
    images, labels = draw(source, range(source.train_images))
    assert images.dtype == np.float32
    assert labels.dtype == np.int32
    assert images.shape == (40, 6, 6, 3)
    np.testing.assert_allclose(images.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std((0, 1, 2)), 1, atol=1e-5)
    held, _ = draw(source, source.holdout_indices())
    assert np.abs(held.mean((0, 1, 2))).max() > 1e-4  # the held-out images played no part in it
    assert source.classes == 4


@pytest.mark.parametrize("shape", [(50, 6, 6), (50, 6, 6, 1)])
def test_grey_images_are_repeated_to_three_channels(save, shape):
    source = arrays.make(path=save(images=IMAGES[..., :1].reshape(shape), labels=LABELS))
    images, _ = draw(source, range(5))
    assert images.shape == (5, 6, 6, 3)
    assert (images == images[..., :1]).all()
    assert len(np.unique(images)) > 10


def test_a_constant_channel_becomes_zero(save):
    images = IMAGES.copy()
    images[..., 2] = 7
    source = arrays.make(path=save(images=images, labels=LABELS))
    assert (draw(source, range(9))[0][..., 2] == 0).all()


def test_handwritten_digits_of_scikit_learn(save):
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    source = arrays.make(path=save(images=digits.images, labels=digits.target))
    assert (source.classes, source.resolution, source.train_images, source.holdout_images) == (10, 8, 1438, 359)
    images, labels = draw(source, range(source.train_images))
    means = np.stack([images[labels == k].mean(0).ravel() for k in range(10)])
    held, held_labels = draw(source, source.holdout_indices())
    nearest = ((held.reshape(-1, 1, 192) - means) ** 2).sum(-1).argmin(1)
    assert np.mean(nearest == held_labels) > 0.85  # nearest class mean: images and labels belong together


def test_description_counts_exact_twins(save):
    images = IMAGES.copy()
    source = arrays.make(path=save(images=images, labels=LABELS))
    assert source.describe()["holdout_twin_share"] == 0
    images[::2] = images[0]
    source = arrays.make(path=save(images=images, labels=LABELS))
    rows = np.asarray(source.arrays["images"]).reshape(50, -1)
    expected = np.mean([(row == rows[:40]).all(1).any() for row in rows[40:]])
    assert 0 < expected < 1
    assert source.describe()["holdout_twin_share"] == expected


def test_a_file_that_changed_after_planning_is_refused(save):
    path = save(images=IMAGES, labels=LABELS)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert arrays.make(path=path, digest=digest).describe()["sha256"] == digest
    save(images=IMAGES[::-1], labels=LABELS)
    with pytest.raises(UserError, match="changed since the sweep was planned"):
        arrays.make(path=path, digest=digest)


def test_load_ignores_the_settings_of_other_sources(save):
    class Config:
        source, path, train_images, holdout_images, seed = "npz", save(images=IMAGES, labels=LABELS), 20, 7, 0
        classes, levels, digest = 1000, 2, None

    source = load(Config())
    assert (source.classes, source.train_images, source.holdout_images) == (4, 20, 7)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"images": IMAGES}, ["'labels' is missing", "np.savez"]),
        ({"x": IMAGES, "y": LABELS}, ["'images' is missing", "'labels' is missing", "x, y"]),
        ({}, ["'images' is missing", "nothing"]),
        ({"images": IMAGES[:, :5], "labels": LABELS}, ["'images'", "(50, 5, 6, 3)", "square"]),
        ({"images": IMAGES[..., :2], "labels": LABELS}, ["'images'", "(50, 6, 6, 2)"]),
        ({"images": IMAGES.reshape(50, -1), "labels": LABELS}, ["'images'", "(50, 108)"]),
        ({"images": IMAGES[..., None], "labels": LABELS}, ["'images'"]),
        ({"images": np.float32(3), "labels": LABELS}, ["'images' has shape ()"]),
        ({"images": IMAGES.astype(str), "labels": LABELS}, ["'images' has type <U"]),
        ({"images": IMAGES.astype(complex), "labels": LABELS}, ["'images' has type complex"]),
        ({"images": np.where(IMAGES > 250, np.nan, IMAGES), "labels": LABELS}, ["'images'", "not finite"]),
        ({"images": IMAGES * 1e300, "labels": LABELS}, ["'images'", "not finite in float32"]),
        ({"images": IMAGES[:4], "labels": LABELS[:4]}, ["'images'", "at least 5"]),
        ({"images": IMAGES[:, :0, :0], "labels": LABELS}, ["'images'", "(50, 0, 0, 3)"]),
        ({"images": np.zeros_like(IMAGES), "labels": LABELS}, ["'images'", "equal"]),
        ({"images": IMAGES, "labels": LABELS[:-1]}, ["'labels' has shape (49,) for (50,)"]),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, ["'labels' has type float64", "astype(int)"]),
        ({"images": IMAGES, "labels": np.eye(4, dtype=int)[LABELS]}, ["'labels' has shape (50, 4)"]),
        ({"images": IMAGES, "labels": LABELS - 1}, ["'labels' runs from -1 to 2"]),
        ({"images": IMAGES, "labels": LABELS * 0}, ["'labels' runs from 0 to 0", "two or more"]),
        ({"images": IMAGES, "labels": LABELS * 10**6}, ["'labels' runs from 0 to 3000000"]),
        ({"images": IMAGES, "labels": np.array([{}] * 50)}, ["'labels' cannot be read"]),
        ({"images": IMAGES[..., :2], "labels": LABELS - 1}, ["'images' has shape", "'labels' runs"]),
    ],
)
def test_a_malformed_archive_is_named_with_file_key_and_mend(save, content, words):
    path = save(**content)
    with pytest.raises(UserError) as caught:
        arrays.make(path=path)
    assert all(message.startswith(f"{path}: ") for message in caught.value.messages)
    assert all(word in str(caught.value) for word in words), caught.value


def test_broken_files_are_named(tmp_path, save):
    good = save(images=IMAGES, labels=LABELS)
    with open(good, "rb") as file:
        content = file.read()
    array = io.BytesIO()
    np.save(array, IMAGES)
    damaged = bytearray(content)
    damaged[len(content) // 3] ^= 0xFF  # inside the pixels: the checksum no longer fits
    foreign = io.BytesIO()
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("images.npy", "text")
        archive.writestr("labels.npy", "")
    for name, data in {"empty": b"", "text": b"images", "cut": content[:-100], "array": array.getvalue(),
                       "damaged": bytes(damaged), "foreign": foreign.getvalue()}.items():  # fmt: skip
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        with pytest.raises(UserError) as caught:
            arrays.make(path=str(path))
        assert str(caught.value).startswith(f"{path}: "), caught.value
        assert "save" in str(caught.value)
    for path in (tmp_path, tmp_path / "absent.npz"):
        with pytest.raises(UserError, match=r"cannot be read .*; name a NumPy archive"):
            arrays.make(path=str(path))


@pytest.mark.parametrize("stray", [-1, 9, 10**6])
def test_labels_of_images_that_a_list_leaves_out_are_passed_over(save, tmp_path, stray):
    order = split_order(50, 0).tolist()
    held, trained = order[0], order[-1]
    (tmp_path / "out.txt").write_text(f"{held}\n{trained}\n")

    def planned(*strays, key="exclude", **more):
        labels = LABELS.copy()
        labels[list(strays)] = stray
        path = save(images=IMAGES, labels=labels)
        return DataSection(source="npz", path=path, **{key: str(tmp_path / "out.txt")}, **more)

    config = with_digest(planned(trained))
    assert data_facts(config).classes == load(config).classes == 4
    assert config.excluded_classes == {-1: 0, 9: 6, 10**6: 2**16 - 4}[stray]
    assert load(planned(trained)).classes == 4
    assert data_facts(with_digest(planned(held, key="holdout_exclude"))).classes == 4
    assert data_facts(with_digest(planned(trained, train_images=5))).classes == 4
    labels = np.asarray(load(config).arrays["labels"])
    assert sorted(labels.tolist()) == sorted(np.delete(LABELS, trained).tolist())
    for section in (planned(order[-2]), planned(order[-2], train_images=5), planned(held)):  # these are not left out
        if stray == 9:
            assert data_facts(with_digest(section)).classes == 10
        else:
            said = rf"images.npz: 'labels' runs from {min(stray, 0)} to {max(stray, 3)}; number two or more classes"
            with pytest.raises(UserError, match=said):
                with_digest(section)


def test_a_run_keeps_the_classes_that_it_was_planned_with(save, tmp_path):
    """All labels of an archive counted once, those of images left out too; such runs have ids of their own."""
    labels = LABELS.copy()
    labels[(at := int(split_order(50, 0)[-1]))] = 9
    (tmp_path / "out.txt").write_text(f"{at}\n")
    section = DataSection(source="npz", path=save(images=IMAGES, labels=labels), exclude=str(tmp_path / "out.txt"))
    now = with_digest(section)
    before = now.model_copy(update={"excluded_classes": 0})
    assert data_facts(before).classes == load(before).classes == 10
    assert before.name != now.name
    save(images=IMAGES, labels=LABELS)
    assert "excluded_classes" not in with_digest(section).model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": None}, ["path", "is missing"]),
        ({"train_images": 41}, ["train_images", "at most 40"]),
        ({"train_images": 0, "holdout_images": 2.5, "seed": -1}, ["train_images", "holdout_images", "seed"]),
    ],
)
def test_impossible_settings_are_named(save, change, words):
    with pytest.raises(UserError) as caught:
        arrays.make(**{"path": save(images=IMAGES, labels=LABELS), **change})
    assert all(word in str(caught.value) for word in words), caught.value
