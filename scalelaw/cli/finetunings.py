"""The command that trains runs which begin at the weights of others: finetune."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from scalelaw.cli.sweeps import sweep

ABOUT = """Fine-tunes: trains every run of a TOML spec from the weights of its parent, with a head for its own classes.

    Where the spec is silent, the recipe is finetune, for 50 epochs of 2048 images a step, at rates around 0.1 by
    factors of 2, on files at 384 pixels in training and 480 in evaluation. The same as scalelaw sweep on a spec with
    [parent].
"""


@functools.wraps(sweep)
def finetune(spec: Path, *, start: str | None = None, **more: Any) -> int:
    from scalelaw.errors import UserError
    from scalelaw.sweep.layers import read_layers

    tables = [table for layer in read_layers(spec) for table in (layer.raw, *_tables(layer.raw))]
    if start is None and not any("parent" in table for table in tables):
        raise UserError(f"{spec}: says not where its runs begin; name a run with --from, or add [parent]")
    return sweep(spec, start=start, **more)


def _tables(raw: Any) -> list[Any]:
    """The parts and zips of a file."""
    lists = [raw.get(word) for word in ("part", "zip")]
    return [table for found in lists if isinstance(found, list) for table in found if isinstance(table, dict)]


assert sweep.__doc__ is not None
finetune.__doc__ = ABOUT + sweep.__doc__[sweep.__doc__.index("\n") :]
