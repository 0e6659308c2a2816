"""Caveats of a plan: each a named sentence, the gravest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

GRAVITY: dict[str, str] = {
    "far extrapolation": "the budget is more than 100 times the dearest run",
    "no certified optimum": "the surface's fit failed",
    "extrapolation": "the budget is more than 10 times the dearest run",
    "interval unknown": "a part of the loss's interval could not be had",
    "roll-outs lean": "surfaces fitted to cheap runs missed the dearer ones mostly to one side",
    "other forms disagree": "a mean over forms of the surface expects another loss than the fitted one",
    "loss surface": "a warning of the surface's fit",
    "error surface": "a warning of the fit of errors, where the plan is by error",
    "sizes disagree": "equal compute, which assumes no surface, puts the best size elsewhere",
    "outside the sizes": "the model is larger or smaller than any that was trained",
    "edge of the candidates": "the model is the largest or smallest to choose from",
    "longer than any run": "more images than the longest run saw",
    "shorter than any run": "fewer images than the shortest run saw",
    "repetition not identified": "the runs do not tell what repeated images are worth",
    "forms of repetition": "what the back-test leaves open about repeated images",
    "repeated images": "more epochs, or other training sets, than were tried",
    "budget not spent": "more epochs than the plan's would raise the loss",
    "no roll-outs": "the form's part of the interval rests on an assumption alone",
    "no learning rate": "none could be read off the runs",
    "nearest cell's rate": "the cells give no trend of the learning rate",
    "rate without interval": "too few optima lie inside their grid",
    "rate outside the grid": "the planned rate was never tried",
    "optima at the edge": "many cells have their best rate at the edge of their grid",
    "trends not told apart": "the cells do not tell which form the rate's trend has",
    "mixed batches": "the runs have several batch sizes",
    "training sets differ": "epochs refer to one of several training sets",
    "epochs unknown": "the training set's size is not known",
    "sizes not built": "only the table's own sizes are considered",
    "own errors": "a plan by error of runs that were not fine-tuned",
    "left out": "a plan by error of fewer runs than there are",
    "fine-tuned runs left out": "a plan by loss of a table that holds fine-tuned runs too",
    "cost unknown": "time and memory could not be had",
    "dearer steps": "the runs' own FLOP are more than those of plain steps, in which a plan is made",
    "hours differ": "the run takes more or fewer hours of the hardware than its budget",
    "budget converted": "how hours of hardware, or dollars, became FLOP",
    "settings differ": "the runs were not all trained with the settings that the plan takes over",
}
"""Name -> when it is said; the order is that of gravity."""
_RANK = {name: rank for rank, name in enumerate(GRAVITY)}


@dataclass(frozen=True)
class Caveat:
    """A name of `GRAVITY` and a sentence about this plan."""

    name: str
    sentence: str

    def __post_init__(self) -> None:
        assert self.name in GRAVITY, self.name

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


def gravest_first(found: Iterable[Caveat]) -> tuple[Caveat, ...]:
    """Each once, by gravity; those of one name as they came."""
    return tuple(sorted(dict.fromkeys(found), key=lambda caveat: _RANK[caveat.name]))
