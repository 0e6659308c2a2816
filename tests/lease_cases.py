"""A results folder of two runs, and who has their leases."""

import time

import pytest

from scalelaw.runs import ResultsFolder

LOCKS = pytest.mark.parametrize("locks", ["on", "off"])
"""Without the file lock, as on a folder whose locks every machine keeps to itself, the claim alone must do."""


def two_runs(tmp_path, monkeypatch):
    """Runs a and b; a lease is over when another machine's holder has been silent for a second."""
    monkeypatch.setenv("SCALELAW_LEASE_SECONDS", "1")
    folder = ResultsFolder(tmp_path / "results", new=True)
    folder.begin({"name": "t", "runs": ["a", "b"]}, {"a": {}, "b": {}})
    return folder


def until(condition, seconds=100.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def taken(results):
    with results.lease("a") as held:
        return held is not None
