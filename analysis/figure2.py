"""Figure 2: held-out loss against compute, from the recorded sweep."""

from one_figure import draw

draw("figure2", __doc__)
