"""The pure functions of one shape of run, over a whole mesh of devices: what `step.build` compiles.

Loss and gradient run in a `shard_map`: every device works on its rows of a batch, and sums go over all of them. What
follows from the sums, the optimizer's part, XLA shares among the devices by itself.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from scalelaw import architecture
from scalelaw.sweep.recipes import Recipe
from scalelaw.train import mesh as meshes
from scalelaw.train import nfnet, optimizer, parent
from scalelaw.train.data import Source
from scalelaw.train.data.source import Arrays, Inputs
from scalelaw.train.mesh import AXES, Layout
from scalelaw.train.model import Model
from scalelaw.train.packing import packed

State = dict[str, Any]
"""All that a step changes or draws from: `params` and `momentum`, as `packed` arranges them, and where the recipe needs
them `ema`, likewise, with `step`, the steps done, and `key`, of all that is dropped at random."""

Tree = Any
Metrics = dict[str, jax.Array]

DROPPED = 0x64726F70  # "drop": keeps these draws apart from the initial weights of the same seed


@dataclass(frozen=True, eq=False)
class Functions:
    """From states and batches to states and sums, by one recipe.

    Attributes:
        variant, source, rules: network, images and recipe.
        batch_size: images a step, of all devices.
        layout: on which devices.
        mesh: those devices.
    """

    variant: architecture.Variant
    source: Source
    rules: Recipe
    batch_size: int
    layout: Layout
    mesh: Mesh

    def start(self, seed: int, body: Tree | None = None) -> State:
        """The initial state, on the mesh.

        Args:
            seed: of the initial weights and of what is dropped at random.
            body: what takes the place of all weights but the head's: a parent's (`scalelaw.train.parent`).
        """
        params = nfnet.drawn(self.variant, self.source.classes, jax.random.key(seed))
        if body is not None:
            params = parent.begun(body, params)
        params = packed(params)
        resting = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self._momenta)
        state: State = {"params": params, "momentum": resting}
        if self.rules.ema:
            # A copy of its own: a step reuses the memory of either.
            state |= {"ema": jax.tree.map(np.copy, params), "step": np.zeros((), np.int32)}
        if self.rules.dropout or self.rules.stochastic_depth:
            state["key"] = jax.random.key_data(jax.random.fold_in(jax.random.key(seed), DROPPED))
        return dict(meshes.place(state, meshes.shardings(self.mesh, state)))

    def train(
        self, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array, rate: jax.Array
    ) -> tuple[State, Metrics]:
        """The state after a step on one batch, and what is worth watching.

        A sharpness-aware step takes the gradients, and the loss that it tells, at the ascended weights.
        """
        at = state
        if self.rules.sam_radius:
            found = self._ascent_of(state, arrays, inputs, weights, jnp.int32(0))
            at = {**state, "params": self.ascended(found["gradients"], state["params"])}
        return self.move(state, self._sums_of(at, arrays, inputs, weights), rate)

    def nothing(self) -> Tree:
        """The sums over no part of a batch."""
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._shapes)
        return {"loss": jnp.zeros(()), "weight": jnp.zeros(()), "gradients": zeros}

    def add(self, so_far: Tree, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> Tree:
        """The sums over one more part of a batch."""
        return jax.tree.map(jnp.add, so_far, self._sums_of(state, arrays, inputs, weights))

    def add_ascent(
        self, so_far: Tree, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array, part: jax.Array
    ) -> Tree:
        """`add` for the ascent of a sharpness-aware step; `part` counts the parts from 0."""
        return jax.tree.map(jnp.add, so_far, self._ascent_of(state, arrays, inputs, weights, part))

    def ascended(self, gradients: Tree, params: Tree) -> Tree:
        """The weights at which a sharpness-aware step takes its gradients.

        Gradients are summed over all devices first, so that every mesh trains the same run: our choice, NFNet's A.4 let
        every replica ascend by itself. Of an image the same is dropped in both passes, so that both gradients are of
        one function: our choice too.
        """
        return optimizer.ascended(params, gradients, self.rules.sam_radius)

    def move(self, state: State, found: Tree, rate: jax.Array) -> tuple[State, Metrics]:
        """The state after a step, from the sums over its batch."""
        params, gradients, loss = state["params"], found["gradients"], found["loss"]
        if self.layout.accumulate > 1:  # else the weight is 1, and dividing by it a pass over all gradients
            loss, gradients = jax.tree.map(lambda x: x / found["weight"], (loss, gradients))
        metrics = {"loss": loss, **optimizer.measure(self.rules, gradients, params)}
        direction, momentum = self._update.update(gradients, state["momentum"], params)
        after = {**state, "params": optimizer.step(params, direction, rate), "momentum": momentum}
        if self.rules.ema:
            after["step"] = state["step"] + 1
            after["ema"] = optimizer.average(state["ema"], after["params"], self.rules.ema, after["step"])
        return after, metrics

    def evaluate(self, weighing: State, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> Metrics:
        """Sums over a batch in evaluation, from those parts of a state that `weighing` picks."""
        sums = jax.shard_map(
            self._model.sums, mesh=self.mesh, in_specs=(self._cut, P(), P(AXES), P(AXES)), out_specs=P(),
            check_vma=False,
        )  # fmt: skip
        found = sums(weighing["params"], arrays, inputs, weights)
        if self.rules.ema:
            averaged = sums(weighing["ema"], arrays, inputs, weights)
            found |= {f"{name}_ema": averaged[name] for name in ("loss", "wrong")}
        return dict(found)

    def _sums_of(self, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array) -> Tree:
        """Loss, weight and gradients of a batch or a part of one."""
        return self._shared(self._model.gradients, state, arrays, inputs, weights)

    def _ascent_of(self, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array, part: jax.Array) -> Tree:
        """The same for the rows that an ascent looks at."""
        return self._shared(self._model.ascent_gradients, state, arrays, inputs, weights, part)

    def _shared(
        self, function: Any, state: State, arrays: Arrays, inputs: Inputs, weights: jax.Array, *more: jax.Array
    ) -> Tree:
        """Calls a function of the model on every device with its parameters and its rows of a batch."""
        shared = jax.shard_map(
            function,
            mesh=self.mesh,
            in_specs=(self._cut, P(), P(AXES), P(AXES), P(), *(P() for _ in more)),
            out_specs={"loss": P(), "weight": P(), "gradients": self._cut},
            check_vma=False,
        )
        return shared(state["params"], arrays, inputs, weights, state.get("key"), *more)

    @functools.cached_property
    def _update(self) -> Any:
        return optimizer.optimizer(self.rules)

    @functools.cached_property
    def _model(self) -> Model:
        return Model(self.variant, self.source, self.rules, self.batch_size, self.layout)

    @functools.cached_property
    def _shapes(self) -> Tree:
        return packed(nfnet.abstract(self.variant, self.source.classes))

    @functools.cached_property
    def _momenta(self) -> Tree:
        return jax.eval_shape(self._update.init, self._shapes)

    @functools.cached_property
    def _cut(self) -> Tree:
        """How each parameter is cut along the mesh."""
        return meshes.specs(self._shapes, self.layout.params)


def weighed(state: State) -> State:
    """The parts of a state that evaluation needs."""
    return {name: state[name] for name in ("params", "ema") if name in state}
