"""The compiled programs of one shape of run: a training step and an evaluation of one batch.

Runs of one family, variant, batch size and kind of data share them; learning rate, parameters and data are inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalelaw import architecture
from scalelaw.train import nfnet, recipe
from scalelaw.train.data import Batch, Order, Source
from scalelaw.train.data.source import Arrays, Inputs

State = dict[str, Any]
"""All that a step changes: `params` and `momentum`, trees of arrays."""


@dataclass(frozen=True)
class Programs:
    """Compiled programs; calling one never compiles.

    Attributes:
        train: (state, arrays, batch, rate) -> (state, metrics); the first argument's memory is reused.
        evaluate: (state, arrays, batch) -> sums over the batch of loss, wrong answers and weights.
        start: seed -> initial state.
        batch_size: b, the rows of a batch.
        compile_seconds: what building them took.
    """

    train: Callable[[State, Arrays, Batch, Any], tuple[State, dict[str, jax.Array]]]
    evaluate: Callable[[State, Arrays, Batch], dict[str, jax.Array]]
    start: Callable[[int], State]
    batch_size: int
    compile_seconds: float


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy in nats, shape (batch,), of logits (batch, classes) against labels (batch,)."""
    log_p = jax.nn.log_softmax(logits)
    picked = jnp.sum(jax.nn.one_hot(labels, logits.shape[-1]) * log_p, axis=-1)
    return -(1 - smoothing) * picked - smoothing * jnp.mean(log_p, axis=-1)


def build(variant: architecture.Variant, source: Source, rules: recipe.Recipe, batch_size: int) -> Programs:
    """Compiles the programs of one shape."""
    optimizer = recipe.optimizer(rules)

    def loss_of(params: Any, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> jax.Array:
        images, labels = source.images(arrays, inputs, training=True)
        logits = nfnet.apply(variant, source.classes, params, images)
        losses = cross_entropy(logits, labels, rules.label_smoothing)
        return jnp.sum(losses * weights) / jnp.sum(weights)

    def train(
        state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array, rate: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        params = state["params"]
        loss, gradients = jax.value_and_grad(loss_of)(params, arrays, inputs, weights)
        metrics = {"loss": loss, **recipe.measure(rules, gradients, params)}
        direction, momentum = optimizer.update(gradients, state["momentum"], params)
        return {"params": recipe.step(params, direction, rate), "momentum": momentum}, metrics

    def evaluate(params: Any, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> dict[str, jax.Array]:
        images, labels = source.images(arrays, inputs, training=False)
        logits = nfnet.apply(variant, source.classes, params, images)
        wrong = jnp.argmax(logits, axis=-1) != labels
        losses = cross_entropy(logits, labels)
        return {"loss": jnp.sum(losses * weights), "wrong": jnp.sum(wrong * weights), "images": jnp.sum(weights)}

    def start(seed: int) -> State:
        params = nfnet.init(variant, source.classes, jax.random.key(seed))
        return {"params": params, "momentum": optimizer.init(params)}

    began = time.perf_counter()
    state, everything = start(0), slice(0, batch_size)
    seen = next(source.feed(Order(0, source.train_images, batch_size, batch_size), 0, everything))
    held = next(source.held_out(batch_size, 1, everything))
    rate = np.float32(0)
    trained = jax.jit(train, donate_argnums=0).lower(state, source.arrays, *seen, rate).compile()
    evaluated = jax.jit(evaluate).lower(state["params"], source.arrays, *held).compile()
    # The first call of each is slow, so it counts as compiling.
    jax.block_until_ready(evaluated(state["params"], source.arrays, *held))  # type: ignore[no-untyped-call]
    jax.block_until_ready(trained(state, source.arrays, *seen, rate))  # type: ignore[no-untyped-call]
    return Programs(
        train=lambda state, arrays, batch, rate: trained(state, arrays, *batch, rate),
        evaluate=lambda state, arrays, batch: evaluated(state["params"], arrays, *batch),
        start=start,
        batch_size=batch_size,
        compile_seconds=time.perf_counter() - began,
    )
