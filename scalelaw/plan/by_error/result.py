"""ErrorPlan: what to pre-train for the lowest top-1 error, and what the lowest loss would have given instead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scalelaw.plan.by_error.choice import Gain, SizeRatio
from scalelaw.plan.by_error.errors import Tuning
from scalelaw.plan.interval import LossInterval
from scalelaw.plan.result import Plan

LEADING = "variant", "params", "epochs", "images", "peak_lr", "core_hours", "train_flop"


@dataclass(frozen=True)
class ErrorPlan:
    """The plan by error, and the plan by loss beside it.

    Attributes:
        plan: of lowest top-1 error at the budget; what it calls loss is that error.
        loss: what to expect of its held-out loss in pre-training.
        by_loss: the plan of lowest loss at the budget.
        error_by_loss: what to expect of its top-1 error.
        gain: of the first choice over the second.
        size: of the two choices, were models of any size to be had.
        tuning: what fine-tuning cost; None where errors are the runs' own.
    """

    plan: Plan
    loss: LossInterval
    by_loss: Plan
    error_by_loss: LossInterval
    gain: Gain
    size: SizeRatio
    tuning: Tuning | None

    @property
    def fine_tuning_core_hours(self) -> float | None:
        """Of one fine-tuning run of the planned model; None where unknown, or where nothing was fine-tuned."""
        rate = None if self.tuning is None else self.tuning.core_hours_per_mac
        return None if rate is None else rate * self.plan.macs_per_image

    @property
    def total_core_hours(self) -> float | None:
        """Of pre-training and one fine-tuning run; None where either is unknown."""
        hours, more = self.plan.core_hours, self.fine_tuning_core_hours
        return None if hours is None or more is None else hours + more

    def toml(self) -> str:
        """The plan by error as a spec that `scalelaw sweep` runs as it is: see `Plan.toml`."""
        return self.plan.toml()

    def to_dict(self) -> dict[str, Any]:
        """What `scalelaw predict --metric top1_error --json` prints."""
        whole = self.plan.to_dict()
        return {
            **{name: whole[name] for name in LEADING},
            **_ends("loss", self.loss),
            "extrapolation_factor": self.plan.extrapolation_factor,
            "status": self.plan.status,
            "warnings": whole["warnings"],
            "metric": "top1_error",
            "after_fine_tuning": self.tuning is not None,
            **_ends("top1_error", self.plan.interval),
            "fine_tuning_core_hours": self.fine_tuning_core_hours,
            "total_core_hours": self.total_core_hours,
            "by_loss": {
                **{name: getattr(self.by_loss, name) for name in LEADING},
                **_ends("loss", self.by_loss.interval),
                **_ends("top1_error", self.error_by_loss),
                "status": self.by_loss.status,
                "gain": self.gain.to_dict(),
            },
            "size_ratio": self.size.to_dict(),
            "batch_size": whole["batch_size"],
            "macs_per_image": whole["macs_per_image"],
            "interval": whole["interval"],
            "rate": whole["rate"],
            "neighbours": [{_word(name): value for name, value in one.items()} for one in whole["neighbours"]],
            "alternatives": [{_word(name): value for name, value in one.items()} for one in whole["alternatives"]],
            "caveats": whole["caveats"],
            "surface": whole["surface"],
            "cost": whole["cost"],
        }

    def __str__(self) -> str:
        lines = str(self.plan).splitlines()
        at = next(place for place, line in enumerate(lines) if line.lstrip().startswith("budget  "))
        width = lines[at].index("budget") + len("budget")
        lines.insert(at + 1, f"{'fine-tuning':>{width}}  {self._tuned()}")
        other = self.by_loss
        epochs = f"{other.images:,.0f} images" if other.epochs is None else f"{other.epochs:.3g} epochs"
        rate = "" if other.peak_lr is None else f", rate {other.peak_lr:.3g}"
        rows = [
            ("model", f"{other.variant}, {epochs}{rate}"),
            ("loss", f"{_expected(other.interval)}; of the plan above {_expected(self.loss)}"),
            ("error", f"{_expected(self.error_by_loss)}; {self._gained()}"),
            ("best size", self._sizes()),
            ("surface", str(other.surface)),
        ]
        block = [f"{name:>{width}}  {value}" for name, value in rows]
        return "\n".join([*lines, "", "by the lowest loss instead:", *block])

    def _tuned(self) -> str:
        if self.tuning is None:
            return "none: errors are those of the pre-training runs on their own held-out images"
        if self.fine_tuning_core_hours is None:
            return "not in the budget; its cost is unknown"
        total = "" if self.total_core_hours is None else f", {self.total_core_hours:.4g} in all"
        tried = f"; up to {self.tuning.tried} settings were tried a start" if self.tuning.tried > 1 else ""
        return f"not in the budget: one run takes {self.fine_tuning_core_hours:.4g} core-hours more{total}{tried}"

    def _gained(self) -> str:
        if self.gain.verdict == "same model":
            return "the same model"
        ends = "interval unknown"
        if self.gain.low is not None and self.gain.high is not None:
            ends = f"{self.gain.low:+.4f} to {self.gain.high:+.4f}"
        return f"{self.gain.difference:+.4f} ({ends}) beside the plan above: {self.gain.verdict}"

    def _sizes(self) -> str:
        if self.size.ratio is None:
            return "for error over that for loss: unknown"
        ends = [("open" if end is None else f"{end:.2f}") for end in (self.size.low, self.size.high)]
        return f"for error over that for loss: {self.size.ratio:.2f} ({' to '.join(ends)}): {self.size.verdict}"


def _ends(name: str, interval: LossInterval) -> dict[str, float | None]:
    return {name: interval.loss, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _word(name: str) -> str:
    return "top1_error" if name == "loss" else name


def _expected(interval: LossInterval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.loss:.4f} (interval unknown)"
    return f"{interval.loss:.4f} ({interval.low:.4f} to {interval.high:.4f})"
