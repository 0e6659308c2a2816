"""Several processes train one run: pre-empted on one host, gone on with by all, equal to one process's."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_sweep import TINY, scalelaw, spec, start

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw import cli
from scalelaw.runs import Run, RunTable
from scalelaw.train.final import final_weights

ONE = TINY.replace("[200, 600]", "2000").replace("[0.4, 0.8]", "0.4").replace("[0, 1]", "0") + "[devices]\nparams = 2\n"
ALONE = ONE.replace("params = 2", "params = 1")


def both(path: Path, out: Path) -> list[Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    command = ["train", path, "-o", out, "--threads", 1, "--coordinator", place, "--processes", 2, "--process"]
    return [start(*command, index) for index in range(2)]


def finished(out: Path) -> tuple[Run, dict[str, Any]]:
    (run,) = RunTable.load(out).frame.to_dict("records")
    return run, final_weights(out / run["run_id"])


@pytest.mark.slow
def test_two_processes_pre_empted_on_one_host_end_as_one_process_does(tmp_path):
    answer = scalelaw("train", spec(tmp_path, ALONE), "-o", tmp_path / "alone", "--threads", 1)
    assert answer.returncode == 0, answer.stderr
    alone, weights = finished(tmp_path / "alone")

    path, out = spec(tmp_path, ONE), tmp_path / "both"
    first = both(path, out)
    for line in first[0].stdout:
        if "held-out loss" in line:
            break
    first[1].send_signal(signal.SIGTERM)
    ends = [process.communicate(timeout=300) for process in first]
    assert [process.returncode for process in first] == [75, 75], ends
    second = both(path, out)
    ends = [process.communicate(timeout=300) for process in second]
    assert [process.returncode for process in second] == [0, 0], ends
    assert "goes on at step" in ends[0][0]

    run, found = finished(out)
    assert run["devices"] == 2
    assert run["val_loss"] == pytest.approx(alone["val_loss"], rel=1e-4)
    assert run["images_seen"] == alone["images_seen"] == 2000
    for name, array in weights["linear"].items():
        np.testing.assert_allclose(found["linear"][name], array, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--processes", "2"], "go with --coordinator HOST:PORT"),
        (["--coordinator", "here:1"], "needs --processes N and --process I"),
        (["--coordinator", "here:1", "--processes", "2", "--process", "2"], "must be from 0 to 1"),
    ],
)
def test_flags_that_do_not_name_a_process_are_refused(tmp_path, capsys, flags, told):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", str(spec(tmp_path, ONE)), "-o", str(tmp_path / "out"), *flags])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
