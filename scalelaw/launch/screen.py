"""Where progress is printed: a console that notices when its reader goes, and a bar that is live on a terminal."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 15.0
"""Between two lines where there is no terminal."""


class ListenedConsole(Console):
    """A console on standard output that raises BrokenPipeError when its reader goes, and then prints nothing more.

    Rich ends the process instead (`SystemExit(1)`), which no training loop takes for a reason to write a checkpoint.
    """

    def on_broken_pipe(self) -> None:
        """What rich calls when the reader has gone."""
        self.quiet = True
        with suppress(OSError):  # of what is buffered, nothing shall be tried again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise BrokenPipeError


def listened_console(*, quiet: bool = False) -> ListenedConsole:
    """A console on standard output that wraps nothing."""
    return ListenedConsole(file=sys.stdout, soft_wrap=True, quiet=quiet)


class Bar:
    """A live bar with a line beside it on a terminal; elsewhere the line alone, every `PLAIN_SECONDS`.

    Args:
        console: where to print.
        total: the value of a full bar.
    """

    def __init__(self, console: Console, total: float) -> None:
        self.console = console
        self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %"),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=total)

    def __enter__(self) -> Bar:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._bar.stop()

    def show(self, line: str, completed: float | None = None) -> None:
        """Shows how far things are; None leaves the bar where it is."""
        if self.console.is_terminal:
            self._bar.update(self._task, completed=completed, description=line)
        elif completed is not None and time.monotonic() - self._printed > PLAIN_SECONDS:
            self._printed = time.monotonic()
            self.say(line)

    def say(self, text: str) -> None:
        """Prints a line as it is."""
        self.console.print(text, highlight=False, markup=False)
