"""Checkpoints through orbax: by wall time, written while training goes on, the last few kept.

Orbax writes aside and renames, so a checkpoint is whole or absent; each carries a checksum of every array, so that one
damaged later is told from a whole one. Unreadable ones are put aside in favour of the one before.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scalelaw.runs import files
from scalelaw.train import processes
from scalelaw.train.origin import Origin

Warn = Callable[[str], None]
STATE, BESIDE = "state", "beside"
UNREADABLE = "unreadable-"


class Checkpoints:
    """The checkpoints of one run. Orbax is imported when one is first read or written.

    Args:
        folder: the run's `checkpoint` folder.
        origin: where and on what the run trains now; a checkpoint from elsewhere is refused.
        minutes: of wall time between two.
        kept: how many stay.
        warn: takes a sentence for each checkpoint that cannot be read or written; training goes on.
        any_devices: whether one from other devices may be gone on with.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        *,
        minutes: float = 10.0,
        kept: int = 2,
        warn: Warn = print,
        any_devices: bool = False,
    ) -> None:
        self.folder, self.origin, self.kept, self.warn, self.any_devices = folder, origin, kept, warn, any_devices
        self.seconds = 60 * minutes
        self.remarks: list[str] = []
        self._manager: Any = None
        self._last_save = time.monotonic()
        self._last_step = -1

    def due(self) -> bool:
        """Whether it is time for the next, and the last is written."""
        late = time.monotonic() - self._last_save >= self.seconds
        return late and not (self._manager is not None and self._manager.is_saving_in_progress())

    def save(self, step: int, state: Any, beside: Mapping[str, Any], *, wait: bool = False) -> bool:
        """Begins to write a checkpoint; the arrays may be given away when this returns.

        Args:
            step: optimizer steps done.
            state: a tree of jax arrays.
            beside: JSON values.
            wait: until it is committed.

        Returns:
            Whether it was begun (and, with `wait`, committed). Where it cannot be written, `warn` is told.
        """
        self._last_save = time.monotonic()
        try:
            if step != self._last_step:
                import orbax.checkpoint as ocp

                leaves = _leaves(state)
                record = {**beside, "origin": self.origin.to_dict(), "remarks": self.remarks, "arrays": _facts(leaves)}
                arrays = {str(k): leaf for k, leaf in enumerate(leaves.values())}
                args = ocp.args.Composite(**{STATE: ocp.args.PyTreeSave(arrays), BESIDE: ocp.args.JsonSave(record)})
                self._opened().save(step, args=args)
                self._last_step = step
            if wait:
                self._opened().wait_until_finished()
        except Exception as error:  # whatever the file system or a library says: a lost checkpoint is no lost run
            self._last_step = -1
            self.warn(f"{self.folder}: no checkpoint at step {step} ({_reason(error)}); training goes on")
            return False
        return True

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that can be read: its state, and what was kept beside it. None when there is none.

        Args:
            like: a tree of `jax.ShapeDtypeStruct`, shapes, types and placement of a state.

        Raises:
            Elsewhere: when it was made with other data, another schedule or, unless allowed, on other devices.
        """
        for step in self.steps()[::-1]:
            try:
                beside = self._read_beside(step)
                self.remarks = [*beside["remarks"], *self.origin.remarks(beside["origin"])]
                refused = self.origin.refusal(beside["origin"], self.folder, self.any_devices)
                state = None if refused else self._read_state(step, like, beside["arrays"])
            except Exception as error:  # a damaged file can raise anything
                self._put_aside(step, error)
                continue
            if refused is not None:
                raise refused
            self._last_step, self._last_save = step, time.monotonic()
            return state, beside
        return None

    def steps(self) -> list[int]:
        """The steps that have a committed checkpoint, in order."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdigit())

    def close(self) -> None:
        """Waits for what is being written."""
        if self._manager is not None:
            try:
                self._manager.close()
            except Exception as error:
                self.warn(f"{self.folder}: the last checkpoint was not written ({_reason(error)})")
            self._manager = None

    def _opened(self) -> Any:
        if self._manager is None:
            import orbax.checkpoint as ocp

            keep = ocp.checkpoint_managers.LatestN(self.kept)
            options = ocp.CheckpointManagerOptions(preservation_policy=keep, cleanup_tmp_directories=True)
            self._manager = ocp.CheckpointManager(self.folder.absolute(), options=options)
        return self._manager

    def _read_beside(self, step: int) -> dict[str, Any]:
        import orbax.checkpoint as ocp

        found = self._opened().restore(step, args=ocp.args.Composite(**{BESIDE: ocp.args.JsonRestore()}))
        beside: dict[str, Any] = found[BESIDE]
        return beside

    def _read_state(self, step: int, like: Any, facts: list[dict[str, Any]]) -> Any:
        import orbax.checkpoint as ocp

        leaves = _leaves(like)
        if [(fact["name"], fact["shape"], fact["dtype"]) for fact in facts] != [
            (name, list(leaf.shape), str(leaf.dtype)) for name, leaf in leaves.items()
        ]:
            raise ValueError("its arrays have other names, shapes or types than this version's")
        item = {str(k): leaf for k, leaf in enumerate(leaves.values())}
        args = ocp.args.PyTreeRestore(item, restore_args=ocp.checkpoint_utils.construct_restore_args(item))
        found = self._opened().restore(step, args=ocp.args.Composite(**{STATE: args}))[STATE]
        restored = dict(zip(leaves, (found[str(k)] for k in range(len(leaves))), strict=True))
        for fact, now in zip(facts, _facts(restored), strict=True):
            if None not in (fact["crc32"], now["crc32"]) and fact != now:
                raise ValueError(f"the array {fact['name']} is damaged")
        return jax.tree.unflatten(jax.tree.structure(like), list(restored.values()))

    def _put_aside(self, step: int, error: Exception) -> None:
        earlier = [other for other in self.steps() if other < step]
        instead = f"the one of step {earlier[-1]} is taken" if earlier else "the run begins again"
        self.warn(f"{self.folder}: the checkpoint of step {step} cannot be read ({_reason(error)}); {instead}")
        self.close()
        if processes.leads():
            aside = self.folder / f"{UNREADABLE}{step}"
            shutil.rmtree(aside, ignore_errors=True)
            (self.folder / str(step)).rename(aside)


def _reason(error: Exception) -> str:
    """The start of what a library says; tensorstore's messages go on for pages."""
    return files.reason(error).split(" [tensorstore_spec")[0][:300]


def _leaves(state: Any) -> dict[str, Any]:
    """The arrays of a tree by their names."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}


def _facts(leaves: Mapping[str, jax.Array]) -> list[dict[str, Any]]:
    """Name, shape, type and checksum of each array; no checksum where other processes hold a part of it."""
    return [{"name": name, "shape": list(leaf.shape), "dtype": str(leaf.dtype), "crc32": _checksum(leaf)}
            for name, leaf in leaves.items()]  # fmt: skip


def _checksum(leaf: jax.Array) -> int | None:
    if not leaf.is_fully_addressable:
        return None
    return zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
