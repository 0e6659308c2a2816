"""Real and complex elementary functions for log-predictions: safe at any magnitude, exact for complex steps.

A complex step carries a derivative in an imaginary part so small (1e-30) that its square is nothing. To first order
in it every function is f(x) + i f'(x) h, from real arithmetic, which is several times faster than complex
transcendentals and free of their branch cuts. None of these warns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Values = Any
"""A float or complex array: mypy has no name for "whatever came in"."""


def columns(theta: Values) -> list[Values]:
    """theta (rows, size) as columns (rows, 1), real where nothing is imaginary: only what a step touches is complex."""
    split = [theta[:, j : j + 1] for j in range(theta.shape[1])]
    return [column.real if np.iscomplexobj(column) and not column.imag.any() else column for column in split]


def first_order(value: Values, slope: Values, z: Values) -> Values:
    """f(z) of f(x) and f'(x) at x, the real part of z; the plain value for a real z."""
    if not np.iscomplexobj(z):
        return value
    out = np.empty(np.shape(value), complex)
    out.real = value
    out.imag = slope * z.imag
    return out


def exp(z: Values) -> Values:
    """e^z, inf where it overflows."""
    with np.errstate(over="ignore"):
        value = np.exp(z.real)
    return first_order(value, value, z)


def log(z: Values) -> Values:
    """ln z for positive real parts; -inf at 0, NaN below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return first_order(np.log(z.real), 1 / z.real, z)


def softplus(z: Values) -> Values:
    """ln(1 + e^z)."""
    x = z.real
    small = np.exp(-np.abs(x))
    value = np.maximum(x, 0.0) + np.log1p(small)
    return first_order(value, np.where(x > 0, 1.0, small) / (1 + small), z) if np.iscomplexobj(z) else value


def sigmoid(z: Values) -> Values:
    """1 / (1 + e^-z)."""
    x = z.real
    small = np.exp(-np.abs(x))
    value = np.where(x > 0, 1.0, small) / (1 + small)
    return first_order(value, value * (1 - value), z)


def log_add(a: Values, b: Values) -> Values:
    """ln(e^a + e^b); either may be -inf."""
    x, y = a.real, b.real
    high, low = np.maximum(x, y), np.minimum(x, y)
    with np.errstate(invalid="ignore"):
        small = np.exp(low - high)
    value = high + np.log1p(small)
    if not (np.iscomplexobj(a) or np.iscomplexobj(b)):
        return value
    share = np.where(x > y, 1.0, small) / (1 + small)  # of a
    out = np.empty(value.shape, complex)
    out.real = value
    out.imag = (share * a.imag if np.iscomplexobj(a) else 0.0) + ((1 - share) * b.imag if np.iscomplexobj(b) else 0.0)
    return out


def expm1(z: Values) -> Values:
    """e^z - 1, precise near 0; exponents above 600 count as 600."""
    value = np.expm1(np.minimum(z.real, 600.0))
    return first_order(value, value + 1, z)
