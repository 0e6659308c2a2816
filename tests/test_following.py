"""`scalelaw status --follow`: every change told once, plain where no terminal is, ended with the sweep or by Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from status_folders import made, row, under_way
from tiny_sweep import start

from scalelaw.launch import following
from scalelaw.launch.following import followed

STEPS = 14  # of 16 runs are done when following begins


@pytest.fixture
def slept(monkeypatch):
    """What happens between two looks, in the place of waiting; the clock goes on by what was asked."""
    clock, steps = [0.0], []

    def sleep(seconds):
        clock[0] += seconds
        if steps:
            steps.pop(0)()

    monkeypatch.setattr(following.time, "sleep", sleep)
    monkeypatch.setattr(following.time, "monotonic", lambda: clock[0])
    return steps


def test_every_change_of_status_is_told_once_and_the_end_ends_it(tmp_path, slept):
    folder, planned = made(tmp_path / "r", STEPS)
    quiet = [lambda: None] * 2
    slept += [*quiet, lambda: folder.commit_row(row(planned[14])), *quiet, lambda: folder.commit_row(row(planned[15]))]
    told = [found.counts["finished"] for found in followed(folder)]
    assert told == [14, 15, 16]
    assert slept == []


def test_progress_is_told_now_and_then(tmp_path, slept):
    folder, planned = made(tmp_path / "r", 15)
    last = planned[15].run_id

    def move(images):
        return lambda: under_way(folder, last, images=images, images_per_second=100.0, at=time.time())

    slept += [move(100 * k) for k in range(1, 40)]
    with folder.lease(last):
        told = followed(folder)
        lines = [next(told).line() for _ in range(3)]
    assert len(set(lines)) == 3
    seconds = following.LOOK_SECONDS * (39 - len(slept))
    assert 2 * following.SAY_SECONDS <= seconds <= 2 * following.SAY_SECONDS + 2


def test_a_sweep_that_nobody_trains_is_waited_for_and_one_with_failed_runs_has_ended(tmp_path, slept):
    folder, planned = made(tmp_path / "r", 15)
    slept += [lambda: None] * 10 + [lambda: folder.commit_row(row(planned[15], status="failed", error="why"))]
    assert [found.ended for found in followed(folder)] == [False, True]


def test_where_no_terminal_is_it_prints_plain_lines_and_exits_with_1_when_runs_failed(tmp_path):
    folder, planned = made(tmp_path / "r", 15)
    with start("status", folder.root, "--follow") as process:
        assert process.stdout.readline().rstrip().endswith(" 15/16 runs done")
        folder.commit_row(row(planned[15], status="failed", error="out of\nmemory"))
        out, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert err == ""
    assert out.splitlines()[0].endswith("15/16 runs done, 1 failed")
    assert f"  {planned[15].run_id}: memory" in out
    assert "\x1b" not in out
    assert max(map(len, out.splitlines()[2:])) <= 80


def test_as_json_it_prints_an_object_a_line(tmp_path):
    folder, planned = made(tmp_path / "r", 15)
    with start("status", folder.root, "--follow", "--json") as process:
        assert json.loads(process.stdout.readline())["pending"] == 1
        folder.commit_row(row(planned[15]))
        out, _ = process.communicate(timeout=120)
    assert [json.loads(line)["finished"] for line in out.splitlines()] == [16]
    assert process.returncode == 0


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_ctrl_c_ends_it_quietly(tmp_path, flags):
    folder, _ = made(tmp_path / "r", 15)
    with start("status", folder.root, "--follow", *flags) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out, err) == (130, "", "")


def test_a_terminal_gets_one_block_drawn_anew(tmp_path):
    folder, planned = made(tmp_path / "r", 15)
    here, there = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "scalelaw", "status", folder.root, "--follow"],
        stdout=there, stderr=there, stdin=there, env={**os.environ, "COLUMNS": "80", "LINES": "40", "TERM": "xterm"},
    ) as process:  # fmt: skip
        os.close(there)
        said = until(here, "pending       1")
        assert "\x1b" in said
        folder.commit_row(row(planned[15]))
        said = until(here, "pending       0")
        assert process.wait(120) == 0
    os.close(here)


def until(terminal: int, word: str) -> str:
    """What a terminal shows up to a word."""
    said = ""
    while word not in said:
        said += os.read(terminal, 4096).decode()
    return said


def test_flags_that_say_nothing_together_are_refused(tmp_path, capsys):
    from scalelaw.cli import main

    folder, _ = made(tmp_path / "r", 1)
    for flags, said in ((["--follow", "--runs"], "leave one of them out"), (["--hardware", "h100"], "--price")):
        with pytest.raises(SystemExit) as end:
            main(["status", str(folder.root), *flags])
        assert end.value.code == 2
        assert said in capsys.readouterr().err
