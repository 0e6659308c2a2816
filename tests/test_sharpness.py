"""Sharpness-aware steps: the published two-step rule, on a part of the batch too, and every switch of `finetune`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

import jax.numpy as jnp  # noqa: E402
import optax  # noqa: E402
from small_nfnets import with_skip_gains  # noqa: E402

from scalelaw import architecture  # noqa: E402
from scalelaw.sweep import recipes  # noqa: E402
from scalelaw.train import mesh, model, nfnet, optimizer  # noqa: E402
from scalelaw.train.data import Batch, Order, hierarchy  # noqa: E402
from scalelaw.train.functions import Functions  # noqa: E402
from scalelaw.train.packing import packed, unpacked  # noqa: E402

BATCH, RATE = 16, np.float32(0.1)
MODEL = architecture.Variant("test", "nfnet", (8,), (1,), (1,), (8,), (1,), None)
SOURCE = hierarchy.make(
    train_images=500, holdout_images=50, classes=4, symbols=8, levels=1, rules=2, patch=2, noise=0.1
)
SHAPES = nfnet.abstract(MODEL, SOURCE.classes)
FINETUNE = recipes.recipe("finetune")
RULES = dataclasses.replace(FINETUNE, dropout=0, stochastic_depth=0, ema=0, sam_radius=0.5)


def functions(rules: recipes.Recipe = RULES, accumulate: int = 1, **changes: Any) -> Functions:
    layout = mesh.Layout(accumulate=accumulate)
    return Functions(MODEL, SOURCE, dataclasses.replace(rules, **changes), BATCH, layout, mesh.mesh_of(layout))


def batches(images: int = 3 * BATCH - 2) -> list[Batch]:
    """Three, the last of them short."""
    return list(SOURCE.feed(Order(1, SOURCE.train_images, images, BATCH), 0, slice(0, BATCH)))


def begun(made: Functions) -> dict[str, Any]:
    """An initial state whose blocks are no identities: with their gains at 0 most gradients are."""
    state = made.start(0)
    return {**state, "params": packed(with_skip_gains(opened(state), 0.5))}


def opened(state: dict[str, Any]) -> Any:
    """The network's parameters."""
    return unpacked(state["params"], SHAPES)


@pytest.fixture(scope="module")
def gradient() -> Any:
    """(parameters, batch, weights) -> gradient of the weighted mean loss, written down anew."""

    @jax.jit
    def found(params: Any, inputs: Any, weights: Any) -> Any:
        def loss(params: Any) -> Any:
            images, labels = SOURCE.images(SOURCE.arrays, inputs, training=True)
            logits = nfnet.apply(MODEL, SOURCE.classes, params, images)
            picked = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]
            return -jnp.sum(picked * weights) / jnp.sum(weights)

        return jax.grad(loss)(params)

    return found


def length(tree: Any) -> float:
    return float(np.sqrt(sum(float(np.sum(np.square(x, dtype=np.float64))) for x in jax.tree.leaves(tree))))


def close(found: Any, expected: Any, tolerance: float) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), found, expected)


def test_steps_are_those_of_the_two_step_rule_and_of_optax(gradient):
    """Foret et al. 2021: e = radius g(w) / |g(w)|, then the optimizer's step from w along g(w + e)."""
    made = functions()
    state, step = begun(made), jax.jit(made.train)
    params = opened(state)
    inner = optax.chain(optimizer.optimizer(RULES), optax.scale(-float(RATE)))
    momentum, descend = inner.init(params), jax.jit(inner.update)
    sam = optax.contrib.sam(inner, optax.chain(optax.contrib.normalize(), optax.sgd(RULES.sam_radius)))
    theirs, standing, update = params, sam.init(params), jax.jit(sam.update)
    for batch in batches():
        state, _ = step(state, SOURCE.arrays, batch.inputs, batch.weights, RATE)

        first = gradient(params, batch.inputs, batch.weights)
        share = RULES.sam_radius / length(first)
        there = jax.tree.map(lambda w, g, share=share: w + share * g, params, first)
        change, momentum = descend(gradient(there, batch.inputs, batch.weights), momentum, params)
        params = jax.tree.map(np.add, params, change)
        close(opened(state), params, 1e-5)

        for _ in range(2):  # optax goes up in one call and down in the next
            change, standing = update(gradient(theirs, batch.inputs, batch.weights), standing, theirs)
            theirs = jax.tree.map(np.add, theirs, change)
        close(opened(state), theirs, 1e-5)


def test_a_share_of_the_batch_is_every_so_manieth_row_of_the_whole_one(gradient):
    """In two parts of 8 rows, every seventh of all 16: two in the first part, and in the second one of padding."""
    made, batch = functions(accumulate=2, sam_share=1 / 7), batches()[-1]
    state = begun(made)
    part = jax.jit(made.add_ascent)
    sums = made.nothing()
    for k in range(2):
        rows = jax.tree.map(lambda x, k=k: x[8 * k : 8 * k + 8], (batch.inputs, batch.weights))
        sums = part(sums, state, SOURCE.arrays, *rows, np.int32(k))
    chosen = np.where(np.arange(BATCH) % 7, 0, batch.weights).astype(np.float32)
    assert chosen.sum() == 2
    expected = packed(gradient(opened(state), batch.inputs, chosen))
    assert float(sums["weight"]) * BATCH == pytest.approx(2)
    close(jax.tree.map(lambda g: g / float(sums["weight"]), sums["gradients"]), expected, 1e-5)
    risen = made.ascended(sums["gradients"], state["params"])
    close(jax.tree.map(jnp.subtract, risen, state["params"]),
          jax.tree.map(lambda g: 0.5 / length(expected) * g, expected), 1e-5)  # fmt: skip


def test_without_a_gradient_there_is_no_ascent():
    still = {"w": jnp.arange(3.0)}
    assert np.array_equal(optimizer.ascended(still, {"w": jnp.zeros(3)}, 0.05)["w"], still["w"])
    moved = optimizer.ascended(still, {"w": jnp.asarray([3e-10, 0, 4e-10])}, 0.05)["w"] - still["w"]
    assert np.allclose(moved, [0.03, 0, 0.04], atol=1e-6)


# What the recipe switches on


def traced(monkeypatch: pytest.MonkeyPatch, rules: recipes.Recipe) -> list[dict[str, Any]]:
    """What a step hands to the network and the loss, pass by pass."""
    passes: list[dict[str, Any]] = []
    apply, loss = nfnet.apply, model.cross_entropy

    def applied(variant: Any, classes: int, params: Any, images: Any, **rates: Any) -> Any:
        passes.append({"rows": len(images), **rates})
        return apply(variant, classes, params, images, **rates)

    def compared(logits: Any, labels: Any, smoothing: float = 0.0) -> Any:
        passes[-1]["smoothing"] = smoothing
        return loss(logits, labels, smoothing)

    monkeypatch.setattr(nfnet, "apply", applied)
    monkeypatch.setattr(model, "cross_entropy", compared)
    made, batch = functions(rules), batches()[0]
    jax.eval_shape(made.train, made.start(0), SOURCE.arrays, batch.inputs, batch.weights, RATE)
    return passes


def test_every_switch_reaches_the_step(monkeypatch):
    """What the network does with the rates is tested beside it; here, that it hears of them, in both passes."""
    both = traced(monkeypatch, dataclasses.replace(FINETUNE, label_smoothing=0.1, sam_share=0.2))
    assert [one["rows"] for one in both] == [4, BATCH]
    for one in both:
        assert (one["dropout"], one["stochastic_depth"], one["smoothing"]) == (0.25, 0.1, 0.1)
        assert one["keys"].shape[0] == one["rows"]
    (alone,) = traced(monkeypatch, dataclasses.replace(FINETUNE, sam_radius=0.0, dropout=0.0, stochastic_depth=0.0))
    assert alone["rows"] == BATCH
    assert not {"dropout", "stochastic_depth", "keys"} & set(alone)


def test_smoothed_labels_spread_their_share_over_all_classes():
    logits = np.log([[0.7, 0.2, 0.1]]).astype(np.float32)
    found = model.cross_entropy(jnp.asarray(logits), jnp.asarray([0]), 0.3)
    assert float(found[0]) == pytest.approx(-0.8 * np.log(0.7) - 0.1 * np.log(0.2) - 0.1 * np.log(0.1), rel=1e-5)


def test_weights_are_averaged_with_the_recipes_decay():
    """After 9 steps (1 + t) / (10 + t) is .526; the recipe's own decay is lower, so it counts."""
    made = functions(ema=0.4)
    state = {**made.start(0), "step": np.int32(8)}
    gradients = jax.tree.map(jnp.ones_like, state["params"])
    after, _ = jax.jit(made.move)(state, {"loss": jnp.zeros(()), "weight": jnp.ones(()), "gradients": gradients}, RATE)
    assert after["step"] == 9
    before, moved = state["params"]["linear"]["w"], after["params"]["linear"]["w"]
    assert float(np.abs(moved - before).max()) > 0.1
    np.testing.assert_allclose(after["ema"]["linear"]["w"], 0.4 * before + 0.6 * moved, atol=1e-6)
