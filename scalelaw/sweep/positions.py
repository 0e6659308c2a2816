"""On which line of a TOML text every key and every value of a list stands. Python's own reader does not say.

Only texts that `tomllib` accepts are walked, so nothing is checked twice: keys, the ends of values and the counting of
lists are all that is looked for.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Path = tuple[str | int, ...]
"""Keys and places in lists, from the top: ("train", "epochs", 1) is the second of `[train] epochs`."""

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"[^,\]}#\n]*")  # numbers, dates, true and false
_STRING = {
    '"""': re.compile(r'"""(?:\\.|[^\\])*?"""(?!")', re.DOTALL),
    "'''": re.compile(r"'''.*?'''(?!')", re.DOTALL),
    '"': re.compile(r'"(?:\\.|[^"\\])*"'),
    "'": re.compile(r"'[^']*'"),
}


def lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every table, key and value of a list.

    Args:
        text: a document that `tomllib.loads` accepts.
    """
    return _Walk(text).found


class _Walk:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.found: dict[Path, int] = {}
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._lists: dict[Path, int] = {}  # [[tables]] so far
        self._document()

    def _document(self) -> None:
        table: Path = ()
        while self._next():
            if self._next() == "[":
                table = self._header()
            else:
                self._setting(table)

    def _next(self) -> str:
        """The next character that is neither blank nor comment; empty at the end."""
        blank = _BLANK.match(self.text, self.at)
        assert blank is not None
        self.at = blank.end()
        return self.text[self.at : self.at + 1]

    def _header(self) -> Path:
        """`[a.b]` or `[[a.b]]`: the table that follows."""
        start, many = self.at, self.text.startswith("[[", self.at)
        self.at += 1 + many
        *above, last = self._key()
        self.at = self.text.index("]", self.at) + 1 + many
        path: Path = ()
        for name in above:
            path = self._entered((*path, name), start)
        path = (*path, last)
        if many:
            self._note(path, start)
            self._lists[path] = self._lists.get(path, 0) + 1
        path = self._entered(path, start)
        self.found[path] = self._line(start)  # a header names its table better than a key within it did before
        return path

    def _entered(self, path: Path, start: int) -> Path:
        """A table, or the last so far of a list of tables."""
        self._note(path, start)
        return (*path, self._lists[path] - 1) if path in self._lists else path

    def _setting(self, table: Path) -> None:
        """`a.b = value`."""
        start, path = self.at, table
        for name in self._key():
            path = (*path, name)
            self._note(path, start)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _key(self) -> list[str]:
        """The names of a dotted key; the text goes on at what follows it."""
        names = []
        while True:
            mark = self._next()
            if mark in "\"'":
                raw = self._string()
                names.append(str(tomllib.loads(f"key = {raw}")["key"]))
            else:
                bare = _BARE.match(self.text, self.at)
                assert bare is not None
                self.at = bare.end()
                names.append(bare[0])
            if self._next() != ".":
                return names
            self.at += 1

    def _value(self, path: Path) -> None:
        mark = self._next()
        if mark == "[":
            self._list(path)
        elif mark == "{":
            self.at += 1
            while self._next() != "}":
                self._setting(path)
                self._comma()
            self.at += 1
        elif mark in "\"'":
            self._string()
        else:
            plain = _PLAIN.match(self.text, self.at)
            assert plain is not None
            assert plain[0]
            self.at = plain.end()

    def _list(self, path: Path) -> None:
        self.at += 1
        index = 0
        while self._next() != "]":
            self._note((*path, index), self.at)
            self._value((*path, index))
            self._comma()
            index += 1
        self.at += 1

    def _comma(self) -> None:
        if self._next() == ",":
            self.at += 1

    def _string(self) -> str:
        """A string, quotes included."""
        mark = self.text[self.at : self.at + 3]
        whole = _STRING[mark if mark in _STRING else mark[0]].match(self.text, self.at)
        assert whole is not None
        self.at = whole.end()
        return whole[0]

    def _note(self, path: Path, start: int) -> None:
        self.found.setdefault(path, self._line(start))

    def _line(self, at: int) -> int:
        return bisect_right(self._starts, at)
