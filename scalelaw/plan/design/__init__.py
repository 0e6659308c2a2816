"""Which runs to buy: what a fitted surface would say of a question after each further run, before any is trained.

The estimate that is planned for is the least-squares fit of ln L to all runs, L = E + A N^-alpha + B D^-beta or the
same below the loss of guessing; for the lowest loss it is the mean over forms (`plan.average`), taken to be linear, and
under no form may the choice do much worse than one large run. Mean squared errors are computed from the fit's own
Jacobian for many surfaces that the runs so far allow, with noise of single runs, effects that runs of one size share,
and an error of the form: for best size and loss one of a few that have a name (none, an interaction, a break of either
exponent beyond the runs), for the size as large as the runs leave it likely; for the exponent a smooth one that runs
near the target know best.
"""
