"""A second task on the built-in images: lower rules and patches shared with the first, the rest its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scalelaw.errors import UserError
from scalelaw.sweep import DataFacts, data_facts
from scalelaw.sweep.config import DataConfig
from scalelaw.train.data import hierarchy

FIRST = {"train_images": 512, "holdout_images": 64, "classes": 8, "symbols": 16, "levels": 3, "rules": 4, "seed": 5}


def arrays_of(**changes):
    return {name: np.asarray(array) for name, array in hierarchy.make(**{**FIRST, **changes}).arrays.items()}


@pytest.mark.parametrize(("new_levels", "own"), [(1, {"rules0"}), (2, {"rules0", "rules1"})])
def test_lower_rules_and_patches_are_shared_and_upper_rules_are_not(new_levels, own):
    first, second = arrays_of(), arrays_of(task_seed=1, new_levels=new_levels)
    changed = {name for name in first if not np.array_equal(first[name], second[name])}
    assert changed == own | {"key"}
    assert not np.array_equal(second["rules0"], arrays_of(task_seed=2, new_levels=new_levels)["rules0"])


def test_a_second_task_may_have_other_classes_and_top_rules():
    second = arrays_of(task_seed=1, classes=3, rules=(9, 4, 4))
    assert second["rules0"].shape[:2] == (3, 9)
    assert all(np.array_equal(second[name], arrays_of()[name]) for name in ("rules1", "rules2", "patches"))


def test_images_of_two_tasks_are_independent_draws():
    """The classes of image i in two tasks of equal classes agree as often as chance says: within 4 deviations."""
    first, second = (hierarchy.make(**{**FIRST, **own}) for own in ({}, {"task_seed": 1}))
    (one, _), (other, _) = (jax.jit(source.latents)(source.arrays, jnp.arange(20_000)) for source in (first, second))
    equal = float(jnp.mean(one == other))
    assert abs(equal - 1 / 8) < 4 * (1 / 8 * 7 / 8 / 20_000) ** 0.5


def test_the_facts_name_the_second_task():
    facts = hierarchy.make(**FIRST, task_seed=3, new_levels=2).describe()
    assert (facts["task_seed"], facts["new_levels"]) == (3, 2)
    assert "task_seed" not in hierarchy.make(**FIRST).describe()


def test_a_second_task_is_another_data_set_and_the_first_keeps_its_name():
    first = DataConfig(source="hierarchy", **FIRST)
    second = DataConfig(source="hierarchy", **FIRST, task_seed=1)
    assert first.name != second.name
    assert data_facts(second) == DataFacts(8, 16, 512)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"new_levels": 2}, "give its task_seed"), ({"task_seed": 1, "new_levels": 4}, "has no 4 to draw anew")],
)
def test_impossible_second_tasks_are_refused_with_the_mend(changes, words):
    from scalelaw.sweep.facts import with_digest

    with pytest.raises(UserError, match=words):
        with_digest(DataConfig(source="hierarchy", **FIRST, **changes))
