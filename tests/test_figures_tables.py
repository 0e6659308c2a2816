"""Figures of tables that are not one sweep on one training set with core-hours: without core-hours, with two sets."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawings import sweep

from scalelaw.cli import main
from scalelaw.errors import UserError
from scalelaw.figures import FIGURES, write
from scalelaw.frontiers import frontier
from scalelaw.runs import RunTable

FITTED = ("equal_compute", "surface", "residuals", "roll_outs", "prediction")


@pytest.mark.parametrize("name", FITTED)
def test_without_core_hours_compute_is_flop(name: str) -> None:
    table = RunTable.from_frame(sweep(noise=0.01).frame.drop(columns=["core_hours", "utilisation"], errors="ignore"))
    assert not table.has("core_hours")
    drawn = FIGURES[name].collect(table)
    assert "without core_hours: compute is train_flop" in drawn["notes"]
    assert drawn.get("compute", "train_flop") == "train_flop"
    FIGURES[name].make(drawn)


@pytest.mark.parametrize("name", FITTED)
def test_repeats_of_a_smaller_training_set_are_left_out_as_the_frontier_does(name: str) -> None:
    largest = sweep(noise=0.01).frame
    images = largest["images_seen"].astype(float)
    smaller = largest.assign(unique_images=np.round(images.min() / 8), run_id="s" + largest["run_id"].astype(str))
    smaller = smaller.assign(val_loss=smaller["val_loss"] * 1.2, epochs=images / smaller["unique_images"])
    both = RunTable.from_frame(pd.concat([largest, smaller], ignore_index=True))
    note = next(note for note in frontier(both).notes if "sizes of training set" in note)
    drawn = FIGURES[name].collect(both)
    alone = FIGURES[name].collect(RunTable.from_frame(largest))
    assert note in drawn["notes"]
    if name == "residuals":
        assert drawn["runs"] == alone["runs"]
    if name == "surface":
        assert drawn["runs"] == alone["runs"]


@pytest.fixture(scope="module")
def two_bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose core-hours were measured in the cheaper half, at half the utilisation, and estimated elsewhere."""
    frame = sweep(noise=0.01).frame
    cheap = frame["core_hours"] < frame["core_hours"].median()
    frame = frame.assign(core_hours=frame["core_hours"] * np.where(cheap, 2, 1),
                         core_hours_basis=np.where(cheap, "measured", "estimated"))  # fmt: skip
    path = tmp_path_factory.mktemp("bases") / "runs.csv"
    frame.to_csv(path, index=False)
    return path


def figures(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, list[str]]:
    with pytest.raises(SystemExit) as end:
        main(["figures", *argv, "--json"])
    assert end.value.code == 0
    return dict(json.loads(capsys.readouterr().out))


def test_two_bases_of_core_hours_are_refused_with_flags_that_figures_takes(
    two_bases: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, flags = RunTable.load(two_bases), set()
    for name in ("frontier", *FITTED):
        with pytest.raises(UserError, match="a fit takes one basis") as refused:
            FIGURES[name].collect(table)
        flags |= set(re.findall(r"--[a-z-]+", str(refused.value)))
    assert flags == {"--basis", "--mixed-basis"}
    with pytest.raises(SystemExit):
        main(["figures", "--help"])
    assert flags <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "compute"), [(["--basis", "train_flop"], "train_flop"),
                                                (["--mixed-basis"], "core_hours")])  # fmt: skip
def test_of_two_bases_the_chosen_one_is_drawn(
    two_bases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], compute: str
) -> None:
    assert not figures(capsys, str(two_bases), "-o", str(tmp_path), *flags)["skipped"]
    found = frontier(RunTable.load(two_bases), basis=compute, mixed=True)  # type: ignore[arg-type]
    for name in ("figure2", "frontier", *FITTED):
        drawn = json.loads((tmp_path / f"{name}.json").read_text())
        assert drawn["compute"] == compute
        together = "core_hours that are estimated and measured are taken together"
        assert (together in drawn["notes"]) == (compute == "core_hours")
        if name == "surface":
            assert drawn["path"]["exponent"] == pytest.approx(found.approaches["surface"]["size"].slope, rel=1e-6)


def test_a_basis_that_a_table_does_not_have_is_said(two_bases: Path, tmp_path: Path) -> None:
    table = RunTable.load(two_bases)
    hours = table.frame.drop(columns=["train_flop", "macs_per_image"])
    flop = table.frame.drop(columns=["core_hours", "core_hours_basis"])
    for frame, basis, words in ((hours, "train_flop", "has no train_flop; name them with --column"),
                                (flop, "core_hours", "has no core_hours; take --basis train_flop"),
                                (flop, "core_hour", "unknown basis 'core_hour'; did you mean")):  # fmt: skip
        with pytest.raises(UserError, match=words):
            write(RunTable.from_frame(frame), tmp_path / "none", basis=basis)  # type: ignore[arg-type]
    assert not (tmp_path / "none").exists()
