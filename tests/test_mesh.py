"""Any mesh of devices trains the same run: losses of 20 steps, on fake devices and in several processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="the trainer needs jax")

from scalelaw.errors import UserError
from scalelaw.train import mesh
from scalelaw.train.mesh import Layout

SCRIPT = Path(__file__).with_name("mesh_steps.py")


def start(devices: int, *words: object) -> subprocess.Popen[str]:
    """Compiled in haste: what a mesh divides is the same, and compiling is most of the time."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags}
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(out.splitlines()[-1])  # lines before it are a library's
    return found


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """The run on one device."""
    return dict(answer(start(1, "1x1"))["1x1"])


def same(found: dict[str, Any], alone: dict[str, Any]) -> None:
    np.testing.assert_allclose(found["losses"], alone["losses"], rtol=1e-5)
    for name, total in alone["sums"].items():
        assert found["sums"][name] == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_every_mesh_of_eight_devices_gives_the_losses_of_one(alone):
    """Data and parameters shared in every proportion, batches in parts, blocks computed anew; dropout on throughout."""
    found = answer(start(8, "8x1", "4x2", "1x8", "1x1x4", "2x2x2xremat"))
    assert len(set(alone["losses"])) == 20
    for word, result in found.items():
        assert result["devices"] == 8
        same(result, alone)
        assert (result["cut"] != ["P()"]) == (int(word.split("x")[1]) > 1), "parameters are cut where they are shared"


@pytest.fixture(scope="module")
def sharp() -> dict[str, Any]:
    """The run of sharpness-aware steps, on one device and on eight; none has whole fifths of the rows."""
    return answer(start(8, "--share", "0.2", "1x1", "4x2"))


@pytest.mark.slow
def test_eight_devices_ascend_on_the_same_rows_as_one(sharp, alone):
    same(sharp["4x2"], sharp["1x1"])
    assert max(np.abs(np.subtract(sharp["1x1"]["losses"], alone["losses"]))) > 0.01


@pytest.mark.slow
def test_two_processes_train_one_run(sharp):
    """Of sharpness-aware steps, in two parts: which rows ascend follows from a process's place in the batch too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = [start(2, "--process", index, 2, port, "--share", "0.2", "2x2x2") for index in range(2)]
    results = [answer(process)["2x2x2"] for process in both]
    assert results[0] == results[1]
    assert results[0]["devices"] == 4
    same(results[0], sharp["1x1"])


def test_a_batch_that_cannot_be_shared_is_refused_with_the_nearest_that_can():
    with pytest.raises(UserError, match=r"100 is not a multiple of 8 devices x 4 .* choose 96 or 128"):
        mesh.check(Layout(data=4, params=2, accumulate=4), 100)
    with pytest.raises(UserError, match=r"choose 8$"):
        mesh.check(Layout(data=8), 3)
    mesh.check(Layout(data=4, params=2, accumulate=4), 96)


def test_parameters_are_cut_along_their_longest_dimension_that_divides():
    assert tuple(mesh.spec_of((3, 3, 128, 256), 4)) == (None, None, None, "params")
    assert tuple(mesh.spec_of((3, 3, 256, 6), 4)) == (None, None, "params", None)
    assert tuple(mesh.spec_of((64, 64), 4)) == (None, "params")
    assert tuple(mesh.spec_of((3, 5), 4)) == ()
    assert tuple(mesh.spec_of((), 4)) == ()
    assert tuple(mesh.spec_of((64, 64), 1)) == ()
