"""`scalelaw sweep --lr two-trial`: which runs it chooses, that it comes to the same ones after a kill, what it says."""

from __future__ import annotations

import math
import os
import signal
import time

import pandas as pd
import pytest
from tiny_sweep import TINY, repeatable, scalelaw, spec, start

from scalelaw.launch.status import sweep_status
from scalelaw.launch.two_trials import at_most, cells_of_a_round, choice, note, planned_cells
from scalelaw.runs import ResultsFolder, RunTable
from scalelaw.sweep import check_spec, expand

SPEC = {
    "sweep": {"name": "small"},
    "data": {"source": "hierarchy", "train_images": 4096, "classes": 16, "levels": 2},
    "model": {"variants": ["N0", "N1", "N2"]},
    "train": {"images": [1024, 2048, 4096], "peak_lr": {"around": 1.0, "points": 5}, "batch_size": 32, "seeds": [0, 1]},
}


@pytest.fixture(scope="module")
def planned():
    return expand(check_spec(SPEC, "small.toml"))


def loss(run) -> float:
    """Lowest at a rate that falls with size and images; seeds differ by a little."""
    best = 4.0 * (run.cost.size.macs_per_image / 2e4) ** -0.3 * (run.config.train.images / 1024) ** -0.4
    away = math.log(run.config.train.peak_lr / best)
    return math.exp(0.2 * away**2 + 0.001 * run.config.train.seed)


def trained(planned, rows=None, stop_after=None):
    """Plays a sweep; rows gain one run after another."""
    cells, rows = planned_cells(planned), {} if rows is None else rows
    while (made := choice(cells, rows, 2)).open:
        for run in made.open:
            if stop_after is not None and len(rows) >= stop_after:
                return made, rows
            rows[run.run_id] = ("finished", loss(run))
    return made, rows


def test_cells_hold_every_rate_with_all_its_seeds(planned):
    cells = planned_cells(planned)
    assert len(cells) == 9
    assert sum(len(runs) for one in cells for runs in one.runs.values()) == len(planned) == 90
    for one in cells:
        assert one.cell.rates == (0.25, 0.5, 1.0, 2.0, 4.0)
        assert {run.config.train.seed for runs in one.runs.values() for run in runs} == {0, 1}


def test_two_rates_in_every_cell(planned):
    made, rows = trained(planned)
    runs, hours = at_most(planned_cells(planned))
    assert len(rows) == len(made.chosen) == runs == 2 * 2 * 9
    assert made.later_runs == 0
    assert sum(run.cost.core_hours for run in made.chosen) == pytest.approx(hours)
    cells = planned_cells(planned)
    found = {run.run_id for run in made.chosen}
    assert [sum(runs[0].run_id in found for runs in one.runs.values()) for one in cells] == [2] * 9
    best = [min(loss(run) for runs in one.runs.values() for run in runs) for one in cells]
    got = [min(loss(run) for runs in one.runs.values() for run in runs if run.run_id in found) for one in cells]
    assert sum(a == b for a, b in zip(best, got, strict=True)) >= 7


def test_runs_and_core_hours_are_counted_where_cells_have_unlike_seeds(planned):
    few = [run for run in planned if run.config.model.variant == "N2" or run.config.train.seed == 0]
    made, rows = trained(few)
    runs, hours = at_most(planned_cells(few))
    assert runs == 2 * (6 + 2 * 3)
    assert len(rows) == len(made.chosen) <= runs
    assert sum(run.cost.core_hours for run in made.chosen) <= hours * (1 + 1e-9)
    begun = choice(planned_cells(few), {}, 2)
    assert len(begun.chosen) + begun.later_runs == runs


@pytest.mark.parametrize("stop_after", [1, 4, 7, 21, 35])
def test_killed_and_started_again_it_chooses_the_same_runs(planned, stop_after):
    whole, _ = trained(planned)
    part, rows = trained(planned, stop_after=stop_after)
    assert len(part.chosen) + part.later_runs == 36
    again, _ = trained(list(reversed(planned)), rows)  # the order of the spec's runs plays no part
    assert again.chosen == whole.chosen


def test_rows_of_rates_that_were_not_chosen_change_nothing(planned):
    whole, _ = trained(planned)
    chosen = {run.run_id for run in whole.chosen}
    others = {run.run_id: ("finished", 1e-3) for run in planned if run.run_id not in chosen}
    assert trained(planned, others)[0].chosen == whole.chosen


def test_a_failed_run_holds_its_round_and_a_diverged_one_does_not(planned):
    cells = planned_cells(planned)
    first = choice(cells, {}, 2).open
    rows = {run.run_id: ("finished", loss(run)) for run in first}
    rows[first[0].run_id] = ("failed", None)
    assert choice(cells, rows, 2).open == first[:1]
    rows[first[0].run_id] = ("diverged", None)
    assert choice(cells, rows, 2).open != first[:1]


def test_status_counts_what_is_not_chosen_yet(planned, tmp_path):
    made, _ = trained(planned, stop_after=0)
    costs = {run.run_id: run.cost.core_hours for run in made.chosen}
    record = {"name": "small", "runs": list(costs), "core_hours": costs, **note(made, 3)}
    results = ResultsFolder(tmp_path / "out", new=True)
    results.begin(record, {run.run_id: run.config.to_json() for run in made.chosen})
    found = sweep_status(results)
    assert (len(found.statuses), found.runs_later) == (8, 28)
    assert found.core_hours_left == pytest.approx(at_most(planned_cells(planned))[1])
    assert not found.ended
    assert "and at most 28 more" in str(found)
    assert cells_of_a_round(results, planned_cells(planned), workers=64) == 3


def test_a_dry_run_says_what_it_costs_at_most(tmp_path):
    answer = scalelaw("sweep", spec(tmp_path), "-o", tmp_path / "out", "--lr", "two-trial", "--dry-run")
    assert answer.returncode == 0, answer.stderr
    assert "2 rates each: at most" in answer.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_trains_the_same_two_rates_of_every_cell(tmp_path):
    pytest.importorskip("jax", reason="the trainer needs jax")
    text = TINY.replace("[0.4, 0.8]", "[0.1, 0.4, 0.8]")
    tables = []
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
        out = tmp_path / name / "out"
        arguments = ["sweep", spec(tmp_path / name, text), "-o", out, "--lr", "two-trial", "--workers", 2]
        if name == "killed":
            process = start(*arguments)
            end = time.monotonic() + 120
            while not list(out.glob("*/row.parquet")) and time.monotonic() < end:
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        answer = scalelaw(*arguments)
        assert answer.returncode == 0, answer.stderr
        assert "8 runs chosen of the 12 of the grid" in answer.stdout
        frame = RunTable.load(out).frame
        assert frame.groupby("images_seen")["peak_lr"].nunique().to_dict() == {200: 2, 600: 2}
        tables.append(repeatable(out))
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_two_trials_are_refused_on_a_cluster_before_anything_is_made(tmp_path, more):
    out = tmp_path / "out"
    answer = scalelaw("sweep", spec(tmp_path), "-o", out, "--lr", "two-trial", "--engine", "ray", *more)
    assert answer.returncode == 2
    assert "--engine ray: two trials go in rounds sized by this machine" in answer.stderr
    assert not out.exists()
