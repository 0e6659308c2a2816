"""From the few matrices that a step moves to the parameters that a network takes, kernels standardised on the way.

It is the scaled weight standardisation of Brock, De, Smith 2021 (arXiv 2101.08692), as `convolution.centre` does it to
one kernel, its gain left apart; tests hold the two against each other, in values and gradients. In a small network that
is a hundred loops over vectors and kernels of no size, forward and back. Here the kernels of one matrix (`packing`) are
standardised at once: a column's mean and spread are those of its kernel's rows.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from scalelaw.train.convolution import SMALLEST
from scalelaw.train.packing import Path, Tree, apart, kernels_alike, leaves_of, nested, packed, unpacked

Matrix = Float[Array, "rows outputs"]
Row = Float[Array, " outputs"]


@dataclass(frozen=True, eq=False)
class Ready:
    """Opens what `packing.packed` closed, for one network.

    Attributes:
        like: shapes of the network's parameters.
        standardises: whether kernels of convolutions come out as the images meet them; their gains are then in them.
    """

    like: Tree
    standardises: bool

    def __call__(self, few: Tree) -> Tree:
        """The network's parameters. Their gradients are put side by side once, kernels standardised or not."""

        @jax.custom_vjp
        def opened(few: Tree) -> Tree:
            return self._forward(few)[0]

        opened.defvjp(self._forward, self._backward)
        return opened(few)

    def _forward(self, few: Tree) -> tuple[Tree, dict[Path, tuple[Array, ...]]]:
        found, matrices = leaves_of(unpacked(few, self.like)), leaves_of(few)
        saved = {}
        for path, paths in self._matrices.items():
            gain = jnp.concatenate([found[*kernel[:-1], "gain"] for kernel in paths])
            shapes = [self._shapes[kernel].shape for kernel in paths]
            kernels, saved[path] = _standardised(_flat(matrices[path]), gain, shapes)
            found |= dict(zip(paths, apart(kernels, shapes), strict=True))
        return nested(found), saved

    def _backward(self, saved: dict[Path, tuple[Array, ...]], gradients: Tree) -> tuple[Tree]:
        found, matrices = leaves_of(gradients), leaves_of(packed(gradients))
        back, within = {}, {}
        for path, paths in self._matrices.items():
            shapes, column = [self._shapes[kernel].shape for kernel in paths], 0
            to_kernels, to_gain = _back(saved[path], _flat(matrices[path]), shapes)
            back[path] = to_kernels.reshape(matrices[path].shape)
            for kernel, (*_, outputs) in zip(paths, shapes, strict=True):
                gain = (*kernel[:-1], "gain")
                found[gain], within[gain] = to_gain[column : column + outputs], (to_gain, column)
                column += outputs
        return (nested(leaves_of(packed(nested(found), within)) | back),)

    @functools.cached_property
    def _shapes(self) -> dict[Path, Any]:
        return leaves_of(self.like)

    @functools.cached_property
    def _matrices(self) -> dict[Path, list[Path]]:
        """The convolutions' kernels by their matrix's path: one of many, or a kernel alone."""
        if not self.standardises:
            return {}
        convolutions = [path for path in self._shapes if (*path[:-1], "gain") in self._shapes and path[-1] == "w"]
        alike = {path: paths for path, paths in kernels_alike(self._shapes).items() if paths[0] in convolutions}
        together = {kernel for paths in alike.values() for kernel in paths}
        return alike | {path: [path] for path in convolutions if path not in together}


def _flat(kernel: Array) -> Matrix:
    return kernel.reshape(-1, kernel.shape[-1])


def _standardised(w: Matrix, gain: Row, shapes: list[tuple[int, ...]]) -> tuple[Matrix, tuple[Array, ...]]:
    """(w - mean) * rsqrt(max(var * fan_in, 1e-4)) * gain of every column, over as many rows as its kernel has."""
    centred = _centred(w, shapes)
    spread = _sums(jnp.square(centred))
    root = lax.rsqrt(jnp.maximum(spread, SMALLEST))
    return centred * (root * gain), (centred, gain, spread, root)


def _back(saved: tuple[Array, ...], gradient: Matrix, shapes: list[tuple[int, ...]]) -> tuple[Matrix, Row]:
    centred, gain, spread, root = saved
    to_scale = _sums(gradient * centred)
    pull = jnp.where(spread > SMALLEST, root**3 * gain * to_scale, 0)
    return _centred(gradient, shapes) * (root * gain) - centred * pull, to_scale * root


def _centred(x: Matrix, shapes: list[tuple[int, ...]]) -> Matrix:
    """x - mean in the rows that a column's kernel has, zeros below."""
    rows = np.repeat([math.prod(shape[:-1]) for shape in shapes], [shape[-1] for shape in shapes])
    centred = x - _sums(x) / rows.astype(x.dtype)
    return centred if rows.min() == len(x) else jnp.where(np.arange(len(x))[:, None] < rows, centred, 0)


def _sums(x: Matrix) -> Row:
    """Of every column; on a CPU by a product, which is faster than XLA's own sum over rows."""
    return (jnp.ones((1, len(x)), x.dtype) @ x)[0]
