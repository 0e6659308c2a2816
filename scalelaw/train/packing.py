"""The short vectors and small kernels of a network side by side, so that a step treats many at once.

Two thirds of a small network's parameters are gains and biases of 4 to 100 numbers, and most others kernels of a few
thousand. One by one, what they cost is not arithmetic but the start of a dozen loops each, the compilation of those,
and handing every array to each step and back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any  # nested dicts of arrays, or of shapes
Path = tuple[str, ...]
Leaves = dict[Path, Any]
SHORT = 128  # numbers in a vector that is packed at most; a long one pays for itself
PACKED = ("short_vectors", "bias")  # the matrix's path: by its last name it is clipped and not decayed
SMALL = 2**14  # numbers in a kernel that is packed at most
KERNELS, KERNEL = "kernels", "w"  # the path of those of one size of window begins and ends so: clipped, and decayed
HEAD = ("linear", "w")  # stays apart: it is not clipped


def packed(tree: Tree, within: Mapping[Path, tuple[Any, int]] | None = None) -> Tree:
    """The tree with its short vectors and scalars as columns of a matrix at `PACKED`, filled up with zeros.

    A column is one unit of clipping, as the vector was. Zeros stay zeros under clipping, momentum and steps. Small
    kernels of one size of window (3x3, 1x1, or none) become one matrix too, whose columns are their outputs, units of
    clipping, and whose rows are as many as the largest has inputs.

    Args:
        tree: arrays, or `jax.ShapeDtypeStruct`s for the shapes alone.
        within: for short vectors that are parts of a longer one, that one and where they begin in it; they are taken
            from there, not from the tree.
    """
    leaves = leaves_of(tree)
    alike = kernels_alike(leaves)
    short = {path: leaf for path, leaf in leaves.items() if _is_short(leaf)}
    if len(short) < 2 and not alike:
        return tree
    taken = {path for paths in alike.values() for path in paths} | (set(short) if len(short) > 1 else set())
    found = {path: leaf for path, leaf in leaves.items() if path not in taken}
    if len(short) > 1:
        found[PACKED] = _columns([(leaf.size, *(within or {}).get(path, (leaf, 0))) for path, leaf in short.items()])
    for path, paths in alike.items():
        found[path] = _beside([leaves[each] for each in paths])
    return nested(found)


def unpacked(tree: Tree, like: Tree) -> Tree:
    """What `packed` was given: a tree with the paths and shapes of `like`."""
    leaves, shapes = leaves_of(tree), leaves_of(like)
    found, column = {path: leaves[path] for path in shapes if path in leaves}, 0
    if len(found) == len(shapes):
        return tree
    for path, leaf in shapes.items():
        if _is_short(leaf) and PACKED in leaves:
            found[path] = leaves[PACKED][: leaf.size, column].reshape(leaf.shape)
            column += 1
    for path, paths in kernels_alike(shapes).items():
        found |= dict(zip(paths, apart(leaves[path], [shapes[each].shape for each in paths]), strict=True))
    return nested({path: found[path] for path in shapes})


def apart(matrix: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
    """Kernels of these shapes from the matrix that has their outputs as columns."""
    ends = np.cumsum([shape[-1] for shape in shapes])
    return [matrix[: math.prod(shape[:-1]), end - shape[-1] : end].reshape(shape)
            for shape, end in zip(shapes, ends, strict=True)]  # fmt: skip


def _columns(places: list[tuple[int, Any, int]]) -> Any:
    """Vectors as columns, zeros below; each is so many numbers of a longer one from a place in it."""
    sizes, wholes = [size for size, _, _ in places], list({id(whole): whole for _, whole, _ in places}.values())
    tall, kind = max(2, *sizes), wholes[0].dtype  # of one row, the matrix would be a vector itself
    if _are_shapes(wholes):
        return jax.ShapeDtypeStruct((tall, len(sizes)), kind)
    ends = np.cumsum([whole.size for whole in wholes])
    begins = {id(whole): end - whole.size for whole, end in zip(wholes, ends, strict=True)}
    row = np.arange(tall)[:, None]
    index = np.where(row < sizes, [begins[id(whole)] + at for _, whole, at in places] + row, ends[-1])
    arrays = _module(wholes)
    zero = np.zeros(1, kind)  # behind the last number
    return arrays.concatenate([*(arrays.reshape(whole, -1) for whole in wholes), zero])[index]


def _beside(kernels: list[Any]) -> Any:
    """The kernels as one matrix of all their outputs, zeros below those of fewer inputs."""
    sizes = [(math.prod(kernel.shape[:-1]), kernel.shape[-1]) for kernel in kernels]
    tall = max(rows for rows, _ in sizes)
    if _are_shapes(kernels):
        return jax.ShapeDtypeStruct((tall, sum(columns for _, columns in sizes)), kernels[0].dtype)
    arrays = _module(kernels)
    flat = [arrays.reshape(kernel, size) for kernel, size in zip(kernels, sizes, strict=True)]
    filled = [
        arrays.pad(kernel, ((0, tall - len(kernel)), (0, 0))) if len(kernel) < tall else kernel for kernel in flat
    ]
    return arrays.concatenate(filled, axis=1)


def kernels_alike(leaves: Leaves) -> dict[Path, list[Path]]:
    """The paths of small kernels by that of their matrix, where there are several with one size of window."""
    found: dict[Path, list[Path]] = {}
    for path, leaf in leaves.items():
        # A single row or column would be one unit, not many.
        if (
            leaf.ndim > 1
            and path[-1] == KERNEL
            and path != HEAD
            and leaf.size <= SMALL
            and min(math.prod(leaf.shape[:-1]), leaf.shape[-1]) > 1
        ):
            name = "_".join([KERNELS, *map(str, leaf.shape[:-2])])
            found.setdefault((name, KERNEL), []).append(path)
    return {path: paths for path, paths in found.items() if len(paths) > 1}


def leaves_of(tree: Tree) -> Leaves:
    """The leaves of nested dicts by their paths."""
    return {tuple(str(key.key) for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(leaves: Mapping[Path, Any]) -> Tree:
    """Nested dicts of leaves by their paths."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        inner = tree
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = leaf
    return tree


def _is_short(leaf: Any) -> bool:
    return bool(leaf.ndim <= 1 and leaf.size <= SHORT)


def _are_shapes(leaves: list[Any]) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def _module(leaves: list[Any]) -> Any:
    """NumPy for its own arrays, so that nothing is compiled for them."""
    return np if all(isinstance(leaf, np.ndarray) for leaf in leaves) else jnp
