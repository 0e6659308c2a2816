"""Weight-standardised convolution, each backend's fast way behind one function.

Layout is NHWC for images and HWIO for kernels, I being the channels of one group. Padding is SAME: outputs are
ceil(input / stride) wide, and an odd pixel of padding goes to the end.

What is fast was measured (XLA of jax 0.10, one and two CPU cores). Accelerators have one good way, their own
convolution with feature groups. On CPUs every group becomes a dense convolution of its own, a 1x1 convolution a matrix
product, and a 3x3 convolution of few input channels a matrix product with nine shifted copies of the images, in value
and in image gradient; its kernel gradient, and everything with more channels, is fastest as XLA's own dense
convolution. Networks of few channels throughout keep images as CHWN: then the batch fills vectors that 2 to 128
channels cannot, shifted copies are copies of whole rows, and every convolution is one product with thousands of
columns.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from scalelaw.train import columns

Images = Float[Array, "batch height width channels"]
Kernel = Float[Array, "height width inside out"]
Scale = Float[Array, " out"]

Way = Literal["grouped", "products", "columns"]
"""`grouped`: one convolution with feature groups (GPU, TPU); `products`: dense ones and matrix products (CPU);
`columns`: matrix products with images as CHWN (CPU, few channels, no groups)."""

FEW = (
    16  # input channels below which shifted copies win (1.4x at 8 and 12, 1.0x at 16, .7x at 24; 8x8 images, batch 64)
)
SCARCE = (
    1024  # output pixels of a batch below which the image gradient is faster by shifted copies: no kernel is turned
)


NARROW = 128  # channels up to which CHWN wins (2.2x at 8, 1.5x at 48, 1.2x at 96 and 128; 8x8 images, batch 64)
SMALL = 2**14  # entries below which a product with ones is faster than XLA's sum over rows
SMALLEST = 1e-4  # of variance * fan_in, so that a kernel of nearly no spread is not blown up


@jax.custom_vjp
def centre(w: Kernel, gain: Scale) -> tuple[Kernel, Scale]:
    """Returns w - mean and gain * rsqrt(max(var * fan_in, 1e-4)), moments over all dimensions but the last.

    Their product is the scaled weight standardisation of Brock, De, Smith 2021 (arXiv 2101.08692). What it costs on a
    CPU is memory, so the gradient is written out: eight passes over the weights, forward and back together.
    """
    return _centre_forward(w, gain)[0]


def _centre_forward(w: Kernel, gain: Scale) -> tuple[tuple[Kernel, Scale], tuple[Array, ...]]:
    centred = w - _row_sums(w) / (w.size // w.shape[-1])
    spread = _row_sums(jnp.square(centred))
    root = lax.rsqrt(jnp.maximum(spread, SMALLEST))
    return (centred, root * gain), (centred, gain, spread, root)


def _centre_backward(saved: tuple[Array, ...], gradients: tuple[Kernel, Scale]) -> tuple[Kernel, Scale]:
    centred, gain, spread, root = saved
    to_centred, to_scale = gradients
    mean = _row_sums(to_centred) / (centred.size // centred.shape[-1])
    pull = jnp.where(spread > SMALLEST, root**3 * gain * to_scale, 0)
    return to_centred - mean - centred * pull, to_scale * root


def _row_sums(x: Kernel) -> Scale:
    """Sums over all dimensions but the last."""
    rows = x.reshape(-1, x.shape[-1])
    return (jnp.ones((1, len(rows)), x.dtype) @ rows)[0] if x.size < SMALL else jnp.sum(rows, axis=0)


centre.defvjp(_centre_forward, _centre_backward)


def standardise(w: Kernel, gain: Scale) -> Kernel:
    """The kernel that the images meet: (w - mean) * rsqrt(max(var * fan_in, 1e-4)) * gain."""
    centred, scale = centre(w, gain)
    return centred * scale


def fastest(widest: int, grouped: bool) -> Way:
    """The way for a network of at most so many channels, in groups or not, on `jax.default_backend()` when traced."""
    if jax.default_backend() != "cpu":
        return "grouped"
    return "columns" if widest <= NARROW and not grouped else "products"


def convolve(
    x: Images,
    kernel: Kernel,
    scale: Scale | None = None,
    bias: Scale | None = None,
    *,
    stride: int = 1,
    groups: int = 1,
    way: Way = "products",
) -> Images:
    """SAME convolution of images with `kernel` * `scale`, plus `bias`, computed in the images' type.

    Args:
        x: the images, NHWC, or CHWN where `way` is `columns`; so is what returns.
        kernel: shared by all images.
        scale: of the outputs. The kernel is multiplied, but in products the outputs are where they are fewer: their sum
            with the gradient is then all that the scale's own gradient takes.
        bias: added to the outputs.
        stride: the same in both directions.
        groups: parts of the channels that do not meet; 1 for `columns`.
        way: how.
    """
    if way not in get_args(Way):
        raise ValueError(f"way must be one of {get_args(Way)}, got {way!r}")
    pixels = x.shape[0] * -(-x.shape[1] // stride) * -(-x.shape[2] // stride)
    if scale is not None and (way != "products" or kernel.size < pixels * kernel.shape[-1]):
        kernel, scale = kernel * scale, None
    kernel = kernel.astype(x.dtype)
    if way == "columns":
        out = columns.convolved(x, kernel, stride)
        return out if bias is None else out + spread(bias[:, None, None, None], out)
    if way == "grouped":
        out = _xla(x, kernel, stride, groups)
    else:
        parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
        dense = [_dense(*part, stride) for part in parts]
        out = dense[0] if groups == 1 else jnp.concatenate(dense, axis=-1)
        out = out if scale is None else out * spread(scale, out)
    return out if bias is None else out + spread(bias, out)


def spread(few: Array, like: Array) -> Array:
    """`few` numbers of the parameters' precision as many as `like` has, in its type.

    So the gradient adds up in their own precision. In bfloat16 XLA's sum on a CPU stops growing at 256 times its terms.
    """
    return few if few.dtype == like.dtype else jnp.broadcast_to(few, like.shape).astype(like.dtype)


def _xla(x: Images, kernel: Kernel, stride: int, groups: int = 1) -> Images:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _dense(x: Images, kernel: Kernel, stride: int) -> Images:
    if kernel.shape[:2] == (1, 1):
        return _product(x[:, ::stride, ::stride], kernel)
    few = kernel.shape[2] < FEW
    pixels = x.shape[0] * -(-x.shape[1] // stride) * -(-x.shape[2] // stride)
    return _spatial(x, kernel, stride, few, few or pixels < SCARCE)


def _product(x: Images, kernel: Kernel) -> Images:
    """The 1x1 convolution as one matrix product."""
    batch, height, width, channels = x.shape
    return (x.reshape(-1, channels) @ kernel.reshape(channels, -1)).reshape(batch, height, width, -1)


def _shifted(x: Images, kernel: Kernel, stride: int) -> Images:
    """The convolution as one matrix product with copies of `x`, one for every position in the kernel."""
    return _product(_copies(x, kernel.shape[:2], stride, -1), kernel.reshape(1, 1, -1, kernel.shape[-1]))


def _copies(x: Images, sizes: Sequence[int], stride: int, axis: int) -> Images:
    """Along `axis` the shifted copies of `x` that the positions in a kernel meet, row by row of the kernel."""
    (height, tall), (width, wide) = (
        (-(-pixels // stride), lax.padtype_to_pads((pixels,), (size,), (stride,), "SAME")[0])
        for pixels, size in zip(x.shape[1:3], sizes, strict=True)
    )
    x = jnp.pad(x, ((0, 0), tall, wide, (0, 0)))
    copies = [
        x[:, top : top + stride * (height - 1) + 1 : stride, left : left + stride * (width - 1) + 1 : stride]
        for top in range(sizes[0])
        for left in range(sizes[1])
    ]
    return jnp.concatenate(copies, axis=axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _spatial(x: Images, kernel: Kernel, stride: int, shifted: bool, shifted_back: bool) -> Images:
    """XLA's convolution or `_shifted`, and the adjoint for images of either; the kernel's gradient is XLA's own."""
    return (_shifted if shifted else _xla)(x, kernel, stride)


def _spatial_forward(
    x: Images, kernel: Kernel, stride: int, shifted: bool, shifted_back: bool
) -> tuple[Images, tuple[Images, Kernel]]:
    return _spatial(x, kernel, stride, shifted, shifted_back), (x, kernel)


def _spatial_backward(
    stride: int, shifted: bool, shifted_back: bool, saved: tuple[Images, Kernel], gradient: Images
) -> tuple[Images, Kernel]:
    x, kernel = saved
    back = _shifted if shifted_back else _xla
    (to_images,) = jax.linear_transpose(lambda x: back(x, kernel, stride), x)(gradient)
    (to_kernel,) = jax.linear_transpose(lambda kernel: _xla(x, kernel, stride), kernel)(gradient)
    return to_images, to_kernel


_spatial.defvjp(_spatial_forward, _spatial_backward)
