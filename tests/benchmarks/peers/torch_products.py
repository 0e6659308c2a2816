"""PyTorch's convolutions (oneDNN) and matrix products (MKL), each by itself. Usage: python torch_products.py BATCH

Reads one line of JSON, the `shapes` that `products.py` prints, and prints the fewest seconds of each product by each
way, as it does: the time of an empty call is taken off.
"""

import functools
import itertools
import json
import sys
import time

import torch

AT_LEAST, BLOCKS = 2e-3, 15
FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
WANTED = {"images": [True, False, False], "kernel": [False, True, False]}


def fewest_seconds(call):
    """Of one call, the fastest block of some."""
    call()
    times, calls = [], 1
    while len(times) < BLOCKS:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        taken = time.perf_counter() - start
        if taken < AT_LEAST and not times:
            calls = max(calls + 1, int(calls * 1.2 * AT_LEAST / max(taken, 1e-6)))
        else:
            times.append(taken / calls)
    return min(times)


def convolutions(shape, batch, layout):
    """The three products as calls. Padding is even on both sides, where ours has a strided one's at the end alone."""
    _, window, stride, inside, out, pixels = shape
    padding = window // 2
    x = torch.randn(batch, inside, pixels, pixels).to(memory_format=layout)
    kernel = torch.randn(out, inside, window, window).to(memory_format=layout)
    value = functools.partial(torch.nn.functional.conv2d, x, kernel, None, stride, padding)
    gradient = torch.randn(value().shape).to(memory_format=layout)
    back = functools.partial(torch.ops.aten.convolution_backward, gradient, x, kernel, None, [stride] * 2,
                             [padding] * 2, [1, 1], False, [0, 0], 1)  # fmt: skip
    return {"value": value, **{name: functools.partial(back, wanted) for name, wanted in WANTED.items()}}


def matrix(rows, inner, columns):
    """Fewest seconds over all orders of the operands and of the result."""
    best = float("inf")
    for turned_a, turned_b, turned in itertools.product((False, True), repeat=3):
        a = torch.ones(inner, rows).T if turned_a else torch.ones(rows, inner)
        b = torch.ones(columns, inner).T if turned_b else torch.ones(inner, columns)
        left, right = (b.T, a.T) if turned else (a, b)
        into = torch.empty(left.shape[0], right.shape[1])
        best = min(best, fewest_seconds(functools.partial(torch.mm, left, right, out=into)))
    return best


def main():
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    batch, found, small = int(sys.argv[1]), {}, torch.zeros(1)
    call = fewest_seconds(functools.partial(torch.add, small, 1))
    for shape in json.loads(sys.stdin.readline()):
        _, window, stride, inside, out, pixels = shape
        by_way = {f"PyTorch, {name}": convolutions(shape, batch, layout) for name, layout in FORMATS.items()}
        columns, places = window * window * inside, batch * (pixels // stride) ** 2
        sizes = {"value": (places, columns, out), "images": (places, out, columns), "kernel": (columns, places, out)}
        for name, size in sizes.items():
            seconds = {way: fewest_seconds(calls[name]) - call for way, calls in by_way.items()}
            seconds["matrix, PyTorch"] = matrix(*size) - call
            found[f"{shape[0]}, {name}"] = seconds
    print(json.dumps(found))


main()
