"""Derivatives for sums of power laws as moments of the runs: a few matrix products with tables that never change.

With shares p_k of a prediction and z_k = (1, -x) of term k, the gradient of f is p_k z_k. Every entry of a Hessian is
then a sum over runs of (coefficient p_k p_l) (z_k z_l^T), whose second factor belongs to the data alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.newton.problem import Array, Mask


@dataclass(frozen=True)
class Tables:
    """What a form and its runs give, whatever theta; terms are padded with zeros to the width of the widest.

    Attributes:
        places: per term, where its parameters stand in theta.
        z: (terms, width, runs).
        outer: (terms + pairs, runs, width^2) z_k z_l^T of every term with itself, then of every pair of terms.
        pairs: (k, l) of terms with k <= l, those of a term with itself first.
        gather: (size + 2 size^2,) places in a row of moments of the gradient, the Hessian and the reweighted matrix.
    """

    places: tuple[slice, ...]
    z: Array
    outer: Array
    pairs: list[tuple[int, int]]
    gather: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.places[-1].stop)

    @classmethod
    def of(cls, blocks: tuple[tuple[int, tuple[int, ...]], ...], x: Array) -> Tables:
        """Of the blocks of a `Form` and x (rows of x, runs)."""
        terms, width = len(blocks), 1 + max(len(variables) for _, variables in blocks)
        z = np.zeros((terms, width, x.shape[1]))
        for k, (_, variables) in enumerate(blocks):
            z[k, 0] = 1.0
            for j, v in enumerate(variables, start=1):
                np.negative(x[v], out=z[k, j])
        pairs = [(k, k) for k in range(terms)] + [(k, m) for k in range(terms) for m in range(k + 1, terms)]
        first, second = np.array([(k, k) for k in range(terms)] + pairs).T
        outer = np.empty((len(first), x.shape[1], width * width))
        np.multiply(
            z[first].transpose(0, 2, 1)[:, :, :, None],
            z[second].transpose(0, 2, 1)[:, :, None, :],
            out=outer.reshape(len(first), -1, width, width),
        )
        return cls(
            places=tuple(slice(at, at + 1 + len(variables)) for at, variables in blocks),
            z=z,
            outer=outer,
            pairs=pairs,
            gather=_gather(blocks, pairs, width),
        )


def _gather(
    blocks: tuple[tuple[int, tuple[int, ...]], ...], pairs: list[tuple[int, int]], width: int
) -> NDArray[np.int64]:
    """See `Tables`: moments are (terms + pairs + pairs, width, width), flat."""
    owners = [(k, j) for k, (_, variables) in enumerate(blocks) for j in range(1 + len(variables))]
    square = width * width
    gradient = [k * square + j for k, j in owners]
    matrix = [
        pairs.index((k, m)) * square + i * width + j if k <= m else pairs.index((m, k)) * square + j * width + i
        for k, i in owners
        for m, j in owners
    ]
    after = len(blocks) * square
    return np.array(
        gradient + [after + place for place in matrix] + [after + len(pairs) * square + place for place in matrix]
    )


class Moments:
    """Working arrays for up to so many rows of theta."""

    def __init__(self, tables: Tables, rows: int) -> None:
        terms, width, runs = tables.z.shape
        pairs = len(tables.pairs)
        self.tables = tables
        self._theta = np.zeros((terms, rows, width))
        self._shares = np.empty((terms, rows, runs))
        self._total = np.empty((rows, runs))
        self._f = np.empty((rows, runs))
        self._products = np.empty((pairs, rows, runs))
        self._weighted = np.empty((pairs, rows, runs))
        self._found = np.empty((rows, terms + 2 * pairs, width * width))

    def exponents(self, theta: Array, alive: Mask) -> Array:
        """Logs of the terms, (terms, rows, runs), -inf for dead ones; overwritten next time."""
        packed, logs = self._theta[:, : len(theta)], self._shares[:, : len(theta)]
        for k, place in enumerate(self.tables.places):
            packed[k, :, : place.stop - place.start] = theta[:, place]
        if not alive.all():
            packed[:, :, 0][~alive.T] = -np.inf
        return np.matmul(packed, self.tables.z, out=logs)

    def shares(self, theta: Array, alive: Mask) -> tuple[Array, Array]:
        """Log predictions (rows, runs), and every term's share of them (terms, rows, runs); overwritten next time."""
        total, f = self._total[: len(theta)], self._f[: len(theta)]
        p = self.exponents(theta, alive)
        with np.errstate(over="ignore"):
            np.exp(p, out=p)
        np.add.reduce(p, axis=0, out=total)
        if total.min() > 0 and total.max() < np.inf:
            np.log(total, out=f)
        else:  # out of range of floating point: relative to the largest term
            p = self.exponents(theta, alive)
            top = p.max(axis=0)
            p -= top
            np.exp(p, out=p)
            np.add.reduce(p, axis=0, out=total)
            np.log(total, out=f)
            f += top
        np.reciprocal(total, out=total)
        p *= total
        return f, p

    def sums(self, p: Array, slope: Array, bend: Array, reweight: Array) -> tuple[Array, Array, Array]:
        """Sums over runs for shares p (terms, rows, runs) and coefficients (rows, runs).

        Returns:
            sum slope g (rows, size), sum bend g g^T + slope p_k z_k z_k^T and sum reweight g g^T (rows, size, size).
        """
        tables = self.tables
        terms, rows, _ = p.shape
        pairs = len(tables.pairs)
        q, t, found = self.products(p), self._weighted[:, :rows], self._found[:rows]
        by_moment = found.transpose(1, 0, 2)
        np.multiply(p, slope, out=t[:terms])
        np.matmul(t[:terms], tables.outer[:terms], out=by_moment[:terms])
        np.multiply(q, bend, out=t)
        np.matmul(t, tables.outer[terms:], out=by_moment[terms : terms + pairs])
        np.multiply(q, reweight, out=q)
        np.matmul(q, tables.outer[terms:], out=by_moment[terms + pairs :])
        found[:, terms : 2 * terms] += found[:, :terms]
        size = tables.size
        flat = found.reshape(rows, -1).take(tables.gather, axis=1)
        square = (rows, size, size)
        middle = size + size * size
        return flat[:, :size], flat[:, size:middle].reshape(square), flat[:, middle:].reshape(square)

    def gram(self, p: Array, target: Array) -> Array:
        """Sums of features p_k z_k with a target (runs,), and with each other; flat, (rows, cells), see `gather`."""
        tables = self.tables
        terms, rows, _ = p.shape
        found = self._found[:rows]
        by_moment = found.transpose(1, 0, 2)
        np.multiply(p, target, out=self._weighted[:terms, :rows])
        np.matmul(self._weighted[:terms, :rows], tables.outer[:terms], out=by_moment[:terms])
        np.matmul(self.products(p), tables.outer[terms:], out=by_moment[terms : terms + len(tables.pairs)])
        return found.reshape(rows, -1)

    def products(self, p: Array) -> Array:
        """(pairs, rows, runs) p_k p_l in the order of the tables' pairs; overwritten next time."""
        terms, rows, _ = p.shape
        q = self._products[:, :rows]
        np.multiply(p, p, out=q[:terms])
        at = terms
        for k in range(terms - 1):
            np.multiply(p[k], p[k + 1 :], out=q[at : at + terms - 1 - k])
            at += terms - 1 - k
        return q
