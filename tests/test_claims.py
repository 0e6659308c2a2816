"""Claims, which tell without a file lock whose a run is: dead ones end once, living and unreadable ones are watched."""

import json
import os
import subprocess
import time

import pytest
from lease_cases import LOCKS, taken, two_runs, until

from scalelaw.runs import claims
from scalelaw.runs.lease import is_held


@pytest.fixture
def results(tmp_path, monkeypatch):
    return two_runs(tmp_path, monkeypatch)


def test_of_many_that_end_a_dead_claim_one_does(results):
    dead = claims.stake(results.root / "a")
    assert [claims.end(results.root / "a", dead.token) for _ in range(3)] == [True, False, False]
    mine = claims.stake(results.root / "a")
    assert not claims.end(results.root / "a", dead.token), "a late one must not end the next holder's"
    assert claims.read(results.root / "a").token == mine.token
    assert claims.stake(results.root / "a") is None


def test_a_process_number_that_came_again_is_not_taken_for_the_holder(results):
    run = results.root / "a"
    claim = claims.stake(run)
    beat = run / "held" / claim.token / "beat"
    facts = json.loads(beat.read_text())
    assert (facts["pid"], claims.read(run).is_dead) == (os.getpid(), False)
    beat.write_text(json.dumps({**facts, "started": "1"}))
    assert claims.read(run).is_dead
    assert taken(results)


def test_one_look_at_another_machines_lease_believes_a_young_beat(results):
    run = results.root / "a"
    claim = claims.stake(run)
    beat = run / "held" / claim.token / "beat"
    beat.write_text(json.dumps({**json.loads(beat.read_text()), "boot": "another"}))
    assert is_held(run / "lease")
    os.utime(beat, (time.time() - 3600,) * 2)
    assert not is_held(run / "lease")
    assert not taken(results), "to take it, its silence must be watched"


@LOCKS
@pytest.mark.parametrize("content", ["", "[1]", '{"host": "far"}', '{"host": "far", "boot": "b'])
def test_a_claim_that_a_power_cut_tore_is_waited_for_and_then_ended(results, monkeypatch, locks, content):
    """Whose it is nobody can read: it counts as another machine's, and does not keep the run for ever."""
    monkeypatch.setenv("SCALELAW_LOCKS", locks)
    torn = results.root / "a" / "held" / "0123abcd"
    torn.mkdir(parents=True)
    (torn / "beat").write_text(content)
    with results.lease("a") as held:
        assert held is None
    assert results.is_held("a")
    assert results.must_watch("a").token == "0123abcd"
    until(lambda: results.must_watch("a") is None)
    assert not results.is_held("a")
    with results.lease("a") as held:
        assert held is not None
    assert not (results.root / "a" / "held").exists()


def test_a_process_that_may_not_be_looked_at_is_not_taken_for_dead(results, monkeypatch):
    """As where /proc hides what belongs to others: then its number alone must do."""
    run = results.root / "a"
    claims.stake(run)
    monkeypatch.setattr(claims, "_stat", lambda pid: None)
    assert not claims.read(run).is_dead
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    monkeypatch.setattr(claims.os, "getpid", lambda: ended.pid)
    assert claims.Claim("x", claims.here(), 1.0).is_dead
