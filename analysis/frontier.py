"""The frontier: best size and epochs against compute, from the recorded sweep."""

from one_figure import draw

draw("frontier", __doc__)
