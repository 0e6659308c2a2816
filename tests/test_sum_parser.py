"""Sums of power laws from their equations."""

import contextlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelaw.errors import UserError
from scalelaw.fitting import Huber, fit
from scalelaw.laws import SizeData, Term, sum_of_powers

RNG = np.random.default_rng(0)
N, D, P = (np.exp(RNG.uniform(np.log(1e5), np.log(1e8), 120)) for _ in range(3))


def test_an_equation_becomes_a_law():
    kind = sum_of_powers("L = E + A N^-alpha + B D^-beta + F N^-p D^-q")
    assert kind.constant == "E"
    assert kind.variables == ("N", "D")
    assert kind.names() == ("E", "A", "B", "F", "alpha", "beta", "p", "q")
    assert kind.terms == (
        Term("A", (("N", "alpha"),)),
        Term("B", (("D", "beta"),)),
        Term("F", (("N", "p"), ("D", "q"))),
    )
    assert kind.positive == {"E", "A", "B", "F"}
    made = kind(E=1.0, A=2.0, B=3.0, F=4.0, alpha=0.5, beta=0.25, p=1.0, q=0.5)
    assert made.predict(N=16.0, D=4.0) == pytest.approx(1 + 2 / 4 + 3 * 4**-0.25 + 4 / 16 / 2, rel=1e-15)


@pytest.mark.parametrize(
    "written",
    [
        "L=E+A N^-alpha+B D^-beta",
        "  L  =  E  +  A  N ^ - alpha  +  B  D ^ - beta ",
        "E + A N^-alpha + B D^-beta",
        "L = E + A*N^(-alpha) + B*D^(-beta)",
        "L = E + A N**-alpha + B * D**(-beta)",
        "L = E + A / N^alpha + B / D^beta",
        "L = E + A·N^−alpha + B/D**(beta)",
        "L = A N^-alpha + E + B D^-beta",
    ],
)
def test_ways_to_write_the_same_law_give_the_same_class(written):
    assert sum_of_powers(written) is sum_of_powers("L = E + A N^-alpha + B D^-beta")


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("", "term 1 is empty"),
        ("L =", "term 1 is empty"),
        ("L = E + + A N^-a", "term 2 is empty"),
        ("L = E", "no term has a variable"),
        ("L = E + F + A N^-a", "term 2, 'F': a second constant beside 'E'"),
        ("Y = A N^-a", "'Y' stands left of '='"),
        ("L = A N^-a = 3", "stands left of '='"),
        ("L = E + A N^alpha", "term 2, 'A N^alpha': exponents are positive when the loss falls"),
        ("L = A / N^-a", "exponents are positive when the loss falls"),
        ("L = E - A N^-a", "the name of a variable should come here, but found '-'"),
        ("L = 2 A N^-a", "2 is a number: name it, and pin it with fix"),
        ("L = E + A N^-0.5", "0.5 is a number"),
        ("L = A N^-", "the name of an exponent should come here, but found 'the end'"),
        ("L = A N", "'N' has no exponent"),
        ("L = N^-a", "no amplitude stands before 'N'"),
        ("L = A N^(-a", r"a '\)' is missing"),
        ("L = A N^-a)", r"found '\)'"),
        ("L = A N^-a N^-b", "a variable occurs twice"),
        ("L = A N^-a + B D^-a", "the parameter 'a' occurs 2 times"),
        ("L = A N^-a + A D^-b", "the parameter 'A' occurs 2 times"),
        ("L = E + A N^-E", "the parameter 'E' occurs 2 times"),
        ("L = A N^-D + B D^-b", "'D' is a parameter and a variable"),
        ("L = A L^-a", "L is the loss"),
        ("L = A N^-lambda", "the name 'lambda' is taken"),
        ("L = predict N^-a", "the name 'predict' is taken"),
        ("L = terms N^-a", "the name 'terms' is taken"),
        ("L = A points^-a", "the name 'points' is taken"),
        ("L = exp(N)", r"'exp' .* found '\('|should come here, but found '\('"),
        ("L = A N^-a; import os", "should come here, but found ';'"),
    ],
)
def test_a_mistake_is_named_with_its_place(written, place):
    with pytest.raises(UserError, match=place if "\\" in place else re.escape(place)) as caught:
        sum_of_powers(written)
    assert repr(written) in str(caught.value)
    assert "write it like L = E + A N^-alpha" in str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = st.from_regex(r"[A-KM-Za-z][A-Za-z0-9_]{0,5}", fullmatch=True)


@st.composite
def sums(draw):
    """(constant, terms) of distinct names."""
    letters = [f"{name}_x" for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))]
    shape = draw(st.lists(st.lists(st.sampled_from(letters), min_size=1, unique=True), min_size=1, max_size=4))
    wanted = sum(1 + len(one) for one in shape) + 1
    names = iter(f"{name}_p" for name in draw(st.lists(NAMES, min_size=wanted, max_size=wanted, unique=True)))
    terms = tuple(Term(next(names), tuple((letter, next(names)) for letter in one)) for one in shape)
    return (next(names) if draw(st.booleans()) else None), terms


@settings(max_examples=60, deadline=None)
@given(law=sums(), data=st.data())
def test_what_is_written_is_read_back(law, data):
    constant, terms = law
    space = st.sampled_from(["", " ", "  "])

    def factor(letter, exponent):
        power = data.draw(st.sampled_from(["^", "**"]))
        style = data.draw(
            st.sampled_from(["{s}*{s}{x}{p}-{a}", " {x}{p}(-{a})", "{s}/{s}{x}{s}{p}{s}{a}", " {x}{p}-{s}{a}"])
        )
        return style.format(x=letter, a=exponent, p=power, s=data.draw(space))

    parts = [] if constant is None else [constant]
    parts += [term.amplitude + "".join(factor(*pair) for pair in term.exponents) for term in terms]
    between = data.draw(space) + "+" + data.draw(space)
    kind = sum_of_powers(data.draw(st.sampled_from(["L = ", "L=", ""])) + between.join(parts))
    assert kind.constant == constant
    assert kind.terms == terms
    assert sum_of_powers(kind.equation) is kind
    values = {name: 0.5 + 0.1 * j for j, name in enumerate(kind.names())}
    x = {letter: np.array([1.5, 7.0]) for letter in kind.variables}
    expected = sum(values[t.amplitude] * np.prod([x[v] ** -values[a] for v, a in t.exponents], axis=0) for t in terms)
    np.testing.assert_allclose(kind(**values).predict(**x), expected + values.get(constant, 0.0), rtol=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="LEANab ^-+*/()=.1", max_size=20))
def test_any_text_is_a_law_or_a_user_error(text):
    with contextlib.suppress(UserError):
        kind = sum_of_powers(text)
        assert sum_of_powers(kind.equation) is kind


def test_the_same_equation_fits_the_same_surface():
    made = SizeData(E=1.8, A=521.0, B=1488.0, alpha=0.35, beta=0.37)
    L = made.predict(N=N, D=D) * np.exp(0.01 * np.random.default_rng(1).standard_normal(120))
    written = fit(sum_of_powers(made.equation), N=N, D=D, L=L, objective=Huber(1e-2))
    known = fit(SizeData, N=N, D=D, L=L, objective=Huber(1e-2))
    assert written.params == pytest.approx(known.params, rel=1e-9)
    assert written.stderr == pytest.approx(known.stderr, rel=1e-6)


def test_three_named_variables_are_fitted():
    """Size, data and, say, patches: a law that no paper has written."""
    kind = sum_of_powers("L = floor + A size^-a + B images^-b + P patches^-p")
    truth = {"floor": 0.9, "A": 60.0, "B": 90.0, "P": 30.0, "a": 0.35, "b": 0.4, "p": 0.3}
    x = {"size": N, "images": D, "patches": P}
    found = fit(kind, L=kind(**truth).predict(**x), **x)
    assert found.status == "converged"
    assert found.params == pytest.approx(truth, rel=1e-6)


def test_equal_terms_of_one_variable_are_started_apart():
    kind = sum_of_powers("L = A N^-a + B N^-b")
    made = kind(A=100.0, B=5.0, a=0.6, b=0.1)
    guessed = kind.guess(L=made.predict(N=N), N=N)
    assert guessed.a != guessed.b
    found = fit(kind, L=made.predict(N=N), N=N).params
    first, second = sorted([(found["a"], found["A"]), (found["b"], found["B"])])
    assert first == pytest.approx((0.1, 5.0), rel=1e-6)
    assert second == pytest.approx((0.6, 100.0), rel=1e-6)
