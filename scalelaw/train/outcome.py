"""What the loop gives back."""

from __future__ import annotations

from dataclasses import dataclass

from scalelaw.runs import Status
from scalelaw.train.evaluation import Evaluation
from scalelaw.train.functions import State


@dataclass(frozen=True)
class Outcome:
    """What became of a schedule.

    Attributes:
        status: finished or diverged.
        evaluation: the last one; None where its loss is not finite.
        images_seen: training images shown.
        seconds: by kind of work: train, evaluate, wait (for the next batch and for files).
        reason: why it diverged, or what a finished run's reader should know; else None.
        state: at the end.
    """

    status: Status
    evaluation: Evaluation | None
    images_seen: int
    seconds: dict[str, float]
    reason: str | None
    state: State
