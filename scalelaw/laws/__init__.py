"""The functional forms of scaling laws, each a frozen dataclass of its parameters.

A law's fields make its parameter names, the order of its covariance and the header of its table. To add a law, write
one more class and enter it in `LAWS`: the contract tests come by themselves.

A law is either a `SumOfPowers`, which the closed-form Newton solver fits, or `Smooth`, which the generic one does.
"""

from __future__ import annotations

import re
from typing import Any

from scalelaw.errors import UserError, nearest
from scalelaw.laws.base import Array, Law
from scalelaw.laws.broken import BrokenPowerLaw, broken
from scalelaw.laws.chance import ChanceSizeData
from scalelaw.laws.general import sum_of_powers
from scalelaw.laws.guessing import ChanceOverfit, ChanceRepetition
from scalelaw.laws.kaplan import KaplanJoint
from scalelaw.laws.m4 import M4
from scalelaw.laws.overfit import Overfit
from scalelaw.laws.repetition import DataRepetition, Repeated
from scalelaw.laws.shifted import ShiftedPowerLaw
from scalelaw.laws.size_data import SizeData
from scalelaw.laws.smooth import Smooth
from scalelaw.laws.split import Split
from scalelaw.laws.sums import OffsetPowerLaw, PowerLaw, SumOfPowers, Term

__all__ = [
    "LAWS",
    "M4",
    "Array",
    "BrokenPowerLaw",
    "ChanceOverfit",
    "ChanceRepetition",
    "ChanceSizeData",
    "DataRepetition",
    "KaplanJoint",
    "Law",
    "OffsetPowerLaw",
    "Overfit",
    "PowerLaw",
    "Repeated",
    "ShiftedPowerLaw",
    "SizeData",
    "Smooth",
    "Split",
    "SumOfPowers",
    "Term",
    "broken",
    "build",
    "law",
    "sum_of_powers",
]

LAWS: dict[str, type[Law]] = {
    law.word: law
    for law in (
        PowerLaw,
        OffsetPowerLaw,
        ShiftedPowerLaw,
        M4,
        broken(1),
        broken(2),
        SizeData,
        ChanceSizeData,
        DataRepetition,
        ChanceRepetition,
        Overfit,
        ChanceOverfit,
        KaplanJoint,
    )
}


def law(word: str) -> type[Law]:
    """Looks a law up by its word, `broken-n` for any number of breaks; an equation makes a sum of power laws.

    Raises:
        UserError: for an unknown word, naming the nearest, or an equation that is none.
    """
    if word in LAWS:
        return LAWS[word]
    if "=" in word or "^" in word:
        return sum_of_powers(word)
    if found := re.fullmatch(r"broken-(\d+)", word):
        return broken(int(found[1]))
    known = f"{', '.join(LAWS)}, or an equation like 'L = E + A N^-alpha'"
    raise UserError(f"unknown law {word!r}{nearest(word, list(LAWS))} (known: {known})")


def build(kind: type[Law], params: dict[str, Any]) -> Law:
    """A law of `kind` from a mapping of its parameters."""
    return kind(**{name: float(params[name]) for name in kind.names()})
