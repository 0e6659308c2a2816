"""Figure 3: best learning rate against epochs, from the recorded sweep."""

from one_figure import draw

draw("figure3", __doc__)
