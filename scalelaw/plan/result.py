"""Plan: what to train with a budget, and what to expect of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from scalelaw.fitting import Fit, Status
from scalelaw.plan.caveats import Caveat
from scalelaw.plan.cost import Cost
from scalelaw.plan.interval import LossInterval
from scalelaw.plan.inverse import Needed
from scalelaw.plan.lifetime import Lifetime
from scalelaw.plan.neighbours import Neighbour
from scalelaw.plan.other_forms import OtherForms
from scalelaw.plan.rates import PlannedRate
from scalelaw.plan.recipe import Recipe, Setting, toml_of
from scalelaw.plan.repeats import Repeats
from scalelaw.text import BLOCK

PlanStatus = Status | Literal["far_extrapolation"]
CONTRACT = (
    "variant", "params", "epochs", "images", "peak_lr", "core_hours", "train_flop", "loss", "loss_low", "loss_high",
    "extrapolation_factor", "status",
)  # fmt: skip
"""What `scalelaw predict --json` always has, first."""


@dataclass(frozen=True)
class Surface:
    """The law that losses are taken from, and its fit's status."""

    law: str
    equation: str
    status: Status

    @staticmethod
    def of(fit: Fit) -> Surface:
        """Of a fitted law."""
        return Surface(fit.law.word, fit.law.equation, fit.status)

    def __str__(self) -> str:
        return f"{self.law}, {self.equation}; status: {self.status}"


@dataclass(frozen=True)
class Plan:
    """What to train with a budget, and what to expect of it.

    Attributes:
        variant, params, macs_per_image: the model.
        epochs: passes over the training images; None when the training set's size is unknown.
        images: training images shown.
        batch_size: of the runs; None when unknown.
        rate: the peak learning rate, with its interval; None when unknown.
        core_hours: TPU-v4 core-hours of the budget; None when the runs do not say what one buys.
        train_flop: FLOP of the budget.
        interval: the expected loss of one run, and its 95 % interval in three parts.
        extrapolation_factor: budget over the largest finished run's compute.
        status: far_extrapolation, or the surface's fit status.
        caveats: what must be known, the gravest first.
        surface: the law that the losses are from.
        neighbours: one size down and up, half and double the epochs.
        alternatives: the next best models at this budget and their expected losses.
        recipe: the settings that a sweep of the plan takes over from the runs.
        source: where the runs come from.
        cost: time, memory and money on named hardware, where they were asked for and the batch size is known.
        lifetime: the model that costs least in training and use together, where its use was asked for.
        needed: the compute that a loss takes, where that set the budget.
        repeats: what so many unique images mean, where they were asked for.
        quantity: what is called loss here, in words: an error, where the plan is by error.
        other_forms: the loss where the surface's form is not taken for granted; None where that cannot be said.
    """

    variant: str
    params: int | None
    macs_per_image: float
    epochs: float | None
    images: float
    batch_size: int | None
    rate: PlannedRate | None
    core_hours: float | None
    train_flop: float
    interval: LossInterval
    extrapolation_factor: float
    status: PlanStatus
    caveats: tuple[Caveat, ...]
    surface: Surface
    neighbours: tuple[Neighbour, ...] = ()
    alternatives: tuple[tuple[str, float], ...] = ()
    recipe: Recipe | None = field(default=None, repr=False)
    source: str = ""
    cost: Cost | None = None
    lifetime: Lifetime | None = None
    needed: Needed | None = None
    repeats: Repeats | None = None
    quantity: str = "loss"
    other_forms: OtherForms | None = None

    @property
    def peak_lr(self) -> float | None:
        """Peak learning rate for the batch size of the runs; None when unknown."""
        return None if self.rate is None else self.rate.rate

    @property
    def loss(self) -> float:
        """Expected held-out loss."""
        return self.interval.loss

    @property
    def loss_low(self) -> float | None:
        """Lower end of the 95 % interval of a single run; None when unknown."""
        return self.interval.low

    @property
    def loss_high(self) -> float | None:
        """Upper end of the 95 % interval of a single run; None when unknown."""
        return self.interval.high

    @property
    def warnings(self) -> tuple[str, ...]:
        """The caveats as sentences, each with its name before it."""
        return tuple(map(str, self.caveats))

    def toml(self) -> str:
        """The plan as a spec that `scalelaw sweep` runs as it is: one run.

        Raises:
            UserError: where the runs do not record what a sweep needs, with one line for everything that is missing.
        """
        recipe = self.recipe or Recipe("runs", 1.0, {}, {}, {}, (f"{self.source}: records no settings of a run",))
        epochs = "" if self.epochs is None else f", {self.epochs:.4g} epochs"
        head = [
            f"What `scalelaw predict` proposes at {self.extrapolation_factor:.3g} x the largest run of {self.source}:",
            f"{self.variant}{epochs}. Expected {self.quantity} {self._expected()}.",
            *(line for caveat in self.caveats for line in str(caveat).splitlines()),
        ]
        rate = None if self.peak_lr is None else float(f"{self.peak_lr:.4g}")
        return toml_of(recipe, "plan", [Setting(self.variant, int(self.images), rate)], self.batch_size, head)

    def to_dict(self) -> dict[str, Any]:
        """What `scalelaw predict --json` prints."""
        return {
            **{name: getattr(self, name) for name in CONTRACT},
            "warnings": list(self.warnings),
            "batch_size": self.batch_size,
            "macs_per_image": self.macs_per_image,
            "interval": self.interval.to_dict(),
            "other_forms": None if self.other_forms is None else self.other_forms.to_dict(),
            "rate": None if self.rate is None else self.rate.to_dict(),
            "neighbours": [one.to_dict() for one in self.neighbours],
            "alternatives": [{"variant": variant, "loss": loss} for variant, loss in self.alternatives],
            "caveats": [{"name": caveat.name, "sentence": caveat.sentence} for caveat in self.caveats],
            "surface": {"law": self.surface.law, "status": self.surface.status},
            "cost": None if self.cost is None else self.cost.to_dict(),
            "lifetime": None if self.lifetime is None else self.lifetime.to_dict(),
            "needed": None if self.needed is None else self.needed.to_dict(),
            "repetition": None if self.repeats is None else self.repeats.to_dict(),
        }

    def _expected(self) -> str:
        if self.loss_low is None or self.loss_high is None:
            return f"{self.loss:.4f} (interval unknown)"
        return f"{self.loss:.4f} (95 % of runs between {self.loss_low:.4f} and {self.loss_high:.4f})"

    def _rows(self) -> list[tuple[str, str]]:
        hours = "" if self.core_hours is None else f"{self.core_hours:.4g} TPU-v4 core-hours, "
        params = "" if self.params is None else f", {self.params:,} parameters"
        batch = "" if self.batch_size is None else f", batches of {self.batch_size:,}"
        epochs = "unknown" if self.epochs is None else f"{self.epochs:.3g}"
        rows = [
            (
                "budget",
                f"{hours}{self.train_flop:.4g} FLOP: {self.extrapolation_factor:.3g} x the largest finished run",
            ),
            ("model", f"{self.variant}{params}"),
            ("epochs", f"{epochs} ({self.images:,.0f} images{batch})"),
            ("learning rate", "unknown" if self.rate is None else str(self.rate)),
            (self.quantity, self._expected()),
        ]
        for name, part in self.interval.parts.items():
            rows.append((name, "unknown" if part is None else part.text(self.loss)))
        if self.other_forms is not None:
            rows.append(("other forms", str(self.other_forms)))
        rows += [(one.name, str(one)) for one in self.neighbours]
        if self.repeats is not None:
            rows += self.repeats.rows()
        rows.append(("surface", str(self.surface)))
        rows.append(("status", self.status))
        return rows

    def __str__(self) -> str:
        rows = self._rows()
        width = max(len(name) for name, _ in rows)
        lines = [f"{name:>{width}}  {value}" for name, value in rows]
        said = list(self.warnings)
        if self.status == "far_extrapolation":
            lines.insert(0, said.pop(0))
        lines += [f"{'caveat':>{width}}  {sentence}" for sentence in said]
        if self.needed is not None:
            lines = ["what the loss takes:", *self._block(self.needed, width), "", "the plan there:", *lines]
        if self.cost is not None:
            lines += ["", f"on {self.cost.hardware}:", *self._block(self.cost, width)]
        if self.lifetime is not None:
            lines += ["", "over its life:", *self._block(self.lifetime, width)]
        return "\n".join(lines)

    def _block(self, part: Cost | Lifetime | Needed, width: int) -> list[str]:
        """A part's own lines in line with the plan's, without the warnings that the plan has among its caveats."""
        if not isinstance(part, Cost):
            part = replace(part, warnings=tuple(said for said in part.warnings if said not in self.warnings))
        return [" " * (width - BLOCK) + line for line in str(part).splitlines()]


def unreachable(needed: Needed) -> dict[str, Any]:
    """What `scalelaw predict --loss --json` prints where no model reaches the loss, or none need be trained."""
    unknown = dict.fromkeys(CONTRACT)
    return {**unknown, "status": needed.status, "warnings": list(needed.warnings), "needed": needed.to_dict()}
