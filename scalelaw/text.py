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


def counted(count: int, what: str) -> str:
    """How many there are of something, as 1 group or 2 groups."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def clock(seconds: float) -> str:
    """A length of time as 1:05, 2:00:00 or 3 days 4:00:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    said = f"{hours}:{minutes:02d}:{rest:02d}" if hours or days else f"{minutes}:{rest:02d}"
    return f"{days} {'day' if days == 1 else 'days'} {said}" if days else said
