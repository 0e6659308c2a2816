"""A plan that is one large run in all but name says so, with what cheaper runs would do."""

from __future__ import annotations

import re

import numpy as np
import pytest
from test_next_runs_design import CELLS, WORK, information

from scalelaw.plan.design.cells import Cells
from scalelaw.plan.design.exchange import choose, score, with_counts
from scalelaw.plan.design.one_run import about_one_run
from scalelaw.plan.models import Candidate

GRID = Cells(
    tuple(Candidate(f"M{k}", None, float(np.exp(k))) for k in range(4, 9)),
    np.repeat(np.arange(5), 3),
    np.round(1000 * np.exp(CELLS[1])),
    np.exp(CELLS.sum(axis=0) - WORK),
)


def _said(start, counts, spend):
    return about_one_run(start, GRID, np.array(counts), spend, 12, "loss")


def _numbers(said):
    return [float(text) for text in re.findall(r" to (\d\.\d+)", said)]


@pytest.mark.parametrize("form", [1e-4, 0.1])
def test_its_numbers_are_those_of_the_run_alone_and_of_the_best_cheaper_runs(form):
    start, _ = information("loss", size=0.0, form=form)
    spend = 1.0
    dearest = int(np.argmax(np.where(spend >= GRID.flop, GRID.flop, 0)))
    counts = np.zeros(len(GRID.flop), int)
    counts[dearest] = 1
    said = _said(start, counts, spend)
    affordable = np.where(GRID.flop <= GRID.flop[dearest] / 2, GRID.flop, 1e9)  # second method: a cost beyond the spend
    cheaper = choose(start, affordable, spend, 12, together=1, wide=True)
    alone = score(with_counts(start, counts))
    assert _numbers(said) == pytest.approx(np.exp([alone / 2, cheaper.score / 2]), rel=0.01)
    assert GRID.models[GRID.model[dearest]].variant in said
    assert "100%" in said
    assert ("nothing cheaper tells as much" in said) == (cheaper.score >= alone)


def test_both_cases_are_told_apart():
    """One run on the way to the target is best where the form is in doubt; where it holds, cheap seeds are."""
    near, _ = information("loss", noise=1e-3, size=0.0, form=0.1)
    counts = np.zeros(len(GRID.flop), int)
    counts[10] = 1
    assert "nothing cheaper tells as much" in _said(near, counts, float(GRID.flop[10]))
    sure, _ = information("loss", noise=0.05, size=0.0, form=1e-5)
    assert "nothing cheaper tells as much" not in _said(sure, counts, float(GRID.flop[10]))


def test_several_large_runs_are_no_single_one():
    start, _ = information("loss")
    counts = np.zeros(len(GRID.flop), int)
    assert _said(start, counts, 1.0) is None
    counts[3] = 2
    assert _said(start, counts, 1.0) is None
    counts[3], counts[6] = 1, 1
    assert GRID.flop[6] < 4 * GRID.flop[3] or _said(start, counts, 1e9)
