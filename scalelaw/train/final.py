"""The final weights of a run, for later fine-tuning: `final/weights.npz` in its folder.

A NumPy archive: one file that is whole or absent, that needs neither jax nor orbax to read, holds no code (nothing is
pickled), checks itself (CRC-32 of every member), and takes milliseconds for a small model. Arrays are named by their
path, `params/module/parameter` and, where weights are averaged, `ema/module/parameter`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scalelaw.errors import UserError
from scalelaw.runs import files

KEPT = ("params", "ema")


def path_of(run_folder: Path) -> Path:
    """Where a run's final weights are."""
    return run_folder / "final" / "weights.npz"


def gathered(state: Mapping[str, Any], like: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The weights of a state by their names in the archive; every process of a run must call this.

    Args:
        state: of a run.
        like: shapes of the network's parameters, `nfnet.abstract`.
    """
    from scalelaw.train.packing import unpacked

    trees = {name: unpacked(_arrays(state[name]), like) for name in KEPT if name in state}
    return {"/".join(path): leaf for name, tree in trees.items() for path, leaf in _walk(tree, name)}


def write(run_folder: Path, arrays: Mapping[str, np.ndarray[Any, Any]], through: files.Writes | None = None) -> None:
    """Writes gathered weights; `through` puts the file in its place.

    Raises:
        UserError: when the folder cannot be written.
    """

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    (through or files.write_atomically)(path_of(run_folder), save)


def final_weights(run_folder: Path, *, averaged: bool = False) -> dict[str, Any]:
    """The final weights of a run: nested dicts of NumPy arrays, float32.

    Args:
        run_folder: results/<name>/<run_id>.
        averaged: the moving average in place of the weights themselves.

    Raises:
        UserError: when there are none, they are damaged, or the run did not average.
    """
    path, wanted = path_of(run_folder), "ema" if averaged else "params"
    tree: dict[str, Any] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                first, *middle, last = name.split("/")
                if first == wanted:
                    place = tree
                    for part in middle:
                        place = place.setdefault(part, {})
                    place[last] = archive[name]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; only finished runs of a sweep with keep_final = true have one") from (
            error
        )
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({files.reason(error)}); remove the run's folder and train it again"
                        ) from error  # fmt: skip
    if not tree:
        raise UserError(f"{path}: holds no averaged weights; the run's recipe keeps none")
    return tree


def _walk(tree: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for name, branch in tree.items():
            if "/" in name:
                raise ValueError(f"the parameter name {name!r} holds a slash, which separates names in the archive")
            yield from _walk(branch, *path, name)
    else:
        yield path, tree


def _arrays(tree: Any) -> Any:
    return {name: _arrays(branch) for name, branch in tree.items()} if isinstance(tree, Mapping) else _array(tree)


def _array(leaf: Any) -> np.ndarray[Any, Any]:
    if not getattr(leaf, "is_fully_addressable", True):
        from jax.experimental import multihost_utils

        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    array = np.asarray(leaf)
    return array if array.dtype.isbuiltin else array.astype(np.float32)  # bfloat16 is no type of NumPy's; exact
