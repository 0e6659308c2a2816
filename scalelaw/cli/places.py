"""URIs where a command takes a path on disk: refused, for a path would lose one of their slashes and be made here."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LOST_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def on_disk(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, which refuses paths that were URIs."""

    @functools.wraps(command)
    def checked(*args: Any, **flags: Any) -> Any:
        from scalelaw.errors import UserError

        for value in (*args, *flags.values()):
            if isinstance(value, Path) and _LOST_SLASH.match(str(value)):
                raise UserError(f"{str(value).replace(':/', '://', 1)}: a path on this machine's disk is needed here; "
                                "URIs name results only")  # fmt: skip
        return command(*args, **flags)

    return checked
