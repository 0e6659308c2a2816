"""Error after fine-tuning against what pre-training cost and reached: is the lowest loss the best start?"""

from scalelaw.transfer.association import Association
from scalelaw.transfer.choice import Difference, Regret
from scalelaw.transfer.law import ErrorLaw, error_law, front_of
from scalelaw.transfer.report import Group, Transfer, compare_starts
from scalelaw.transfer.starts import Starts, starts_of

__all__ = [
    "Association", "Difference", "ErrorLaw", "Group", "Regret", "Starts", "Transfer", "compare_starts", "error_law",
    "front_of", "starts_of",
]  # fmt: skip
