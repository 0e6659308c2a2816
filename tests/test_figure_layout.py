"""No text lies over another, no line through a text, and the axes keep the page."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from drawings import assert_apart
from figure_cases import BY_CASE, laid_out

from scalelaw.figures import style


@BY_CASE
def test_no_text_lies_over_another_or_leaves_the_page(which: str) -> None:
    figure, boxes = laid_out(which)
    assert len(boxes) >= 8
    page = figure.bbox
    for text, box in boxes.items():
        assert page.contains(*box.min), f"{text} leaves the page"
        assert page.contains(*box.max), f"{text} leaves the page"
        for ax in figure.axes:
            assert not ax.bbox.contains(*box.min) or ax.bbox.contains(*box.max), f"{text} crosses the frame"
    assert_apart(boxes)


@BY_CASE
def test_no_line_or_marker_runs_through_a_text(which: str) -> None:
    figure, boxes = laid_out(which)
    for ax in figure.axes:
        for line in ax.lines:
            at = line.get_transform().transform(np.column_stack([line.get_xdata(), line.get_ydata()]).astype(float))
            at = np.concatenate([np.linspace(a, b, 20) for a, b in itertools.pairwise(at)]) if len(at) > 1 else at
            at = at[(at >= ax.bbox.min).all(axis=1) & (at <= ax.bbox.max).all(axis=1)]
            for text, box in boxes.items():
                inside = (at > box.min).all(axis=1) & (at < box.max).all(axis=1)
                assert not inside.any() or line.get_color() == style.GUIDE, f"a line runs through {text}"


@BY_CASE
def test_the_axes_keep_most_of_the_page(which: str) -> None:
    figure, _ = laid_out(which)
    assert figure.get_figwidth() == pytest.approx(3.35)
    for ax in figure.axes:
        assert ax.get_position().width > 0.66
        assert ax.get_position().height * figure.get_figheight() > 1.2  # inches
