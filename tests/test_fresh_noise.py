"""Augmentation of built-in images: other noise at every sight of one, by the run's seed, its epoch and its index."""

import jax
import numpy as np
import pytest

from scalelaw.errors import UserError
from scalelaw.sweep.config import DataConfig
from scalelaw.sweep.facts import with_digest
from scalelaw.train.data import Order, hierarchy

SETTINGS = {"train_images": 24, "holdout_images": 16, "classes": 4, "symbols": 8, "rules": 3, "noise": 0.5}
AUGMENTED = hierarchy.make(**SETTINGS, augment="noise")
PLAIN = hierarchy.make(**SETTINGS)


def shown(source, seed, copies=1, images=48, batch_size=8):
    """What a run shows: images and labels by place, and which image each is."""
    order = Order(seed, source.train_images, images, batch_size, copies)
    make = jax.jit(lambda inputs: source.images(source.arrays, inputs, training=True))
    made = [(*make(batch.inputs), batch.inputs["index"]) for batch in source.feed(order, 0, slice(0, batch_size))]
    return [np.concatenate([np.asarray(part[k]) for part in made]) for k in range(3)]


def test_an_image_keeps_its_symbols_and_never_shows_the_same_noise_twice():
    images, labels, index = shown(AUGMENTED, 0, copies=4, images=192)
    clean, truth = hierarchy.make(**{**SETTINGS, "noise": 0.0}).batch(AUGMENTED.arrays, index)
    np.testing.assert_array_equal(labels, truth)
    noise = images - np.asarray(clean)
    assert len({row.tobytes() for row in noise}) == 192  # two passes of four copies of 24 images
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert np.abs(np.corrcoef(noise.reshape(192, -1)) - np.eye(192)).max() < 5 / np.sqrt(noise[0].size)


def test_the_noise_is_that_of_seed_epoch_and_index_alone():
    once, whole = shown(AUGMENTED, 3), shown(AUGMENTED, 3, batch_size=16)
    for one, other in zip(once, whole, strict=True):
        np.testing.assert_array_equal(one, other)
    images, _, index = shown(AUGMENTED, 4)
    first, later = (np.flatnonzero(places == 5) for places in (once[2], index))
    assert not np.array_equal(once[0][first[0]], images[later[0]])


def test_held_out_images_keep_their_noise_and_the_default_shows_images_as_they_are():
    batch = next(AUGMENTED.held_out(16, None, slice(0, 16)))
    asked = AUGMENTED.images(AUGMENTED.arrays, batch.inputs, training=False)[0]
    np.testing.assert_array_equal(asked, PLAIN.batch(PLAIN.arrays, batch.inputs["index"])[0])
    images, _, index = shown(PLAIN, 0)
    np.testing.assert_array_equal(images, PLAIN.batch(PLAIN.arrays, index)[0])
    assert AUGMENTED.signature != PLAIN.signature


@pytest.mark.parametrize(
    ("source", "settings", "words"),
    [
        ("hierarchy", {"augment": "flip"}, "changes what a built-in image says"),
        ("hierarchy", {"augment": "noise", "noise": 0.0}, "no noise to draw anew"),
        ("npz", {"augment": "noise"}, "of the built-in images alone"),
    ],
)
def test_augmentation_of_another_source_is_refused(source, settings, words):
    own = {"path": "x.npz"} if source == "npz" else SETTINGS
    with pytest.raises(UserError, match=words):
        with_digest(DataConfig(source=source, **{**own, **settings}))
