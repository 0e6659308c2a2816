"""What a table of runs gives every plan: its best runs, the loss surface through them, the models to choose from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scalelaw.errors import UserError
from scalelaw.fitting import Bootstrap, Fit
from scalelaw.frontiers.chance import chance_loss
from scalelaw.frontiers.surface import fit_surface
from scalelaw.plan.inverse import REPLICATES
from scalelaw.plan.models import Candidate, candidates
from scalelaw.plan.surfaces import Surfaces
from scalelaw.runs import RunTable
from scalelaw.transfer.rows import apart

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """What every plan from a table stands on.

    Attributes:
        runs: all runs; done: the finished ones; best: of these the best over learning rates.
        macs, images: (best runs,) multiply-adds an image, and training images.
        surface: loss in both, fitted to the best runs.
        options: models to choose from, by rising multiply-adds.
        remarks: sentences on what was left out of the options.
        quantity: what the column val_loss holds, in words.
        chance: its value by guessing, None where that is unknown.
        tuned: fine-tuned runs of the table that were left out.
    """

    runs: RunTable
    done: RunTable
    best: RunTable
    macs: Array
    images: Array
    surface: Fit
    options: tuple[Candidate, ...]
    remarks: tuple[str, ...]
    quantity: str = "loss"
    chance: float | None = None
    tuned: int = 0

    @staticmethod
    def of(runs: RunTable) -> Ground:
        """Of all runs of a sweep, by their loss.

        Raises:
            UserError: when columns are missing, or no surface can be fitted.
        """
        own, tuned = apart(runs)
        if not len(own):  # fine-tuned runs alone are a sweep of their own
            return Ground._of(runs, "loss", None)
        return replace(Ground._of(own, "loss", None), tuned=len(tuned))

    @staticmethod
    def of_errors(runs: RunTable, chance: float | None) -> Ground:
        """The same by an error, which the column val_loss holds in place of the loss.

        Args:
            runs: all runs.
            chance: the error of guessing, None where it is unknown.

        Raises:
            UserError: as `of`.
        """
        return Ground._of(runs, "error", chance)

    @staticmethod
    def _of(runs: RunTable, quantity: str, chance: float | None) -> Ground:
        """By the column val_loss.

        Raises:
            UserError: when columns are missing, or no surface can be fitted.
        """
        done = runs.finished()
        best = done.best_over("peak_lr") if done.points == "all" and done.has("peak_lr") else done
        if not len(best):
            raise UserError(f"{runs.source}: has no finished run to predict from")
        if not best.has("macs_per_image"):
            raise UserError(f"{runs.source}: has no macs_per_image; a plan needs each model's cost per image")
        macs, images = best.macs_per_image.astype(float), best.images_seen.astype(float)
        _refuse_impossible(best)
        chance = chance_loss(best) if quantity == "loss" else chance
        surface = fit_surface(macs, images, best.val_loss.astype(float), "best", chance)
        options, remarks = candidates(best)
        return Ground(runs, done, best, macs, images, surface, tuple(options), tuple(remarks), quantity, chance)

    @property
    def flop(self) -> Array:
        """(best runs,) training FLOP."""
        return 6.0 * self.macs * self.images

    @cached_property
    def draws(self) -> Bootstrap:
        """Replicates of the surface.

        Raises:
            UserError: for a surface that nothing is solved on, before anything is drawn.
        """
        Surfaces.of_fit(self.surface)
        return self.surface.bootstrap(REPLICATES, starts=1)

    @cached_property
    def unique_images(self) -> float | None:
        """The runs' own training set, the largest where they differ; None where they do not say."""
        if not self.best.has("unique_images"):
            return None
        return float(self.best.frame["unique_images"].dropna().max())

    @cached_property
    def most_epochs(self) -> float | None:
        """The most passes of any run; None where they do not say."""
        if not self.best.has("unique_images"):
            return None
        return float(np.nanmax(self.images / self.best.unique_images.astype(float)))

    @cached_property
    def batch_size(self) -> int | None:
        """Of most runs; None where they do not say."""
        return int(self.best.frame["batch_size"].mode()[0]) if self.best.has("batch_size") else None


def _refuse_impossible(best: RunTable) -> None:
    """Refuses best runs of which size, images or result cannot be right, by the run's own name.

    Raises:
        UserError: naming the first of them; rows of a selection say nothing of rows of the table.
    """
    for name in ("macs_per_image", "images_seen", "val_loss"):
        values = best.column(name).astype(float)
        bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
        if not len(bad):
            continue
        row = best.frame.iloc[bad[0]]
        known = [f"{key} {row[key]}" for key in ("run_id", "variant", "images_seen", "peak_lr", "seed") if key in row]
        raise UserError(
            f"{best.source}: {name} of {len(bad)} of the best runs is not positive and finite, as {values[bad[0]]:g} "
            f"of the run with {', '.join(known)}; mend or leave out such runs"
        )
