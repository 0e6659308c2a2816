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
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from scalelaw import architecture
from scalelaw.sweep.recipes import Recipe
from scalelaw.train import mesh as meshes
from scalelaw.train import nfnet, optimizer
from scalelaw.train.data import Batch, Order, Source
from scalelaw.train.data.source import Arrays, Inputs
from scalelaw.train.mesh import AXES, Layout
from scalelaw.train.model import Model

State = dict[str, Any]
"""All that a step changes or draws from: `params` and `momentum`, trees of arrays, and where the recipe needs them
`ema` with `step`, the steps done, and `key`, of all that is dropped at random."""

Tree = Any
Metrics = dict[str, jax.Array]

DROPPED = 0x64726F70  # "drop": keeps these draws apart from the initial weights of the same seed


@dataclass(frozen=True)
class Programs:
    """Compiled programs; calling one never compiles.

    Attributes:
        train: (state, arrays, batch, rate) -> (state, metrics); the first argument's memory is reused. A batch holds
            the rows that this process gives.
        evaluate: (state, arrays, batch) -> sums over the batch of `loss`, `wrong` answers and weights (`images`), and
            where weights are averaged `loss_ema` and `wrong_ema` of those.
        start: seed -> initial state.
        batch_size: rows of a training batch, of all processes together.
        evaluation_size: rows of a batch in evaluation, likewise.
        compile_seconds: what building them took.
        layout: on which devices.
    """

    train: Callable[[State, Arrays, Batch, Any], tuple[State, Metrics]]
    evaluate: Callable[[State, Arrays, Batch], Metrics]
    start: Callable[[int], State]
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
    """Compiles the programs of one shape.

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
    mesh = meshes.mesh_of(layout)
    model, update = Model(variant, source, rules, batch_size, layout), optimizer.optimizer(rules)

    def start(seed: int) -> State:
        params = nfnet.init(variant, source.classes, jax.random.key(seed))
        state: State = {"params": params, "momentum": update.init(params)}
        if rules.ema:
            # A copy of its own: a step reuses the memory of either.
            state |= {"ema": jax.tree.map(jnp.copy, params), "step": jnp.zeros((), jnp.int32)}
        if rules.dropout or rules.stochastic_depth:
            state["key"] = jax.random.key_data(jax.random.fold_in(jax.random.key(seed), DROPPED))
        return dict(meshes.place(state, meshes.shardings(mesh, state)))

    def moved(state: State, found: Tree, rate: jax.Array) -> tuple[State, Metrics]:
        """The state after a step, from the sums over its batch."""
        params, gradients, loss = state["params"], found["gradients"], found["loss"]
        if layout.accumulate > 1:  # else the weight is 1, and dividing by it a pass over all gradients
            loss, gradients = jax.tree.map(lambda x: x / found["weight"], (loss, gradients))
        metrics = {"loss": loss, **optimizer.measure(rules, gradients, params)}
        direction, momentum = update.update(gradients, state["momentum"], params)
        after = {**state, "params": optimizer.step(params, direction, rate), "momentum": momentum}
        if rules.ema:
            after["step"] = state["step"] + 1
            after["ema"] = optimizer.average(state["ema"], after["params"], rules.ema, after["step"])
        return after, metrics

    state = start(0)
    kept, cut = meshes.shardings(mesh, state), meshes.specs(state["params"], layout.params)
    gradients = jax.shard_map(
        model.gradients,
        mesh=mesh,
        in_specs=(cut, P(), P(AXES), P(AXES), P()),
        out_specs={"loss": P(), "weight": P(), "gradients": cut},
        check_vma=False,
    )
    sums = jax.shard_map(
        model.sums, mesh=mesh, in_specs=(cut, P(), P(AXES), P(AXES)), out_specs=P(), check_vma=False
    )  # fmt: skip

    def train(
        state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array, rate: jax.Array
    ) -> tuple[State, Metrics]:
        return moved(state, gradients(state["params"], arrays, inputs, weights, state.get("key")), rate)

    def nothing() -> Tree:
        zeros = jax.tree.map(jnp.zeros_like, state["params"])
        return {"loss": jnp.zeros(()), "weight": jnp.zeros(()), "gradients": zeros}

    def add(so_far: Tree, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> Tree:
        more = gradients(state["params"], arrays, inputs, weights, state.get("key"))
        return jax.tree.map(jnp.add, so_far, more)

    def evaluate(state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> Metrics:
        found = sums(state["params"], arrays, inputs, weights)
        if rules.ema:
            averaged = sums(state["ema"], arrays, inputs, weights)
            found |= {f"{name}_ema": averaged[name] for name in ("loss", "wrong")}
        return dict(found)

    everywhere, by_rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXES))
    found = {"loss": everywhere, "weight": everywhere, "gradients": kept["params"]}
    fed = (everywhere, by_rows, by_rows)
    feed, part, rate = meshes.Feed(mesh), batch_size // layout.accumulate, np.float32(0)
    arrays = feed.arrays(source.arrays)
    seen = feed.rows(next(source.feed(Order(0, source.train_images, part, part), 0, meshes.rows_here(part))))
    held = feed.rows(next(source.held_out(part, 1, meshes.rows_here(part))))

    def program(function: Any, into: Any, given: Any, *arguments: Any, reuse: bool = False) -> Any:
        jitted = jax.jit(function, in_shardings=given, out_shardings=into, donate_argnums=(0,) if reuse else ())
        return jitted.lower(*arguments).compile()

    evaluated = program(evaluate, everywhere, (kept, *fed), state, arrays, *held)
    jax.block_until_ready(evaluated(state, arrays, *held))  # the first call is slow, so it counts as compiling
    if layout.accumulate == 1:
        whole = program(train, (kept, everywhere), (kept, *fed, everywhere), state, arrays, *seen, rate, reuse=True)

        def trained(state: State, arrays: Arrays, batch: Batch, rate: Any) -> tuple[State, Metrics]:
            after, metrics = whole(state, feed.arrays(arrays), *feed.rows(batch), rate)
            return after, metrics

    else:
        first = program(nothing, found, ())
        more = program(add, found, (found, kept, *fed), first(), state, arrays, *seen, reuse=True)
        last = program(moved, (kept, everywhere), (kept, found, everywhere), state, first(), rate, reuse=True)

        def trained(state: State, arrays: Arrays, batch: Batch, rate: Any) -> tuple[State, Metrics]:
            so_far = first()
            for k in range(layout.accumulate):
                so_far = more(so_far, state, feed.arrays(arrays), *feed.rows(_part(batch, k, layout.accumulate)))
            after, metrics = last(state, so_far, rate)
            return after, metrics

    seen = next(source.feed(Order(0, source.train_images, batch_size, batch_size), 0, meshes.rows_here(batch_size)))
    jax.block_until_ready(trained(state, source.arrays, seen, rate))
    return Programs(
        train=trained,
        evaluate=lambda state, arrays, batch: evaluated(state, feed.arrays(arrays), *feed.rows(batch)),
        start=start,
        batch_size=batch_size,
        evaluation_size=part,
        compile_seconds=time.perf_counter() - began,
        layout=layout,
    )


def _part(batch: Batch, k: int, parts: int) -> Batch:
    """The k-th of equal parts of a batch's rows."""
    each = len(batch.weights) // parts
    return Batch(*jax.tree.map(lambda rows: rows[k * each : (k + 1) * each], tuple(batch)))
