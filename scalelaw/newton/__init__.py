"""The certified solver for sums of power laws, E + sum_k A_k prod_j x_j^-a_kj, many weighted copies at once.

The log of such a sum is a log-sum-exp of functions that are linear in theta = (ln E, ln A_k, a_kj), so gradient and
Hessian of any objective in the residuals are closed-form. Each row of weights is a problem of its own (a bootstrap
replicate, or the same data from another start); all rows take their damped Newton steps side by side. The Newton
matrix is the exact Hessian (for Huber, the semismooth one), damped by the iteratively-reweighted Gauss-Newton matrix.
A term that shrinks to nothing is switched off and its face of the parameter space solved as such.

Any other law takes the same descent with Gauss-Newton matrices from complex-step derivatives. Every parameter has a
box; one at its bound is held while the objective falls outwards. Absolute deviations come as Huber's delta goes to 0.

Logs are centred and scaled (condition numbers fall from 1e13 to a few thousand) and the loss is measured in units of
its geometric mean, which makes results independent of the user's units.
"""

from scalelaw.newton.calculus import Derivatives, derivatives
from scalelaw.newton.descent import CHUNK
from scalelaw.newton.problem import Array, Curve, Mask, Objective, Problem, Space
from scalelaw.newton.projection import approach
from scalelaw.newton.screen import screen
from scalelaw.newton.smooth import SmoothProblem
from scalelaw.newton.solver import Kinked, solve
from scalelaw.newton.sums import Form, SumProblem
from scalelaw.newton.walk import Solution

__all__ = [
    "CHUNK",
    "Array",
    "Curve",
    "Derivatives",
    "Form",
    "Kinked",
    "Mask",
    "Objective",
    "Problem",
    "SmoothProblem",
    "Solution",
    "Space",
    "SumProblem",
    "approach",
    "derivatives",
    "screen",
    "solve",
]
