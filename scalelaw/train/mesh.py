"""Devices in a mesh: a batch is shared by all of them, one copy of the parameters by those of the `params` axis.

One device is the mesh (1, 1). Several processes (hosts) make one mesh of all their devices, in the order of processes,
so that each process gives one run of rows of every batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from scalelaw.errors import UserError

AXES = ("data", "params")


@dataclass(frozen=True)
class Layout:
    """How a step is laid out on devices; it moves results by rounding alone.

    Attributes:
        data: copies of the parameters, each with its part of the batch.
        params: devices that share one copy of the parameters; its part of the batch is shared by them too.
        accumulate: parts into which a batch is cut, one after the other, their gradients added up.
        remat: whether the inside of every block is computed anew in the backward pass, for less memory.
    """

    data: int = 1
    params: int = 1
    accumulate: int = 1
    remat: bool = False

    @property
    def devices(self) -> int:
        """All devices of the mesh."""
        return self.data * self.params

    @property
    def lengths(self) -> dict[str, int]:
        """Devices along every axis of the mesh."""
        return dict(zip(AXES, (self.data, self.params), strict=True))

    @property
    def parts(self) -> int:
        """A batch must be a multiple of it: devices times accumulated parts."""
        return self.devices * self.accumulate


def layout_for(batch_size: int, params: int = 1, accumulate: int = 1, remat: bool = False) -> Layout:
    """The layout on all devices there are.

    Raises:
        UserError: when the devices or the batch cannot be shared so.
    """
    devices = jax.device_count()
    if devices % params:
        raise UserError(
            f"[devices] params: {params} does not divide the {devices} devices here; choose a divisor of {devices}"
        )
    layout = Layout(devices // params, params, accumulate, remat)
    check(layout, batch_size)
    return layout


def check(layout: Layout, batch_size: int) -> None:
    """Whether a batch can be shared evenly.

    Raises:
        UserError: when not, with the nearest sizes that can.
    """
    if rest := batch_size % layout.parts:
        below = batch_size - rest
        choices = " or ".join(str(size) for size in (below, below + layout.parts) if size)
        raise UserError(
            f"[train] batch_size: {batch_size} is not a multiple of {layout.devices} devices x {layout.accumulate} "
            f"accumulated parts; choose {choices}"
        )


def mesh_of(layout: Layout) -> Mesh:
    """The first devices as a mesh of `AXES`."""
    devices = np.array(jax.devices()[: layout.devices]).reshape(layout.data, layout.params)
    return Mesh(devices, AXES)


def rows_here(batch_size: int) -> slice:
    """The rows of a batch that this process gives."""
    each = batch_size // jax.process_count()
    return slice(jax.process_index() * each, (jax.process_index() + 1) * each)


def spec_of(shape: tuple[int, ...], params: int) -> P:
    """How a parameter is cut: along its longest dimension that `params` divides, from the last on; else not at all."""
    axes = [axis for axis, size in enumerate(shape) if params > 1 and size % params == 0 and size >= params]
    if not axes:
        return P()
    axis = max(axes, key=lambda axis: (shape[axis], axis))
    return P(*[AXES[1] if k == axis else None for k in range(len(shape))])


def specs(tree: Any, params: int) -> Any:
    """`spec_of` for every array of a tree."""
    return jax.tree.map(lambda x: spec_of(np.shape(x), params), tree)


def shardings(mesh: Mesh, tree: Any) -> Any:
    """The placing of every array of a state on the mesh."""
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs(tree, mesh.shape[AXES[1]]))


def place(tree: Any, placing: Any) -> Any:
    """Puts host arrays that every process holds whole onto the mesh."""
    if jax.process_count() == 1:
        return jax.device_put(tree, placing)
    return jax.tree.map(
        lambda x, sharding: jax.make_array_from_callback(np.shape(x), sharding, lambda at: np.asarray(x)[at]),
        tree,
        placing,
    )


class Feed:
    """Hands a source's arrays and batches to the programs of one mesh."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self._given: Any = None
        self._placed: Any = None

    def arrays(self, given: Any) -> Any:
        """The source's arrays on every device; placed once for as long as they are the same object."""
        if self.mesh.size == 1:
            return given
        if given is not self._given:
            whole = jax.tree.map(lambda _: NamedSharding(self.mesh, P()), given)
            self._given, self._placed = given, place(given, whole)
        return self._placed

    def rows(self, tree: Any) -> Any:
        """This process's rows of a batch, as part of the whole batch; alone, a program places them by itself."""
        if jax.process_count() == 1:
            return tree
        by_rows = NamedSharding(self.mesh, P(AXES))
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(by_rows, x), tree)
