"""Many looks at a file system: the same answers, in turn or side by side."""

from __future__ import annotations

import threading
import time

import pytest

from scalelaw.runs import looks
from scalelaw.runs.looks import looked


@pytest.mark.parametrize("count", [0, 1, 7, looks.BLOCK, looks.BLOCK + 1, 3 * looks.BLOCK + 11])
@pytest.mark.parametrize("slow", [0.0, float("inf")])
def test_answers_come_in_the_order_of_the_paths(monkeypatch, count, slow):
    monkeypatch.setattr(looks, "SLOW_SECONDS", slow)
    paths = [f"{k}" for k in range(count)]
    assert looked(int, paths) == list(range(count))


def test_what_is_waited_for_is_waited_for_side_by_side(monkeypatch):
    monkeypatch.setattr(looks, "BLOCK", 20)
    waiting, most, lock = 0, 0, threading.Lock()

    def look(path):
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        time.sleep(0.002)
        with lock:
            waiting -= 1
        return path

    paths = [f"{k}" for k in range(820)]
    assert looked(look, paths) == paths
    assert most > 8


def test_what_answers_at_once_is_asked_in_turn(monkeypatch):
    monkeypatch.setattr(looks, "SLOW_SECONDS", float("inf"))
    seen = set()
    looked(lambda path: seen.add(threading.get_ident()), ["x"] * 5000)
    assert seen == {threading.get_ident()}


def test_an_error_of_one_look_is_raised(monkeypatch):
    monkeypatch.setattr(looks, "SLOW_SECONDS", 0.0)
    with pytest.raises(ValueError, match="invalid literal"):
        looked(int, ["1"] * 2000 + ["x"])
