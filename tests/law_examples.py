"""An example of every law, and the laws by kind."""

import inspect

import numpy as np
import pytest

from scalelaw.laws import (
    LAWS,
    Law,
    Smooth,
    SumOfPowers,
    build,
    sum_of_powers,
)

RNG = np.random.default_rng(0)
DATA = {
    "C": np.geomspace(1.0, 1e4, 60),
    "N": np.exp(RNG.uniform(np.log(1e6), np.log(1e9), 80)),
    "U": np.exp(RNG.uniform(np.log(1e7), np.log(1e9), 80)),
}
DATA["D"] = DATA["U"] * np.exp(RNG.uniform(0, 4, 80))
TRUTHS = {
    "power": {"A": 3.0, "alpha": 0.2},
    "offset": {"E": 0.5, "A": 3.0, "alpha": 0.2},
    "shifted": {"B": 2.0, "gamma": 1e-3, "c": 0.3},
    "m4": {"E": 0.3, "E0": 1.0, "a": 0.7, "B": 3.0, "c": 0.4},
    "broken": {"E": 0.3, "A": 1.0, "c0": 0.1, "c1": 0.5, "d1": 50.0, "f1": 0.3},
    "broken-2": {"E": 0.2, "A": 1.0, "c0": 0.1, "c1": 0.5, "d1": 20.0, "f1": 0.3, "c2": -0.4, "d2": 900.0, "f2": 0.2},
    "size-data": {"E": 1.8, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.37},
    "size-data-chance": {"E": 1.8, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.37, "L0": 6.0, "p": 4.0},
    "repetition": {"E": 1.8, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.37, "R_D": 15.0, "R_N": 5.3},
    "overfit": dict(E=1.8, A=521.0, B=1488.0, alpha=0.35, beta=0.37, P=0.004, delta=1.2, kappa=0.4),  # noqa: C408
    "repetition-chance": {
        "E": 1.8,
        "A": 521.0,
        "B": 1488.0,
        "alpha": 0.35,
        "beta": 0.37,
        "R_D": 15.0,
        "R_N": 5.3,
        "L0": 6.0,
        "p": 4.0,
    },
    "overfit-chance": {
        "E": 1.8,
        "A": 521.0,
        "B": 1488.0,
        "alpha": 0.35,
        "beta": 0.37,
        "P": 0.004,
        "delta": 1.2,
        "kappa": 0.4,
        "L0": 6.0,
        "p": 4.0,
    },
    "kaplan": {"Nc": 6.4e13, "Dc": 1.8e13, "aN": 0.076, "aD": 0.103},
}
GENERAL = sum_of_powers("L = E + A N^-alpha + F N^-p D^-q")
TRUTHS[GENERAL.equation] = {"E": 1.8, "A": 5210.0, "F": 900.0, "alpha": 0.6, "p": 0.1, "q": 0.25}
KINDS = {**LAWS, GENERAL.equation: GENERAL}
SMOOTHS = {word: kind for word, kind in LAWS.items() if issubclass(kind, Smooth)}
SUMS = {word: kind for word, kind in KINDS.items() if issubclass(kind, SumOfPowers)}
EVERY = pytest.mark.parametrize("word", KINDS)
SMOOTH = pytest.mark.parametrize("word", SMOOTHS)
SUM = pytest.mark.parametrize("word", SUMS)


def example(word: str) -> tuple[Law, dict[str, np.ndarray]]:
    """A law and variables. One without an entry in TRUTHS is the law's own guess for a falling loss."""
    kind = KINDS[word]
    x = {letter: DATA[letter] for letter in kind.variables}
    if word in TRUTHS:
        return build(kind, TRUTHS[word]), x
    falling = 0.5 + sum((values / values.min()) ** -0.3 for values in x.values())
    return kind.guess(L=falling, **x), x


def logs_of(x: dict[str, np.ndarray]) -> np.ndarray:
    return np.log(np.stack(list(x.values())))


def normalised(made: Law, x: dict[str, np.ndarray]) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
    """ln units, the data over them (L too), and theta of the same curve there."""
    data = {"L": made.predict(**x), **x}
    units = type(made).log_units(**data)
    theta = type(made).unscaled(made.encode(made.params)[None], {letter: -unit for letter, unit in units.items()})
    return units, {letter: values * np.exp(-units[letter]) for letter, values in data.items()}, theta


def arguments(made: Law, name: str, x: dict[str, np.ndarray]) -> dict[str, float] | None:
    """Arguments for a derived quantity, None for a property."""
    if not callable(getattr(made, name)):
        return None
    known = {letter: float(np.median(values)) for letter, values in {**DATA, **x}.items()}
    known |= {"L": float(np.median(made.predict(**x))), "k": 6.0, "excess": 0.02, "segment": 1}
    if "N" in x:
        known["C"] = 1e18
    return {key: known[key] for key in inspect.signature(getattr(made, name)).parameters}


def quantity(made: Law, name: str, at: dict[str, float] | None):
    return getattr(made, name) if at is None else getattr(made, name)(**at)
