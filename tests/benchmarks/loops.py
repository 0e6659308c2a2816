"""Images per second of gradient steps one by one, several in a `lax.scan`, and of several runs at once in a `vmap`.

Usage: python loops.py VARIANT BATCH STEPS RUNS. Plain gradient descent on random 8x8 images: what is compared are ways
to call a step, not recipes. Prints one JSON object.
"""

import json
import sys
import time

import jax
import jax.numpy as jnp

from scalelaw import architecture
from scalelaw.train import nfnet
from scalelaw.train.model import cross_entropy

variant, (batch, steps, runs) = architecture.variant(sys.argv[1]), (int(word) for word in sys.argv[2:5])
CLASSES, REPEATS = 16, 7
params = nfnet.init(variant, CLASSES, jax.random.key(0))
images = jax.random.normal(jax.random.key(1), (steps, batch, 8, 8, 3))
labels = jax.random.randint(jax.random.key(2), (steps, batch), 0, CLASSES)


def descend(params, given):
    def loss(params):
        return jnp.mean(cross_entropy(nfnet.apply(variant, CLASSES, params, given[0]), given[1]))

    value, gradients = jax.value_and_grad(loss)(params)
    return jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradients), value


def one_by_one(step, params):
    for k in range(steps):
        params, _ = step(params, (images[k], labels[k]))
    return params


def images_per_second(work, params, count):
    jax.block_until_ready(work(params))
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(work(params))
        best = min(best, time.perf_counter() - start)
    return count / best


single, many = jax.jit(descend), jax.jit(jax.vmap(descend, in_axes=(0, None)))
rolled = jax.jit(lambda params: jax.lax.scan(descend, params, (images, labels))[0])
stacked = jax.tree.map(lambda p: jnp.stack([p] * runs), params)
print(json.dumps({
    "one_by_one": images_per_second(lambda p: one_by_one(single, p), params, steps * batch),
    "scan": images_per_second(rolled, params, steps * batch),
    "vmap": images_per_second(lambda p: one_by_one(many, p), stacked, steps * batch * runs),
}))  # fmt: skip
