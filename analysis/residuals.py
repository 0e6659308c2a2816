"""Residuals of the loss surface, by run and by size, from the recorded sweep."""

from one_figure import draw

draw("residuals", __doc__)
