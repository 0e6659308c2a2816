"""Back-test roll-outs: the dearest runs as predicted without them, from the recorded sweep."""

from one_figure import draw

draw("roll_outs", __doc__)
