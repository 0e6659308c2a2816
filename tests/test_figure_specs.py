"""The laptop versions of the figures: every run of theirs has been trained, and shows what the specs promise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scalelaw import laws
from scalelaw.figures import error_vs_compute
from scalelaw.fitting import fit
from scalelaw.learning_rate import optimal_learning_rates
from scalelaw.runs import RunTable
from scalelaw.sweep import expand, read_spec

ROOT = Path(__file__).resolve().parents[1]


def trained(figure: str) -> RunTable:
    """The recorded rows of a spec's runs."""
    recorded = RunTable.load(ROOT / "runs" / "recorded" / "demo")
    wanted = {run.run_id for run in expand(read_spec(ROOT / "runs" / f"{figure}.toml"))}
    rows = recorded.where(recorded.frame["run_id"].isin(wanted).to_numpy(), figure)
    assert set(rows.frame["run_id"]) == wanted
    assert set(rows.frame["status"]) == {"finished"}
    return rows


def opening(figure: str) -> str:
    """What the spec promises, its lines joined."""
    return " ".join((ROOT / "runs" / f"{figure}.toml").read_text().split("# Expected: ")[1].split("\n# ")[:3])


def test_figure_2_on_a_laptop_falls_as_it_says():
    rows = trained("figure2-laptop")
    front = rows.finished().best_over("peak_lr").envelope()
    found = fit(laws.PowerLaw, C=front.core_hours, L=front.val_loss)
    said = re.search(r"power -(\.\d+) \((\.\d+) to (\.\d+)\)", opening("figure2-laptop"))
    assert said
    low, high = found.interval("alpha")
    assert [round(value, 3) for value in (found.params["alpha"], low, high)] == [float(part) for part in said.groups()]
    assert set(front.frame["variant"]) == {"N0", "N1", "N2", "N3", "N4"}  # each model is best somewhere
    assert len(rows) == int(opening("figure2-laptop").split()[0])


def test_figure_3_on_a_laptop_falls_as_it_says():
    rows = trained("figure3-laptop")
    found = optimal_learning_rates(rows.finished()).trend
    said = re.search(r"power -(\.\d+) \(-(\.\d+) to -(\.\d+)\)", opening("figure3-laptop"))
    assert said
    low, high = found.interval["c"]
    assert [round(-value, 2) for value in (found.params["c"], low, high)] == [float(part) for part in said.groups()]
    assert len(rows) == int(opening("figure3-laptop").split()[0])


@pytest.mark.parametrize("figure", ["figure2-laptop", "figure3-laptop"])
def test_they_take_minutes(figure):
    assert trained(figure).frame["train_seconds"].sum() < 120


def test_figure_1_on_a_laptop_falls_as_it_says():
    parents, rows = (
        RunTable.load(ROOT / "runs" / "recorded" / name).frame for name in ("transfer_parents", "transfer")
    )
    planned = [expand(read_spec(ROOT / "runs" / f"figure1-laptop{part}.toml", planning=True))
               for part in ("-pretrain", "")]  # fmt: skip
    assert [{run.run_id for run in runs} for runs in planned] == [set(parents["run_id"]), set(rows["run_id"])]
    assert set(rows["parent"]) == set(parents["run_id"])
    front = error_vs_compute.collect(RunTable.from_frame(rows))["front"]
    said = re.search(r"power -(\.\d+) \((\.\d+) to (\.\d+)\)", opening("figure1-laptop"))
    assert said
    found = (front["params"]["alpha"], *front["interval"]["alpha"])
    assert [round(value, 2) for value in found] == [float(part) for part in said.groups()]
    assert len(rows) == int(opening("figure1-laptop").split()[0])
    assert parents["train_seconds"].sum() + rows["train_seconds"].sum() < 600
