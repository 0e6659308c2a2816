"""Every key and value of a TOML text is found on the line where it stands, whatever the text looks like."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.sweep import positions

ROOT = Path(__file__).resolve().parents[1]


def paths(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key and place in a list of what tomllib read."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield (*above, key)
        yield from paths(below, (*above, key))


BLANKS = ("", " ", "\t ")
COMMENTS = ("", "# a = [1", ' # """ { [[x]]', "# ''' \"", "#")
ENDS = ("\n", "\r\n")
PLAIN = ("1", "-2.5e3", "true", "nan", "1979-05-27 07:32:00Z", "07:32:00", "0x1f", "+inf")


def basic(text: str) -> str:
    """A TOML string of one line."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'


class Writer:
    """Writes a random document and notes by itself on which line each thing begins."""

    def __init__(self, seed: int) -> None:
        self.random, self.text, self.known = random.Random(seed), "", {}
        for _ in range(self.random.randint(0, 3)):
            self.gap()
            self.setting((), self.top, 2)
            self.rest()
        for _ in range(self.random.randint(0, 5)):
            self.table()

    @cached_property
    def top(self) -> set[str]:
        """Names taken."""
        return set()

    @cached_property
    def counts(self) -> dict[str, int]:
        """Of tables in lists of tables."""
        return {}

    def letters(self, alphabet: str, least: int, most: int) -> str:
        return "".join(self.random.choices(alphabet, k=self.random.randint(least, most)))

    def key(self) -> tuple[str, str]:
        """A key as it is and as it is written."""
        kind = self.random.choice(["bare", "bare", "basic", "literal"])
        if kind == "bare":
            word = self.letters("abz-_0", 1, 3)
            return word, word
        word = self.letters('ab.=#[]{}"\\, \té', 0, 4)
        return (word, basic(word)) if kind == "basic" else (word, f"'{word}'")

    def blank(self) -> None:
        self.text += self.random.choice(BLANKS)

    def rest(self) -> None:
        """The rest of a line."""
        self.text += self.random.choice(BLANKS) + self.random.choice(COMMENTS) + self.random.choice(ENDS)

    def gap(self) -> None:
        """Where lines and comments are free."""
        for _ in range(self.random.randint(0, 2)):
            self.rest()
        self.blank()

    def note(self, path: tuple[str | int, ...]) -> None:
        self.known.setdefault(path, self.text.count("\n") + 1)

    def setting(self, table: tuple[str | int, ...], taken: set[str], depth: int, before: str = "") -> None:
        """`a.b = value`, unless its first name is taken."""
        parts = [self.key() for _ in range(self.random.randint(1, 3))]
        if parts[0][0] in taken:
            return
        taken.add(parts[0][0])
        self.text += before
        path = table
        for k, (name, written) in enumerate(parts):
            path = (*path, name)
            self.note(path)
            self.blank()
            self.text += "." * (k > 0)
            self.blank()
            self.text += written
        self.blank()
        self.text += "="
        self.blank()
        self.value(path, depth)

    def value(self, path: tuple[str | int, ...], depth: int) -> None:
        kind = self.random.choice(["plain", "string", "list", "table"][: 4 if depth else 2])
        if kind == "plain":
            self.text += self.random.choice(PLAIN)
        elif kind == "string":
            self.text += self.string(self.letters("ab#=[]{},.\n'\"\\é ", 0, 12))
        elif kind == "list":
            self.text += "["
            for index in range(self.random.randint(0, 3)):
                self.text += "," * (index > 0)
                self.gap()
                self.note((*path, index))
                self.value((*path, index), depth - 1)
                self.gap()
            self.text += "]"
        else:
            self.text += "{"
            taken: set[str] = set()
            for _ in range(self.random.randint(0, 3)):
                self.setting(path, taken, depth - 1, ", " * bool(taken))
            self.text += "}"

    def string(self, text: str) -> str:
        style = self.random.choice(["basic", "literal", "basic lines", "literal lines"])
        if style == "basic":
            return basic(text)
        if style == "literal":
            return "'" + text.replace("'", "").replace("\n", "") + "'"
        if style == "literal lines":
            return "'''" + text.replace("'''", "''") + "'''"
        return '"""' + text.replace("\\", "\\\\").replace('"""', '""\\"') + '"""'

    def table(self) -> None:
        """A header and what stands below it."""
        self.gap()
        name, written = self.key()
        if name in self.top and name not in self.counts:
            return
        many = name in self.counts or (name not in self.top and self.random.random() < 0.5)
        self.top.add(name)
        self.note((name,))
        path: tuple[str | int, ...] = (name,)
        if many:
            path = (name, self.counts.setdefault(name, 0))
            self.counts[name] += 1
            self.note(path)
        self.text += "[" * (1 + many)
        self.blank()
        self.text += written
        self.blank()
        self.text += "]" * (1 + many)
        self.rest()
        taken: set[str] = set()
        for _ in range(self.random.randint(0, 3)):
            self.gap()
            self.setting(path, taken, 2)
            self.rest()
        below, said = self.key()
        if below not in taken and self.random.random() < 0.5:  # a table below this one, by its full name
            self.note((*path, below))
            self.text += f"[{written} . {said}]"
            self.rest()
            self.setting((*path, below), set(), 1)
            self.rest()


@given(st.integers(0, 2**32))
@settings(max_examples=400, deadline=None)
def test_every_line_of_a_random_document_is_found(seed):
    writer = Writer(seed)
    read = tomllib.loads(writer.text)
    found = positions.lines(writer.text)
    assert found == writer.known
    assert set(found) == set(paths(read))


@pytest.mark.parametrize("spec", sorted((ROOT / "runs").glob("*.toml")), ids=lambda path: path.name)
def test_the_lines_of_every_spec_hold_their_keys(spec):
    text = spec.read_text()
    found = positions.lines(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    for path, line in found.items():
        name = next(part for part in reversed(path) if isinstance(part, str))
        assert name in text.splitlines()[line - 1]


def test_the_lines_of_what_specs_are_made_of():
    text = """# epochs = 3
extends = "base.toml"
[train]   # [model]
epochs = [
  1,      # , 7
  2, 4,

  8]
peak_lr = { around = 1.6, points = 3 }
[[part]]
train.epochs = [1]
"train".'peak_lr' = 2
[[part.zip]]
model.variants = ["N0"]
[[part]]
[part.train]
note = '''
epochs = 3'''
seeds = 1"""
    found = positions.lines(text)
    wanted = {("extends",): 2, ("train",): 3, ("train", "epochs"): 4, ("train", "epochs", 0): 5,
              ("train", "epochs", 1): 6, ("train", "epochs", 2): 6, ("train", "epochs", 3): 8,
              ("train", "peak_lr"): 9, ("train", "peak_lr", "points"): 9, ("part",): 10, ("part", 0): 10,
              ("part", 0, "train", "epochs", 0): 11, ("part", 0, "train", "peak_lr"): 12,
              ("part", 0, "zip", 0): 13, ("part", 0, "zip", 0, "model", "variants"): 14, ("part", 1): 15,
              ("part", 1, "train"): 16, ("part", 1, "train", "note"): 17,
              ("part", 1, "train", "seeds"): 19}  # fmt: skip
    assert {path: found[path] for path in wanted} == wanted
