"""Contours of the loss surface with its efficient path, from the recorded sweep."""

from one_figure import draw

draw("surface", __doc__)
