"""lifetime(surface, budget, models, inference images): the model whose training and use together cost least.

The idea of Sardana et al. 2023 (arXiv 2401.00448): quality is fixed, at the loss that the training budget alone would
reach, and the cheapest model over its life is the one of least 6 M D(M) + 2 M I, with M multiply-adds per image, D(M)
the images at which it reaches that loss, and I the images it will be asked about. With I = 0 that is the
compute-optimal model; more use never makes it larger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.fitting import Bootstrap, Fit
from scalelaw.plan.inverse import REPLICATES, Ends, ends
from scalelaw.plan.models import Candidate
from scalelaw.plan.surfaces import Surfaces, macs_of
from scalelaw.text import block

Array = NDArray[np.float64]

INFERENCE_FLOP_PER_MAC = 2.0
"""A forward pass alone, two FLOP a multiply-add; at the training resolution."""


@dataclass(frozen=True)
class Lifetime:
    """The model of least training and inference FLOP at a fixed loss.

    Attributes:
        inference_images: images that the model will be asked about.
        loss: what the training budget alone reaches with the best model for training, by the estimate.
        variant, params, macs_per_image, images: the chosen model and its training images.
        train_flop, inference_flop: of the chosen model.
        training_best: variant of lowest loss at the training budget.
        training_best_total: its training and inference FLOP.
        budget_ratio: `train_flop` over the training budget, at least 1: the same loss from another model takes more.
        total_interval: 95 % of the chosen model's total FLOP, at every replicate's own loss; None where open.
        images_interval: likewise of its training images.
        replicates: of the bootstrap; 0 where it says nothing.
        same_model: of them, those that choose the same model.
        others: other models that replicates choose, with their counts, the commonest first.
        warnings: caveats.
    """

    inference_images: float
    loss: float
    variant: str
    params: int | None
    macs_per_image: float
    images: float
    train_flop: float
    inference_flop: float
    training_best: str
    training_best_total: float
    budget_ratio: float
    total_interval: Ends
    images_interval: Ends
    replicates: int
    same_model: int
    others: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]

    @property
    def total_flop(self) -> float:
        """Training and inference."""
        return self.train_flop + self.inference_flop

    @property
    def saved_share(self) -> float:
        """What the choice saves of the total that the best model for training alone would cost."""
        return 1 - self.total_flop / self.training_best_total

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown or open."""
        record = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {**record, "others": dict(self.others), "total_flop": self.total_flop, "saved_share": self.saved_share}

    def __str__(self) -> str:
        params = "" if self.params is None else f", {self.params:,} parameters"
        agreed = f"{self.same_model} of {self.replicates} replicates choose it" if self.replicates else "spread unknown"
        rows = {
            "use": f"{self.inference_images:,.6g} images, at a loss of {self.loss:.4f} whatever the model",
            "model": f"{self.variant}{params} ({agreed})",
            "images": f"{self.images:,.0f} ({ends(self.images_interval)})",
            "FLOP": f"{self.train_flop:.4g} in training, {self.inference_flop:.4g} in use, "
            f"{self.total_flop:.4g} in all ({ends(self.total_interval)})",
            "saves": f"{self.saved_share:.1%} of the total of {self.training_best}, the best for training alone; "
            f"training costs {self.budget_ratio:.3g} x the budget",
        }
        return block([*rows.items(), *(("warning", warning) for warning in self.warnings)])


def lifetime(
    surface: Fit,
    flop: float,
    options: Sequence[Candidate],
    inference_images: float,
    *,
    draws: Bootstrap | None = None,
) -> Lifetime:
    """The model that reaches what a training budget would, at the least cost of training and use together.

    Args:
        surface: a fitted SizeData or ChanceSizeData in multiply-adds per image and images.
        flop: the training budget, which sets the loss.
        options: models to choose from, at their own cost per image.
        inference_images: images that the model will be asked about; 0 gives the compute-optimal model.
        draws: replicates of the surface; 1000 of its own without.

    Raises:
        UserError: for numbers out of range, or a surface of another law.
    """
    for name, value, least in (
        ("training budget", flop, "above 0"),
        ("inference images", inference_images, "0 or more"),
    ):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 <= value < float("inf")) or (value == 0 and least == "above 0"):
            raise UserError(f"lifetime: {name} = {value!r} must be {least}, and finite")
    macs = macs_of(options)
    mine = Surfaces.of_fit(surface)
    (best,), reached, (choice,), (images,) = _choose(mine, macs, flop, inference_images)
    ((loss,),) = mine.law.of_sum(reached[:, None])
    model, trained = options[int(choice)], options[int(best)]
    draws = surface.bootstrap(REPLICATES, starts=1) if draws is None else draws
    rows = Surfaces.of_draws(draws)
    bests, reached, choices, _ = _choose(rows, macs, flop, inference_images)
    needed = rows.images_for_sum(macs[[choice]], reached[:, None])[:, 0]
    needed[bests == choice] = flop / (6.0 * macs[choice])  # exactly, as in `_choose`
    counts = Counter(options[int(k)].variant for k in choices)
    warnings = [f"loss surface: {warning}" for warning in surface.warnings]
    sizes, lengths = surface.data["N"], surface.data["D"]
    if images > 1.001 * lengths.max():
        warnings.append(f"{images:.3g} images are {images / lengths.max():.3g} times the longest run's.")
    if not 0.999 * sizes.min() <= model.macs_per_image <= 1.001 * sizes.max():
        warnings.append(f"{model.variant} is outside the sizes of the runs.")
    if len(macs) > 1 and model.macs_per_image == macs.min():
        warnings.append(f"{model.variant} is the smallest model to choose from: a smaller one might cost less.")
    if len(macs) > 1 and model.macs_per_image == macs.max():
        warnings.append(f"{model.variant} is the largest model to choose from: a larger one might cost less.")
    if not draws.usable:
        warnings.append("the choice has no spread: the surface's is unknown.")
    used = INFERENCE_FLOP_PER_MAC * model.macs_per_image * inference_images
    return Lifetime(
        inference_images=float(inference_images),
        loss=float(loss),
        variant=model.variant,
        params=model.params,
        macs_per_image=model.macs_per_image,
        images=float(images),
        train_flop=float(6.0 * model.macs_per_image * images),
        inference_flop=used,
        training_best=trained.variant,
        training_best_total=flop + INFERENCE_FLOP_PER_MAC * trained.macs_per_image * inference_images,
        budget_ratio=float(6.0 * model.macs_per_image * images / flop),
        total_interval=draws.percentiles(6.0 * model.macs_per_image * needed + used),
        images_interval=draws.percentiles(needed),
        replicates=len(choices) if draws.usable else 0,
        same_model=counts[model.variant] if draws.usable else 0,
        others=tuple((name, count) for name, count in counts.most_common() if name != model.variant),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _choose(
    surfaces: Surfaces, macs: Array, flop: float, inference_images: float
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64], Array]:
    """For every row the best model for training, its sum S, the best over the lifetime, and that one's images."""
    best, reached = surfaces.best_at(macs, flop)
    images = surfaces.images_for_sum(macs, reached[:, None])
    every = np.arange(len(best))
    images[every, best] = flop / (6.0 * macs[best])  # exactly, not within the rounding of its own inverse
    total = 6.0 * macs * images + INFERENCE_FLOP_PER_MAC * macs * inference_images
    choice = np.argmin(total, axis=1)
    return best, reached, choice, images[every, choice]
