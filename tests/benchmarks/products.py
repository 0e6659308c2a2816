"""Every convolution of a training step by itself, each in several ways, timed on whatever cores this is given.

Usage: python products.py VARIANT BATCH. Images of 8 pixels, float32. Of each convolution there are three products: its
value, the gradient for its images and that for its kernel. Prints one JSON object: shapes, for every product its
multiply-adds and the fewest seconds by each way, and seconds of all activations. Operands lie as each way likes them,
and calling costs nothing: the time of an empty call is taken off. A `matrix` is a bare product of the same size, in JAX
or NumPy, the better of all orders of its operands; what a 3x3 kernel meets would have to be gathered first.
"""

import functools
import itertools
import json
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from scalelaw import architecture
from scalelaw.train.convolution import convolve
from scalelaw.train.nfnet import activation

AT_LEAST, BLOCKS = 2e-3, 15  # seconds of calls in one block; blocks, of which the fastest counts


def shapes_of(variant, pixels):
    """(name, window, stride, channels in, channels out, pixels in) of every convolution in a nano network."""
    (width,) = variant.stem_channels
    found = [("stem", 3, 1, 3, width, pixels)]
    for k, block in enumerate(variant.blocks):
        inside, after = block.bottleneck, pixels // block.stride
        found += [
            (f"block {k} conv0", 1, 1, block.channels_in, inside, pixels),
            (f"block {k} conv1", 3, block.stride, inside, inside, pixels),
            (f"block {k} conv1b", 3, 1, inside, inside, after),
            (f"block {k} conv2", 1, 1, inside, block.channels_out, after),
        ]
        if block.projects:
            found.append((f"block {k} shortcut", 1, 1, block.channels_in, block.channels_out, after))
        pixels = after
    return [*found, ("final", 1, 1, variant.widths[-1], variant.head_channels, pixels)]


def activated(variant, pixels):
    """Channels and pixels of all images that an activation takes."""
    found = []
    for block in variant.blocks:
        after = pixels // block.stride
        found += [(block.channels_in, pixels), (block.bottleneck, pixels), *[(block.bottleneck, after)] * 2]
        pixels = after
    return [*found, (variant.head_channels, pixels)]


def of_activations(variant, batch):
    """Seconds of every activation by itself, there and back, from images that lie ready."""
    there, back = jax.jit(activation), jax.jit(lambda x, to: jax.vjp(activation, x)[1](to)[0])
    seconds = 0.0
    for channels, pixels in activated(variant, 8):
        x = jnp.asarray(np.random.default_rng(0).standard_normal(channels * pixels**2 * batch), jnp.float32)
        seconds += fewest_seconds(lambda x=x: there(x)) + fewest_seconds(lambda x=x: back(x, x))
    return seconds


def fewest_seconds(call):
    """Of one call, the fastest block of some."""
    call()
    times, calls = [], 1
    while len(times) < BLOCKS:
        start = time.perf_counter()
        for _ in range(calls):
            last = call()
        jax.block_until_ready(last)
        taken = time.perf_counter() - start
        if taken < AT_LEAST and not times:
            calls = max(calls + 1, int(calls * 1.2 * AT_LEAST / max(taken, 1e-6)))
        else:
            times.append(taken / calls)
    return min(times)


def passes(convolution, x, kernel, like):
    """The three products of a convolution as calls, from any values."""
    gradient = jnp.ones(like, x.dtype)
    value = jax.jit(convolution)
    images = jax.jit(lambda kernel, gradient: jax.vjp(lambda x: convolution(x, kernel), x)[1](gradient)[0])
    to_kernel = jax.jit(lambda x, gradient: jax.vjp(lambda kernel: convolution(x, kernel), kernel)[1](gradient)[0])
    return {"value": lambda: value(x, kernel), "images": lambda: images(kernel, gradient),
            "kernel": lambda: to_kernel(x, gradient)}  # fmt: skip


def ways(shape, batch):
    """Per way of convolving the three products as calls."""
    _, window, stride, inside, out, pixels = shape
    after = pixels // stride
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((batch, pixels, pixels, inside)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((window, window, inside, out)), jnp.float32)
    xla = functools.partial(jax.lax.conv_general_dilated, window_strides=(stride, stride), padding="SAME")
    last, first = (batch, after, after, out), (batch, out, after, after)
    columns = (x.transpose(3, 1, 2, 0), kernel, (out, after, after, batch))
    return {
        "ours, products": passes(functools.partial(convolve, stride=stride, way="products"), x, kernel, last),
        "ours, columns": passes(functools.partial(convolve, stride=stride, way="columns"), *columns),
        "XLA, NHWC": passes(functools.partial(xla, dimension_numbers=("NHWC", "HWIO", "NHWC")), x, kernel, last),
        "XLA, NCHW": passes(functools.partial(xla, dimension_numbers=("NCHW", "OIHW", "NCHW")),
                            x.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), first),
    }  # fmt: skip


def matrices(shape, batch):
    """(rows, inner, columns) of the three products as matrices."""
    _, window, stride, inside, out, pixels = shape
    columns, places = window * window * inside, batch * (pixels // stride) ** 2
    return {"value": (places, columns, out), "images": (places, out, columns), "kernel": (columns, places, out)}


def bare(rows, inner, columns):
    """Fewest seconds of a matrix product over all orders of its operands and of its result, in JAX and in NumPy."""
    best = {"matrix, JAX": float("inf"), "matrix, NumPy": float("inf")}
    for turned_a, turned_b, turned in itertools.product((False, True), repeat=3):
        a = np.ones((inner, rows) if turned_a else (rows, inner), np.float32)
        b = np.ones((columns, inner) if turned_b else (inner, columns), np.float32)

        def product(a, b, turned_a=turned_a, turned_b=turned_b, turned=turned):
            a, b = a.T if turned_a else a, b.T if turned_b else b
            return b.T @ a.T if turned else a @ b

        call, into = jax.jit(product), np.empty((columns, rows) if turned else (rows, columns), np.float32)
        theirs = (b if turned_b else b.T, a if turned_a else a.T) if turned else (a.T if turned_a else a,
                                                                                 b.T if turned_b else b)  # fmt: skip
        there = jnp.asarray(a), jnp.asarray(b)
        for name, calls in (("JAX", lambda call=call, there=there: call(*there)),
                            ("NumPy", lambda theirs=theirs, into=into: np.matmul(*theirs, out=into))):  # fmt: skip
            best[f"matrix, {name}"] = min(best[f"matrix, {name}"], fewest_seconds(calls))
    return best


def main():
    variant, batch = architecture.variant(sys.argv[1]), int(sys.argv[2])
    nothing = jax.jit(lambda x: x + 1)
    call = fewest_seconds(functools.partial(nothing, jnp.zeros(())))
    found, shapes = {}, shapes_of(variant, 8)
    for shape in shapes:
        by_way = ways(shape, batch)
        for name, (rows, inner, columns) in matrices(shape, batch).items():
            if (shape[0], name) == ("stem", "images"):
                continue  # nobody asks for the gradient of what came in
            seconds = {way: fewest_seconds(calls[name]) - call for way, calls in by_way.items()}
            seconds |= bare(rows, inner, columns)
            seconds["matrix, JAX"] -= call
            found[f"{shape[0]}, {name}"] = {"multiply_adds": rows * inner * columns, "seconds": seconds}
    loops = of_activations(variant, batch) - 2 * len(activated(variant, 8)) * call
    print(json.dumps({"shapes": shapes, "empty_call": call, "products": found, "activations": loops}))


if __name__ == "__main__":
    main()
