"""Kernels that are standardised side by side are those that are standardised one by one, and so are gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

import jax.numpy as jnp  # noqa: E402

from scalelaw import architecture  # noqa: E402
from scalelaw.train import nfnet  # noqa: E402
from scalelaw.train.convolution import standardise  # noqa: E402
from scalelaw.train.packing import packed  # noqa: E402
from scalelaw.train.ready import Ready  # noqa: E402

SHAPES = nfnet.abstract(architecture.Variant("test", "nfnet", (8, 12), (1, 1), (1, 2), (8,), (1,), None), 4)
LONE = {"alone": {"w": (2, 2, 3, 5), "gain": (5,)}}  # of a window that no other kernel has


def one_by_one(params: Any) -> Any:
    def of_module(tree: Any) -> Any:
        if "gain" in tree:
            return {**tree, "w": standardise(tree["w"], tree["gain"])}
        return {name: of_module(branch) if isinstance(branch, dict) else branch for name, branch in tree.items()}

    return of_module(params)


@pytest.fixture(scope="module")
def params() -> Any:
    """Normal draws of means that are not 0; one output channel has next to no spread."""
    rng = np.random.default_rng(0)
    lone = {
        module: {name: np.zeros(shape, np.float32) for name, shape in tree.items()} for module, tree in LONE.items()
    }
    drawn = jax.tree.map(lambda x: rng.normal(0.5, 1, x.shape).astype(np.float32), {**SHAPES, **lone})
    drawn["stem_conv0"]["w"][..., 2] *= 1e-5
    return drawn


@pytest.mark.parametrize("standardises", [True, False])
def test_what_is_opened_and_its_gradient(params, standardises):
    ready = Ready(params, standardises)
    weights = jax.tree.map(lambda x: np.random.default_rng(1).normal(size=x.shape).astype(np.float32), params)

    def total(opened: Any) -> Any:
        if standardises:  # the network does not ask for gains then
            opened = jax.tree_util.tree_map_with_path(lambda path, x: 0 if path[-1].key == "gain" else x, opened)
        return sum(jax.tree.leaves(jax.tree.map(lambda x, weight: jnp.sum(x * weight), opened, weights)))

    @jax.jit
    def both(params: Any) -> Any:
        apart = one_by_one if standardises else lambda tree: tree
        return (ready(packed(params)), jax.grad(lambda few: total(ready(few)))(packed(params)),
                apart(params), packed(jax.grad(lambda params: total(apart(params)))(params)))  # fmt: skip

    opened, gradient, expected, expected_gradient = both(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), opened, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max()),
                 gradient, expected_gradient)  # fmt: skip
    assert jax.tree.structure(gradient) == jax.tree.structure(packed(params))
