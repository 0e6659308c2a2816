"""Short vectors side by side are clipped, moved and counted as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw import architecture  # noqa: E402
from scalelaw.sweep.recipes import RECIPES  # noqa: E402
from scalelaw.train import nfnet, optimizer  # noqa: E402
from scalelaw.train.packing import PACKED, SHORT, packed, unpacked  # noqa: E402

RULES = RECIPES["pretrain"]
SHAPES = nfnet.abstract(architecture.Variant("test", "nfnet", (8,), (1,), (1,), (8,), (1,), None), 4)


def close(a: Any, b: Any) -> None:
    """Equal but for rounding, of the largest entry where steps cancel one another."""
    np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6 * np.abs(b).max())


def random_like(tree: Any, seed: int) -> Any:
    """Normal entries, each array times a factor of its own, so that some are clipped and some not."""
    rng = np.random.default_rng(seed)
    factors = (1e-6, 1e-3, 1.0)
    return jax.tree.map(lambda x: (rng.normal(size=x.shape) * rng.choice(factors)).astype(np.float32), tree)


def test_what_is_packed_comes_back():
    params = random_like(SHAPES, 0)
    there_and_back = jax.jit(lambda tree: (packed(tree), unpacked(packed(tree), tree)))
    together, back = there_and_back(params)
    jax.tree.map(np.testing.assert_array_equal, back, params)
    vectors = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim <= 1]
    matrix = np.asarray(together[PACKED[0]][PACKED[1]])
    assert matrix.shape == (16, len(vectors))  # the last convolution's 16 channels are the longest
    assert np.count_nonzero(matrix) == sum(leaf.size for leaf in vectors), "zeros fill it up"
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    # Of 3x3 the stem's and the block's two, of 1x1 three, of no window the gate's two; the head's stays apart.
    assert len(kernels) == 3 + 3 + 2 + 1
    shapes = {name: tree["w"].shape for name, tree in together.items() if "w" in tree}
    assert shapes == {"kernels_3_3": (36, 16), "kernels_1_1": (8, 28), "kernels": (8, 12), "linear": (16, 4)}


def test_a_kernel_that_is_one_unit_is_not_packed():
    """A single row or column is one unit of clipping, which its columns beside others would not be."""
    shapes = {"a": (1, 1, 1, 5), "b": (1, 1, 1, 5), "c": (5, 1), "d": (5, 1), "linear": (5, 4), "e": (5, 4)}
    tree = {name: {"w": np.ones(shape, np.float32)} for name, shape in shapes.items()}
    assert packed(tree) is tree
    assert set(packed({**tree, "f": {"w": np.ones((5, 3), np.float32)}})) == {*shapes, "kernels"} - {"e"}


@pytest.mark.parametrize("name", ["N6", "F0", "F7+"])
def test_long_vectors_stay_as_they_are(name):
    shapes = nfnet.abstract(architecture.variant(name), 1000)
    together = packed(shapes)
    assert jax.eval_shape(lambda tree: unpacked(packed(tree), tree), shapes) == shapes
    vectors = [leaf.size for leaf in jax.tree.leaves(shapes) if leaf.ndim <= 1]
    long = [leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(together) if leaf.ndim <= 1]
    assert sorted(long) == sorted(size for size in vectors if size > SHORT)
    assert together[PACKED[0]][PACKED[1]].shape == (
        max(size for size in vectors if size <= SHORT), len(vectors) - len(long)
    )  # fmt: skip


def test_scalars_alone_are_units_of_their_own():
    gains = (np.array(size, np.float32) for size in (1, 2))
    tree = {**dict(zip("ab", ({"skip_gain": gain} for gain in gains), strict=True)), "linear": {"w": np.ones((3, 4))}}
    together = packed(tree)
    np.testing.assert_array_equal(optimizer._units(together[PACKED[0]][PACKED[1]]), [1, 2])
    one = {"b": {"skip_gain": np.array(2.0, np.float32)}, "linear": {"w": np.ones((3, 4))}}
    assert packed(one) is one
    assert unpacked(one, one) is one


def test_steps_of_packed_vectors_are_those_of_each():
    params = random_like(SHAPES, 0)
    update = optimizer.optimizer(RULES)

    def moved(params, momentum, gradients):
        numbers = optimizer.measure(RULES, gradients, params)
        direction, momentum = update.update(gradients, momentum, params)
        return optimizer.step(params, direction, 0.5), momentum, numbers

    one_by_one, together = jax.jit(moved), jax.jit(moved)
    apart, apart_momentum = params, update.init(params)
    few, few_momentum = packed(params), update.init(packed(params))
    for seed in range(1, 5):
        gradients = random_like(SHAPES, seed)
        apart, apart_momentum, numbers = one_by_one(apart, apart_momentum, gradients)
        few, few_momentum, few_numbers = together(few, few_momentum, packed(gradients))
        jax.tree.map(close, unpacked(few, params), apart)
        for key, value in numbers.items():
            assert float(few_numbers[key]) == pytest.approx(float(value), rel=2e-6)
        assert 0.1 < float(numbers["clipped_share"]) < 0.9
