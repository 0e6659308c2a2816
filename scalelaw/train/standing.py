"""Where a schedule stands: what a checkpoint keeps beside the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Standing:
    """The loop's own memory, as JSON values.

    Attributes:
        step: optimizer steps done; with the batch size, the examples seen.
        seconds: of the stopwatch, by kind of work.
        unread: metrics of this step that are not in the trace yet.
        unevaluated: whether an evaluation after this step is still to come.
        evaluation: the last one.
        bad_evaluations: how many looked like divergence.
        traced_step, traced_images, traced_seconds: at the last row of the trace.
    """

    step: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    unread: dict[str, Any] | None = None
    unevaluated: bool = False
    evaluation: dict[str, Any] | None = None
    bad_evaluations: int = 0
    traced_step: int = 0
    traced_images: int = 0
    traced_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Standing:
        """What `to_dict` gave."""
        return cls(**values)
