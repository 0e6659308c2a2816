"""Plans: what to train with a budget, what to expect of it and what it costs, and which of two families is better."""

from scalelaw.plan.by_error import ErrorPlan, predict_by_error
from scalelaw.plan.caveats import Caveat
from scalelaw.plan.comparison import Comparison, compare
from scalelaw.plan.cost import Cost
from scalelaw.plan.design.result import NextRuns
from scalelaw.plan.form import FormError
from scalelaw.plan.interval import LossInterval, Part
from scalelaw.plan.inverse import Needed
from scalelaw.plan.lifetime import Lifetime
from scalelaw.plan.machines import Machines
from scalelaw.plan.models import Candidate, candidates
from scalelaw.plan.neighbours import Neighbour
from scalelaw.plan.other_forms import OtherForms
from scalelaw.plan.planning import predict, predict_for
from scalelaw.plan.purchases import next_runs
from scalelaw.plan.rates import PlannedRate
from scalelaw.plan.repeats import Repeats
from scalelaw.plan.result import Plan

__all__ = [
    "Candidate",
    "Caveat",
    "Comparison",
    "Cost",
    "ErrorPlan",
    "FormError",
    "Lifetime",
    "LossInterval",
    "Machines",
    "Needed",
    "Neighbour",
    "NextRuns",
    "OtherForms",
    "Part",
    "Plan",
    "PlannedRate",
    "Repeats",
    "candidates",
    "compare",
    "next_runs",
    "predict",
    "predict_by_error",
    "predict_for",
]
