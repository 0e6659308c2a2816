"""Layers of NFNet one by one: convolutions, pools, activations, dropout, precision."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array, lax
from small_nfnets import NANO, with_skip_gains

from scalelaw.train import nfnet, pooling
from scalelaw.train.convolution import Way, convolve, standardise


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("kernel", "inside", "out", "groups"),
    [
        (1, 12, 8, 1),
        (1, 8, 12, 1),
        (1, 64, 32, 1),
        (3, 3, 8, 1),
        (3, 24, 20, 1),
        (3, 12, 12, 3),
        (3, 64, 64, 2),
        (3, 192, 96, 3),
    ],
)
@pytest.mark.parametrize("pixels", [8, 7])
def test_all_ways_of_convolving_agree(
    pixels: int, kernel: int, inside: int, out: int, groups: int, stride: int
) -> None:
    draw = np.random.default_rng(pixels).standard_normal
    x = draw((3, pixels, pixels, inside), dtype=np.float32)
    w = standardise(jnp.asarray(draw((kernel, kernel, inside // groups, out), dtype=np.float32)), jnp.ones(out))
    side = -(-pixels // stride)
    weight = draw((3, side, side, out), dtype=np.float32) / math.sqrt(3 * side * side)

    scale, bias = 1 + draw(out, dtype=np.float32) / 5, draw(out, dtype=np.float32)

    def run(way: Any) -> Any:
        def turned(images: Any) -> Any:
            return jnp.swapaxes(images.T, 1, 2) if way == "columns" else images

        def total(x: Any, w: Any, scale: Any, bias: Any) -> Any:
            y = turned(convolve(turned(x), w, scale, bias, stride=stride, groups=groups, way=way))
            return jnp.sum(y * weight), y

        gradients, y = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True))(x, w, scale, bias)
        return y, *gradients

    theirs = run("grouped")
    for way in ("products", "columns") if groups == 1 else ("products",):
        for ours, others in zip(run(way), theirs, strict=True):
            np.testing.assert_allclose(ours, others, rtol=2e-5, atol=1e-5)


def test_standardised_kernels_have_mean_zero_and_norm_gain() -> None:
    draw = np.random.default_rng(0).standard_normal
    w, gain = 3 + draw((3, 3, 5, 7), dtype=np.float32), jnp.linspace(0.5, 2, 7)
    kernel = standardise(jnp.asarray(w), gain)
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(jnp.sqrt((kernel**2).sum((0, 1, 2))), gain, rtol=1e-5)
    # A kernel of nearly no spread is not blown up beyond 1 / sqrt(1e-4).
    np.testing.assert_allclose(
        standardise(jnp.asarray(w) * 1e-6, gain), 100e-6 * gain * (w - w.mean((0, 1, 2))), atol=1e-6
    )


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 4), (4, 7), (5, 1)])
def test_mean_pool_is_the_mean_over_pixels_that_exist(height: int, width: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, height, width, 3), dtype=np.float32)
    window = functools.partial(
        lax.reduce_window,
        init_value=0.0,
        computation=lax.add,
        window_dimensions=(1, 2, 2, 1),
        window_strides=(1, 2, 2, 1),
        padding="SAME",
    )

    def pooled(x: Array) -> Array:
        return window(x) / window(jnp.ones_like(x))

    np.testing.assert_allclose(pooling.mean_pool(x), pooled(x), rtol=1e-6, atol=1e-6)
    weights = np.random.default_rng(1).standard_normal(pooled(x).shape, dtype=np.float32)
    pools = pooling.mean_pool, pooled
    ours, others = (jax.grad(lambda x, pool=pool: jnp.vdot(pool(x), weights))(x) for pool in pools)
    np.testing.assert_allclose(ours, others, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "close"), [(jnp.float32, 2e-6), (jnp.bfloat16, 2**-8)])
def test_means_over_pixels_are_the_same_in_either_order_of_axes(kind: Any, close: float) -> None:
    """In bfloat16 too: but for the last rounding, to 8 bits, sums are in float32."""
    x = jnp.asarray(1 + 0.1 * np.random.default_rng(0).standard_normal((2, 20, 20, 3), dtype=np.float32), kind)

    def mean(x: Array, way: Way) -> Array:
        given = x.transpose(3, 1, 2, 0) if way == "columns" else x
        found = pooling.pixel_mean(given, way)
        return found.T if way == "columns" else found

    exact = np.asarray(x, np.float64).mean((1, 2))
    for way in ("products", "columns"):
        np.testing.assert_allclose(np.asarray(mean(x, way), np.float64), exact, rtol=close)
        gradient = jax.grad(lambda x, way=way: mean(x, way).astype(jnp.float32).sum())(x)
        np.testing.assert_allclose(np.asarray(gradient, np.float64), 1 / 400, rtol=close)


def test_activation_keeps_unit_variance() -> None:
    z, weight = np.polynomial.hermite_e.hermegauss(64)
    y, weight = np.asarray(nfnet.activation(jnp.asarray(z))), weight / weight.sum()
    assert weight @ y**2 - (weight @ y) ** 2 == pytest.approx(1, abs=1e-3)


def test_stochastic_depth_leaves_whole_images_out_and_does_not_rescale() -> None:
    variant = NANO
    params = with_skip_gains(nfnet.init(variant, 10, jax.random.key(0)), 1.0)
    block = nfnet.bind(variant, 10, params).blocks[1]
    x = jnp.asarray(np.random.default_rng(0).standard_normal((400, 2, 2, 16), dtype=np.float32))
    kept, skipped = block(x), block.shortcut(x, nfnet.activation(x) * block.beta)
    got = block(x, drop=0.25, keys=jax.random.split(jax.random.key(1), 400))
    is_kept = jnp.all(jnp.isclose(got, kept, atol=1e-6), axis=(1, 2, 3))
    is_skipped = jnp.all(jnp.isclose(got, skipped, atol=1e-6), axis=(1, 2, 3))
    assert bool((is_kept ^ is_skipped).all())
    assert float(is_skipped.mean()) == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 400))


def test_rates_of_dropout_and_stochastic_depth() -> None:
    variant = NANO
    params = with_skip_gains(nfnet.init(variant, 10, jax.random.key(0)), 1.0)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((8, 8, 8, 3), dtype=np.float32))
    apply = functools.partial(nfnet.apply, variant, 10, params, images)
    with pytest.raises(ValueError, match="key"):
        apply(dropout=0.1)
    with pytest.raises(ValueError, match="key"):
        apply(stochastic_depth=0.1)
    keys = jax.random.split(jax.random.key(0), 400)
    plain = jax.jit(apply)()
    drop = jax.jit(lambda key: apply(dropout=0.5, keys=jax.random.split(key, 8)))
    drawn = jnp.stack([drop(key) for key in keys])
    error = drawn.std(0) / math.sqrt(len(keys))
    assert bool((abs(drawn.mean(0) - plain) < 5 * error).all()), "dropout keeps the logits' mean"
    assert float(drawn.std(0).min()) > 0
    deep = jax.jit(lambda key: apply(stochastic_depth=0.9, keys=jax.random.split(key, 8)))(keys[0])
    changed = jnp.any(~jnp.isclose(deep, plain, rtol=1e-4), axis=1)
    assert bool(changed.any()), "the second of two blocks is left out at rate .45"
    assert not bool(changed.all())


def test_half_precision_computes_in_the_type_asked_for() -> None:
    variant = NANO
    params = nfnet.init(variant, 10, jax.random.key(0))
    images = np.random.default_rng(0).standard_normal((4, 8, 8, 3), dtype=np.float32)
    run = jax.jit(functools.partial(nfnet.apply, variant, 10), static_argnames="dtype")
    half, full = (run(params, images, dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), full, atol=0.05 * float(abs(full).max()))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["products", "columns"])
def test_half_precision_adds_up_the_gradients_of_many_pixels(way: Way) -> None:
    """In eight bits a sum of 65,536 numbers stops growing at 256 times the largest."""
    params = with_skip_gains(nfnet.init(NANO, 10, jax.random.key(0)), 1.0)
    images = np.random.default_rng(0).standard_normal((64, 32, 32, 16), dtype=np.float32)

    def loss(params: nfnet.Params, dtype: str) -> Array:
        model, x = nfnet.bind(NANO, 10, params), jnp.asarray(images, dtype)
        out = model.blocks[1](x.T.swapaxes(1, 2) if way == "columns" else x, way)
        logits = model.linear(jnp.full((4096, NANO.head_channels), 0.1, dtype))
        return jnp.sum(out, dtype=jnp.float32) + jnp.sum(logits, dtype=jnp.float32)

    whole, half = (jax.jit(jax.grad(functools.partial(loss, dtype=dtype)))(params) for dtype in ("float32", "bfloat16"))
    for (path, expected), found in zip(jax.tree_util.tree_leaves_with_path(whole), jax.tree.leaves(half), strict=True):
        error = jnp.linalg.norm(found - expected) / jnp.linalg.norm(expected)
        assert not error > 0.2, f"{jax.tree_util.keystr(path)}: {error}"  # 0 / 0 where a parameter is not in use
