"""A batch that a step takes in pieces, to stay in a cache, gives what the whole gives, to rounding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="the trainer needs jax")

from small_nfnets import with_skip_gains  # noqa: E402

from scalelaw import architecture  # noqa: E402
from scalelaw.sweep import recipes  # noqa: E402
from scalelaw.train import mesh, model, nfnet  # noqa: E402
from scalelaw.train.data import Order, hierarchy  # noqa: E402
from scalelaw.train.functions import Functions  # noqa: E402
from scalelaw.train.packing import packed, unpacked  # noqa: E402

VARIANT = architecture.Variant("test", "nfnet", (8, 12), (1, 1), (1, 2), (8,), (1,), None)
BATCH = 12
SOURCE = hierarchy.make(
    train_images=500, holdout_images=50, classes=4, symbols=8, levels=2, rules=2, patch=2, noise=0.1
)


@pytest.mark.parametrize(
    ("rows", "widest", "pieces"),
    [
        (64, 64, 1),
        (64, 96, 2),
        (64, 128, 2),
        (192, 128, 6),
        (200, 128, 8),  # seven would be enough, but are not equal
        (99, 128, 9),  # so would four
        (97, 128, 1),  # a prime
        (1, 128, 1),
    ],
)
def test_pieces_are_equal_and_small(rows: int, widest: int, pieces: int) -> None:
    found = model.pieces_of(rows, widest)
    assert found == pieces
    assert rows % found == 0


@pytest.mark.parametrize("recipe", ["pretrain", "finetune"])
def test_loss_and_gradients(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images dropped at random are the same ones, and the last row, of weight 0, is left out in its piece."""
    rules = dataclasses.replace(recipes.recipe(recipe), sam_radius=0)
    layout = mesh.Layout()
    batch = next(SOURCE.feed(Order(1, SOURCE.train_images, BATCH - 1, BATCH), 0, slice(0, BATCH)))

    def sums(at_once: int) -> tuple[Any, int]:
        monkeypatch.setattr(model, "AT_ONCE", at_once)
        made = Functions(VARIANT, SOURCE, rules, BATCH, layout, mesh.mesh_of(layout))
        state = made.start(0)
        shapes = nfnet.abstract(VARIANT, SOURCE.classes)
        state["params"] = packed(with_skip_gains(unpacked(state["params"], shapes), 0.5))
        given = (made.nothing(), state, SOURCE.arrays, batch.inputs, batch.weights)
        program = jax.jit(made.add).lower(*given)
        return jax.device_get(program.compile()(*given)), program.as_text().count("stablehlo.while")

    whole, loops = sums(BATCH * 12)
    pieces, more = sums(4 * 12)
    assert more > loops
    assert whole["loss"] > 0
    assert pieces["weight"] == whole["weight"] == 1
    np.testing.assert_allclose(pieces["loss"], whole["loss"], rtol=1e-6)
    for piece, one in zip(jax.tree.leaves(pieces["gradients"]), jax.tree.leaves(whole["gradients"]), strict=True):
        np.testing.assert_allclose(piece, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())
        assert np.abs(one).max() > 0
