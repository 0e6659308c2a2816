"""Tables and blocks of plain text, for people who read and programs that cut columns alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

BLOCK = 13
"""Width of the names in a block."""


def columns(rows: Sequence[Sequence[str]], left: Sequence[int] = ()) -> Iterator[str]:
    """Lines of a table: numbers end under one another, columns `left` begin under one another; no row is wrapped."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            f"{cell:<{width}}" if k in left else f"{cell:>{width}}"
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def block(rows: Iterable[tuple[str, str]]) -> str:
    """A line for each (name, value): names end under one another, whatever block they stand in."""
    return "\n".join(f"{name:>{BLOCK}}  {value}" for name, value in rows)
