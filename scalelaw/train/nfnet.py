"""NFNet on flax.nnx: F0 to F7+ exactly as published, and the nano family through the same blocks.

Brock, De, Smith, Simonyan 2021 (arXiv 2102.06171), "the paper" below; names and initial values follow its published
code and checkpoints. What is where:

- `init` and `apply` are the pure pair that a training step needs: a nested dict of arrays in, logits out.
- `NFNet` is the module behind them; `NFNet.features` gives the pooled features, `NFNet.blocks` the residual blocks.
- `published_names` maps every parameter to its (module, name) in DeepMind's checkpoints. The path in the nested dict
  is that module's path, so kinds of parameters follow from names: `gain`, `bias` (of convolutions), `b` and `w` (of
  linear layers, convolutions have `w` too), `skip_gain`; the head kernel is ("linear", "w") at the top, see `HEAD`.

The nano family (N0 ...) is for images of 8 to 32 pixels and for CPUs. Block, activation, standardisation and head are
the same; what differs: the stem is one 3x3 convolution of stride 1 straight to the first stage's width (four
convolutions of total stride 4 would leave 2 of 8 pixels), there are two stages of one block each (the second at 4x4
pixels), and the bottleneck is one dense group, because groups of 128 channels are wider than the whole network.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from scalelaw.architecture import Block, Variant
from scalelaw.train.convolution import Way, centre, convolve, fastest, spread
from scalelaw.train.pooling import mean_pool, pixel_mean
from scalelaw.train.start import Start

GAMMA = 1.7015043497085571  # makes the variance of gamma * gelu(z) one for z from N(0, 1)
ALPHA = 0.2  # the residual branch's share
HEAD = ("linear", "w")  # the head kernel's path: decayed but not clipped

Params = dict[str, Any]
"""A nested dict of arrays: module names down to parameter names."""

Images = Float[Array, "batch height width channels"]
"""Inside the network, where its way of convolving is `columns`: channels, height, width, batch."""


def activation(x: Array) -> Array:
    """gamma * gelu(x), the tanh form (the paper's sections 3 and 5)."""
    return GAMMA * jax.nn.gelu(x, approximate=True)


class Convolution(nnx.Module):
    """Weight-standardised convolution with gain and bias per output channel.

    Starts at w ~ N(0, 1 / fan_in), gain 1, bias 0, as published (standardisation makes it insensitive to the former).
    """

    def __init__(self, kernel: int, inside: int, out: int, *, stride: int = 1, groups: int = 1, start: Start) -> None:
        shape = (kernel, kernel, inside // groups, out)
        self.w = start.normal(shape, std=math.prod(shape[:-1]) ** -0.5)
        self.gain = start.full((out,), 1.0)
        self.bias = start.full((out,), 0.0)
        self.stride, self.groups, self.ready = stride, groups, False

    def __call__(self, x: Images, way: Way) -> Images:
        """Standardises in the parameters' type, convolves in the images'."""
        kernel, scale = (self.w[...], None) if self.ready else centre(self.w[...], self.gain[...])
        return convolve(x, kernel, scale, self.bias[...], stride=self.stride, groups=self.groups, way=way)


class Linear(nnx.Module):
    """Linear layer; starts at b = 0, w ~ N(0, std^2), or without `std` at N(0, 1 / fan_in) cut at two deviations."""

    def __init__(self, inside: int, out: int, *, std: float | None = None, start: Start) -> None:
        shape = (inside, out)
        self.w = start.normal(shape, std=inside**-0.5, cut=2.0) if std is None else start.normal(shape, std=std)
        self.b = start.full((out,), 0.0)

    def __call__(self, x: Float[Array, "batch inside"], way: Way = "products") -> Float[Array, "batch out"]:
        w, b = self.w[...].astype(x.dtype), self.b[...]
        out, b = (w.T @ x, b[:, None]) if way == "columns" else (x @ w, b)
        return out + spread(b, out)


class SqueezeExcite(nnx.Module):
    """A gate in (0, 1) per image and channel from the channels' means; its hidden layer is half as wide."""

    def __init__(self, channels: int, *, start: Start) -> None:
        self.linear = Linear(channels, channels // 2, start=start)
        self.linear_1 = Linear(channels // 2, channels, start=start)

    def __call__(self, x: Images, way: Way) -> Float[Array, "batch 1 1 channels"]:
        hidden = jax.nn.relu(self.linear(pixel_mean(x, way), way))
        return jax.nn.sigmoid(self.linear_1(hidden, way))[:, None, None, :]


class NFBlock(nnx.Module):
    """One residual block: shortcut + alpha * skip_gain * branch (the paper's section 3, figures 5 and 6)."""

    def __init__(self, shape: Block, beta: float, *, start: Start) -> None:
        conv, inside, groups = functools.partial(Convolution, start=start), shape.bottleneck, shape.groups
        self.stride, self.beta, self.projects = shape.stride, beta, shape.projects
        self.conv0 = conv(1, shape.channels_in, inside)
        self.conv1 = conv(3, inside, inside, stride=shape.stride, groups=groups)
        self.conv1b = conv(3, inside, inside, groups=groups)
        self.conv2 = conv(1, inside, shape.channels_out)
        self.squeeze_excite = SqueezeExcite(shape.channels_out, start=start)
        if shape.projects:
            self.conv_shortcut = conv(1, shape.channels_in, shape.channels_out)
        self.skip_gain = start.full((), 0.0)

    def factors(self, a: Images, way: Way = "products") -> tuple[Images, Images]:
        """Two factors whose product is the residual branch of the scaled activations `a`, before stochastic depth, skip
        gain and alpha: images, and their gates, the same for all pixels of a channel."""
        out = self.conv1(activation(self.conv0(a, way)), way)
        out = self.conv2(activation(self.conv1b(activation(out), way)), way)
        return out, 2 * self.squeeze_excite(out, way)

    def shortcut(self, x: Images, a: Images, way: Way = "products") -> Images:
        """x itself; where shape changes the scaled activations `a`, pooled if strided, through a 1x1 convolution."""
        if not self.projects:
            return x
        return self.conv_shortcut(mean_pool(a) if self.stride > 1 else a, way)

    def __call__(self, x: Images, way: Way = "products", *, drop: float = 0.0, keys: Array | None = None) -> Images:
        """`drop` is the probability that an image skips the branch; as published, the others are not rescaled."""
        a = activation(x) * self.beta
        out, gate = self.factors(a, way)
        gate = ALPHA * self.skip_gain[...] * gate  # here, so that its gradient sums no pixels
        if drop > 0.0:
            kept = _kept(keys, 1 - drop, (1, 1, 1))
            gate = jnp.where(kept.T if way == "columns" else kept, gate, 0)
        return self.shortcut(x, a, way) + spread(gate, out) * out


class NFNet(nnx.Module):
    """The network of `variant` for `classes` classes, its parameters as `start` gives them.

    Rates of dropout and stochastic depth at 0, the default, are evaluation mode; above 0 they need `keys`, one for each
    image, so that what is dropped of an image does not depend on its batch.
    """

    def __init__(self, variant: Variant, classes: int, start: Start) -> None:
        conv = functools.partial(Convolution, start=start)
        self.stem_names = tuple(f"stem_conv{i}" for i in range(len(variant.stem_channels)))
        self.block_names = tuple(f"nf_block_{i}" if i else "nf_block" for i in range(len(variant.blocks)))
        inputs = (3, *variant.stem_channels[:-1])
        for name, *io, stride in zip(self.stem_names, inputs, variant.stem_channels, variant.stem_strides, strict=True):
            setattr(self, name, conv(3, *io, stride=stride))
        for name, shape, scale in zip(self.block_names, variant.blocks, expected_scales(variant), strict=True):
            setattr(self, name, NFBlock(shape, 1 / scale, start=start))
        self.final_conv = conv(1, variant.widths[-1], variant.head_channels)
        self.linear = Linear(variant.head_channels, classes, std=0.01, start=start)
        self.widest, self.grouped = max(variant.widths), variant.group_width is not None

    @property
    def blocks(self) -> list[NFBlock]:
        """The residual blocks in order."""
        return [getattr(self, name) for name in self.block_names]

    def stem(self, images: Images, way: Way = "products") -> Images:
        """The stem's convolutions, an activation between each two."""
        first, *rest = (getattr(self, name) for name in self.stem_names)
        x: Images = first(images, way)
        for convolution in rest:
            x = convolution(activation(x), way)
        return x

    def features(
        self, images: Images, *, stochastic_depth: float = 0.0, keys: Array | None = None, remat: bool = False
    ) -> Float[Array, "batch features"]:
        """Pooled features; block i of n is dropped with probability `stochastic_depth` * i / n.

        With `remat` the backward pass computes the inside of every block anew instead of keeping it.
        """
        way = fastest(self.widest, self.grouped)
        x = self.stem(images.T.swapaxes(1, 2) if way == "columns" else images, way)
        for index, block in enumerate(self.blocks):
            drop = stochastic_depth * index / len(self.block_names)
            run = functools.partial(block, way=way, drop=drop, keys=_folded(keys, index) if drop else None)
            x = jax.checkpoint(run)(x) if remat else run(x)
        pooled = pixel_mean(activation(self.final_conv(x, way)), way)
        return pooled.T if way == "columns" else pooled

    def __call__(
        self,
        images: Images,
        *,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        keys: Array | None = None,
        remat: bool = False,
    ) -> Float[Array, "batch classes"]:
        """Logits, in the images' type. `dropout` is the probability that a pooled feature is zeroed."""
        pooled = self.features(images, stochastic_depth=stochastic_depth, keys=keys, remat=remat)
        if dropout:
            keep = _kept(_folded(keys, len(self.block_names)), 1 - dropout, pooled.shape[1:])
            pooled = jnp.where(keep, pooled / (1 - dropout), 0)
        return self.linear(pooled)


def expected_scales(variant: Variant) -> list[float]:
    """The standard deviation s expected of each block's input at the start, were every skip gain 1; beta = 1 / s.

    A stage's first block ends what came before: its projected shortcut sees activations of variance one again.
    """
    scales, s = [], 1.0
    for block in variant.blocks:
        scales.append(s)
        s = math.sqrt((1.0 if block.starts_stage else s * s) + ALPHA * ALPHA)
    return scales


def init(variant: Variant, classes: int, key: Array, dtype: DTypeLike = jnp.float32) -> Params:
    """Returns the initial parameters: a nested dict of arrays of type `dtype`, keyed by the published module names.

    They depend on `key` alone, not on the backend. Not for use under `jax.jit`; see `abstract` for shapes.
    """
    return dict(jax.device_put(drawn(variant, classes, key, dtype)))


def drawn(variant: Variant, classes: int, key: Array, dtype: DTypeLike = jnp.float32) -> Params:
    """Returns the initial parameters as `init` does, as NumPy arrays: nothing is on a device yet."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    return nnx.to_pure_dict(nnx.state(NFNet(variant, classes, Start(dtype, rng))))


def apply(
    variant: Variant,
    classes: int,
    params: Params,
    images: Images,
    *,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    keys: Array | None = None,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    ready: bool = False,
) -> Float[Array, "batch classes"]:
    """Returns the logits of `images` (any float type), computed in type `dtype`; pure, to be called under `jax.jit`.

    The rates are static; at 0 (evaluation) no `keys` ([batch], one an image) are needed. Kernels that are `ready` are
    standardised already, gains and all.
    """
    model, images = bind(variant, classes, params, ready=ready), images.astype(dtype)
    return model(images, dropout=dropout, stochastic_depth=stochastic_depth, keys=keys, remat=remat)


def bind(variant: Variant, classes: int, params: Params, *, ready: bool = False) -> NFNet:
    """Returns the module that holds `params`, for what is neither `init` nor `apply` (features, single blocks)."""
    return nnx.merge(_graph(variant, classes, ready), params)


def abstract(variant: Variant, classes: int, dtype: DTypeLike = jnp.float32) -> Params:
    """Returns the parameters' shapes and types (`jax.ShapeDtypeStruct`s) without computing or storing any."""
    return nnx.to_pure_dict(nnx.state(NFNet(variant, classes, Start(dtype))))


def published_names(params: Params) -> dict[tuple[str, ...], tuple[str, str]]:
    """Returns for every parameter's path in `params` its (module, name) in the published checkpoints.

    For example ("nf_block_1", "squeeze_excite", "linear_1", "w") is
    ("NFNet/~/nf_block_1/~/squeeze_excite/~/linear_1", "w").
    """
    paths = [tuple(str(part.key) for part in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    return {path: ("/~/".join(("NFNet", *path[:-1])), path[-1]) for path in paths}


@functools.lru_cache(maxsize=64)
def _graph(variant: Variant, classes: int, ready: bool) -> nnx.GraphDef[NFNet]:
    model = NFNet(variant, classes, Start())
    for convolution in (module for _, module in nnx.iter_modules(model) if isinstance(module, Convolution)):
        convolution.ready = ready
    return nnx.graphdef(model)


def _folded(keys: Array | None, index: int) -> Array:
    """Every image's key for one place in the network."""
    if keys is None:
        raise ValueError("dropout and stochastic depth need a random key for each image")
    return jax.vmap(lambda key: jax.random.fold_in(key, index))(keys)


def _kept(keys: Array | None, probability: float, shape: tuple[int, ...]) -> Array:
    """Per image its own draws (bool [batch, *shape]) of what is kept."""
    assert keys is not None
    return jax.vmap(lambda key: jax.random.bernoulli(key, probability, shape))(keys)
