"""Rates that are clearly behind stop early: which, and that what stops has no row and goes on exactly."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from stored_sweep import commit, quick_world
from tiny_sweep import TINY, repeatable, scalelaw, spec

from scalelaw import cli
from scalelaw.launch.halving import next_rung
from scalelaw.launch.status import sweep_status
from scalelaw.launch.two_trials import planned_cells
from scalelaw.learning_rate.halving import CLEAR, FEWEST, kept
from scalelaw.runs import ResultsFolder, RunTable, files
from scalelaw.runs.traces import schema, traces
from scalelaw.sweep import expand, read_spec


def test_the_better_half_goes_on():
    losses = {0.1 * 2**k: 1.0 + 0.3 * abs(k - 4) for k in range(8)}
    assert kept(losses) == tuple(0.1 * 2**k for k in (2, 3, 4, 5, 6))  # k = 2 and 6 are alike


def test_what_is_not_clearly_behind_goes_on():
    assert kept({1.0: 2.0, 2.0: 2.1, 4.0: 2.2, 8.0: 2.2 * (1 + 0.9 * CLEAR), 16.0: 2.2 * (1 + 1.1 * CLEAR)}) == (
        1,
        2,
        4,
        8,
    )


def test_a_diverged_rate_stops_and_few_rates_all_go_on():
    assert kept({1.0: 2.0, 2.0: 5.0, 4.0: None}) == (1.0, 2.0)
    assert kept({1.0: 2.0, 2.0: 5.0, 4.0: 9.0}) == (1.0, 2.0, 4.0)
    assert len(kept({rate: float(rate) for rate in range(1, 7)})) == FEWEST
    assert kept({1.0: None, 2.0: None}) == ()


def test_halving_goes_with_a_grid_of_rates_alone(tmp_path):
    answer = scalelaw("sweep", spec(tmp_path), "-o", tmp_path / "out", "--halving", "--lr", "two-trial")
    assert answer.returncode == 2
    assert "two trials leave nothing to stop" in answer.stderr


def test_in_a_store_evaluations_count_wherever_they_were_made_and_of_runs_that_are_done(tmp_path, monkeypatch):
    """A machine's mirror of a store holds no trace of what others trained, nor of runs that have their row."""
    world = quick_world(tmp_path, monkeypatch)
    rates = "[0.0001, 0.001, 0.1, 0.4, 0.8]"
    text = TINY.replace("[200, 600]", "400").replace("[0.4, 0.8]", rates).replace("[0, 1]", "[0]\nevaluations = 4")
    runs = expand(read_spec(spec(tmp_path, text)))
    results = world.on("a", new=True)
    results.begin({"name": "tiny", "runs": [run.run_id for run in runs]},
                  {run.run_id: run.config.to_json() for run in runs})  # fmt: skip
    best = runs[-1]
    commit(results, best.run_id)
    for run in runs:
        done = 400 if run is best else 200
        seen = [{"images_seen": at, "val_loss": 2.0 - run.config.train.peak_lr} for at in range(100, done + 1, 100)]
        files.write_parquet(world.stored / run.run_id / "trace" / "part-000000.parquet",
                            pa.Table.from_pylist(seen, schema=schema()))  # fmt: skip
    for machine in ("a", "b"):
        rung = next_rung(planned_cells(runs), world.on(machine))
        found = [sorted(run.config.train.peak_lr for run in some) for some in (rung.open, rung.stopped)]
        assert (rung.stop_at, *found) == (None, [0.1, 0.4], [0.0001, 0.001])


@pytest.fixture(scope="module")
def halved(tmp_path_factory) -> Path:
    """A tiny sweep of five rates with halving, and the same without, each in one process."""
    pytest.importorskip("jax", reason="the trainer needs jax")
    folder = tmp_path_factory.mktemp("halved")
    path = spec(folder)
    text = Path(path).read_text(encoding="utf-8")
    lines = [
        line
        for line in text.splitlines()
        if not line.startswith(("peak_lr", "seeds", "images", "epochs", "evaluations"))
    ]
    at = lines.index("[train]") + 1
    keys = ["images = 400", "peak_lr = [0.0001, 0.001, 0.1, 0.4, 0.8]", "seeds = [0]", "evaluations = 4"]
    Path(path).write_text("\n".join([*lines[:at], *keys, *lines[at:]]) + "\n", encoding="utf-8")
    for name, flags in (("halved", ["--halving"]), ("whole", [])):
        answer = scalelaw("sweep", path, "-o", folder / name, "--workers", 1, *flags)
        assert answer.returncode == 0, answer.stderr
    return folder


@pytest.mark.slow
def test_what_stops_has_a_checkpoint_and_no_row_and_what_goes_on_ends_as_without(halved):
    results = ResultsFolder(halved / "halved")
    rows = RunTable.load(halved / "halved").frame
    stopped = files.read_json(results.root / "sweep.json")["stopped_early"]
    assert len(rows) == 3
    assert len(stopped) == 2
    assert not set(stopped) & set(rows["run_id"])
    assert set(results.statuses(stopped).values()) == {"pending"}
    said = sweep_status(results)
    assert (said.stopped_early, said.core_hours_left, said.ended) == (2, 0.0, True)
    for run_id in stopped:
        assert results.has_checkpoints(run_id)
        shown = traces(results.root, [run_id]).to_table(columns=["images_seen"])["images_seen"].to_pylist()
        assert max(shown) < 400
    same = repeatable(halved / "whole")
    same = same[same["run_id"].isin(set(map(repr, rows["run_id"])))].reset_index(drop=True)
    pd.testing.assert_frame_equal(repeatable(halved / "halved"), same)


@pytest.mark.slow
def test_called_again_it_trains_nothing(halved):
    before = {path: os.stat(path).st_mtime_ns for path in (halved / "halved").glob("*/trace/*.parquet")}
    answer = scalelaw("sweep", halved / "spec.toml", "-o", halved / "halved", "--workers", 1, "--halving")
    assert answer.returncode == 0, answer.stderr
    assert {path: os.stat(path).st_mtime_ns for path in (halved / "halved").glob("*/trace/*.parquet")} == before


@pytest.mark.slow
def test_without_halving_what_was_stopped_goes_on_and_that_is_said(halved, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(halved / "halved", out)
    answer = scalelaw("sweep", halved / "spec.toml", "-o", out, "--workers", 1)
    assert answer.returncode == 0, answer.stderr
    said = " ".join(answer.stdout.split())
    assert "2 runs that were stopped early go on to their end; with --halving they stay as they are" in said
    assert sweep_status(ResultsFolder(out)).stopped_early == 0
    pd.testing.assert_frame_equal(repeatable(out), repeatable(halved / "whole"))


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "nan"])
def test_a_run_is_held_at_a_share_of_its_schedule_alone(tmp_path, share, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", str(tmp_path), "x", "--stop-at", share])
    assert stop.value.code == 2
    assert f"--stop-at {share}: must be a share of the schedule between 0 and 1" in capsys.readouterr().err


@pytest.mark.slow
def test_on_ray_the_same_runs_stop_and_the_table_is_the_local_engines(halved):
    pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")
    from ray_clusters import folder_for_ray

    out = halved / "ray"
    with folder_for_ray():
        answer = scalelaw("sweep", halved / "spec.toml", "-o", out, "--engine", "ray", "--workers", 2, "--halving")
    assert answer.returncode == 0, answer.stderr
    stopped = [files.read_json(folder / "sweep.json")["stopped_early"] for folder in (out, halved / "halved")]
    assert stopped[0] == stopped[1]
    pd.testing.assert_frame_equal(repeatable(out), repeatable(halved / "halved"))
