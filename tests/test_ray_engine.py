"""The engine of a Ray cluster, on a real one, with stand-in workers that speak the protocol but train nothing."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

import pytest
from ray_clusters import STORE, cluster_of
from test_launch import WORKER, Engine
from test_launch_stopping import SAVING

from scalelaw.errors import UserError
from scalelaw.launch import local, ray
from scalelaw.sweep.resources import RaySection

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called"),  # Ray forks and at once becomes a process of its own
]

LOST = """
            if mood.startswith("kill"):
                signal.signal(signal.SIGTERM, lambda *_: ((moods / "told").touch(), sys.exit(75)))
                (moods / run_id).unlink()
                time.sleep(1.0)  # for what has been said to be heard
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)
"""


@pytest.fixture(scope="module")
def cluster():
    with cluster_of(0, 2) as found:
        yield found


class RayEngine(Engine):
    """The stand-ins of the local engine, on a cluster."""

    cluster: Any
    asked = RaySection(retries=1)

    def run(self, workers: int = 2, emit: Any = None) -> dict[str, str]:
        joined = ray.join(self.cluster.address, self.asked, "spec.toml: [ray]", workers)
        seconds = dict.fromkeys(self.ids, 1.0)
        try:
            ray.run_all(self.results, self.planned, seconds, joined, workers, emit or self.events.append)
        finally:
            joined.leave()
        return dict(self.results.statuses(self.ids))


@pytest.fixture
def engine(tmp_path, monkeypatch, cluster):
    found = RayEngine(tmp_path, monkeypatch)
    found.cluster = cluster
    text = WORKER.replace("sys.argv[3:]", "sys.argv[3:-2]")  # two more are the threads
    place = '            if mood == "bad input"'
    assert place in text
    text = text.replace(place, LOST + place)
    (tmp_path / "worker.py").write_text(text)
    return found


def lost(engine: RayEngine) -> list[tuple[str, str]]:
    return [(event["run_id"], event["reason"]) for event in engine.events if event["event"] == "lost"]


def test_every_run_is_trained_once_by_two_workers(engine):
    assert set(engine.run().values()) == {"finished"}
    assert engine.started() == Counter(engine.ids)
    done = [event["run_id"] for event in engine.events if event["event"] == "done"]
    assert Counter(done) == Counter(engine.ids)


def test_workers_without_room_are_given_up_when_all_is_done(engine):
    """Two fit; the other three wait until nothing is left."""
    assert set(engine.run(workers=5).values()) == {"finished"}
    assert engine.started() == Counter(engine.ids)


def test_a_killed_process_and_a_killed_ray_worker_are_tried_again(engine):
    engine.mood(engine.ids[1], "crash once")
    engine.mood(engine.ids[3], "kill the Ray worker")
    assert set(engine.run(workers=1).values()) == {"finished"}
    assert engine.started() == Counter(engine.ids) + Counter([engine.ids[1], engine.ids[3]])
    assert dict(lost(engine)) == {
        engine.ids[1]: "its worker ended by signal SIGKILL",
        engine.ids[3]: "its worker ended by the death of its Ray worker",
    }
    assert (engine.moods / "told").exists(), "a process whose Ray worker was killed was not asked to end"


def test_a_run_that_always_crashes_has_a_failed_row_that_says_why(engine):
    engine.mood(engine.ids[3], "crash")
    statuses = engine.run(workers=1)
    assert statuses.pop(engine.ids[3]) == "failed"
    assert set(statuses.values()) == {"finished"}
    assert engine.started()[engine.ids[3]] == 2
    row = engine.row(engine.ids[3])
    assert row["error"].splitlines() == ["the last words", "its worker ended by signal SIGKILL"]


def test_a_pre_empted_worker_is_no_crash(engine):
    engine.mood(engine.ids[3], "preempt 3")
    assert set(engine.run(workers=1).values()) == {"finished"}


def test_a_lost_node_costs_the_run_in_flight_only(engine):
    with cluster_of(0, 1) as small:
        engine.cluster = small
        (node,) = small.worker_nodes
        for run_id in engine.ids:
            engine.mood(run_id, "long")

        def emit(event: dict[str, Any]) -> None:
            engine.events.append(event)
            if event["event"] == "started" and node in small.worker_nodes:
                small.add_node(num_cpus=1, object_store_memory=STORE)
                small.remove_node(node, allow_graceful=False)
                for run_id in engine.ids:  # not sooner: the run in flight may have yet to read that it is long
                    (engine.moods / run_id).unlink(missing_ok=True)

        assert set(engine.run(workers=1, emit=emit).values()) == {"finished"}
    ((run_id, reason),) = lost(engine)
    assert reason.startswith("its worker ended by ")  # the process may be heard to end before the node
    assert engine.started() == Counter(engine.ids) + Counter([run_id])


def test_bad_input_reaches_the_user_as_its_own_line(engine):
    engine.mood(engine.ids[0], "bad input")
    with pytest.raises(UserError) as caught:
        engine.run(workers=1)
    assert caught.value.messages == ("the disk is full; free it",)


def test_a_node_that_does_not_see_the_results_says_so(engine, monkeypatch):
    monkeypatch.setattr(ray, "work", lambda *_: ray.Work(("-c", "pass"), os.getcwd(), "/nowhere/config.json", {}))
    with pytest.raises(UserError, match=r"does not see /nowhere/config\.json: put the results on a disk"):
        engine.run()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (RaySection(gpus=4), r"a run takes 1 CPU, 4 GPU of the Ray cluster, but no node has that \(it has: [02] CPU"),
        (RaySection(hosts=2), "1 CPU on each of 2 hosts of the Ray cluster, but 1 of its 2 nodes have that"),
    ],
)
def test_what_no_node_can_ever_give_is_said_at_once(engine, asked, words):
    engine.asked = asked
    with pytest.raises(UserError, match=words):
        engine.run()
    assert not engine.started()


def test_an_interrupt_stops_the_workers_with_their_checkpoints(engine, tmp_path, monkeypatch):
    (tmp_path / "worker.py").write_text(SAVING)
    monkeypatch.setattr(local, "PATIENCE_SECONDS", 0.2)
    began = time.monotonic()

    def interrupt(event: dict[str, Any]) -> None:
        engine.events.append(event)
        if sum(event["event"] == "started" for event in engine.events) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run(workers=3, emit=lambda event: interrupt(event) if event["event"] == "started" else None)
    assert len(list(engine.moods.glob("* saved"))) == 2
    assert time.monotonic() - began < 60
