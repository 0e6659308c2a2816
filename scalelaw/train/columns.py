"""Convolutions of images as CHWN, for networks of few channels on CPUs: one matrix product each.

A 3x3 kernel meets nine shifted copies of the images, which cost as much as the product. So they are made along one axis
after the other, and where outputs are no more than inputs along one axis only: three copies go in, and three rows of
the kernel come out to be added up. In N4's step that is 60 loops of 546 fewer to compile and to run.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

Images = Float[Array, "channels height width batch"]
Kernel = Float[Array, "height width inside out"]


def convolved(x: Images, kernel: Kernel, stride: int) -> Images:
    """The convolution, SAME, with `stride` in both directions."""
    if kernel.shape[:2] == (1, 1):
        return _row_product(x[:, ::stride, ::stride], kernel)
    odd, (inside, out) = kernel.shape[0] % 2 == 1 == kernel.shape[1] % 2, kernel.shape[2:]
    if stride == 1 and odd and out <= inside:  # what is added up afterwards is no more than what copies would be
        return _sliding(x, kernel)
    return _row_product(_piled(_piled(x, kernel.shape[1], stride, 2), kernel.shape[0], stride, 1), kernel)


def _piled(x: Images, size: int, stride: int, axis: int) -> Images:
    """Copies on top of each other of what the positions in a kernel of so many pixels meet along an axis."""
    pixels = -(-x.shape[axis] // stride)
    pads = [(0, 0)] * x.ndim
    pads[axis] = lax.padtype_to_pads((x.shape[axis],), (size,), (stride,), "SAME")[0]
    x = jnp.pad(x, pads)
    return jnp.concatenate([lax.slice_in_dim(x, k, k + stride * (pixels - 1) + 1, stride, axis) for k in range(size)])


def _row_product(inputs: Images, kernel: Kernel) -> Images:
    """The kernel's rows, as many as `inputs` has channels, times the inputs."""
    out = _times(kernel.reshape(-1, kernel.shape[-1]), inputs.reshape(len(inputs), -1))
    return out.reshape(-1, *inputs.shape[1:])


@jax.custom_vjp
def _times(kernel: Array, inputs: Array) -> Array:
    """kernel.T @ inputs, of [inside, out] and [inside, pixels]; the kernel's gradient has the longer side first.

    The other way round it takes twice as long, and XLA turns it so unless something is in between.
    """
    return kernel.T @ inputs


def _times_forward(kernel: Array, inputs: Array) -> tuple[Array, tuple[Array, Array]]:
    return kernel.T @ inputs, (kernel, inputs)


def _times_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    kernel, inputs = saved
    if len(inputs) >= len(gradient):
        return inputs @ gradient.T, kernel @ gradient
    return lax.optimization_barrier(gradient @ inputs.T).T, kernel @ gradient


_times.defvjp(_times_forward, _times_backward)


@jax.custom_vjp
def _sliding(x: Images, kernel: Kernel) -> Images:
    """`convolved` for stride 1 and odd kernels: a product with copies shifted sideways, whose rows are then added up.

    The product gives, for every row of the kernel, its share of the outputs of all rows of pixels. Copies for all
    positions of the kernel would be thrice as many; so are those of the outputs' gradient, which go up and down.
    """
    return _sliding_forward(x, kernel)[0]


def _sliding_forward(x: Images, kernel: Kernel) -> tuple[Images, tuple[Images, Kernel]]:
    copies = _beside(x, kernel.shape[1], 2)
    rows = _rows(kernel) @ copies.reshape(len(copies), -1)
    return _added(rows.reshape(-1, *x.shape[1:]), kernel.shape[0], 1), (copies, kernel)


def _sliding_backward(saved: tuple[Images, Kernel], gradient: Images) -> tuple[Images, Kernel]:
    copies, kernel = saved
    tall, wide, inside, out = kernel.shape
    spread = _beside(gradient, tall, 1, back=True)
    flat = spread.reshape(len(spread), -1)
    to_rows = flat @ copies.reshape(len(copies), -1).T
    to_copies = _rows(kernel).T @ flat
    to_x = _added(to_copies.reshape(copies.shape), wide, 2, back=True)
    return to_x, to_rows.reshape(tall, out, wide, inside).transpose(0, 2, 3, 1)


def _rows(kernel: Kernel) -> Array:
    """The kernel as a matrix: its rows and outputs by its columns and inputs."""
    tall, wide, inside, out = kernel.shape
    return kernel.transpose(0, 3, 1, 2).reshape(tall * out, wide * inside)


def _moved(x: Images, by: int, axis: int) -> Images:
    """x[i + by] at every i along an axis, zeros where there is none."""
    size = x.shape[axis]
    held = lax.slice_in_dim(x, max(by, 0), size + min(by, 0), axis=axis)
    pads = [(0, 0)] * x.ndim
    pads[axis] = (max(-by, 0), max(by, 0))
    return jnp.pad(held, pads)


def _beside(x: Images, size: int, axis: int, *, back: bool = False) -> Images:
    """Copies of `x` on top of each other, one for every position in a kernel of so many pixels along an axis."""
    steps = [(size // 2 - k if back else k - size // 2) for k in range(size)]
    return jnp.concatenate([_moved(x, by, axis) for by in steps])


def _added(x: Images, size: int, axis: int, *, back: bool = False) -> Images:
    """The sum of the images that lie in `x` on top of each other, each moved to its place."""
    steps = [(size // 2 - k if back else k - size // 2) for k in range(size)]
    parts = jnp.split(x, size)
    return functools.reduce(jnp.add, [_moved(part, by, axis) for part, by in zip(parts, steps, strict=True)])


_sliding.defvjp(_sliding_forward, _sliding_backward)
