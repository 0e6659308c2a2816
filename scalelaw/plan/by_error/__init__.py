"""Plans by top-1 error, after fine-tuning where runs were fine-tuned, beside what the lowest loss would have given."""

from scalelaw.plan.by_error.planning import predict_by_error
from scalelaw.plan.by_error.result import ErrorPlan

__all__ = ["ErrorPlan", "predict_by_error"]
