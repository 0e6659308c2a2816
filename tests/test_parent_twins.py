"""Built-in images that a parent was trained on are found, counted and replaced, by a second method too."""

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.errors import UserError  # noqa: E402
from scalelaw.runs import parent_twins  # noqa: E402
from scalelaw.train.data import Order, hierarchy, twins  # noqa: E402

GRAMMAR = {"classes": 6, "symbols": 12, "levels": 2, "rules": 3, "noise": 0.0, "holdout_images": 100}
PARENT = {**GRAMMAR, "train_images": 300}
TASK = {**GRAMMAR, "train_images": 150}


PIXELS = jax.jit(lambda arrays, indices: hierarchy.make(**PARENT).batch(arrays, indices)[0])


def pixels(source, indices):
    images = np.asarray(PIXELS(source.arrays, np.resize(np.asarray(indices, np.int32), 300)))
    return [image.tobytes() for image in images[: len(indices)]]


def test_twins_are_those_whose_pixels_are_equal_and_fresh_images_stand_in_for_them():
    """The parent's own images in another split: some recur by chance. Noise hides none: the patterns are compared."""
    parent = hierarchy.make(**PARENT)
    task = hierarchy.make(**TASK, task_seed=1, new_levels=2)
    task = type(task)(**{**vars(task), "arrays": {**parent.arrays, "key": task.arrays["key"]}})  # same rules, new draws
    seen = set(pixels(parent, range(300)))
    train = [k for k, image in enumerate(pixels(task, range(150))) if image in seen]
    indices = task.holdout_indices()
    held = [k for k, image in zip(indices, pixels(task, indices), strict=True) if image in seen]
    assert 10 < len(train) < 140
    found = twins.twins_of(task, parent)
    assert found.train.gone.tolist() == train
    assert found.held.gone.tolist() == held
    clean = twins.without(task, twins.Twins.from_dict(found.to_dict()))
    fed = np.concatenate([batch.inputs["index"] for batch in clean.feed(Order(0, 150, 150, 50), 0, slice(None))])
    assert sorted(fed) == sorted(clean.train_indices())
    assert len(set(fed)) == 150
    assert not seen & set(pixels(clean, fed))
    assert not seen & set(pixels(clean, clean.holdout_indices()))
    kept = np.setdiff1d(np.arange(150), train)
    np.testing.assert_array_equal(clean.train_indices()[kept], kept)
    assert clean.remark.startswith(f"{len(train)} training and {len(held)} held-out images")


def test_a_task_of_other_patches_has_nothing_in_common():
    found = twins.twins_of(hierarchy.make(**TASK, seed=1), hierarchy.make(**PARENT))
    assert (len(found.train.gone), len(found.held.gone)) == (0, 0)


def test_a_task_of_which_the_parent_has_seen_all_is_refused():
    few = {**GRAMMAR, "classes": 2, "rules": 1, "levels": 1, "symbols": 4}
    with pytest.raises(UserError, match="20 of 20 images are among the parent's"):
        twins.twins_of(hierarchy.make(**few, train_images=20), hierarchy.make(**few, train_images=50))


def test_the_note_beside_the_runs_says_how_many(tmp_path):
    from scalelaw.runs import files

    path = parent_twins.file_of(tmp_path, ("hierarchy-a", 150), ("hierarchy-b", 300))
    files.write_json(path, {"train_twins": 1200, "holdout_twins": 3})
    (said,) = parent_twins.sentences(tmp_path)
    assert said.startswith("1,200 training and 3 held-out images of hierarchy-a-150 are among the parents'")
