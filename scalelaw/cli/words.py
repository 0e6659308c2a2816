"""Laws and objectives by the words and numbers of their flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from scalelaw.cli.pairs import as_number

if TYPE_CHECKING:
    from scalelaw.fitting import Objective
    from scalelaw.laws import Law

LawWord = Annotated[
    str,
    arg(
        metavar="LAW",
        help="power, offset, shifted, m4, broken, broken-2, size-data, size-data-chance, repetition, "
        "repetition-chance, overfit, overfit-chance or kaplan; or any sum of power laws by its equation, as 'L = E + "
        "A N^-alpha + B D^-beta + F U^-c'.",
    ),
]
ObjectiveWord = Annotated[
    Literal["least-squares", "huber", "lad", "lower-envelope"], arg(help="What is minimised, as a sum over runs.")
]
SpaceWord = Annotated[Literal["log", "linear"], arg(help="Residuals of log loss or of loss.")]
Delta = Annotated[
    str | None,
    arg(
        metavar="DELTA",
        help="Huber's: residuals within it count as squares, beyond it as absolute values; a number, or a multiple of "
        "the residuals' median absolute deviation as 2mad. 1e-3 unless given.",
    ),
]
Tau = Annotated[
    float | None, arg(help="Of lower-envelope: the weight of runs above the curve, below .5. .05 unless given.")
]


def law_of(word: str) -> type[Law]:
    """A law by its word or its equation."""
    from scalelaw import laws

    return laws.sum_of_powers(word) if "=" in word else laws.law(word)


def objective_of(word: ObjectiveWord, delta: str | None, tau: float | None) -> Objective:
    """What `--objective`, `--delta` and `--tau` name."""
    from scalelaw import fitting
    from scalelaw.errors import UserError

    if delta is not None and word != "huber":
        raise UserError(f"--delta {delta}: belongs to --objective huber; leave it out or add that")
    if tau is not None and word != "lower-envelope":
        raise UserError(f"--tau {tau:g}: belongs to --objective lower-envelope; leave it out or add that")
    if word == "lower-envelope":
        return fitting.LowerEnvelope() if tau is None else fitting.LowerEnvelope(tau)
    if word != "huber":
        return fitting.OBJECTIVES[word]()
    text = delta or "1e-3"
    multiple = text.lower().endswith("mad")
    value = as_number(f"--delta {text}", text[:-3] if multiple else text)
    return fitting.Huber(mad=value) if multiple else fitting.Huber(value)
