"""The two-trial rule replayed on whole grids: nearly all cells come within .1 %, and the pages say what it does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "analysis"))
import two_trials

ROOT = Path(__file__).resolve().parents[1]


RECORDS = json.loads((ROOT / "analysis" / "two_trials.json").read_text(encoding="utf-8"))


def reaches_what_was_asked(grid: two_trials.Grid, least: float) -> None:
    """A quarter of the best constant rate's regret, that share of the cells within .1 %, and what is on record.

    A machine that rounds otherwise may take cells in another order, as another seed of the draws does; so the replay
    is held against the record as two seeds would be.
    """
    first, best = two_trials.replayed(grid)
    one, two = (two_trials.Score.of(losses, grid) for losses in (first, best))
    constant = two_trials.Score.of(two_trials.constant(grid)[1], grid)
    assert two.within >= least
    assert two.regret <= constant.regret / 4
    assert two.within > max(one.within, constant.within)
    (record,) = (record for record in RECORDS if record["name"] == grid.name)
    assert record["cells"] == len(grid.cells)
    assert record["constant"] == pytest.approx({"within": constant.within, "regret": constant.regret})
    assert record["two"]["1"][0]["within"] == pytest.approx(two.within, abs=0.03)


def test_the_recorded_sweep():
    reaches_what_was_asked(two_trials.recorded(None), 0.95)


@pytest.mark.slow
@pytest.mark.parametrize(("best_batch", "least"), [(False, 0.93), (True, 0.95)])
def test_step_law(best_batch, least):
    """Of the 170 cells ten seeds reach 93.5 to 96.5 %, 95.4 % in the mean."""
    if not two_trials.STEP_LAW.exists():
        pytest.skip("Step Law's table is not here: no shared/data")
    reaches_what_was_asked(two_trials.step_law(best_batch), least)


def test_the_pages_say_what_is_on_record():
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("analysis/two_trials.md", "README.md"))
    for record in RECORDS:
        rules = (record["constant"], record["one"], record["two"]["1"][0])
        row = " | ".join(f"{score['within']:.1%}, {score['regret']:.3%}" for score in rules)
        assert f"{row} |" in page
        if " alone" in record["name"]:
            continue
        seeds = (sum(score["within"] for score in record["two"][k]) / len(record["two"][k]) for k in ("1", "4"))
        assert f"| {record['cells']} | {row} | {' | '.join(f'{share:.1%}' for share in seeds)} |" in readme
        assert rules[-1]["within"] >= 0.95
