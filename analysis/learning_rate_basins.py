"""Learning-rate basins, cell by cell, from the recorded sweep."""

from one_figure import draw

draw("learning_rate_basins", __doc__)
