"""Which GPUs or TPU chips a worker gets, by listings of machines that are not here, and what a real one then sees."""

import json
import os
import sys

import pytest
from test_launch import plan

from scalelaw.errors import UserError
from scalelaw.launch import accelerators, engines, local
from scalelaw.launch.accelerators import Accelerators, found, shares, workers_for
from scalelaw.runs import ResultsFolder
from scalelaw.sweep import read_spec

FOUR = Accelerators("GPU", ("0", "1", "2", "3"))
CHIPS = Accelerators("TPU", tuple("01234567"))


def looked(environment, *, able=("GPU", "TPU"), gpus=(), chips=()):
    return found(environment, backends=lambda: able, gpus=lambda: gpus, chips=lambda: chips)


@pytest.mark.parametrize(("environment", "machine", "expected"), [
    ({}, {}, None),
    ({}, {"gpus": ["0", "1"]}, Accelerators("GPU", ("0", "1"))),
    ({}, {"gpus": ["0", "1"], "able": ()}, None),  # jax here knows the CPU alone: a worker for each core
    ({"JAX_PLATFORMS": "cpu"}, {"gpus": ["0", "1"]}, None),
    ({"JAX_PLATFORMS": "cuda,cpu"}, {"gpus": ["0"]}, Accelerators("GPU", ("0",))),
    ({"CUDA_VISIBLE_DEVICES": "3, GPU-5f"}, {"gpus": list("0123")}, Accelerators("GPU", ("3", "GPU-5f"))),
    ({"CUDA_VISIBLE_DEVICES": ""}, {"gpus": ["0"]}, None),
    ({"CUDA_VISIBLE_DEVICES": "-1"}, {"gpus": ["0"]}, None),
    ({}, {"chips": list("0123")}, Accelerators("TPU", tuple("0123"))),
    ({"TPU_VISIBLE_CHIPS": "2,3"}, {"chips": list("0123")}, Accelerators("TPU", ("2", "3"))),
    ({"JAX_PLATFORMS": "cuda"}, {"chips": list("0123")}, None),
])  # fmt: skip
def test_what_is_there_and_wanted(environment, machine, expected):
    assert looked(environment, **machine) == expected


def visible(there, workers, each, environment=None):
    return [share[there.variable] for share in shares(there, workers, each, environment or {})]


def test_every_worker_gets_its_own():
    assert workers_for(FOUR, None) == 4
    assert visible(FOUR, 4, None) == ["0", "1", "2", "3"]
    assert workers_for(FOUR, 2) == 2
    assert visible(FOUR, 2, 2) == ["0,1", "2,3"]
    assert visible(FOUR, 1, 2) == ["0,1"]
    assert visible(FOUR, 1, None) == ["0,1,2,3"], "fewer workers share out what there is"
    assert visible(FOUR, 3, None) == ["0", "1", "2"]
    assert visible(Accelerators("GPU", ("3", "GPU-5f")), 2, None) == ["3", "GPU-5f"]


def test_chips_are_told_how_they_lie():
    assert shares(CHIPS, 4, 2, {})[1] == {
        "TPU_VISIBLE_CHIPS": "2,3", "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,2,1", "TPU_PROCESS_BOUNDS": "1,1,1"}  # fmt: skip
    assert shares(CHIPS, 1, None, {}) == [{"TPU_VISIBLE_CHIPS": "0,1,2,3,4,5,6,7"}], "all of them: as without us"
    assert visible(CHIPS, 2, 3) == ["0,1", "2,3"], "three chips are no part that libtpu takes"


def test_workers_that_share_a_gpu_share_its_memory_unless_told_otherwise():
    two = Accelerators("GPU", ("0", "1"))
    found = shares(two, 4, None, {})
    assert [share["CUDA_VISIBLE_DEVICES"] for share in found] == ["0", "1", "0", "1"]
    assert {share["XLA_PYTHON_CLIENT_MEM_FRACTION"] for share in found} == {"0.375"}
    own = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.1"}
    assert all("XLA_PYTHON_CLIENT_MEM_FRACTION" not in share for share in shares(two, 4, None, own))


def test_what_does_not_go_round_is_said():
    with pytest.raises(
        UserError, match=r"plans for 8 devices a run, and this machine has 4 GPU .CUDA_VISIBLE_DEVICES="
    ):
        workers_for(FOUR, 8)
    with pytest.raises(UserError, match=r"--workers 3: .* 4 GPU serve 2 workers; give --workers 2 or fewer"):
        shares(FOUR, 3, 2, {})
    with pytest.raises(UserError, match="--workers 9: a TPU chip serves one process, and there are 8"):
        shares(CHIPS, 9, None, {})


def test_a_plan_for_a_larger_machine_may_be_looked_at_and_not_trained(tmp_path, monkeypatch):
    plan(tmp_path)
    spec = tmp_path / "spec.toml"
    spec.write_text(spec.read_text() + "[devices]\ncount = 8\n")
    monkeypatch.setattr(accelerators, "found", lambda: FOUR)
    assert engines.local_workers(read_spec(spec)) == 1
    with pytest.raises(UserError, match="plans for 8 devices a run, and this machine has 4 GPU"):
        engines.opened("local", read_spec(spec), 3, None, None)


def test_nvidia_smi_is_asked_and_its_absence_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators.gpus() == [] or os.path.exists("/proc/driver/nvidia/gpus")
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 0\necho 1\n")
    smi.chmod(0o755)
    assert accelerators.gpus() == ["0", "1"]


SEES = """
import json, os, sys
from pathlib import Path
from scalelaw.runs import ResultsFolder, Run
results = ResultsFolder(Path(sys.argv[1]))
for run_id in sys.argv[3:]:
    with results.lease(run_id) as held:
        if held is not None and not (results.root / run_id / "row.parquet").exists():
            names = ("CUDA_VISIBLE_DEVICES", "XLA_PYTHON_CLIENT_MEM_FRACTION")
            with open(sys.argv[2], "a") as log:
                log.write(json.dumps([os.environ.get(name) for name in names] + [len(os.sched_getaffinity(0))]) + "\\n")
            print(json.dumps({"run_id": run_id, "event": "started"}), flush=True)
            import time; time.sleep(0.3)
            results.commit_row(Run(run_id=run_id, status="finished"), held)
            print(json.dumps({"run_id": run_id, "event": "done", "status": "finished"}), flush=True)
"""


@pytest.mark.parametrize(
    ("count", "workers", "seen"), [(None, None, {"5", "7"}), (2, None, {"5,7"}), (None, 1, {"5,7"})]
)
def test_a_real_worker_sees_its_own_alone(tmp_path, monkeypatch, count, workers, seen):
    planned = plan(tmp_path, '"N0"')[:4]
    spec = tmp_path / "spec.toml"
    if count is not None:
        spec.write_text(spec.read_text() + f"[devices]\ncount = {count}\n")
    results = ResultsFolder(tmp_path / "results", new=True)
    results.begin({"name": "tiny"}, {run.run_id: run.config.to_json() for run in planned})
    (tmp_path / "worker.py").write_text(SEES)
    log = tmp_path / "log"
    monkeypatch.setattr(
        local,
        "command",
        lambda results, ids, stop_at: [sys.executable, tmp_path / "worker.py", results.root, log, *ids],
    )
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    monkeypatch.setattr(accelerators, "found", lambda: Accelerators("GPU", ("5", "7")))
    engine = engines.opened("local", read_spec(spec), len(planned), workers, None)
    assert engine.workers == (1 if workers == 1 or count == 2 else 2)
    assert engine.words == ("1 worker on 2 GPU" if engine.workers == 1 else "2 workers on 2 GPU")
    engine.run_all(results, planned, {run.run_id: 1.0 for run in planned}, lambda event: None)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line[0] for line in told} == seen
    assert {line[1] for line in told} == {None}
    assert {line[2] for line in told} == {len(accelerators.cores())}, "an accelerator is fed by every core"
