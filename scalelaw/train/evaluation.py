"""Evaluation on held-out images, and what it says of a run."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import jax

from scalelaw import stopping
from scalelaw.train import processes
from scalelaw.train.data import Source
from scalelaw.train.functions import State
from scalelaw.train.step import Programs

DIVERGED_ABOVE = 0.5  # nats above the loss of guessing, ln(classes)
AHEAD = 4  # batches under way at once
GUESSING_LOSS_SHARE = 0.99  # of ln(classes): a network that answers nothing but the classes' shares comes this close
GUESSING_DEVIATIONS = 3.0


class Stopped(Exception):
    """A signal asked to stop in the middle of an evaluation."""


@dataclass(frozen=True)
class Evaluation:
    """Means over held-out images.

    Attributes:
        loss: cross-entropy in nats.
        top1_error: share whose class is not the likeliest.
        images: how many.
        loss_ema, top1_error_ema: of the averaged weights; None where none are kept.
    """

    loss: float
    top1_error: float
    images: int
    loss_ema: float | None = None
    top1_error_ema: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values, as the constructor takes them."""
        return asdict(self)

    def columns(self) -> dict[str, Any]:
        """As columns of the trace."""
        return {
            "val_loss": self.loss,
            "val_top1_error": self.top1_error,
            "val_loss_ema": self.loss_ema,
            "val_top1_error_ema": self.top1_error_ema,
            "val_images": self.images,
        }


def evaluate(programs: Programs, source: Source, state: State, at_most: int | None = None) -> Evaluation:
    """Mean loss and top-1 error on held-out images, the last batch weighted exactly.

    Args:
        at_most: only the first so many held-out images; None for all.

    Raises:
        Stopped: when a signal asks to stop on the way.
    """
    totals: list[dict[str, jax.Array]] = []
    under_way: deque[dict[str, jax.Array]] = deque()
    for batch in source.held_out(programs.evaluation_size, at_most, programs.evaluation_rows):
        totals.append(programs.evaluate(state, source.arrays, batch))
        under_way.append(totals[-1])
        if len(under_way) > AHEAD:
            jax.block_until_ready(under_way.popleft())
        if processes.alone() and stopping.asked():  # several processes stop together, after a step
            raise Stopped
    sums = [{name: float(value) for name, value in part.items()} for part in jax.device_get(totals)]
    images = sum(part["images"] for part in sums)
    mean = {name: sum(part[name] for part in sums) / images for name in sums[0]}
    return Evaluation(mean["loss"], mean["wrong"], round(images), mean.get("loss_ema"), mean.get("wrong_ema"))


def diverging(val_loss: float, train_loss: float, classes: int) -> bool:
    """Whether an evaluation is a sign of divergence: both losses above that of guessing, the held-out one clearly.

    A network that knows its few training images by heart may be worse than guessing on others, confidently so; training
    did there what it was asked to. Only where the training loss is that bad too has training itself gone wrong.
    """
    return val_loss > math.log(classes) + DIVERGED_ABOVE and train_loss > math.log(classes)


def guessing(found: Evaluation, classes: int) -> str | None:
    """A sentence for a network that answers no better than by guessing, None for any other.

    Both loss and error must be those of guessing, the error within three standard deviations: at such an end the
    gradient may have died.
    """
    rate = 1 / classes
    spread = math.sqrt(rate * (1 - rate) / found.images)
    if found.loss < GUESSING_LOSS_SHARE * math.log(classes):
        return None
    if found.top1_error < 1 - rate - GUESSING_DEVIATIONS * spread:
        return None
    return (f"no better than guessing: held-out loss {found.loss:.4g} against ln {classes} = {math.log(classes):.4g}, "
            f"top-1 error {found.top1_error:.3g} against {1 - rate:.3g}")  # fmt: skip
