"""A spec's file and those that it extends: their values, and on which line of which file each stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scalelaw.errors import UserError
from scalelaw.sweep import positions

MOST_FILES = 32


@dataclass(frozen=True)
class Layer:
    """One file of a spec.

    Attributes:
        raw: what the file says.
        source: what messages call it.
        lines: the line of every key; empty where there is no text.
        text: the file.
    """

    raw: Mapping[str, Any]
    source: str
    lines: Mapping[positions.Path, int] = field(default_factory=dict)
    text: str = ""

    def table(self, inside: positions.Path) -> Any:
        """What stands at a path."""
        found: Any = self.raw
        for step in inside:
            found = found[step]
        return found

    def place(self, *path: str | int) -> str:
        """Where something stands: FILE:LINE of the innermost part of its path that the file has."""
        if not self.lines:
            return self.source
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.source}:{self.lines[path] if path else 1}"


@dataclass(frozen=True)
class Located:
    """A value, and where it stands.

    Attributes:
        nth: for one value of a list that spans a grid: which, from 1, and of how many.
    """

    value: Any
    layer: Layer
    path: positions.Path
    nth: tuple[int, int] | None = None

    def place(self, *inside: str | int) -> str:
        """FILE:LINE of the value, or of something inside it."""
        return self.layer.place(*self.path, *inside)

    def one(self, index: int) -> Located:
        """One value of a list."""
        return Located(self.value[index], self.layer, (*self.path, index), (index + 1, len(self.value)))


def read_layers(path: Path) -> list[Layer]:
    """A spec's file and what it extends, the outermost base first.

    Raises:
        UserError: when a file cannot be read, is not TOML or holds a NUL, or when files extend each other in a circle.
    """
    layers = [_read(path, str(path), "scalelaw init writes example specs")]
    seen = [path.resolve()]
    while "extends" in layers[0].raw:
        upper, base = layers[0], layers[0].raw["extends"]
        place = upper.place("extends")
        if not isinstance(base, str) or not base:
            raise UserError(f'{place}: extends must be the name of another spec, as extends = "base.toml"')
        path = path.parent / base
        if path.resolve() in seen:
            circle = " -> ".join([*(layer.source for layer in reversed(layers)), str(path)])
            raise UserError(f"{place}: extends leads back to where it began ({circle}); leave it out of one")
        if len(seen) == MOST_FILES:
            raise UserError(f"{place}: extends goes through more than {MOST_FILES} files; put some together")
        seen.append(path.resolve())
        layers.insert(0, _read(path, f"{place}: extends {path}", "the name is relative to this file"))
    return layers


def _read(path: Path, called: str, mend: str) -> Layer:
    content = b""
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
        raw = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"{called}: cannot be read ({error.strerror}); {mend}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: is not TOML: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(_not_toml(path, content, str(error))) from error
    layer = Layer(raw, str(path), positions.lines(text), text)
    if nul := list(_with_nul(raw)):
        raise UserError(*[f"{layer.place(*at)}: {_key(at)}: holds the character \\u0000; leave it out" for at in nul])
    return layer


def _with_nul(value: Any, at: positions.Path = ()) -> Iterator[positions.Path]:
    """Where texts stand that hold a NUL, with which no file can be looked for."""
    if isinstance(value, str) and "\0" in value:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inside:
        yield from _with_nul(one, (*at, step))


def _key(at: positions.Path) -> str:
    """A place in a file as messages write it: [section] key."""
    names = [step for step in at if isinstance(step, str)]
    return f"[{'.'.join(names[:-1])}] {names[-1]}" if names[1:] else names[0]


def _not_toml(path: Path, content: bytes, message: str) -> str:
    """tomllib's words, its place moved to where ours stand."""
    at = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if at is None:  # "(at end of document)"
        return f"{path}:{max(len(content.splitlines()), 1)}: is not TOML: {message}"
    return f"{path}:{at[1]}: is not TOML: {message[: at.start()]} (column {at[2]})"
