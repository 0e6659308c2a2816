"""Named recipes: what the papers state, what a run overrides, and what the lengths of the warm-up mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scalelaw.errors import UserError
from scalelaw.sweep import DataConfig, ModelConfig, RunConfig, TrainConfig
from scalelaw.sweep.recipes import RECIPES, Recipe, recipe, rules_of


def run(variant: str = "F0", **train: Any) -> RunConfig:
    data = DataConfig(source="hierarchy", train_images=1000)
    return RunConfig(data=data, model=ModelConfig(variant=variant), train=TrainConfig(images=10, peak_lr=1.0, **train))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_sane_and_found_by_name(name):
    found = recipe(name)
    assert 0 < found.clipping < 1
    assert 0 < found.momentum < 1
    assert 0 <= found.warmup_share < 1
    assert found.weight_decay > 0


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'pretrain'"):
        recipe("pretrian")


def test_imagenet_is_as_published():
    """Appendix A.1, and the dropout rates of table 1."""
    dropout = {name: recipe("imagenet", name).dropout for name in ("F0", "F1", "F2", "F3", "F4", "F5", "F6")}
    assert dropout == {"F0": 0.2, "F1": 0.3, "F2": 0.4, "F3": 0.4, "F4": 0.5, "F5": 0.5, "F6": 0.5}
    assert recipe("imagenet", "F3+").dropout == 0.4
    assert recipe("imagenet", "F7+").dropout == 0.5
    assert recipe("imagenet", "N4").dropout == 0
    found = recipe("imagenet", "F0")
    assert (found.weight_decay, found.ema, found.label_smoothing, found.stochastic_depth) == (2e-5, 0.99999, 0.1, 0.25)
    assert found.warmup(36_000, 100.0) == 500  # five epochs


def test_pretrain_neither_averages_nor_drops():
    found = recipe("pretrain", "F7")
    assert (found.weight_decay, found.ema, found.dropout, found.stochastic_depth) == (1e-6, 0, 0, 0)


def test_every_value_can_be_overridden():
    """Also back to nothing, and one length of the warm-up takes another's place."""
    assert rules_of(run(recipe="imagenet")) == recipe("imagenet", "F0")
    changed = {"weight_decay": 0.0, "momentum": 0.5, "clipping": 0.1, "label_smoothing": 0.0, "dropout": 0.0,
               "stochastic_depth": 0.0, "ema": 0.0, "precision": "bfloat16"}  # fmt: skip
    assert rules_of(run(recipe="imagenet", **changed)) == Recipe(warmup_epochs=5, **changed)
    share = rules_of(run(recipe="imagenet", warmup_share=0.1))
    assert share.warmup(1000, 10.0) == 100
    assert rules_of(run(warmup_steps=7)).warmup(1000, 10.0) == 7
    assert rules_of(run(warmup_epochs=0.5)).warmup(1000, 10.0) == 5


def test_a_warm_up_longer_than_the_run_leaves_one_step_to_fall():
    assert recipe("imagenet").warmup(40, 100.0) == 39
    assert recipe("pretrain").warmup(1, 100.0) == 0


def test_averages_follow_the_published_decay():
    """After t steps the decay is the smaller of the recipe's and (1 + t) / (10 + t): weights of a mean, in float64."""
    jnp = pytest.importorskip("jax.numpy", reason="the trainer needs jax")
    from scalelaw.train import optimizer

    values = np.random.default_rng(0).normal(size=30)
    ema, expected = {"w": jnp.asarray(values[0], jnp.float32)}, values[0]
    for t, value in enumerate(values[1:], 1):
        kept = min(0.6, (1 + t) / (10 + t))
        expected = kept * expected + (1 - kept) * value
        ema = optimizer.average(ema, {"w": jnp.asarray(value, jnp.float32)}, 0.6, jnp.asarray(t))
        assert float(ema["w"]) == pytest.approx(expected, abs=1e-6)
