"""What a run may take: attempts that count while it gets no further, and memory; and a run whose folder goes away."""

import os
import shutil
import time
from collections import Counter

import pytest
from test_launch import WORKER, Engine

from scalelaw.errors import UserError
from scalelaw.launch import engines, local, memory
from scalelaw.launch.progress import SweepProgress
from scalelaw.launch.workers import Limits

MOODS = """
            if mood.startswith("dies"):
                left, goes_on = int(mood.split()[1]), mood.split()[2] == "further"
                (moods / run_id).write_text(f"dies {left - 1} {mood.split()[2]}" if left > 1 else "")
                say(run_id, "resumed", step=100 - left * goes_on, steps=100, images=1)
                os.kill(os.getpid(), signal.SIGKILL)
            if mood == "hog":
                print("an ordinary warning", file=sys.stderr, flush=True)
                held = bytearray(500_000_000)
                held[::4096] = b"x" * len(held[::4096])
                time.sleep(60)
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    found = Engine(tmp_path, monkeypatch)
    before, after = WORKER.split('            if mood == "crash once":')
    (tmp_path / "worker.py").write_text(
        before + MOODS.removeprefix("\n") + '            if mood == "crash once":' + after
    )
    return found


def run(engine, workers=1, **limits):
    local.run_all(engine.results, engine.planned, dict.fromkeys(engine.ids, 1.0), workers, engine.events.append,
                  Limits(**limits))  # fmt: skip
    return engine.results.statuses(engine.ids)


def test_a_run_that_gets_further_each_time_is_not_given_up(engine):
    stuck, moving = engine.ids[2], engine.ids[5]
    engine.mood(stuck, "dies 9 again")
    engine.mood(moving, "dies 9 further")
    statuses = run(engine, attempts=3)
    assert statuses.pop(stuck) == "failed"
    assert set(statuses.values()) == {"finished"}
    assert engine.started() - Counter(engine.ids) == Counter({stuck: 2, moving: 9})
    assert engine.row(stuck)["error"] == "its worker ended by signal SIGKILL"


def test_a_worker_that_holds_too_much_memory_is_killed_and_its_run_fails_with_the_mend(engine, monkeypatch):
    hog = engine.ids[4]
    engine.mood(hog, "hog")
    began = time.monotonic()
    statuses = run(engine, workers=2, memory_gb=0.4, attempts=10)
    assert time.monotonic() - began < 50
    assert statuses.pop(hog) == "failed"
    assert set(statuses.values()) == {"finished"}
    lines = engine.row(hog)["error"].splitlines()
    assert lines[0] == "an ordinary warning"
    assert lines[-1].startswith("its worker ended by being killed: it held 0.")
    assert lines[-1].endswith("GB of memory, and --memory allows 0.4; raise that, lower batch_size, or raise "
                              "[devices] accumulate")  # fmt: skip
    assert engine.started()[hog] <= 3, "alone in a worker it took too much: another try would too"
    engine.mood(hog, "")
    assert run(engine, memory_gb=0.4)[hog] == "finished"


@pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called")  # the child touches its own memory alone
def test_memory_is_counted_with_children_and_without_mapped_files():
    before = memory.held_bytes(os.getpid())
    block = bytearray(80_000_000)
    block[::4096] = b"x" * len(block[::4096])
    assert memory.held_bytes(os.getpid()) - before == pytest.approx(80e6, rel=0.1)
    child = os.fork()
    if child == 0:
        block[::4096] = b"y" * len(block[::4096])  # its own copy
        time.sleep(30)
        os._exit(0)
    try:
        end = time.monotonic() + 10
        while memory.held_bytes(os.getpid()) - before < 150e6:
            assert time.monotonic() < end
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert memory.held_bytes(child) == 0


def test_a_kernel_that_kills_for_want_of_memory_is_named(engine, monkeypatch):
    engine.mood(engine.ids[0], "crash once")
    counts = iter([3, 4, 4])
    monkeypatch.setattr(memory, "kernel_kills", lambda: next(counts))
    run(engine)
    (lost,) = [event for event in engine.events if event["event"] == "lost"]
    assert lost["reason"].startswith("its worker ended by signal SIGKILL (the kernel has killed for want of memory; ")


def test_a_run_whose_folder_is_removed_meanwhile_begins_again(engine):
    worker = engine.moods.parent / "worker.py"
    gone = "    if not results.has(run_id):\n        say(run_id, 'lost', reason='gone')\n        continue\n"
    worker.write_text(worker.read_text().replace("    with results.lease", gone + "    with results.lease"))
    victims = {engine.ids[3], engine.ids[6]}

    def emit(event):
        engine.events.append(event)
        if event["event"] == "started":
            for victim in victims - {event["run_id"]}:
                shutil.rmtree(engine.results.root / victim, ignore_errors=True)
            victims.clear()

    local.run_all(engine.results, engine.planned, dict.fromkeys(engine.ids, 1.0), 1, emit)
    assert set(engine.results.statuses(engine.ids).values()) == {"finished"}
    said = {event["reason"] for event in engine.events if event["event"] == "lost"}
    assert "its folder was removed; it begins again" in said


@pytest.mark.parametrize(("flags", "words"), [
    (["--memory", "0"], "--memory 0: must be gigabytes"),
    (["--memory", "nan"], "--memory nan: must be gigabytes"),
    (["--attempts", "0"], "--attempts 0: must be at least 1"),
    (["--engine", "ray", "--attempts", "3"], "with Ray it is retries in the spec's [ray]"),
    (["--engine", "ray", "--memory", "3"], "with Ray it is memory_gb in the spec's [ray]"),
])  # fmt: skip
def test_limits_that_are_none_are_refused(flags, words):
    names = {"--memory": float, "--attempts": int}
    given = {flag: names[flag](flags[flags.index(flag) + 1]) if flag in flags else None for flag in names}
    with pytest.raises(UserError) as caught:
        engines.limits_of("ray" if "ray" in flags else "local", given["--memory"], given["--attempts"])
    assert words in str(caught.value)


def test_a_removed_folder_is_said_in_a_line(capsys):
    from rich.console import Console

    event = {"run_id": "ab", "event": "lost", "reason": "its folder was removed; it begins again"}
    SweepProgress({"ab": 1.0}, {"ab": 1}, Console(width=200))(event)
    assert capsys.readouterr().out == "run ab: its folder was removed; it begins again\n"
