"""A sweep in a store that several machines see, each with a cache folder of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scalelaw.runs import ResultsFolder, Run, open_results
from scalelaw.runs.store import claim, folder
from scalelaw.runs.store.folder import StoredFolder
from scalelaw.runs.store.place import Place

IDS = [f"{k:08x}" for k in range(6)]
CONFIG = {"data": {"source": "hierarchy"}, "model": {"variant": "N0"}, "train": {"images": 600, "peak_lr": 1.0}}


class World:
    """A store, and machines with a cache folder of their own."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bucket, self.tmp_path, self.monkeypatch = tmp_path / "bucket", tmp_path, monkeypatch
        self.uri = (self.bucket / "sweeps" / "tiny").as_uri()
        self.stored = self.bucket / "sweeps" / "tiny"

    def on(self, machine: str, *, new: bool = False) -> StoredFolder:
        self.monkeypatch.setenv("SCALELAW_CACHE", str(self.tmp_path / machine))
        found = open_results(self.uri, new=new)
        assert isinstance(found, StoredFolder)
        return found

    def begun(self) -> StoredFolder:
        results = self.on("a", new=True)
        results.begin({"name": "tiny", "runs": IDS}, dict.fromkeys(IDS, CONFIG))
        return results


@dataclass(frozen=True)
class Watched(Place):
    """A place in a store that says what it is about to be asked."""

    before: Callable[[str, str], None]

    def listing(self, under: str = "", *, recursive: bool = True) -> Any:
        self.before("listing", under)
        return super().listing(under, recursive=recursive)

    def marks(self, names: Any) -> Any:
        self.before("marks", " ".join(asked := list(names)))
        return super().marks(asked)

    def buffer(self, name: str) -> Any:
        self.before("buffer", name)
        return super().buffer(name)

    def write(self, name: str, content: bytes) -> None:
        self.before("write", name)
        super().write(name, content)


def quick_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Nobody waits for others to write, and every look is a new listing."""
    monkeypatch.setattr(claim, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(folder, "REFRESH_SECONDS", 0.0)
    return World(tmp_path, monkeypatch)


def commit(results: ResultsFolder, run_id: str, **more: Any) -> None:
    facts = {"run_id": run_id, "status": "finished", "val_loss": 0.5, "core_hours": 1.0, **more}
    with results.lease(run_id) as held:
        assert held is not None
        results.commit_row(Run(**facts), held)
