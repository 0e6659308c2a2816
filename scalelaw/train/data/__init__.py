"""Where images come from. A new source is one more entry of `SOURCES`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from scalelaw.errors import UserError, nearest
from scalelaw.train.data import arrays, disk, hierarchy
from scalelaw.train.data.order import Order
from scalelaw.train.data.source import Batch, Source

SOURCES: dict[str, Callable[..., Source]] = {
    "hierarchy": hierarchy.make,
    "npz": arrays.make,
    "cifar10": arrays.cifar,
    "cifar100": arrays.cifar,
    "folder": disk.of_config,
    "parquet": disk.of_config,
    "arrayrecord": disk.of_config,
}

__all__ = ["SOURCES", "Batch", "Order", "Source", "load"]


def load(config: Any) -> Source:
    """Makes the source that a data config names.

    Args:
        config: has `source`, a key of `SOURCES`, and for each argument of that entry an attribute
            (arguments with defaults may lack one); an argument `config` is all of it.

    Raises:
        UserError: for an unknown source, or whatever the source finds wrong with its settings or its file.
    """
    if config.source not in SOURCES:
        hint, known = nearest(config.source, list(SOURCES)), ", ".join(SOURCES)
        raise UserError(f"data.source: unknown source {config.source!r}{hint} (known: {known})")
    make = SOURCES[config.source]
    names = inspect.signature(make).parameters
    if "config" in names:
        return make(config=config)
    return make(**{name: getattr(config, name) for name in names if hasattr(config, name)})
