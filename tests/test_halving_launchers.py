"""Sweeps by halving beside other launchers on one results folder: each holds and stops what it was told to, no other's.

What the others do happens at the worst moment: a launcher has recorded its rung, and its workers have yet to start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sweep import TINY, scalelaw, spec

from scalelaw.cli.halvings import train_by_halving
from scalelaw.launch.workers import Limits
from scalelaw.runs import ResultsFolder, RunTable, files
from scalelaw.sweep import expand, read_spec

pytestmark = pytest.mark.slow

FIVE_RATES = TINY.replace("[200, 600]", "400").replace("[0.4, 0.8]", "[0.0001, 0.001, 0.1, 0.4, 0.8]").replace(
    "[0, 1]", "[0]\nevaluations = 4"
)  # fmt: skip


class Interrupted(ResultsFolder):
    """A results folder in which another launcher acts once, just before this one's first workers start."""

    def __init__(self, root: Path, act: Callable[[], None]) -> None:
        super().__init__(root, new=True)
        self.acts = [act]

    def is_there(self) -> bool:  # a crew asks it before it starts workers
        if self.acts and (self.root / "sweep.json").exists():
            self.acts.pop()()
        return super().is_there()


def halve_beside(tmp_path: Path, act: Callable[[Path, Path], None]) -> tuple[list[float], list[float]]:
    """Halves five rates while another launcher does `act`. Returns the rates that were trained on, and the stopped."""
    pytest.importorskip("jax", reason="the trainer needs jax")
    path, out = spec(tmp_path, FIVE_RATES), tmp_path / "out"
    checked = read_spec(path)
    planned = expand(checked)
    results = Interrupted(out, lambda: act(path, out))
    assert train_by_halving(checked, planned, results, 1, "local", None, Limits(), "grid", False) == 0
    assert not results.acts
    rates = {run.run_id: run.config.train.peak_lr for run in planned}
    stopped = files.read_json(out / "sweep.json")["stopped_early"]
    return sorted(RunTable.load(out).frame["peak_lr"]), sorted(rates[run_id] for run_id in stopped)


def called(*args: object) -> None:
    answer = scalelaw(*args)
    assert answer.returncode == 0, answer.stderr


def test_what_another_has_stopped_is_not_trained_on_by_one_that_is_behind(tmp_path):
    """The other goes through all rungs meanwhile."""
    trained, stopped = halve_beside(
        tmp_path, lambda path, out: called("sweep", path, "-o", out, "--workers", 1, "--halving")
    )
    assert (trained, stopped) == ([0.1, 0.4, 0.8], [0.0001, 0.001])


def test_one_without_halving_that_records_its_sweep_ends_no_halving(tmp_path):
    trained, stopped = halve_beside(tmp_path, lambda path, out: called("sweep", path, "-o", out, "--prepare"))
    assert (trained, stopped) == ([0.1, 0.4, 0.8], [0.0001, 0.001])


def test_what_one_without_halving_trains_goes_on_to_its_end(tmp_path):
    """Runs that it has ended keep their rows, the others are halved."""
    worst = min(expand(read_spec(spec(tmp_path, FIVE_RATES))), key=lambda run: run.config.train.peak_lr)
    trained, stopped = halve_beside(tmp_path, lambda path, out: called("run", out, worst.run_id))
    assert (trained, stopped) == ([0.0001, 0.1, 0.4, 0.8], [0.001])
