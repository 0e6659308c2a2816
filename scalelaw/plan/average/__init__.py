"""The expected loss as a mean over forms that the truth may have, weighed by what the runs say of each.

The fit is E + A N^-alpha + B D^-beta. Each form of `design.forms` is that surface with one departure of an unknown
factor, about 0 and of about 1 before any run; an exponent may change anywhere between the runs. Its posterior is taken
to be normal about its mode (Laplace), which gives its evidence; the mean weighs forms by prior times evidence (Bayesian
model averaging, Hoeting et al. 1999).
"""

from scalelaw.plan.average.mean import MeanOfForms, mean_of_forms

__all__ = ["MeanOfForms", "mean_of_forms"]
