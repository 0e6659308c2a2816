"""A launcher that is stopped waits for its workers' checkpoints, and says so; a second signal does not wait."""

from __future__ import annotations

import time
from typing import Any

import pytest
from test_launch import Engine

from scalelaw.launch import local
from scalelaw.launch.progress import SweepProgress

SAVING = """
import json, signal, sys, time
from pathlib import Path
root, moods, run_id = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def save(*_):
    time.sleep(1.0)
    (moods / f"{run_id} saved").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, save)
print(json.dumps({"run_id": run_id, "event": "started"}), flush=True)
time.sleep(60)
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    found = Engine(tmp_path, monkeypatch)
    (tmp_path / "worker.py").write_text(SAVING)
    monkeypatch.setattr(local, "PATIENCE_SECONDS", 0.2)
    return found


def stopped(engine: Engine, *, again: bool) -> tuple[list[dict[str, Any]], float]:
    """Interrupts a launcher, twice if `again`. Returns its events, and how long it took to end."""
    events: list[dict[str, Any]] = []
    began = time.monotonic()

    def emit(event: dict[str, Any]) -> None:
        nonlocal began
        events.append(event)
        if event["event"] == "started" or again:
            began = time.monotonic()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run_all(engine.results, engine.planned, dict.fromkeys(engine.ids, 1.0), 2, emit)
    return events, time.monotonic() - began


def test_workers_have_time_to_write_their_checkpoints(engine):
    events, _ = stopped(engine, again=False)
    assert len(list(engine.moods.glob("* saved"))) >= 1
    (said,) = [event for event in events if event["event"] == "stopping"]
    assert said["workers"] == 2
    assert "running" not in engine.results.statuses(engine.ids).values()


def test_a_second_signal_ends_them_at_once(engine):
    events, seconds = stopped(engine, again=True)
    assert events[-1]["event"] == "stopping"
    assert seconds < 0.7
    assert not list(engine.moods.glob("* saved"))


def test_a_person_is_told_what_is_waited_for(capsys):
    from rich.console import Console

    SweepProgress({}, {}, Console(width=200))({"event": "stopping", "workers": 2, "seconds": 60.0})
    assert "up to 60 s for 2 workers" in capsys.readouterr().out
