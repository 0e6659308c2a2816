"""Runs at many rates and batch sizes, by cell: what rate laws are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.runs import RunTable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Finished runs with a loss, each array (runs,).

    Attributes:
        N, D: logs of size and images or tokens.
        rate, batch: logs; batch None where unknown.
        loss: log.
        cell: number of the (size, length) cell.
        columns: names of size and length in the table.
    """

    N: Array
    D: Array
    rate: Array
    batch: Array | None
    loss: Array
    cell: NDArray[np.int64]
    columns: tuple[str, str]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.cell.max()) + 1

    @property
    def X(self) -> Array:
        """(runs, 3): 1, ln N, ln D."""
        return np.stack([np.ones(len(self.N)), self.N, self.D], axis=1)

    def above_best(self) -> Array:
        """ln of each run's loss over the lowest of its cell."""
        lowest = np.full(self.cells, np.inf)
        np.minimum.at(lowest, self.cell, self.loss)
        return np.asarray(self.loss - lowest[self.cell])

    def take(self, use: NDArray[np.bool_]) -> Rows:
        """The runs where `use` is true, cells numbered anew."""
        _, cell = np.unique(self.cell[use], return_inverse=True)
        batch = None if self.batch is None else self.batch[use]
        columns = self.N[use], self.D[use], self.rate[use], batch, self.loss[use], cell.ravel().astype(np.int64)
        return Rows(*columns, self.columns)


def rows_of(runs: RunTable) -> Rows:
    """The finished runs with rate, size, length and loss.

    Raises:
        UserError: when a column is missing, or there are no such runs.
    """
    for name in ("peak_lr", "val_loss"):
        if not runs.has(name):
            raise UserError(f"{runs.source}: has no {name}; a rate law needs it in every run")
    done = runs.finished()
    (N, size), (D, length) = done.variable("N"), done.variable("D")
    values = [N, D, done.column("peak_lr").astype(float), done.column("val_loss").astype(float)]
    has_batch = done.has("batch_size")
    if has_batch:
        values.append(done.column("batch_size").astype(float))
    known = np.all([np.isfinite(one) & (one > 0) for one in values], axis=0)
    if not known.any():
        raise UserError(f"{runs.source}: no finished run has size, length, rate and loss")
    logs = [np.log(one[known]) for one in values]
    _, cell = np.unique(np.stack([N[known], D[known]], axis=1), axis=0, return_inverse=True)
    batch = logs[4] if has_batch else None
    return Rows(logs[0], logs[1], logs[2], batch, logs[3], cell.ravel().astype(np.int64), (size, length))
