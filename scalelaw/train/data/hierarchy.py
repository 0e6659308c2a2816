"""Random Hierarchy Model images: a grammar picks symbols level by level, the last symbols become patches of pixels.

Cagnetta, Petrini, Tomasini, Favero, Wyart 2024 (arXiv 2307.02129); production rules with Zipf's law as in Cagnetta,
Kang, Wyart 2025. A class picks one of its rules, which names a tuple of symbols; every symbol picks one of its own, and
so on. All tuples of a level are distinct, so the image determines every choice. Nothing is stored but the grammar:
image i is computed from (seed, i), on any backend and inside the step.

A second task shares the lower rules and the patches of a first one, so that what a network has learnt of these can
serve it; classes, upper rules and images are its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from scalelaw.sweep import hierarchy as settings
from scalelaw.train.data import augment as augmentation
from scalelaw.train.data import grammar
from scalelaw.train.data.order import Order
from scalelaw.train.data.source import Arrays, Batch, Indexed, Inputs, Replaced, twin_share
from scalelaw.train.data.threefry import below, threefry2x32, words

HOLDOUT_START = 2**30  # held-out images have the same indices whatever the size of the training set
NOISE_START = 2**31  # counters from here on make noise, those below make choices
IMAGES = 0x696D67  # keeps the images' key apart from other uses of the same seed
TASK = 0x7461736B  # a second task's draws
MANY_RULES = 1024  # from here on a search is cheaper than comparing with every threshold; both find the same rule
BRANCHING = {"2": 2, "2x2": 4}


@dataclass(frozen=True, eq=False)
class Hierarchy(Indexed):
    """A grammar and its images.

    Attributes:
        symbols: per level, from the class down, how many there are for its rules to name; the last ones become patches.
        rules: per level, from the class down, the number m of rules of each parent.
        branching: per level the number of children, 4 (two by two) or 2 (side by side and one above the other in turn).
        patch: height and width in pixels of a last symbol.
        zipf_a: per level; rule k = 1 ... m has probability proportional to k^-(1 + a), None for 1 / m.
        noise: standard deviation of the noise on every pixel; the patches have unit variance.
        seed: of grammar, images and noise.
        task_seed: of the upper rules, the images and their noise, where this is a second task.
        new_levels: how many levels of rules, from the class down, are the second task's own.
        augment: "noise" for other noise at every sight of a training image, a function of the run's seed, epoch and
            index; held-out images keep theirs.
        train_replaced, held_replaced: images that others stand in for (`scalelaw.train.data.twins`).
    """

    symbols: tuple[int, ...]
    rules: tuple[int, ...]
    branching: tuple[int, ...]
    patch: int
    zipf_a: tuple[float | None, ...]
    noise: float
    seed: int
    task_seed: int | None = None
    new_levels: int = 1
    augment: str = "none"
    train_replaced: Replaced | None = None
    held_replaced: Replaced | None = None

    @property
    def signature(self) -> Hashable:
        own = () if self.augment == "none" else (self.augment,)
        return ("hierarchy", self.classes, self.resolution, self.branching, self.noise > 0, *own)

    @property
    def holdout_start(self) -> int:
        return HOLDOUT_START

    def latents(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Returns the class (int32 [b]) and per level the rules chosen (int32 [b, parents], counted from 0)."""
        parents = grammar.parents(self.branching)
        bits = words(arrays["key"], indices, 1 + sum(parents), start=0)
        chosen, used = [], 1
        for level, count in enumerate(parents):
            chosen.append(_reached(arrays[f"thresholds{level}"], bits[:, used : used + count]))
            used += count
        return below(bits[:, 0], self.classes), chosen

    def leaves(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the last level's symbols (int32 [b, side, side]) and the classes (int32 [b])."""
        labels, chosen = self.latents(arrays, indices)
        grid = labels[:, None, None]
        for level, (split, rows) in enumerate(zip(grammar.splits(self.branching), chosen, strict=True)):
            rules = _repeat(rows.reshape(grid.shape), split)
            grid = arrays[f"rules{level}"][_repeat(grid, split), rules, _place(grid, split)]
        return grid, labels

    def images(self, arrays: Arrays, inputs: Inputs, *, training: bool) -> tuple[jax.Array, jax.Array]:
        if not training or self.augment == "none":
            return self.batch(arrays, inputs["index"])
        epoch, index = (jnp.asarray(inputs[name]).astype(jnp.uint32) for name in ("epoch", "index"))
        of_rows = jnp.stack(threefry2x32(jnp.asarray(inputs["key"]).T, epoch, index))
        return self._drawn(arrays, inputs["index"], of_rows[:, :, None])

    def feed(self, order: Order, first_step: int, rows: slice) -> Iterator[Batch]:
        for inputs, weights in super().feed(order, first_step, rows):
            if self.train_replaced is not None:
                inputs["index"] = self.train_replaced.of(inputs["index"])
            if self.augment != "none":
                inputs["key"] = augmentation.key_of(order.seed, len(weights))
            yield Batch(inputs, weights)

    def batch(self, arrays: Arrays, indices: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self._drawn(arrays, indices, arrays["key"])

    def _drawn(self, arrays: Arrays, indices: jax.Array, noise_key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Images and classes, the noise by a key (uint32 [2] or [2, b, 1])."""
        grid, labels = self.leaves(arrays, indices)
        split = (self.patch, self.patch)
        images = arrays["patches"][_repeat(grid, split), _place(grid, split)]
        if self.noise > 0:
            # Table lookups and one sum, no product: the same bits on every backend, jitted or not, in any batch.
            pixels = self.resolution**2 * self.channels
            bits = words(noise_key, indices, -(-pixels // 2), start=NOISE_START)
            quantile = jnp.concatenate([bits >> 16, bits & jnp.uint32(0xFFFF)], axis=1)[:, :pixels]
            images = images + arrays["noise"][quantile.astype(jnp.int32)].reshape(images.shape)
        return images, labels

    def train_indices(self) -> NDArray[np.int32]:
        """Indices (int32 [train_images]) of the training images."""
        indices = np.arange(self.train_images, dtype=np.int32)
        return indices if self.train_replaced is None else self.train_replaced.of(indices)

    def holdout_indices(self) -> NDArray[np.int32]:
        indices = super().holdout_indices()
        return indices if self.held_replaced is None else self.held_replaced.of(indices)

    @property
    def remark(self) -> str | None:
        train, held = (0 if one is None else len(one.gone) for one in (self.train_replaced, self.held_replaced))
        if not train + held:
            return None
        return f"{train} training and {held} held-out images were the parent's too, and fresh ones took their place"

    def describe(self) -> dict[str, Any]:
        """The settings, and `holdout_twin_share`: held-out images of which training has one of equal class and rules.

        Rules being unambiguous, equal last symbols mean equal choices all the way up. Costs a pass over the training
        set without its pixels.
        """
        share = twin_share(self.leaf_rows(self.holdout_indices()), self.leaf_rows(self.train_indices()))
        return {
            "source": "hierarchy", "classes": self.classes, "resolution": self.resolution,
            "train_images": self.train_images, "holdout_images": self.holdout_images,
            "symbols": _one_or_all(self.symbols), "rules": list(self.rules), "branching": list(self.branching),
            "patch": self.patch,
            "zipf_a": ["uniform" if a is None else a for a in self.zipf_a], "noise": self.noise, "seed": self.seed,
            **({} if self.task_seed is None else {"task_seed": self.task_seed, "new_levels": self.new_levels}),
            **({} if self.augment == "none" else {"augment": self.augment}),
            "holdout_twin_share": share,
        }  # fmt: skip

    @functools.cached_property
    def _find(self) -> Callable[[Arrays, NDArray[Any]], jax.Array]:
        return jax.jit(lambda arrays, block: self.leaves(arrays, block)[0].astype(jnp.uint16))

    def leaf_rows(self, indices: NDArray[Any]) -> Iterator[NDArray[np.uint16]]:
        """The last symbols of every image, in blocks of rows."""
        size = min(len(indices), 8192)
        for start in range(0, len(indices), size):
            block = indices[start : start + size].astype(np.int32)
            rows = np.asarray(self._find(self.arrays, np.resize(block, size)))  # padded: one shape, one executable
            yield rows[: len(block)].reshape(len(block), -1)


def make(
    *,
    train_images: int | None,
    holdout_images: int = 4096,
    seed: int = 0,
    classes: int = 100,
    symbols: int | tuple[int, ...] = 32,
    levels: int = 2,
    rules: int | tuple[int, ...] = 32,
    branching: str | tuple[str, ...] = "2x2",
    patch: int = 2,
    zipf_a: float | str | tuple[float | str, ...] = 0.0,
    noise: float = 0.3,
    task_seed: int | None = None,
    new_levels: int = 1,
    augment: str | None = None,
) -> Hierarchy:
    """Draws a grammar.

    Args:
        symbols, rules, branching, zipf_a: one value for all levels or a tuple from the class down. `branching` is
            "2x2" or "2", `zipf_a` a number of at least 0 or "uniform".
        others: as in `Hierarchy`.

    Raises:
        UserError: one line for each setting that cannot be.
    """
    data = settings.check(
        train_images=train_images, holdout_images=holdout_images, seed=seed, classes=classes, symbols=symbols,
        levels=levels, rules=rules, branching=branching, patch=patch, zipf_a=zipf_a, noise=noise,
        **({} if task_seed is None else {"task_seed": task_seed, "new_levels": new_levels}),
        **({} if augment is None else {"augment": augment}),
    )  # fmt: skip
    assert data.train_images is not None
    counts: tuple[int, ...] = settings.per_level(data, "rules")
    children = tuple(BRANCHING[word] for word in settings.per_level(data, "branching"))
    exponents = tuple(None if a == "uniform" else float(a) for a in settings.per_level(data, "zipf_a"))
    arrays: dict[str, jax.Array] = {}
    alphabet: tuple[int, ...] = settings.per_level(data, "symbols")
    parents = (classes, *alphabet[:-1])
    own = [seed] if task_seed is None else [seed, TASK, task_seed]
    for level, (m, s, a) in enumerate(zip(counts, children, exponents, strict=True)):
        entropy = own if level < new_levels else [seed]
        arrays[f"rules{level}"] = jnp.asarray(grammar.rules(entropy, level, parents[level], m, alphabet[level], s))
        arrays[f"thresholds{level}"] = jnp.asarray(grammar.thresholds(m, a))
    arrays["patches"] = jnp.asarray(grammar.patches(seed, alphabet[-1], patch**2), jnp.float32)
    arrays["noise"] = jnp.asarray(noise * grammar.normal_quantiles(2**16), jnp.float32)
    arrays["key"] = jnp.asarray(np.random.SeedSequence([IMAGES, *own]).generate_state(2))
    return Hierarchy(
        classes, settings.resolution(data), data.train_images, holdout_images, arrays, alphabet, counts, children,
        patch, exponents, float(noise), seed, task_seed, new_levels, augment or "none",
    )  # fmt: skip


def _reached(thresholds: jax.Array, draws: jax.Array) -> jax.Array:
    """The number of thresholds that each draw has reached (int32): the inverse of the cumulative distribution."""
    if len(thresholds) <= MANY_RULES:
        return jnp.sum(draws[..., None] >= thresholds, axis=-1, dtype=jnp.int32)
    return jnp.searchsorted(thresholds, draws, side="right", method="scan_unrolled").astype(jnp.int32)


def _one_or_all(values: tuple[int, ...]) -> int | list[int]:
    """The value that all levels share, else one for each."""
    return values[0] if len(set(values)) == 1 else list(values)


def _repeat(grid: jax.Array, split: tuple[int, int]) -> jax.Array:
    """Gives every child its parent's entry: [b, h, w] becomes [b, h * split[0], w * split[1]].

    Gathering child by child fuses; gathering whole tuples and transposing them was 3 to 7 times slower on CPU.
    """
    return jnp.repeat(jnp.repeat(grid, split[0], axis=1), split[1], axis=2)


def _place(grid: jax.Array, split: tuple[int, int]) -> jax.Array:
    """Which child of its parent each child is, row by row: int32 [h * split[0], w * split[1]]."""
    down, across = (jnp.arange(size * by) % by for size, by in zip(grid.shape[1:], split, strict=True))
    return down[:, None] * split[1] + across
