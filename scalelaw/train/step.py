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
from scalelaw.train.data import Source

Tree = Any


@dataclass(frozen=True)
class Programs:
    """Compiled programs; calling one never compiles.

    Attributes:
        train: (params, momentum, arrays, indices [b], weights [b], rate) -> (params, momentum, metrics); the first two
            arguments' memory is reused.
        evaluate: (params, arrays, indices [b], weights [b]) -> sums over the batch of loss, wrong answers and weights.
        start: seed -> initial (params, momentum).
        batch_size: b.
        compile_seconds: what building them took.
    """

    train: Callable[..., tuple[Tree, Tree, dict[str, jax.Array]]]
    evaluate: Callable[..., dict[str, jax.Array]]
    start: Callable[[int], tuple[Tree, Tree]]
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

    def loss_of(params: Tree, images: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
        logits = nfnet.apply(variant, source.classes, params, images)
        losses = cross_entropy(logits, labels, rules.label_smoothing)
        return jnp.sum(losses * weights) / jnp.sum(weights)

    def train(
        params: Tree, momentum: Tree, arrays: Tree, indices: jax.Array, weights: jax.Array, rate: jax.Array
    ) -> tuple[Tree, Tree, dict[str, jax.Array]]:
        images, labels = source.batch(arrays, indices)
        loss, gradients = jax.value_and_grad(loss_of)(params, images, labels, weights)
        metrics = {"loss": loss, **recipe.measure(rules, gradients, params)}
        direction, momentum = optimizer.update(gradients, momentum, params)
        return recipe.step(params, direction, rate), momentum, metrics

    def evaluate(params: Tree, arrays: Tree, indices: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
        images, labels = source.batch(arrays, indices)
        logits = nfnet.apply(variant, source.classes, params, images)
        wrong = jnp.argmax(logits, axis=-1) != labels
        losses = cross_entropy(logits, labels)
        return {"loss": jnp.sum(losses * weights), "wrong": jnp.sum(wrong * weights), "images": jnp.sum(weights)}

    def start(seed: int) -> tuple[Tree, Tree]:
        params = nfnet.init(variant, source.classes, jax.random.key(seed))
        return params, optimizer.init(params)

    began = time.perf_counter()
    params, momentum = start(0)
    indices = np.zeros(batch_size, np.int32)
    weights = np.ones(batch_size, np.float32)
    trained = jax.jit(train, donate_argnums=(0, 1)).lower(
        params, momentum, source.arrays, indices, weights, np.float32(0)
    )
    evaluated = jax.jit(evaluate).lower(params, source.arrays, indices, weights)
    train_step, evaluation = trained.compile(), evaluated.compile()
    # The first call of each is slow, so it counts as compiling.
    params, _, _ = train_step(params, momentum, source.arrays, indices, weights, np.float32(0))
    jax.block_until_ready(evaluation(params, source.arrays, indices, weights))  # type: ignore[no-untyped-call]
    return Programs(
        train=train_step,
        evaluate=evaluation,
        start=start,
        batch_size=batch_size,
        compile_seconds=time.perf_counter() - began,
    )
