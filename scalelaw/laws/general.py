"""Any sum of power laws from its equation."""

from __future__ import annotations

import keyword
import re
from collections import Counter
from dataclasses import make_dataclass
from functools import cache
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import ArrayLike

from scalelaw.errors import UserError
from scalelaw.laws.base import Array, Law, finite_exp
from scalelaw.laws.sums import SumOfPowers, Term

RESERVED = frozenset(
    {"law", "objective", "space", "weights", "fix", "bounds", "points", "level", "new_run", "name", "self", "cls"}
)
"""Words that `fit`, `predict` and `interval` take themselves, so that no variable can be called so."""
EXAMPLE = "write it like L = E + A N^-alpha + B D^-beta"


def sum_of_powers(equation: str) -> type[SumOfPowers]:
    """The law of an equation such as `L = E + A N^-alpha + B D^-beta + F N^-p D^-q`.

    The first name of a term is its amplitude; every other is a variable with its exponent. A term that is a single
    name is the constant (at most one). `A / N^alpha` means the same as `A N^-alpha`, `**` the same as `^`, and a
    product may be written with `*`. Exponents are positive when the loss falls. Equal equations give the same class,
    however they are spaced.

    Raises:
        UserError: naming the place, for anything else.
    """
    return _law(*_parse(equation))


class _GeneralSum(SumOfPowers):
    """What laws that `sum_of_powers` makes have in common."""

    def predict(self, **variables: ArrayLike) -> Array:
        """See the class's equation."""
        total: Any = 0.0 if self.constant is None else getattr(self, self.constant)
        for term in self.terms:
            part = getattr(self, term.amplitude)
            for letter, exponent in term.exponents:
                part = part * np.asarray(variables[letter], float) ** -getattr(self, exponent)
            total = total + part
        return np.asarray(total)

    @classmethod
    def guess(cls, L: Array, **variables: Array) -> Self:
        """Half of the lowest loss is the constant; the terms share the rest equally, with exponents by regression.

        Where a variable occurs again, its exponent is twice as large each time: equal terms would stay equal.
        """
        params = {} if cls.constant is None else {cls.constant: 0.5 * float(L.min())}
        y = np.log(L - sum(params.values()))
        logs = {letter: np.log(values) for letter, values in variables.items()}
        design = np.stack([np.ones_like(y), *(-logs[letter] for letter in cls.variables)], axis=1)
        (_, *slopes), *_ = np.linalg.lstsq(design, y, rcond=None)
        slope = {letter: max(float(value), 0.05) for letter, value in zip(cls.variables, slopes, strict=True)}
        seen: Counter[str] = Counter()
        for term in cls.terms:
            centre = float(y.mean()) - np.log(len(cls.terms))
            for letter, exponent in term.exponents:
                params[exponent] = slope[letter] * 2.0 ** seen[letter]
                centre += params[exponent] * float(logs[letter].mean())
                seen[letter] += 1
            params[term.amplitude] = finite_exp(centre)
        return cls(**params)


@cache
def _law(constant: str | None, terms: tuple[Term, ...]) -> type[SumOfPowers]:
    factors = [" ".join([t.amplitude, *(f"{letter}^-{name}" for letter, name in t.exponents)]) for t in terms]
    equation = "L = " + " + ".join(([] if constant is None else [constant]) + factors)
    names = [term.amplitude for term in terms] + [name for term in terms for _, name in term.exponents]
    attributes = {
        "__module__": __name__,
        "__doc__": f"{equation}: a sum of power laws.",
        "word": "sum",
        "equation": equation,
        "variables": tuple(dict.fromkeys(letter for term in terms for letter, _ in term.exponents)),
        "constant": constant,
        "terms": terms,
    }
    fields = [(name, float) for name in ([] if constant is None else [constant]) + names]
    return make_dataclass("SumOfPowerLaws", fields, bases=(_GeneralSum,), namespace=attributes, frozen=True)


def _parse(equation: str) -> tuple[str | None, tuple[Term, ...]]:
    """Constant and terms of an equation."""
    text = equation.replace("**", "^").replace("−", "-").replace("·", "*")

    def refuse(what: str) -> NoReturn:
        raise UserError(f"law {equation!r}: {what}; {EXAMPLE}")

    left, equals, right = text.rpartition("=")
    if equals and left.strip() != "L":
        refuse(f"{left.strip()!r} stands left of '=' where L, the loss, should")
    constant: str | None = None
    terms: list[Term] = []
    for number, part in enumerate(right.split("+"), start=1):
        place = f"term {number}, {part.strip()!r}" if part.strip() else f"term {number} is empty"
        term = _term(part, lambda what, place=place: refuse(f"{place}: {what}" if what else place))
        if term.exponents:
            terms.append(term)
        elif constant is None:
            constant = term.amplitude
        else:
            refuse(f"{place}: a second constant beside {constant!r}")
    if not terms:
        refuse("no term has a variable")
    variables = {letter for term in terms for letter, _ in term.exponents}
    names = [term.amplitude for term in terms] + [name for term in terms for _, name in term.exponents]
    names += [] if constant is None else [constant]
    for name, count in Counter(names).items():
        if count > 1:
            refuse(f"the parameter {name!r} occurs {count} times, but each may only once")
    for name in [*names, *sorted(variables)]:
        if name == "L":
            refuse("L is the loss, so nothing else can be called so")
        if name in names and name in variables:
            refuse(f"{name!r} is a parameter and a variable")
        own = {*dir(_GeneralSum), *Law.__annotations__, *SumOfPowers.__annotations__} if name in names else RESERVED
        if keyword.iskeyword(name) or name in own:
            refuse(f"the name {name!r} is taken; choose another")
    return constant, tuple(terms)


def _term(part: str, refuse: Any) -> Term:
    """The amplitude of a term, and its variables with their exponents."""
    tokens = re.findall(r"\w+(?:\.\d+)?|[^\w\s]", part)
    if not tokens:
        refuse("")
    at = 0

    def take(expected: str) -> bool:
        """Steps over a symbol when it comes next."""
        nonlocal at
        here = at < len(tokens) and tokens[at] == expected
        at += here
        return here

    def name(what: str) -> str:
        nonlocal at
        found = tokens[at] if at < len(tokens) else ""
        if not found.isidentifier():
            number = re.match(r"[\d.]", found)
            mend = f"{found} is a number: name it, and pin it with fix" if number else f"found {found or 'the end'!r}"
            refuse(f"{what} should come here, but {mend}")
        at += 1
        return found

    amplitude = name("the name of an amplitude")
    if at < len(tokens) and tokens[at] == "^":
        refuse(f"no amplitude stands before {amplitude!r}")
    exponents: list[tuple[str, str]] = []
    while at < len(tokens):
        divided = take("/")
        if not divided:
            take("*")
        letter = name("the name of a variable")
        if not take("^"):
            refuse(f"{letter!r} has no exponent")
        bracket = take("(")
        if take("-") == divided:
            minus, plain = f"{letter}^-...", f"/ {letter}^..."
            refuse(f"exponents are positive when the loss falls: {letter!r} needs {minus} or {plain}")
        exponents.append((letter, name("the name of an exponent")))
        if bracket and not take(")"):
            refuse("a ')' is missing")
    letters = [letter for letter, _ in exponents]
    if len(set(letters)) < len(letters):
        refuse("a variable occurs twice")
    return Term(amplitude, tuple(exponents))
