"""Contract of every registered law; a new one gets these tests by being entered in LAWS."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from scalelaw.errors import UserError
from scalelaw.laws import LAWS, Law, SizeData, build, law

RNG = np.random.default_rng(0)
DATA = {
    "C": np.geomspace(1e-8, 1e-5, 40),
    "N": np.exp(RNG.uniform(np.log(1e5), np.log(1e7), 40)),
    "D": np.exp(RNG.uniform(np.log(1e4), np.log(1e6), 40)),
}
VALUES = {"E": 0.7, "A": 9.0, "B": 25.0, "alpha": 0.22, "beta": 0.31}
EVERY = pytest.mark.parametrize("kind", LAWS.values(), ids=list(LAWS))


def example(kind: type[Law]) -> tuple[Law, dict[str, np.ndarray]]:
    made = build(kind, {name: VALUES[name] for name in kind.names()})
    return made, {letter: DATA[letter] for letter in kind.variables}


@EVERY
def test_a_law_is_frozen_and_its_fields_are_its_parameters(kind):
    made, _ = example(kind)
    assert tuple(made.params) == tuple(field.name for field in fields(kind))
    with pytest.raises(FrozenInstanceError):
        made.alpha = 1.0


@EVERY
def test_predict_is_the_sum_that_constant_and_terms_declare(kind):
    made, x = example(kind)
    total = made.params[kind.constant] if kind.constant else 0.0
    for term in kind.terms:
        part = made.params[term.amplitude]
        for letter, exponent in term.exponents:
            part = part * x[letter] ** -made.params[exponent]
        total = total + part
    np.testing.assert_allclose(made.predict(**x), total, rtol=1e-14)


@EVERY
def test_declared_names_are_exactly_the_fields(kind):
    declared = {term.amplitude for term in kind.terms} | set(kind.exponent_names()) | ({kind.constant} - {None})
    assert declared == set(kind.names())
    assert {letter for term in kind.terms for letter, _ in term.exponents} == set(kind.variables)


@EVERY
def test_the_guess_is_of_the_right_size(kind):
    made, x = example(kind)
    loss = made.predict(**x)
    guessed = kind.guess(L=loss, **x)
    assert all(np.isfinite(value) for value in guessed.params.values())
    assert np.abs(np.log(guessed.predict(**x) / loss)).max() < np.log(3)


@EVERY
def test_a_law_has_a_word_an_equation_and_a_source(kind):
    assert LAWS[kind.word] is kind
    assert kind.equation in kind.__doc__
    assert "arXiv" in kind.__doc__


def test_an_unknown_law_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'offset'"):
        law("ofset")


def test_optimum_of_the_surface_is_its_minimum_at_fixed_compute():
    surface = SizeData(**VALUES)
    C = 3e12
    N, D = surface.optimum(C, k=6)
    assert pytest.approx(C, rel=1e-12) == 6 * N * D
    tried = N * np.geomspace(0.5, 2, 401)
    losses = surface.predict(N=tried, D=C / 6 / tried)
    assert np.argmin(losses) == 200
    assert surface.size_exponent + surface.data_exponent == pytest.approx(1, abs=1e-15)
    later, _ = surface.optimum(10 * C, k=6)
    assert np.log10(later / N) == pytest.approx(surface.size_exponent, abs=1e-12)
