"""Named training recipes, every value of which a run may override.

`pretrain` is Brock, De, Smith, Simonyan 2021 (arXiv 2102.06171), section 6.2 and appendix A.5; `imagenet` its appendix
A.1 with the dropout rates of table 1; `finetune` its A.4 and A.5. What these leave open is marked as our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scalelaw.errors import UserError, nearest
from scalelaw.sweep.config import WARMUPS, Precision, RunConfig


@dataclass(frozen=True)
class Recipe:
    """How one step is made, and what happens to its learning rate; not which rate.

    Attributes:
        weight_decay: multiple of a kernel added to its gradient, after clipping.
        momentum: of Nesterov's accumulator.
        clipping, clipping_eps: a unit's gradient norm is held to clipping * max(norm of the unit, clipping_eps).
        warmup_share: part of the steps with a rising rate. The paper gives none for pre-training; our choice.
        warmup_epochs, warmup_steps: where one is given, the length of the rise instead.
        label_smoothing: probability spread evenly over all classes.
        dropout: probability that a pooled feature is zeroed.
        stochastic_depth: probability that the last block's branch is left out; it rises linearly from the first.
        ema: decay of the averaged weights, evaluated beside the raw ones; 0 for none.
        precision: type of activations and products; parameters and what follows from them are float32.
        sam_radius: length of the ascent of sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412); 0 for
            none.
        sam_share: part of the batch that the ascent's gradient is taken on. 1 is the two-step rule itself and our
            default; NFNet's A.4 used 20 % of the batch.
    """

    weight_decay: float
    momentum: float = 0.9
    clipping: float = 0.01
    clipping_eps: float = 1e-3
    warmup_share: float = 0.05
    warmup_epochs: float | None = None
    warmup_steps: int | None = None
    label_smoothing: float = 0.0
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    ema: float = 0.0
    precision: Precision = "float32"
    sam_radius: float = 0.0
    sam_share: float = 1.0

    @property
    def ascent_stride(self) -> int:
        """The ascent takes every so-manieth row of a batch, the first among them."""
        return round(1 / self.sam_share)

    def passes(self, batch_size: int) -> float:
        """Forward and backward passes of a step over the images of its batch: 1, and what the ascent adds to it."""
        return 1.0 if not self.sam_radius else 1 + -(-batch_size // self.ascent_stride) / batch_size

    def warmup(self, steps: int, steps_per_epoch: float) -> int:
        """Steps with a rising rate in a schedule of `steps`; at least one is left to fall."""
        return min(self.asked_warmup(steps, steps_per_epoch), steps - 1)

    def asked_warmup(self, steps: int, steps_per_epoch: float) -> int:
        """The same, however short the schedule."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        if self.warmup_epochs is not None:
            return round(self.warmup_epochs * steps_per_epoch)
        return int(self.warmup_share * steps)


PUBLISHED_DROPOUT = {"F0": 0.2, "F1": 0.3, "F2": 0.4, "F3": 0.4, "F4": 0.5, "F5": 0.5, "F6": 0.5}
"""Table 1. Our choice: F7 as F6, a "+" as its plain variant, and none for the nano family."""

RECIPES: dict[str, Recipe] = {
    "pretrain": Recipe(weight_decay=1e-6),
    "imagenet": Recipe(
        weight_decay=2e-5, warmup_epochs=5, label_smoothing=0.1, stochastic_depth=0.25, ema=0.99999
    ),
    # Label smoothing is open in A.5; our choice is none.
    "finetune": Recipe(
        weight_decay=1e-5, warmup_steps=5000, dropout=0.25, stochastic_depth=0.1, ema=0.9999, sam_radius=0.05
    ),
}  # fmt: skip
BY_VARIANT = ("imagenet",)  # recipes whose dropout follows the variant


def recipe(name: str, variant: str | None = None) -> Recipe:
    """Looks a recipe up.

    Args:
        variant: the network, on which `imagenet`'s dropout depends.

    Raises:
        UserError: for an unknown name, with the nearest one.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}{nearest(name, list(RECIPES))} (known: {', '.join(RECIPES)})")
    found = RECIPES[name]
    if name in BY_VARIANT and variant is not None:
        plain = variant.rstrip("+")
        dropout = PUBLISHED_DROPOUT.get(plain, PUBLISHED_DROPOUT["F6"] if plain.startswith("F") else 0.0)
        found = replace(found, dropout=dropout)
    return found


def rules_of(config: RunConfig) -> Recipe:
    """The run's recipe with the settings that the run overrides."""
    own = config.train.overrides
    rules = recipe(config.train.recipe, config.model.variant)
    if any(name in own for name in WARMUPS):
        rules = replace(rules, warmup_epochs=None, warmup_steps=None)
    return replace(rules, **own)
