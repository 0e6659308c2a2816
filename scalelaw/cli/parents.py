"""What is looked at of parents before anything is made: whether published weights are those of the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scalelaw.sweep import Spec


def check_parents(spec: Spec, prepare: Callable[[], None]) -> None:
    """Refuses files of published weights that are damaged or another network's; those of runs are known by their rows.

    Args:
        prepare: called before jax is imported.

    Raises:
        UserError: one line for each.
    """
    from scalelaw.errors import UserError

    files = {(grid.parent.path, grid.model.family[0], grid.model.variants[0]): grid.locate("[parent] weights: ")
             for grid in spec.grids if grid.parent is not None and grid.parent.weights is not None}  # fmt: skip
    if not files:
        return
    from scalelaw import architecture

    prepare()
    from scalelaw.train import parent

    wrong = []
    for (path, family, variant), place in files.items():
        try:
            parent.of_file(Path(path), architecture.variant(variant, family))
        except UserError as error:
            wrong += [f"{place}: [parent] weights: {line}" for line in error.messages]
    if wrong:
        raise UserError(*wrong)


def need_trainer() -> None:
    """Raises UserError where jax and what goes with it are not installed."""
    from scalelaw.errors import UserError

    try:
        import flax
        import jax
        import optax
    except ImportError as error:
        raise UserError(f"training needs {error.name}: pip install 'scalelaw[train]'") from error
    del flax, jax, optax
