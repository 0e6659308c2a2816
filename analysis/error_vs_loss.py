"""Error after fine-tuning against pre-training loss, runs of equal compute joined, from the recorded transfer sweep."""

from one_figure import draw

draw("error_vs_loss", __doc__, "transfer")
