"""Weights in the form of DeepMind's published NFNet checkpoints: a pickled dict of module -> parameter name -> array.

`load` reads the published files (`F0_haiku.npz` to `F6_haiku.npz`, which are pickles in spite of their name) and those
of `save`, runs nothing of them (see `unpickler`), and checks every parameter against the network.

What the published weights expect, after the code published with them (google-deepmind/deepmind-research, nfnets/base.py
and dataset.py): 1000 ImageNet classes; RGB images of 0 to 255 less the mean (0.485, 0.456, 0.406) x 255, divided by
(0.229, 0.224, 0.225) x 255; at test time the centre crop that a resize to 32 pixels more would leave, in bicubic
resolution of

|                   | F0  | F1  | F2  | F3  | F4  | F5  | F6  |
|-------------------|-----|-----|-----|-----|-----|-----|-----|
| pixels, training  | 192 | 224 | 256 | 320 | 384 | 416 | 448 |
| pixels, test      | 256 | 320 | 352 | 416 | 512 | 544 | 576 |
| dropout, training | 0.2 | 0.3 | 0.4 | 0.4 | 0.5 | 0.5 | 0.5 |
"""

from __future__ import annotations

import pickle
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from scalelaw.architecture import FAMILIES, Variant
from scalelaw.errors import UserError
from scalelaw.runs.files import write_atomically
from scalelaw.train import nfnet, unpickler
from scalelaw.train.pickled_arrays import quoted

PROTOCOL = 4

_Named = dict[tuple[str, str], NDArray[Any]]
_BLOCK = re.compile(r"NFNet/~/(nf_block(_[0-9]+)?)(/|$)")
_LAST_CONVOLUTION, _HEAD_BIAS = ("NFNet/~/final_conv", "bias"), ("NFNet/~/linear", "b")


@dataclass(frozen=True, eq=False)
class Weights:
    """A network's weights with what they are weights of.

    Attributes:
        variant: the network.
        classes: the width of its head.
        params: what `nfnet.apply` takes, as NumPy arrays on the host (read-only, float32 or float64 as in the file).
    """

    variant: Variant
    classes: int
    params: nfnet.Params


def load(path: Path, variant: Variant | None = None, classes: int | None = None) -> Weights:
    """Reads the weights at `path`.

    Args:
        path: a published file or one that `save` wrote.
        variant: the network that must be in it; None recognises any of `architecture.FAMILIES`.
        classes: the classes its head must have; None takes what is there.

    Raises:
        UserError: when the file is no pickle of dicts of arrays, its parameters are not exactly those of the network
            (the first that differs is named; dimensions of size 1 are let go), a type is neither float32 nor float64,
            or a value is not finite.
    """
    named = _named(path, unpickler.load(path))
    found = _recognised(named)
    if variant is None and found is None:
        raise UserError(f"{path}: has {_blocks(named)} residual blocks of NFNet and {_width(named, _LAST_CONVOLUTION)} "
                        "features, as no known variant; give the variant it should be")  # fmt: skip
    network = variant or found
    assert network is not None
    head = _width(named, _HEAD_BIAS)
    shapes = nfnet.abstract(network, head or classes or 1)
    paths = {name: path for path, name in nfnet.published_names(shapes).items()}
    expected = {name: _at(shapes, nested).shape for name, nested in paths.items()}
    difference = _first_difference(named, expected, network.name)
    if difference is not None:
        if found is None or found == network:
            raise UserError(f"{path}: {difference}; bring the file again from its source, or one of {network.name}")
        raise UserError(f"{path}: holds {found.name}, not {network.name}: {difference}; ask for {found.name}, or bring "
                        f"weights of {network.name}")  # fmt: skip
    if classes not in (None, head):
        raise UserError(f"{path}: has a head of {head} classes, not {classes}; ask for {head}, or for any and put a "
                        "new head in its place")  # fmt: skip
    params: nfnet.Params = {}
    for name, nested in paths.items():
        array = _checked(named[name], f"{path}: {_spelt(name)}").reshape(expected[name])
        _at(params, nested[:-1], make=True)[nested[-1]] = array
    return Weights(network, head, params)


def save(path: Path, params: nfnet.Params) -> None:
    """Writes `params` whole or not at all: plain NumPy arrays under published names, equal bytes for equal weights.

    Raises:
        UserError: when a type is neither float32 nor float64, a value is not finite, or the file cannot be written.
    """
    named: dict[str, dict[str, NDArray[Any]]] = {}
    for nested, (module, name) in sorted(nfnet.published_names(params).items(), key=lambda row: row[1]):
        array = _checked(np.asarray(jax.device_get(_at(params, nested))), f"{path}: {_spelt((module, name))}")
        # one object for each word, so that equal weights pickle to equal bytes
        named.setdefault(sys.intern(module), {})[sys.intern(name)] = np.asarray(array, order="C")

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            pickle.dump(named, file, protocol=PROTOCOL)

    write_atomically(path, write)


def _named(path: Path, tree: Any) -> _Named:
    named: _Named = {}
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds no dict of modules; name a file of weights")
    for module, parameters in tree.items():
        if not isinstance(parameters, dict):
            raise UserError(f"{path}: {quoted(module)} is no dict of parameters; name a file of weights")
        for name, array in parameters.items():
            if not isinstance(array, np.ndarray):
                raise UserError(f"{path}: {_spelt((module, name))} is no array; name a file of weights")
            named[module, name] = array
    return named


def _recognised(named: _Named) -> Variant | None:
    """The variant with as many blocks and as wide a head's input, which tells all known ones apart."""
    blocks, features = _blocks(named), _width(named, _LAST_CONVOLUTION)
    known = (row for family in FAMILIES.values() for row in family.values())
    return next((row for row in known if (len(row.blocks), row.head_channels) == (blocks, features)), None)


def _blocks(named: _Named) -> int:
    return len({found[1] for module, _ in named if (found := _BLOCK.match(module))})


def _width(named: _Named, name: tuple[str, str]) -> int:
    return named[name].size if name in named else 0


def _first_difference(named: _Named, expected: dict[tuple[str, str], tuple[int, ...]], network: str) -> str | None:
    for name in sorted(named.keys() | expected.keys()):
        if name not in named:
            return f"lacks {_spelt(name)} of shape {expected[name]}, which {network} has"
        if name not in expected:
            return f"has {_spelt(name)}, which {network} has not"
        if _squeezed(named[name].shape) != _squeezed(expected[name]):
            return f"has {_spelt(name)} of shape {named[name].shape}, where {network} has {expected[name]}"
    return None


def _squeezed(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


def _checked(array: NDArray[Any], place: str) -> NDArray[Any]:
    """The array in this machine's byte order."""
    if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
        raise UserError(f"{place} is of type {array.dtype.name}; weights are float32 or float64")
    if not np.isfinite(array).all():
        raise UserError(f"{place} has {np.sum(~np.isfinite(array))} values that are not finite; "
                        "take weights from before they diverged")  # fmt: skip
    native = np.dtype(f"f{array.dtype.itemsize}")
    return array.astype(native, copy=False).view(native)  # the one object for this type, not an equal one


def _spelt(name: tuple[str, str]) -> str:
    return f"{quoted(name[0])} {quoted(name[1])}"


def _at(tree: Any, path: tuple[str, ...], make: bool = False) -> Any:
    for part in path:
        tree = tree.setdefault(part, {}) if make else tree[part]
    return tree
