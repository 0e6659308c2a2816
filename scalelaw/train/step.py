"""The compiled programs of one shape of run: a training step and an evaluation of one batch, on any mesh of devices.

Runs of one family, variant, batch size and kind of data share them; learning rate, state and data are inputs. Every
device works on its rows of a batch; gradients are summed over the mesh, so its shape moves results by rounding alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from scalelaw import architecture
from scalelaw.sweep.recipes import Recipe
from scalelaw.train import kept, memory
from scalelaw.train import mesh as meshes
from scalelaw.train.data import Batch, Order, Source
from scalelaw.train.data.source import Arrays
from scalelaw.train.functions import Functions, Metrics, State, weighed
from scalelaw.train.mesh import AXES, Layout


@dataclass(frozen=True)
class Programs:
    """Compiled programs; calling one never compiles.

    Attributes:
        train: (state, arrays, batch, rate) -> (state, metrics); the first argument's memory is reused. A batch holds
            the rows that this process gives.
        evaluate: (state, arrays, batch) -> sums over the batch of `loss`, `wrong` answers and weights (`images`), and
            where weights are averaged `loss_ema` and `wrong_ema` of those.
        start: (seed, body=None) -> initial state, as `Functions.start`.
        batch_size: rows of a training batch, of all processes together.
        evaluation_size: rows of a batch in evaluation, likewise.
        compile_seconds: what building them took.
        layout: on which devices.
    """

    train: Callable[[State, Arrays, Batch, Any], tuple[State, Metrics]]
    evaluate: Callable[[State, Arrays, Batch], Metrics]
    start: Callable[..., State]
    batch_size: int
    evaluation_size: int
    compile_seconds: float
    layout: Layout

    @property
    def rows(self) -> slice:
        """The rows of a training batch that this process gives."""
        return meshes.rows_here(self.batch_size)

    @property
    def evaluation_rows(self) -> slice:
        """The rows of a batch in evaluation that this process gives."""
        return meshes.rows_here(self.evaluation_size)


def build(
    variant: architecture.Variant, source: Source, rules: Recipe, batch_size: int, layout: Layout | None = None
) -> Programs:
    """Compiles the programs of one shape, or finds them compiled.

    Args:
        variant: the network.
        source: the images; another source of equal `signature` and shapes may use the programs.
        rules: the recipe.
        batch_size: images a step, a multiple of `layout.parts`.
        layout: the devices; the first one alone unless given.

    Raises:
        UserError: when the devices cannot share the batch.
    """
    layout = layout or Layout()
    meshes.check(layout, batch_size)
    began = time.perf_counter()
    functions = Functions(variant, source, rules, batch_size, layout, meshes.mesh_of(layout))
    making = _Making(functions, functions.start(0))
    evaluate = making.evaluate()
    train = making.train() if layout.accumulate == 1 else making.train_in_parts()
    memory.fill_holes()
    return Programs(
        train=train,
        evaluate=evaluate,
        start=functions.start,
        batch_size=batch_size,
        evaluation_size=making.part,
        compile_seconds=time.perf_counter() - began,
        layout=layout,
    )


class _Making:
    """Compiles one program after the other, and calls each once: the first call is slow, so it counts as compiling.

    Args:
        functions: what to compile.
        state: an initial state; the last program made takes its memory.
    """

    def __init__(self, functions: Functions, state: State) -> None:
        self.functions, self.state, self.source = functions, state, functions.source
        mesh, layout = functions.mesh, functions.layout
        self.shelf = kept.shelf(mesh, self.source, functions.variant, self.source.classes, self.source.signature,
                                functions.rules, functions.batch_size, layout)  # fmt: skip
        self.feed, self.parts = meshes.Feed(mesh), layout.accumulate
        self.part = functions.batch_size // self.parts
        self.everywhere, by_rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXES))
        self.placed = meshes.shardings(mesh, state)
        self.sums = {"loss": self.everywhere, "weight": self.everywhere, "gradients": self.placed["params"]}
        self.fed = (self.everywhere, by_rows, by_rows)

    def evaluate(self) -> Callable[[State, Arrays, Batch], Metrics]:
        """The program for one batch of held-out images."""
        held = next(self.source.held_out(self.part, 1, meshes.rows_here(self.part)))
        arguments = (weighed(self.state), *self._given(self.source.arrays, held))
        placed = (weighed(self.placed), *self.fed)
        program = self.shelf.program("evaluate", self.functions.evaluate, arguments, given=placed, into=self.everywhere)
        jax.block_until_ready(program(*arguments))

        def evaluated(state: State, arrays: Arrays, batch: Batch) -> Metrics:
            sums: Metrics = program(weighed(state), *self._given(arrays, batch))
            return sums

        return evaluated

    def train(self) -> Callable[[State, Arrays, Batch, Any], tuple[State, Metrics]]:
        """The program for a step on a whole batch."""
        batch, rate = self._batch(self.functions.batch_size), np.float32(0)
        arguments = (self.state, *self._given(self.source.arrays, batch), rate)
        placed = (self.placed, *self.fed, self.everywhere)
        program = self.shelf.program(
            "train", self.functions.train, arguments, given=placed, into=(self.placed, self.everywhere), reuse=True
        )

        def trained(state: State, arrays: Arrays, batch: Batch, rate: Any) -> tuple[State, Metrics]:
            after, metrics = program(state, *self._given(arrays, batch), rate)
            return after, metrics

        jax.block_until_ready(trained(self.state, self.source.arrays, batch, rate))
        return trained

    def train_in_parts(self) -> Callable[[State, Arrays, Batch, Any], tuple[State, Metrics]]:
        """The programs for a step on a batch cut into parts."""
        functions, rate = self.functions, np.float32(0)
        first = self.shelf.program("first", functions.nothing, (), given=(), into=self.sums)
        arguments = (first(), self.state, *self._given(self.source.arrays, self._batch(self.part)))
        more = self.shelf.program(
            "more", functions.add, arguments, given=(self.sums, self.placed, *self.fed), into=self.sums, reuse=True
        )
        last = self.shelf.program(
            "last", functions.move, (self.state, first(), rate), given=(self.placed, self.sums, self.everywhere),
            into=(self.placed, self.everywhere), reuse=True,
        )  # fmt: skip
        ascended = self._ascent_in_parts(first, more) if functions.rules.sam_radius else None

        def trained(state: State, arrays: Arrays, batch: Batch, rate: Any) -> tuple[State, Metrics]:
            at = state if ascended is None else ascended(state, arrays, batch)
            so_far = first()
            for k in range(self.parts):
                so_far = more(so_far, at, *self._given(arrays, _part(batch, k, self.parts)))
            after, metrics = last(state, so_far, rate)
            return after, metrics

        batch = self._batch(functions.batch_size)
        jax.block_until_ready(trained(self.state, self.source.arrays, batch, rate))
        return trained

    def _ascent_in_parts(
        self, first: Callable[[], Any], more: Callable[..., Any]
    ) -> Callable[[State, Arrays, Batch], State]:
        """The programs for the ascent of a sharpness-aware step: over all parts of a batch before any descends."""
        functions = self.functions
        few = functions.rules.ascent_stride > 1  # else an ascent adds up what a descent does
        if few:
            batch = self._given(self.source.arrays, self._batch(self.part))
            more = self.shelf.program(
                "look", functions.add_ascent, (first(), self.state, *batch, np.int32(0)),
                given=(self.sums, self.placed, *self.fed, self.everywhere), into=self.sums, reuse=True,
            )  # fmt: skip
        rise = self.shelf.program(
            "rise", functions.ascended, (first()["gradients"], self.state["params"]),
            given=(self.placed["params"], self.placed["params"]), into=self.placed["params"], reuse=True,
        )  # fmt: skip

        def ascended(state: State, arrays: Arrays, batch: Batch) -> State:
            so_far = first()
            for k in range(self.parts):
                given = self._given(arrays, _part(batch, k, self.parts))
                so_far = more(so_far, state, *given, *([np.int32(k)] if few else []))
            return {**state, "params": rise(so_far["gradients"], state["params"])}

        return ascended

    def _batch(self, size: int) -> Batch:
        """A training batch of so many rows, of all processes together."""
        return next(self.source.feed(Order(0, self.source.train_images, size, size), 0, meshes.rows_here(size)))

    def _given(self, arrays: Arrays, batch: Batch) -> tuple[Any, Any, Any]:
        """The source's arrays and a batch as the programs take them."""
        inputs, weights = self.feed.rows(batch)
        return self.feed.arrays(arrays), inputs, weights


def _part(batch: Batch, k: int, parts: int) -> Batch:
    """The k-th of equal parts of a batch's rows."""
    each = len(batch.weights) // parts
    return Batch(*jax.tree.map(lambda rows: rows[k * each : (k + 1) * each], tuple(batch)))
