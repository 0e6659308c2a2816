"""Where a fine-tuned run begins: at the weights of another run or of a published file, with a head for its own classes.

The head is the last linear layer alone, as the optimizer means it too; the rest of the network must be the parent's,
parameter by parameter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scalelaw.architecture import Variant
from scalelaw.errors import UserError
from scalelaw.runs import weights as kept
from scalelaw.sweep.config import ParentConfig
from scalelaw.train import nfnet, weights
from scalelaw.train.final import final_weights
from scalelaw.train.optimizer import HEAD_KERNEL
from scalelaw.train.origin import Elsewhere

HEAD = HEAD_KERNEL[0]
"""The module that is begun anew."""

Params = Mapping[str, Any]


def of_run(run_folder: Path, variant: Variant, *, averaged: bool = False) -> dict[str, Any]:
    """The body of a finished run's network: its final weights without the head.

    Raises:
        UserError: when they are not there, damaged, or those of another network.
    """
    return _body(final_weights(run_folder, averaged=averaged), variant, str(run_folder))


def of_file(path: Path, variant: Variant) -> dict[str, Any]:
    """The body of a network from a published checkpoint, or one that `weights.save` wrote.

    Raises:
        UserError: as `weights.load`.
    """
    return _body(weights.load(path, variant).params, variant, str(path))


def begun(body: Params, fresh: Params) -> dict[str, Any]:
    """Parameters of a network: the head from `fresh`, all else from `body`, in the types of `fresh`."""
    return {
        module: parameters if module == HEAD else _as(body[module], parameters) for module, parameters in fresh.items()
    }


def of_config(config: ParentConfig, variant: Variant) -> dict[str, Any]:
    """The body that a fine-tuned run begins at, from where its configuration says.

    Raises:
        UserError: as `of_run` and `of_file`.
        Elsewhere: when the file is no longer the one of the plan: the run cannot go on here, and has not failed.
    """
    if config.run is not None:
        return of_run(kept.brought(config.path), variant, averaged=config.averaged)
    try:
        with Path(config.path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{config.path}: cannot be read ({error.strerror}); bring the file back") from error
    if found != config.weights:
        raise Elsewhere(f"{config.path}: has changed since the sweep was planned; bring the old file back, or plan a "
                        "new sweep")  # fmt: skip
    return of_file(Path(config.path), variant)


def digest(body: Params) -> str:
    """16 hex digits of the SHA-256 of a body's names, types, shapes and values."""
    found = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in _leaves(body)):
        array = np.ascontiguousarray(leaf)
        found.update(f"{path} {array.dtype} {array.shape}\n".encode())
        found.update(array.data)
    return found.hexdigest()[:16]


def _leaves(tree: Any) -> Any:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _as(tree: Any, like: Any) -> Any:
    if isinstance(like, Mapping):
        return {name: _as(tree[name], branch) for name, branch in like.items()}
    return np.asarray(tree, like.dtype).reshape(like.shape)


def _body(found: Params, variant: Variant, place: str) -> dict[str, Any]:
    expected = _shapes({module: tree for module, tree in nfnet.abstract(variant, 1).items() if module != HEAD})
    body = {module: tree for module, tree in found.items() if module != HEAD}
    there = _shapes(body)
    for name in sorted(expected.keys() | there.keys()):
        if there.get(name) != expected.get(name):
            has = f"of shape {there[name]}" if name in there else "not"
            wants = f"of shape {expected[name]}" if name in expected else "not"
            raise UserError(f"{place}: is no {variant.name}: it has {name} {has}, {variant.name} {wants}; fine-tune "
                            "the variant that was pre-trained")  # fmt: skip
    return body


def _shapes(tree: Any, path: str = "") -> dict[str, tuple[int, ...]]:
    if not isinstance(tree, Mapping):
        return {path.removeprefix("/"): tuple(tree.shape)}
    return {name: shape for key, branch in tree.items() for name, shape in _shapes(branch, f"{path}/{key}").items()}
