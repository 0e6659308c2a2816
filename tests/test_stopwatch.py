"""Kinds of work are counted apart, nested ones too."""

import contextlib
import time

from scalelaw.train.stopwatch import Stopwatch


def test_the_stopwatch_keeps_kinds_apart(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    watch = Stopwatch()
    for seconds in (2.0, 3.0):
        with watch("train"):
            now[0] += seconds
            with watch("evaluate"):
                now[0] += 10
                with watch("wait"):
                    now[0] += 100
            now[0] += 0.5
        now[0] += 1000  # nobody's
    with contextlib.suppress(KeyError), watch("wait"):
        now[0] += 7
        raise KeyError
    assert watch.seconds == {"train": 6.0, "evaluate": 20.0, "wait": 207.0}
