"""Bad input through the command line: one clear line each, exit code 2, nothing on disk changed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_sweep import TINY, scalelaw, snapshot

from scalelaw.cli import main

TABLE = "core_hours,val_loss,peak_lr\n1e-8,4.0,1\n1e-7,3.0,1\n1e-6,2.3,1\n1e-5,1.8,1\n"


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Runs a command that must be refused without a trace. Returns its lines on standard error."""
    before = snapshot(Path())
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in argv])
    said = capsys.readouterr()
    assert end.value.code == 2, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert snapshot(Path()) == before
    lines = said.err.splitlines()
    assert lines
    assert all(line.startswith("scalelaw: ") for line in lines)
    return [line.removeprefix("scalelaw: ") for line in lines]


def refused_spec(capsys: pytest.CaptureFixture[str], was: str, becomes: str) -> list[str]:
    """A sweep of TINY with one piece of text changed."""
    assert was in TINY
    Path("spec.toml").write_text(TINY.replace(was, becomes))
    return refused(capsys, "sweep", "spec.toml")


@pytest.mark.parametrize(
    ("was", "becomes", "words"),
    [
        ('["N0"]', '["N0", "n1"]', ["[model] variants", "'n1'", "did you mean 'N1'"]),
        ("[train]", "[train", ["spec.toml:16: is not TOML"]),
        ("peak_lr", "peek_lr", ["unknown key", "did you mean 'peak_lr'"]),
        ("[train]", "[trian]", ["unknown section [trian]", "did you mean 'train'"]),
        ("batch_size = 16", "batch_size = 0", ["[train] batch_size", "greater than 0"]),
        ("batch_size = 16", "batch_size = -4", ["[train] batch_size", "greater than 0"]),
        ("batch_size = 16", "batch_size = 1.5", ["[train] batch_size", "whole number"]),
        ("[0.4, 0.8]", "[0.4, -0.8]", ["[train] peak_lr", "greater than 0"]),
        ("[0.4, 0.8]", "[]", ["[train] peak_lr", "empty"]),
        ('["N0"]', "[]", ["[model] variants", "empty"]),
        ("[200, 600]", "[200, 0]", ["[train] images", "greater than 0"]),
        ("noise = 0.1", "noise = -1", ["[data] noise", "at least 0"]),
        ("train_images = 256", "train_images = 0", ["[data] train_images", "greater than 0"]),
        ("images = [200, 600]", "images = 1\nepochs = 1", ["exactly one of epochs, images and core_hours"]),
    ],
)
def test_a_mistake_in_a_spec_is_one_line(capsys, was, becomes, words):
    lines = refused_spec(capsys, was, becomes)
    for word in words:
        assert any(word in line for line in lines), (word, lines)


def test_a_missing_archive_is_one_line(capsys):
    Path("spec.toml").write_text(
        '[sweep]\nname = "s"\n[data]\nsource = "npz"\npath = "absent.npz"\n[model]\nvariants = ["N0"]\n'
        "[train]\nepochs = 1\npeak_lr = 1.0\n"
    )
    (line,) = refused(capsys, "sweep", "spec.toml")
    assert "absent.npz" in line
    assert "No such file" in line


def test_all_mistakes_of_a_spec_come_at_once(capsys):
    Path("spec.toml").write_text(TINY.replace("batch_size = 16", "batch_size = 0").replace("noise", "niose")
                                 .replace('"N0"', '"N99"'))  # fmt: skip
    lines = refused(capsys, "sweep", "spec.toml")
    assert len(lines) == 3
    assert [word for word in ("batch_size", "niose", "N99") if not any(word in line for line in lines)] == []


@pytest.mark.parametrize("command", ["sweep", "status", "fit", "frontier", "predict", "figures", "run"])
def test_what_is_not_there_is_named(capsys, command):
    more = {"predict": ["--times", "2"], "run": ["0123456789abcdef"]}.get(command, [])
    (line,) = refused(capsys, command, "absent.parquet" if command in ("fit",) else "absent", *more)
    assert "absent" in line


@pytest.mark.parametrize("command", ["status", "fit", "frontier", "figures", "predict", "run"])
def test_a_folder_of_something_else_is_refused(capsys, command):
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"meow")
    more = {"predict": ["--times", "2"], "run": ["0123456789abcdef"]}.get(command, [])
    (line,) = refused(capsys, command, "photos", *more)
    assert "photos" in line
    assert "not a results folder" in line


def test_a_sweep_does_not_move_into_a_folder_of_something_else(capsys):
    Path("spec.toml").write_text(TINY)
    Path("photos").mkdir()
    Path("photos/cat.jpg").write_bytes(b"meow")
    (line,) = refused(capsys, "sweep", "spec.toml", "-o", "photos")
    assert "not a results folder" in line
    (line,) = refused(capsys, "sweep", "spec.toml", "-o", "photos/cat.jpg")
    assert "is a file" in line


def test_a_csv_without_the_needed_column_names_it_and_the_mend(capsys):
    Path("runs.csv").write_text(TABLE.replace("val_loss", "Final Loss"))
    (line,) = refused(capsys, "fit", "runs.csv")
    assert "val_loss" in line
    assert "--column" in line
    assert "Final Loss" in line
    Path("runs.csv").write_text(TABLE.replace("core_hours", "hours"))
    (line,) = refused(capsys, "fit", "runs.csv")
    assert "--column" in line


@pytest.mark.parametrize("bad", ["soon", "-1e-7", "0", "", "inf", "nan"])
def test_a_csv_with_a_bad_number_names_the_row(capsys, bad):
    Path("runs.csv").write_text(TABLE.replace("1e-7", bad))
    lines = refused_with_warnings(capsys, "fit", "runs.csv")
    assert any("row 2" in line or "1 of 4" in line for line in lines), lines


def refused_with_warnings(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    before = snapshot(Path())
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in argv])
    said = capsys.readouterr()
    assert end.value.code == 2, said
    assert "Traceback" not in said.err
    assert snapshot(Path()) == before
    return said.err.splitlines()


def test_an_empty_or_shapeless_file_is_refused(capsys):
    Path("empty.csv").write_text("")
    assert "empty.csv" in refused(capsys, "fit", "empty.csv")[0]
    Path("not.parquet").write_text("hello")
    assert "Parquet file" in refused(capsys, "fit", "not.parquet")[0]
    Path("notes.txt").write_text("hello")
    assert "notes.txt" in refused(capsys, "fit", "notes.txt")[0]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "0 were given"),
        (["--times", "2", "--flop", "1e12"], "2 were given"),
        (["--times", "0"], "must be a positive"),
        (["--core-hours", "-1"], "must be a positive"),
        (["--flop", "nan"], "must be a positive"),
    ],
)
def test_a_budget_is_exactly_one_positive_number(capsys, flags, words):
    Path("runs.csv").write_text(TABLE)
    (line,) = refused(capsys, "predict", "runs.csv", *flags)
    assert words in line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["fit", "runs.csv", "--delta", "1e-3"], "--objective huber"),
        (["fit", "runs.csv", "--objective", "huber", "--delta", "-1"], "delta"),
        (["fit", "runs.csv", "--column", "C"], "OURS=THEIRS"),
        (["fit", "runs.csv", "--column", "C=a", "--column", "C=b"], "--column C=b: C is given twice"),
        (["fit", "runs.csv", "--fix", "A"], "--fix A: must be NAME=VALUE"),
        (["fit", "runs.csv", "--fix", "A=much"], "--fix A=much: 'much' is not a number"),
        (["fit", "runs.csv", "--bound", "alpha=1"], "--bound alpha=1: must be NAME=LOW:HIGH"),
        (["fit", "runs.csv", "--quantity", "compute_for,L=1,L=2"], "compute_for,L=1,L=2: L is given twice"),
        (["fit", "runs.csv", "--column", "Q=core_hours"], "is no known column"),
        (["variants", "--resolution", "0"], "--resolution 0: must be at least 1"),
        (["variants", "--classes", "-1"], "--classes -1: must be at least 1"),
        (["variants", "--utilisation", "36"], "--utilisation 36"),
        (["variants", "--family", "nfnets"], "did you mean 'nfnet'"),
        (["sweep", "spec.toml", "--workers", "0"], "--workers 0: must be at least 1"),
        (["run", "runs.csv", "x"], "is a file"),
    ],
)
def test_a_flag_that_cannot_be_is_one_line(capsys, flags, words):
    Path("runs.csv").write_text(TABLE)
    Path("spec.toml").write_text(TINY)
    (line,) = refused(capsys, *flags)
    assert words in line


@pytest.mark.parametrize(
    "argv",
    [
        ["fitt", "x"],
        ["fit"],
        ["fit", "x", "--objective", "cubic"],
        ["sweep", "x", "--workers", "two"],
        ["fit", "x", "--jsno"],
    ],
)
def test_flags_that_do_not_exist_exit_with_2_and_help(capsys, argv):
    with pytest.raises(SystemExit) as end:
        main(argv)
    said = capsys.readouterr()
    assert end.value.code == 2
    assert "Traceback" not in said.err
    assert "help" in said.err
    assert said.out == ""


@pytest.fixture
def mounted(tmp_path) -> Iterator[Path]:
    """A file system of 64 kB of its own, which is unmounted again."""
    point = tmp_path / "mounted"
    point.mkdir()
    answer = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", point], capture_output=True, text=True)
    if answer.returncode:
        pytest.skip(f"mounting needs to be root with the right to mount: {answer.stderr.strip()}")
    yield point
    subprocess.run(["umount", point], check=True)


def test_a_read_only_output_folder_is_one_line(capsys, mounted):
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    Path("spec.toml").write_text(TINY)
    (line,) = refused(capsys, "sweep", "spec.toml", "-o", mounted / "out")
    assert "cannot be written" in line
    assert "Read-only" in line
    Path("runs.csv").write_text(TABLE)
    (line,) = refused(capsys, "figures", "runs.csv", "-o", mounted / "figures")
    assert "Read-only" in line
    (line,) = refused(capsys, "init", mounted / "specs")
    assert "Read-only" in line


@pytest.mark.parametrize("free", [0, 20_000])
def test_a_full_output_folder_is_one_line_and_leaves_nothing(capsys, mounted, free):
    """Nothing is left of the sweep even when some of its folders still went in."""
    (mounted / "ballast").write_bytes(b"x" * (65_536 - free))
    Path("spec.toml").write_text(TINY.replace("seeds = [0, 1]", f"seeds = {list(range(40))}"))
    (line,) = refused(capsys, "sweep", "spec.toml", "-o", mounted / "out")
    assert "cannot be written" in line
    assert "No space left" in line


def test_as_a_process_too():
    """Real processes, so that nothing of pytest's helps: exit code and one line on standard error."""
    Path("spec.toml").write_text(TINY.replace('"N0"', '"N99"'))
    answer = scalelaw("sweep", "spec.toml")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("scalelaw: spec.toml:15: [model] variants: ")
    Path("runs.csv").write_text(TABLE.replace("val_loss", "Final Loss"))
    answer = scalelaw("fit", "runs.csv")
    assert (answer.returncode, answer.stdout) == (2, "")
    assert len(answer.stderr.splitlines()) == 1
    answer = scalelaw("fit", "--no-such-flag")
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["runs.csv", "spec.toml"]
