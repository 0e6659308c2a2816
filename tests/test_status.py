"""`scalelaw status`: counts, core-hours, time, money and the law so far, from a results folder alone."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from status_folders import LENGTHS, MACS, RATES, config, made, row, under_way

from scalelaw import compute
from scalelaw.errors import UserError
from scalelaw.launch.money import Prices
from scalelaw.launch.speed import SECONDS_PER_RUN, SECONDS_PER_SHAPE
from scalelaw.launch.status import LISTED, sweep_status
from scalelaw.runs import ResultsFolder, Run
from scalelaw.sweep.config import RunConfig


def hours(variant: str, images: float) -> float:
    return compute.core_hours(compute.train_flop(MACS[variant], images))


def test_a_run_under_way_counts_by_its_share(tmp_path):
    folder, planned = made(tmp_path / "r", 8)  # all of N0, nothing of N1
    now = planned[-1].run_id  # N1, 8000 images
    under_way(folder, now, images=2000, images_per_second=500.0, train_loss=1.25, val_loss=1.5, at=time.time())
    with folder.lease(now):
        found = sweep_status(folder)
    assert found.counts == {"finished": 8, "running": 1, "pending": 7, "failed": 0, "diverged": 0}
    n0 = sum(hours("N0", images) for images in LENGTHS) * len(RATES)
    n1 = sum(hours("N1", images) for images in LENGTHS) * len(RATES)
    assert found.core_hours_spent == pytest.approx(n0 + hours("N1", 2000))
    assert found.core_hours_left == pytest.approx(n1 - hours("N1", 2000))
    (one,) = found.to_dict()["under_way"]
    assert (one["run_id"], one["variant"], one["share"], one["seconds_left"]) == (now, "N1", 0.25, 12.0)
    assert (one["train_loss"], one["val_loss"], one["silent_seconds"]) == (1.25, 1.5, None)
    (line,) = [line for line in str(found).splitlines() if line.startswith(now)]
    assert line.split() == [now, "N1", "25%", "500", "1.25", "1.5", "0:12"]


def test_a_note_that_is_left_over_is_not_of_a_run_that_nobody_holds(tmp_path):
    folder, planned = made(tmp_path / "r", 8)
    under_way(folder, planned[-1].run_id, images=2000, images_per_second=500.0, at=time.time())
    found = sweep_status(folder)
    assert found.running == ()
    assert found.core_hours_spent == pytest.approx(sum(hours("N0", images) for images in LENGTHS) * len(RATES))


def test_time_left_is_by_measured_speed_and_the_workers_at_work(tmp_path):
    folder, planned = made(tmp_path / "r", 15)  # left: N1, 8000 images at 250 a second
    assert sweep_status(folder).worker_seconds_left == pytest.approx(32.0 + SECONDS_PER_RUN)
    assert sweep_status(folder).seconds_left is None  # nobody trains
    again = row(planned[0], status="failed", train_seconds=None, val_loss=None, error="Traceback\nout of memory")
    folder.commit_row(again)  # N0, 1000 images at 1000 a second
    with folder.lease(planned[-1].run_id), folder.lease(planned[0].run_id):
        both = sweep_status(folder)
    assert both.measured
    assert both.worker_seconds_left == pytest.approx(33.0 + 2 * SECONDS_PER_RUN)
    assert both.seconds_left == pytest.approx(32.0)  # the longest, for the other worker has nothing to help with


def test_time_left_knows_that_sharpness_aware_steps_go_through_images_twice(tmp_path):
    """Two runs took eight seconds each; the third takes as long."""
    given = {"images": 8000, "sam_radius": 0.05, "sam_share": 1.0}
    planned = [
        RunConfig.model_validate(
            {"data": {"source": "hierarchy", "train_images": 4096}, "model": {"variant": "N0"},
             "train": {**given, "peak_lr": rate}}
        )
        for rate in (0.1, 0.2, 0.4)
    ]  # fmt: skip
    folder = ResultsFolder(tmp_path / "r", new=True)
    configs = {one.run_id: one.to_json() for one in planned}
    folder.begin({"name": "sharp", "runs": list(configs)}, configs)
    for one in planned[:2]:
        folder.commit_row(replace(row(one), train_flop=2 * compute.train_flop(MACS["N0"], 8000)))
    found = sweep_status(folder)
    assert found.measured
    assert found.worker_seconds_left == pytest.approx(8.0 + SECONDS_PER_RUN)


def test_a_shape_never_timed_rests_on_an_assumption_and_says_so(tmp_path):
    folder, planned = made(tmp_path / "r", 8)
    with folder.lease(planned[-1].run_id):
        found = sweep_status(folder)
    assert not found.measured
    assert found.seconds_left > SECONDS_PER_SHAPE  # N1 is still to be compiled
    assert "assumed" in str(found)
    assert found.to_dict()["time_left_basis"] == "assumed"


def test_the_law_is_that_of_the_cells_that_are_done(tmp_path):
    folder, _ = made(tmp_path / "r", 11)  # the sixth cell has one rate of two
    found = sweep_status(folder).law
    assert (found.cells_done, found.cells, found.provisional) == (5, 8, True)
    assert found.fit.n == 4  # N1 at 1000 images costs what N0 does at 4000, and is no better
    assert found.fit.params["A"] == pytest.approx(2, rel=1e-9)
    assert found.fit.params["alpha"] == pytest.approx(0.05, rel=1e-9)
    assert "5 of 8 cells, provisional" in str(found)
    assert str(found).startswith("law: L = 2 C^-0.05 (-0.05 to -0.05) converged")
    whole, _ = made(tmp_path / "whole")
    assert "provisional" not in str(sweep_status(whole).law)
    assert sweep_status(whole).to_dict()["law"]["params"]["alpha"] == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(("done", "cells", "reason"), [(0, 0, "no cell"), (1, 0, "no cell"), (2, 1, "too few points")])
def test_too_few_cells_are_said_and_no_error(tmp_path, done, cells, reason):
    folder, _ = made(tmp_path / "r", done)
    found = sweep_status(folder).law
    assert found.fit is None
    assert (found.cells_done, found.cells) == (cells, 8)
    assert reason in str(found)
    assert reason in found.to_dict()["reason"]


def test_a_cell_with_a_failed_run_is_not_done_and_one_with_a_diverged_run_is(tmp_path):
    folder, planned = made(tmp_path / "r")
    folder.commit_row(row(planned[1], status="diverged", val_loss=None))
    assert sweep_status(folder).law.cells_done == 8
    folder.commit_row(row(planned[3], status="failed", val_loss=None, core_hours=None, error="a\nwhy"))
    found = sweep_status(folder)
    assert found.law.cells_done == 7
    assert found.failures == ((planned[3].run_id, "why"),)
    assert f"  {planned[3].run_id}: why" in str(found)


def test_the_law_is_kept_while_the_same_runs_are_done(tmp_path):
    folder, planned = made(tmp_path / "r", 12)
    before = sweep_status(folder)
    with folder.lease(planned[12].run_id):
        assert sweep_status(folder, before=before).law.fit is before.law.fit
    folder.commit_row(row(planned[12]))
    assert sweep_status(folder, before=before).law.fit is not before.law.fit


def test_dollars_at_the_price_of_whatever_trained(tmp_path):
    folder, planned = made(tmp_path / "r", 15)
    price = 3.6
    seconds = 2 * sum(LENGTHS) * (1 / 1000 + 1 / 250) - 8000 / 250
    now = planned[-1].run_id
    under_way(folder, now, images=2000, images_per_second=250.0, at=time.time())
    with folder.lease(now):
        found = sweep_status(folder, Prices(price)).to_dict()["money"]
    assert found["dollars_spent"] == pytest.approx(price / 3600 * (seconds + 8))
    assert found["dollars_left"]["mid"] == pytest.approx(price / 3600 * 24)
    fresh, _ = made(tmp_path / "fresh", 8)
    assert sweep_status(fresh, Prices(price)).money.to_dict()["dollars_left"] is None
    assert "unknown left" in str(sweep_status(fresh, Prices(price)))


def test_dollars_on_named_hardware_are_by_its_peak(tmp_path):
    folder, planned = made(tmp_path / "r", 15)
    folder.commit_row(replace(row(planned[0]), hardware="NVIDIA H100 80GB HBM3", train_seconds=7200.0, devices=2))
    flop = compute.train_flop(MACS["N1"], 8000)
    peak = compute.hardware("h100").peak_flop_per_second
    found = sweep_status(folder, Prices(2.5, "h100", 0.4)).money
    assert found.to_dict()["dollars_spent"] == pytest.approx(4 * 2.5)
    left = found.to_dict()["dollars_left"]
    assert left["mid"] == pytest.approx(2.5 * flop / (0.4 * peak) / 3600)
    assert "14 runs trained on other hardware" in str(found)
    published = sweep_status(made(tmp_path / "cpu", 15)[0], Prices(2.5, "h100")).money.to_dict()
    assert published["dollars_spent"] == 0
    assert published["dollars_left"]["low"] < published["dollars_left"]["mid"] < published["dollars_left"]["high"]
    assert published["dollars_left"]["mid"] == pytest.approx(2.5 * flop / (0.36 * peak) / 3600)


@pytest.mark.parametrize(
    "prices", [(0.0,), (-1.0,), (float("nan"),), (1.0, "cpu"), (1.0, "h100", 1.5), (1.0, None, 0.5)]
)
def test_prices_that_cannot_be(prices):
    with pytest.raises(UserError):
        Prices(*prices)


def test_all_of_it_fits_80_columns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, planned = made(Path("results/a-sweep-of-a-long-name"), 3)
    with ExitStack() as held:
        for one in planned[3:]:
            held.enter_context(folder.lease(one.run_id))
            under_way(folder, one.run_id, images=999, images_per_second=1.234e6, train_loss=12.3456789, val_loss=1e-12,
                      at=time.time() - 1e5)  # fmt: skip
        folder.commit_row(row(planned[0], status="failed", error="a long story " * 30))
        text = str(sweep_status(folder, Prices(1234.5, "tpu-v5e")))
    assert not [line for line in text.splitlines() if len(line) > 80]
    assert "silent" in text
    assert "\x1b" not in text
    assert f"and {13 - LISTED} more" in text


def test_what_cannot_be_read_is_unknown_and_no_error(tmp_path):
    folder, planned = made(tmp_path / "r", 15)
    (folder.run_path(planned[-1].run_id) / "config.json").write_text("{")
    (folder.run_path(planned[-1].run_id) / "progress.json").write_text("[]")
    with folder.lease(planned[-1].run_id):
        found = sweep_status(folder)
    assert found.law.cells is None
    assert found.seconds_left is None
    assert found.core_hours_left == pytest.approx(hours("N1", 8000))
    assert "time left: unknown" in str(found)
    json.dumps(found.to_dict(), allow_nan=False)
    (folder.run_path(planned[0].run_id) / "row.parquet").write_bytes(b"PAR1")
    assert any("row.parquet" in problem for problem in sweep_status(folder).problems)


def test_a_folder_of_rows_alone(tmp_path):
    """Rows that somebody imported: no sweep.json, no configurations."""
    folder, _ = made(tmp_path / "r")
    folder.compact()
    alone = tmp_path / "alone"
    alone.mkdir()
    (folder.table_path).rename(alone / "runs.parquet")
    found = sweep_status(type(folder)(alone))
    assert found.ended
    assert (found.counts["finished"], found.core_hours_left, found.law.cells) == (16, 0.0, 8)


def test_runs_without_a_cost_leave_the_rest_unknown(tmp_path):
    folder, _ = made(tmp_path / "r", 15)
    folder.add("f" * 16, config("N0", 1234, 0.4).to_json())
    found = sweep_status(folder)
    assert found.core_hours_left is None
    assert found.worker_seconds_left is not None  # its shape was timed
    folder.commit_row(Run(run_id="f" * 16, status="failed", error=None))
    assert sweep_status(folder).failures == (("f" * 16, "unknown"),)


def test_a_sweep_that_has_still_to_choose_runs_has_not_ended_and_its_law_is_provisional(tmp_path):
    folder, _ = made(tmp_path / "r")
    assert sweep_status(folder).ended
    path = folder.root / "sweep.json"
    later = {"two_trial": {"runs_later": 3, "core_hours_later": 0.5}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **later}))
    found = sweep_status(folder, before=sweep_status(made(tmp_path / "same")[0]))
    assert not found.ended
    assert (found.core_hours_left, found.law.cells_done, found.law.cells) == (0.5, 8, 8)
    assert str(found.law).endswith("8 of 8 cells, provisional")
    assert "without the runs still to be chosen" in " ".join(str(found).split())
