"""Loss against size at equal compute, with the exact shape's curves and the parabolas, from the recorded sweep."""

from one_figure import draw

draw("equal_compute", __doc__)
