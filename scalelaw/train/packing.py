"""The short vectors of a network side by side in one matrix, so that an optimizer's step treats all of them at once.

Two thirds of a small network's parameters are gains and biases of 4 to 100 numbers. One by one, what they cost is not
arithmetic but the start of six loops each, and the compilation of those.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any  # nested dicts of arrays, or of shapes
SHORT = 128  # numbers in a vector that is packed at most; a long one pays for itself
PACKED = ("short_vectors", "bias")  # the matrix's path: by its last name it is clipped and not decayed


def packed(tree: Tree) -> Tree:
    """The tree with its short vectors and scalars as columns of a matrix at `PACKED`, filled up with zeros.

    A column is one unit of clipping, as the vector was. Zeros stay zeros under clipping, momentum and steps.

    Args:
        tree: arrays, or `jax.ShapeDtypeStruct`s for the shapes alone.
    """
    leaves = _leaves(tree)
    short = {path: leaf for path, leaf in leaves.items() if _is_short(leaf)}
    if len(short) < 2:
        return tree
    sizes = [leaf.size for leaf in short.values()]
    tall = max(2, *sizes)  # of one row, the matrix would be a vector itself
    ends = np.cumsum(sizes)
    row = np.arange(tall)[:, None]
    index = np.where(row < sizes, ends - sizes + row, ends[-1])  # behind the last number is a zero
    kind = next(iter(short.values())).dtype
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in short.values()):
        matrix: Any = jax.ShapeDtypeStruct(index.shape, kind)
    else:
        row_of_all = [jnp.reshape(leaf, -1) for leaf in short.values()]
        matrix = jnp.concatenate([*row_of_all, jnp.zeros(1, kind)])[index]
    return _nested({path: leaf for path, leaf in leaves.items() if path not in short} | {PACKED: matrix})


def unpacked(tree: Tree, like: Tree) -> Tree:
    """What `packed` was given: a tree with the paths and shapes of `like`."""
    leaves, shapes = _leaves(tree), _leaves(like)
    if PACKED not in leaves:
        return tree
    matrix, column, found = leaves[PACKED], 0, {}
    for path, leaf in shapes.items():
        if _is_short(leaf):
            found[path] = matrix[: leaf.size, column].reshape(leaf.shape)
            column += 1
        else:
            found[path] = leaves[path]
    return _nested(found)


def _is_short(leaf: Any) -> bool:
    return bool(leaf.ndim <= 1 and leaf.size <= SHORT)


def _leaves(tree: Tree) -> dict[tuple[str, ...], Any]:
    return {tuple(str(key.key) for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _nested(leaves: dict[tuple[str, ...], Any]) -> Tree:
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        inner = tree
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = leaf
    return tree
