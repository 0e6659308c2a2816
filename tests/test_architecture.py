"""Parameters and multiply-adds by arithmetic against jax: the shapes it makes and the operations it counts."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from scalelaw import architecture
from scalelaw.architecture import FAMILIES, Variant, size, variant
from scalelaw.errors import UserError
from scalelaw.train import nfnet

PUBLISHED = [name for name in FAMILIES["nfnet"] if name.startswith("F")]
NANO = [name for name in FAMILIES["nfnet"] if name.startswith("N")]


def forward(model: Variant, classes: int, resolution: int, batch: int) -> tuple[Any, Any, Any]:
    """The unrolled forward pass and the shapes of its arguments."""
    images = jax.ShapeDtypeStruct((batch, resolution, resolution, 3), jnp.float32)
    return functools.partial(nfnet.apply, model, classes), nfnet.abstract(model, classes), images


@pytest.mark.parametrize("classes", [10, 1000])
@pytest.mark.parametrize("name", PUBLISHED + NANO)
def test_parameters_equal_the_modules(name: str, classes: int) -> None:
    shapes = nfnet.abstract(variant(name), classes)
    counted = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    head = sum(leaf.size for leaf in jax.tree.leaves(shapes["linear"]))
    got = size(variant(name), 224, classes)
    assert (got.params, got.params_body) == (counted, counted - head)


@pytest.mark.parametrize("name", ["F0", *NANO, *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED[1:])])
def test_shapes_fit_together(name: str) -> None:
    """Evaluates the shapes of a whole forward pass, so that the counted parameters are the ones it can run with."""
    logits = jax.eval_shape(*forward(variant(name), 17, 64, 2))
    assert logits.shape == (2, 17)


@pytest.mark.parametrize("name", NANO[:2])
def test_initial_parameters_have_the_abstract_shapes(name: str) -> None:
    params, shapes = nfnet.init(variant(name), 7, jax.random.key(0)), nfnet.abstract(variant(name), 7)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    assert jax.tree.all(jax.tree.map(lambda a, b: a.dtype == b.dtype, params, shapes))


def test_published_sizes() -> None:
    """Parameters at 1000 classes in millions, from the paper's table 3; multiply-adds of F0 at its test resolution."""
    assert size(variant("F0"), 256, 1000).params == 71_489_284
    assert size(variant("F7+"), 256, 1000).params == 829_551_960
    published = {"F1": 132.6, "F2": 193.8, "F3": 254.9, "F4": 316.1, "F5": 377.2, "F6": 438.4}
    assert {name: round(size(variant(name), 256, 1000).params / 1e6, 1) for name in published} == published
    assert size(variant("F0"), 256, 1000).macs_per_image / 1e9 == pytest.approx(12.38, abs=0.005)
    assert size(variant("F0"), 224, 30_000).macs_per_image / 1e9 == pytest.approx(9.58, abs=0.005)
    assert size(variant("F7+"), 224, 30_000).macs_per_image / 1e9 == pytest.approx(100.86, abs=0.005)


@pytest.mark.parametrize("name", ["F0", "F1+"])
def test_multiply_adds_match_xla(name: str) -> None:
    """XLA leaves out multiplications with padding (3 % of F0 at 224), and counts elementwise work (under 1 %)."""
    run, *arguments = forward(variant(name), 1000, 224, 16)
    flop = jax.jit(run).lower(*arguments).cost_analysis()["flops"]
    assert flop / 16 / 2 == pytest.approx(size(variant(name), 224, 1000).macs_per_image, rel=0.05)


@pytest.mark.parametrize(("name", "resolution"), [("F0", 224), ("F0", 225), ("F0+", 192), ("N0", 8), ("N4", 13)])
def test_multiply_adds_are_exact(name: str, resolution: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution of the traced model, padding included, plus its linear layers; odd resolutions round up."""
    monkeypatch.setattr(nfnet, "fastest", lambda widest, grouped: "grouped")
    run, params, images = forward(variant(name), 1000, resolution, 1)
    macs = 0
    for equation in jax.make_jaxpr(run)(params, images).eqns:
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            macs += equation.outvars[0].aval.size * math.prod(kernel[:-1])
    macs += sum(
        functools.reduce(lambda tree, part: tree[part], path, params).size
        for path, (module, kind) in nfnet.published_names(params).items()
        if kind == "w" and "linear" in module
    )
    assert macs == size(variant(name), resolution, 1000).macs_per_image


def test_nano_spans_the_sizes_a_cpu_can_sweep() -> None:
    """Parameters of the body and multiply-adds grow steadily, so that a grid of variants is a grid of sizes."""
    sizes = [size(variant(name), 8, 100) for name in NANO]
    steps = [b.macs_per_image / a.macs_per_image for a, b in itertools.pairwise(sizes)]
    assert all(1.5 < step < 2.5 for step in steps)
    assert sizes[-1].macs_per_image > 100 * sizes[0].macs_per_image


def test_a_bottleneck_is_rounded_down_to_whole_groups() -> None:
    first = variant("F0+").blocks[0]
    assert (first.channels_out, first.bottleneck, first.groups) == (384, 128, 1)
    assert all(block.bottleneck == 128 * block.groups for name in PUBLISHED for block in variant(name).blocks)


def test_unknown_names_are_mended() -> None:
    with pytest.raises(UserError, match=r"unknown variant 'f3\+'.*did you mean 'F3\+'"):
        variant("f3+")
    with pytest.raises(UserError, match=r"unknown model family 'nfnett'.*did you mean 'nfnet'"):
        architecture.variant("F0", "nfnett")
