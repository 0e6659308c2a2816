"""The pure functions behind a step: from parameters and a device's rows of a batch to loss, gradient and sums.

They are called in a `shard_map` over the mesh, so every argument is one device's part, and what they return is summed
over all devices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from scalelaw import architecture
from scalelaw.sweep.recipes import Recipe
from scalelaw.train import mesh, nfnet
from scalelaw.train.convolution import fastest
from scalelaw.train.data import Source
from scalelaw.train.data.source import Arrays, Inputs
from scalelaw.train.mesh import AXES, Layout
from scalelaw.train.packing import packed
from scalelaw.train.ready import Ready

AT_ONCE = 64 * 64  # images times channels that a step of few channels works on at once, see `pieces_of`


def pieces_of(rows: int, widest: int) -> int:
    """In how many equal pieces a network of at most so many channels takes its rows, where images are CHWN.

    What a step works in grows with both, and two steps' must fit in a heap (`memory`), or pages are given back and
    cleared anew at every step: 64 images of 8 pixels took N7, 24 MB as a whole, 11 to 18 ms, and take 12 in halves.
    """
    least = -(-rows * widest // AT_ONCE)
    return next((pieces for pieces in range(least, 3 * least) if rows % pieces == 0), 1)


def cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Cross-entropy in nats, shape (batch,), of logits (batch, classes) against labels (batch,)."""
    log_p = jax.nn.log_softmax(logits)
    picked = jnp.sum(jax.nn.one_hot(labels, logits.shape[-1]) * log_p, axis=-1)
    return -(1 - smoothing) * picked - smoothing * jnp.mean(log_p, axis=-1)


@dataclass(frozen=True, eq=False)
class Model:
    """A network that learns from a source by a recipe.

    Attributes:
        variant, source, rules: network, images and recipe.
        batch_size: images a step, of all devices.
        layout: whose `params` axis the parameters come cut along, as `mesh.specs` says.
    """

    variant: architecture.Variant
    source: Source
    rules: Recipe
    batch_size: int
    layout: Layout

    def gradients(
        self, params: Any, arrays: Arrays, inputs: Inputs, weights: jax.Array, key: jax.Array | None
    ) -> dict[str, Any]:
        """`loss`, the mean over a batch, its `gradients`, cut as the parameters are, and the batch's `weight`, 1.

        Of a part of a batch, where batches are accumulated, all three are that part's share: in sum over the parts loss
        and gradients over `weight` are those of the mean.

        Args:
            params: this device's part, as `packed` arranges them; so are the gradients.
            arrays: of the source.
            inputs, weights: this device's rows.
            key: raw key of what is dropped at random; None where the recipe drops nothing.
        """
        rates: dict[str, Any] = {"remat": self.layout.remat}
        keys = {}
        if key is not None:
            rates |= {"dropout": self.rules.dropout, "stochastic_depth": self.rules.stochastic_depth}
            keys["keys"] = _keys(key, inputs)

        weight = self._over(AXES, jnp.sum(weights))
        total = weight if self.layout.accumulate == 1 else self.batch_size

        def loss_of(parts: Any, rows: tuple[Inputs, jax.Array, dict[str, jax.Array]]) -> jax.Array:
            network, (inputs, weights, keys) = self._opened(parts), rows
            images, labels = self.source.images(arrays, inputs, training=True)
            logits = self._logits(network, images, **rates, **keys)
            return jnp.sum(cross_entropy(logits, labels, self.rules.label_smoothing) * weights) / total

        pieces = pieces_of(len(weights), max(self.variant.widths)) if self._ready.standardises else 1
        loss, parts = _summed(jax.value_and_grad(loss_of), params, (inputs, weights, keys), pieces)
        # Where parameters are cut, the gradient of gathering them has summed over that axis already.
        gradients = self._where_cut(parts, lambda x, _: self._over(AXES[:1], x), lambda x: self._over(AXES, x))
        return {"loss": self._over(AXES, loss), "weight": weight / total, "gradients": gradients}

    def ascent_gradients(
        self, params: Any, arrays: Arrays, inputs: Inputs, weights: jax.Array, key: jax.Array | None, part: jax.Array
    ) -> dict[str, Any]:
        """`gradients` of the rows that a sharpness-aware ascent looks at: every n-th of the whole batch.

        Which rows they are does not depend on the devices. Their number on a device may differ by one from another's;
        a row of weight 0 fills the gap.

        Args:
            part: which part of the batch this is, from 0, where batches are accumulated.
        """
        stride, rows = self.rules.ascent_stride, weights.shape[0]
        if stride > 1:
            taken = -self._first_row(rows, part) % stride + stride * jnp.arange(-(-rows // stride))
            there = taken < rows
            taken = jnp.where(there, taken, 0)
            inputs, weights = jax.tree.map(lambda x: x[taken], inputs), jnp.where(there, weights[taken], 0)
        return self.gradients(params, arrays, inputs, weights, key)

    def _first_row(self, rows: int, part: jax.Array) -> jax.Array:
        """Where in the whole batch this device's rows begin: a process gives one run of rows, in parts one by one."""
        device = lax.axis_index(AXES[0]) * self.layout.params + lax.axis_index(AXES[1])
        here = self.layout.devices // jax.process_count()
        first: jax.Array = ((device // here * self.layout.accumulate + part) * here + device % here) * rows
        return first

    def sums(self, params: Any, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> dict[str, jax.Array]:
        """Sums over the rows of a batch in evaluation: of `loss`, `wrong` answers, and `images`, the weights."""
        images, labels = self.source.images(arrays, inputs, training=False)
        logits = self._logits(self._opened(params), images)
        wrong = jnp.argmax(logits, axis=-1) != labels
        losses = cross_entropy(logits, labels)
        found = {"loss": jnp.sum(losses * weights), "wrong": jnp.sum(wrong * weights), "images": jnp.sum(weights)}
        return dict(self._over(AXES, found))

    def _over(self, axes: tuple[str, ...], tree: Any) -> Any:
        """The sum over axes of the mesh. One of a single device is left out: XLA copies all that is summed over it."""
        long = tuple(axis for axis in axes if self.layout.lengths[axis] > 1)
        return lax.psum(tree, long) if long else tree

    def _opened(self, parts: Any) -> Any:
        """The parameters as the network takes them, from a device's parts of them."""
        whole = self._where_cut(parts, lambda x, axis: lax.all_gather(x, AXES[1], axis=axis, tiled=True), lambda x: x)
        return self._ready(whole)

    def _logits(self, network: Any, images: jax.Array, **rates: Any) -> jax.Array:
        """Logits (float32), computed in the recipe's precision."""
        dtype, ready = jnp.dtype(self.rules.precision), self._ready.standardises
        classes = self.source.classes
        logits = nfnet.apply(self.variant, classes, network, images, dtype=dtype, ready=ready, **rates)
        return logits.astype(jnp.float32)

    def _where_cut(
        self, tree: Any, cut: Callable[[jax.Array, int], jax.Array], whole: Callable[[jax.Array], jax.Array]
    ) -> Any:
        """Applies `cut` (with the axis) to the parameters that are cut along the mesh, `whole` to the others."""
        specs = mesh.specs(packed(self._ready.like), self.layout.params)
        return jax.tree.map(
            lambda x, spec: cut(x, tuple(spec).index(AXES[1])) if AXES[1] in spec else whole(x), tree, specs
        )

    @functools.cached_property
    def _ready(self) -> Ready:
        way = fastest(max(self.variant.widths), self.variant.group_width is not None)
        return Ready(nfnet.abstract(self.variant, self.source.classes), way == "columns")


def _keys(key: jax.Array, inputs: Inputs) -> jax.Array:
    """A key for every row, from its epoch and index alone: what is dropped of an image does not depend on its batch."""
    base = jax.random.wrap_key_data(key)
    fold = jax.random.fold_in
    return jax.vmap(lambda epoch, index: fold(fold(base, epoch), index))(inputs["epoch"], inputs["index"])


def _summed(function: Callable[[Any, Any], tuple[jax.Array, Any]], params: Any, rows: Any, pieces: int) -> Any:
    """The sum of a loss and its gradients for equal pieces of the rows, one after the other.

    Kernels are standardised once, XLA takes that out of the loop; its gradient is taken for every piece. Summing the
    gradients of standardised kernels instead saves 4 % of N8's step and costs 40 more loops, a second of compiling.
    """
    if pieces == 1:
        return function(params, rows)
    cut = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), rows)
    nothing = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)

    def added(so_far: Any, piece: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, so_far, function(params, piece)), None

    return lax.scan(added, nothing, cut)[0]
