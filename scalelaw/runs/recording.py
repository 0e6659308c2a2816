"""The record of a results folder, `sweep.json`: read, changed and written by one launcher of a machine at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scalelaw.runs import files, locks

SWEEP = "sweep.json"
STOPPED = "stopped_early"
"""Of the record: runs that go on no more."""
PATIENCE_SECONDS = 60.0
"""For another launcher that is writing; one that is stopped meanwhile is not waited for any longer."""


@contextmanager
def turn(root: Path) -> Iterator[dict[str, Any]]:
    """Yields what the record holds, empty where there is none, and makes other launchers of this machine wait.

    Without it two that read at the same moment would each write the other's runs away. The folder is made for it, and
    goes again when the block fails.
    """
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        with suppress(OSError):  # whoever writes next says it
            root.mkdir(parents=True, exist_ok=True)
        with locks.turn(root, PATIENCE_SECONDS):
            yield files.read_json(root / SWEEP) if (root / SWEEP).exists() else {}
    except BaseException:
        files.remove_empty([folder for folder in made if folder.exists()])
        raise


def joined(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """A later record, and with it what an earlier one holds of other runs."""
    mine = set(later.get("runs", []))
    stopped = [*(run_id for run_id in earlier.get(STOPPED, []) if run_id not in mine), *later.get(STOPPED, [])]
    whole = {
        **later,
        "runs": list(dict.fromkeys([*earlier.get("runs", []), *later.get("runs", [])])),
        "core_hours": {**earlier.get("core_hours", {}), **later.get("core_hours", {})},
        STOPPED: stopped,
    }
    return {name: fact for name, fact in whole.items() if name != STOPPED or stopped}


def about(record: Mapping[str, Any], run_ids: Collection[str]) -> dict[str, Any]:
    """A record with what it holds of some runs alone; it then speaks for these, as the later one of two."""
    mine = set(run_ids)
    return {
        **record,
        "runs": [run_id for run_id in record.get("runs", []) if run_id in mine],
        "core_hours": {run_id: cost for run_id, cost in record.get("core_hours", {}).items() if run_id in mine},
        STOPPED: [run_id for run_id in record.get(STOPPED, []) if run_id in mine],
    }


def content(record: Mapping[str, Any]) -> bytes:
    """The record's file; the folder one is in is added, for relative paths in it."""
    return (json.dumps({**record, "folder": os.getcwd()}, indent=1) + "\n").encode()


def begin(
    root: Path,
    record: Mapping[str, Any],
    configs: Mapping[str, dict[str, Any]],
    add: Callable[[str, dict[str, Any]], None],
) -> None:
    """Writes the record, and the folder of every run by `add`; when that fails, all is as it was before.

    Raises:
        UserError: when the folder cannot be written.
    """
    path = root / SWEEP
    earlier = path.read_bytes() if path.exists() else None
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    added = [run_id for run_id in configs if not (root / run_id).exists()]
    try:
        files.write_bytes(path, content(record))
        for run_id, config in configs.items():
            add(run_id, config)
    except BaseException:
        for run_id in added:
            shutil.rmtree(root / run_id, ignore_errors=True)
        if earlier is None:
            path.unlink(missing_ok=True)
        else:  # the space is free again
            files.write_bytes(path, earlier)
        files.remove_empty(made)
        raise
