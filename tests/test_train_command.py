"""`scalelaw train`: one run, in this process, resumed by the same command; and what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_sweep import TINY, scalelaw, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw import cli
from scalelaw.runs import RunTable
from scalelaw.train.final import final_weights

ONE = TINY.replace("[200, 600]", "600").replace("[0.4, 0.8]", "0.4").replace("[0, 1]", "0")
LONG = ONE.replace("images = 600", "images = 200000")


def spec(folder: Path, text: str = ONE) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err


def until(process: subprocess.Popen[str], word: str) -> list[str]:
    """Reads what a process says up to the first line with a word in it."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line.rstrip())
        if word in line:
            return said
    raise AssertionError("\n".join(said))


def test_several_runs_are_refused_with_what_spans_the_grid(tmp_path, capsys):
    said = refused(capsys, "train", spec(tmp_path, TINY), "-o", tmp_path / "out")
    assert "is 8 runs, and scalelaw train trains exactly one" in said
    for spanned in ("[train] images has 2 values", "[train] peak_lr has 2 values", "[train] seeds has 2 values"):
        assert spanned in said
    assert "variants" not in said
    assert "scalelaw sweep" in said
    parts = ONE + "\n[[part]]\ntrain.images = 900\n"
    assert "1 further [[part]]" in refused(capsys, "train", spec(tmp_path, parts), "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("batch_size = 16", "batch_size = 32", "train.batch_size 16, now 32"),
        ("train_images = 256", "train_images = 512", "data.train_images 256, now 512"),
        ("images = 600", "images = 900", "train.images 600, now 900"),
    ],
)
def test_a_run_does_not_change_under_way(tmp_path, capsys, monkeypatch, before, after, said):
    """The folder was begun with one spec and the command is given again with another."""
    from scalelaw.cli import trainings

    class Began(Exception):
        pass

    def began(threads: int) -> None:
        raise Began

    monkeypatch.setattr(trainings, "_prepare_jax", began)
    with pytest.raises(Began):
        cli.main(["train", str(spec(tmp_path)), "-o", str(tmp_path / "out")])
    with pytest.raises(Began):  # the same again is welcome
        cli.main(["train", str(spec(tmp_path)), "-o", str(tmp_path / "out")])
    capsys.readouterr()
    changed = ONE.replace("\n" + before, "\n" + after)
    assert said in refused(capsys, "train", spec(tmp_path, changed), "-o", tmp_path / "out")


@pytest.mark.slow
def test_it_says_what_it_does_and_a_second_call_has_nothing_to_do(tmp_path):
    out = tmp_path / "out"
    answer = scalelaw("train", spec(tmp_path), "-o", out)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    assert "600 images in batches of 16" in lines[0]
    assert lines[1] == "compiling"
    assert lines[2].startswith("compiled in ")
    evaluated = [line for line in lines if "held-out loss" in line and line.startswith("step ")]
    assert len(evaluated) == 4
    assert lines[-1].startswith(("finished: held-out loss", "no better than guessing"))
    (row,) = RunTable.load(out).frame.to_dict("records")
    assert (row["status"], row["attempts"]) == ("finished", 1)
    weights = final_weights(out / row["run_id"])
    assert weights["linear"]["w"].shape[1] == 4
    assert sum(array.size for array in _leaves(weights)) == row["params"]
    again = scalelaw("train", tmp_path / "spec.toml", "-o", out)
    assert again.returncode == 0
    assert "already done; nothing to train" in again.stdout
    assert "compiling" not in again.stdout


def _leaves(tree: object) -> list:
    return [leaf for branch in tree.values() for leaf in _leaves(branch)] if isinstance(tree, dict) else [tree]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, number, code):
    out = tmp_path / "out"
    arguments = ["train", spec(tmp_path, LONG), "-o", out, "--threads", 1]
    first = start(*arguments)
    until(first, "held-out loss")
    os.kill(first.pid, number)
    said, err = first.communicate(timeout=120)
    assert first.returncode == code, err
    assert "Traceback" not in err
    assert said.splitlines()[-1].endswith(": checkpoint")
    saved = said.splitlines()[-1].split(":")[0].removeprefix("step ")

    other = scalelaw(*arguments[:-1], 2)
    assert other.returncode == 2
    assert "threads 1, now 2" in other.stderr
    assert "--any-devices" in other.stderr
    assert RunTable.load(out).frame.empty, "refused, not failed"

    second = start(*arguments[:-1], 2, "--any-devices")
    assert until(second, "goes on")[-1].startswith(f"goes on at step {saved} of 12,500")
    said, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    (row,) = RunTable.load(out).frame.to_dict("records")
    assert row["status"] == "finished"
    assert "went on elsewhere, equal only up to rounding: was threads 1, now 2" in row["error"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.2, 0.4, 0.6, "its first line"])
def test_stopped_before_it_trains_it_leaves_no_checkpoint(tmp_path, monkeypatch, after):
    """While libraries load or jax compiles, each in threads and places that an exception or a sudden end may crash."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no program is kept from before
    process = start("train", spec(tmp_path), "-o", tmp_path / "out")
    if isinstance(after, float):
        until(process, "compiling")
        time.sleep(after)
    else:
        until(process, "parameters")
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert err == ""
    assert not list(tmp_path.glob("out/*/checkpoint"))
    assert not list(tmp_path.glob("out/*/row.parquet"))


@pytest.mark.slow
def test_a_run_that_another_process_trains_is_not_trained_twice(tmp_path):
    out = tmp_path / "out"
    arguments = ["train", spec(tmp_path, LONG), "-o", out, "--threads", 1]
    first = start(*arguments)
    until(first, "compiled")
    second = scalelaw(*arguments)
    assert second.returncode == 2
    assert "is being trained by another process" in second.stderr
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
