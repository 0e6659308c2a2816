"""Built-in images that a parent was trained on too: they give way to fresh ones, for there is no end of them.

Two sets of built-in images can only have images in common, but for the noise on them, where their patches are the same.
Then images are equal where their last symbols are, which are compared, the parent's block by block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.train.data.hierarchy import Hierarchy
from scalelaw.train.data.source import Replaced

ROUNDS = 6  # of looking for fresh images; each looks at more of them


@dataclass(frozen=True)
class Twins:
    """What a task has in common with a parent's training images.

    Attributes:
        train, held: numbers of the images that gave way, of training and held out, and of those in their place.
    """

    train: Replaced
    held: Replaced

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "train_twins": len(self.train.gone),
            "holdout_twins": len(self.held.gone),
            "train": [self.train.gone.tolist(), self.train.fresh.tolist()],
            "held": [self.held.gone.tolist(), self.held.fresh.tolist()],
        }

    @staticmethod
    def from_dict(facts: dict[str, Any]) -> Twins:
        """What `to_dict` gave."""
        return Twins(*(Replaced(*(np.array(one, np.int32) for one in facts[name])) for name in ("train", "held")))


def without(task: Hierarchy, twins: Twins) -> Hierarchy:
    """The task with fresh images in the place of twins."""
    return replace(task, train_replaced=twins.train, held_replaced=twins.held)


def twins_of(task: Hierarchy, parent: Hierarchy) -> Twins:
    """The twins of a task's images among a parent's training images.

    Raises:
        UserError: when there are not enough images that the parent was not trained on.
    """
    if not _comparable(task, parent):
        nothing = np.empty(0, np.int32)
        return Twins(Replaced(nothing, nothing), Replaced(nothing, nothing))
    train, held = np.arange(task.train_images, dtype=np.int32), task.holdout_indices()
    is_twin = _among(task, parent, np.concatenate([train, held]))
    return Twins(
        _replaced(task, parent, train, is_twin[: len(train)]), _replaced(task, parent, held, is_twin[len(train) :])
    )


def _comparable(task: Hierarchy, parent: Hierarchy) -> bool:
    facts = [(one.seed, one.symbols[-1], one.patch, one.resolution) for one in (task, parent)]
    return facts[0] == facts[1]


def _replaced(task: Hierarchy, parent: Hierarchy, indices: NDArray[np.int32], is_twin: NDArray[np.bool_]) -> Replaced:
    gone = indices[is_twin]
    fresh = np.empty(0, np.int32)
    after, count = int(indices[-1]) + 1, len(gone)
    for _ in range(ROUNDS):
        if len(fresh) >= len(gone):
            break
        more = np.arange(after, after + count, dtype=np.int32)
        fresh = np.concatenate([fresh, more[~_among(task, parent, more)]])
        after, count = after + count, 2 * count
    if len(fresh) < len(gone):
        raise UserError(f"[parent] dedup: {len(gone)} of {len(indices)} images are among the parent's training images, "
                        f"and of {after - int(indices[-1]) - 1} others too many; take another task (task_seed), or set "
                        "dedup = false")  # fmt: skip
    return Replaced(gone, fresh[: len(gone)])


def _among(task: Hierarchy, parent: Hierarchy, indices: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of a task's images are among a parent's training images. Memory is linear in the task's."""
    rows = [row.tobytes() for block in task.leaf_rows(indices) for row in block]
    found = _common(set(rows), parent.leaf_rows(parent.train_indices()))
    return np.array([row in found for row in rows], bool)


def _common(sought: set[bytes], blocks: Iterable[NDArray[Any]]) -> set[bytes]:
    found: set[bytes] = set()
    for block in blocks:
        found |= sought.intersection(row.tobytes() for row in block)
    return found
