"""Back-tests: what laws say of the largest runs when fitted without them, and how a learning curve goes on."""

from scalelaw.backtest.choice import Candidate, Choice, choose
from scalelaw.backtest.continuation import extrapolate
from scalelaw.backtest.hold_out import HoldOut, hold_out_largest

__all__ = ["Candidate", "Choice", "HoldOut", "choose", "extrapolate", "hold_out_largest"]
