"""What follows from the paper's stated facts, to the digits stated."""

from __future__ import annotations

import csv
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAPER = runpy.run_path(str(ROOT / "analysis" / "paper_check.py"))
FOUND = PAPER["checks"]()


def values(about, what=""):
    return [one.computed for one in FOUND if one.about == about and one.statement.startswith(what)]


def test_the_end_points_cost_what_is_stated():
    """100.86e9 multiply-adds at 36 % of peak, 9.58e9 at 29 %."""
    assert values("F7+, 8 epochs", "multiply-adds") == [pytest.approx(100.86, abs=0.005)]
    assert values("F0, 0.25 epochs", "multiply-adds") == [pytest.approx(9.58, abs=0.005)]
    assert values("F7+, 8 epochs", "utilisation") == [pytest.approx(35.56, abs=0.01)]
    assert values("F0, 0.25 epochs", "utilisation") == [pytest.approx(29.02, abs=0.01)]
    assert values("F7+, 8 epochs, TPU v3", "utilisation") == [pytest.approx(34.99, abs=0.01)]
    assert values("F0, 0.25 epochs", "cost") == pytest.approx([391, 322], abs=0.6)
    assert values("F7+, 8 epochs", "cost") == pytest.approx([103_400, 108_670], abs=50)


def test_the_rule_for_the_learning_rate_is_exact():
    assert values("learning rate") == [0.1 * 4096 / 256] == [1.6]


def test_ratios_of_chips():
    ratios = {one.statement: round(one.computed, 2) for one in FOUND if one.about == "v3 to v4"}
    assert list(ratios.values()) == [2.24, 1.77, 1.79, 1.75, 2.27]
    assert [name for name in ratios if "lower bound" in name] == ["ViT-G/14, as measured, a lower bound"]


def test_the_front():
    assert values("front", "compute for 1 % of loss") == [pytest.approx(0.99**-25)]
    assert values("front", "compute for 1 % of loss")[0] == pytest.approx(1.3, abs=0.05)
    assert values("front", "slope") == [pytest.approx(0.0397, abs=5e-5)]


def test_one_epoch_at_the_crossing_is_a_model_between_f3_and_f3_plus():
    assert values("one epoch") == pytest.approx([4e9, 37.125, 33.43, 51.84], rel=2e-4)
    assert values("F0's budget") == [pytest.approx((0.4 / 5) ** 0.5)]
    assert values("F7+'s budget") == [pytest.approx(22**0.5)]


def test_every_statement_comes_out_but_two_that_should_not():
    """One utilisation does not fit both ends: F0 runs at 29 %, and nothing runs F7+ at F5's 38 %."""
    off = [(one.about, one.how) for one in FOUND if one.agrees is False]
    assert [about for about, _ in off] == ["F0, 0.25 epochs", "F7+, 8 epochs"]
    assert "36.0 %" in off[0][1]
    assert "37.8 %" in off[1][1]
    assert sum(one.agrees is True for one in FOUND) >= 15


@pytest.mark.parametrize("path", sorted((ROOT / "analysis" / "published").glob("*.csv")), ids=lambda path: path.name)
def test_every_published_value_has_a_source(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert "arXiv" in row["source"], row
        assert row["obtained"], row


def test_the_script_prints_a_table_and_json():
    def run(*flags):
        command = [sys.executable, ROOT / "analysis" / "paper_check.py", *flags]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    answer = json.loads(run("--json"))
    assert len(answer["checks"]) == len(FOUND)
    assert {"about", "statement", "stated", "computed", "unit", "how", "agrees"} <= set(answer["checks"][0])
    assert "statements come out within their rounding" in run()
