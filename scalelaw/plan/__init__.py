"""Plans: what to train with a budget, and what to expect of it."""

from scalelaw.plan.models import Candidate, candidates
from scalelaw.plan.planning import Plan, predict

__all__ = ["Candidate", "Plan", "candidates", "predict"]
