"""Colours that every eye tells apart, ticks that are round, numbers and names in words."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from figure_cases import simulated
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from scalelaw import figures
from scalelaw.figures import legend, numbers, style

# Machado, Oliveira, Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def cielab(colours: list[str], sight: str = "normal") -> Any:
    """CIELAB coordinates, shape (colours, 3), as seen with one kind of sight (sRGB, D65)."""
    rgb = np.array([to_rgb(colour) for colour in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.array(SIGHT[sight]).T
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    xyz = linear.clip(0, 1) @ np.transpose(to_xyz) / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("count", range(2, 9))
def test_models_keep_apart_for_every_eye_and_darken_with_size(sight: str, count: int) -> None:
    colours = style.colours(range(count))
    lab = cielab([*colours, style.INK], sight)
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
    assert min(distances) >= 10
    assert (np.diff(cielab(colours)[:, 0]) < -5).all()  # in grey print too


def test_a_model_has_one_colour_in_all_figures() -> None:
    table = simulated()
    subset = table.where(np.isin(table.variant, ["N1", "N4"]) | (table.epochs == 1.0))
    shades = []
    for name in ("figure2", "figure3"):
        drawn = figures.FIGURES[name].collect(subset)
        assert [row["name"] for row in drawn["models"]] == [f"N{k}" for k in range(7)]
        ax = Figure().subplots()
        figures.FIGURES[name].draw(ax, drawn)
        shades.append({line.get_color() for line in ax.lines} - {style.INK, style.GUIDE})
    assert shades[0] == shades[1] == set(style.colours(range(7)))


@given(st.floats(1e-12, 1e12), st.floats(1.02, 1e4))
def test_plain_ticks_are_round_apart_and_enough(low: float, ratio: float) -> None:
    ticks = style.plain_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(ticks)
    assert low <= ticks[0]
    assert ticks[-1] <= low * ratio
    assert np.diff(np.log(ticks)).min() > 0.6 / 8 * np.log(ratio)
    assert all(len(f"{tick:.12g}".replace(".", "").strip("0").partition("e")[0].rstrip("0")) <= 4 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "interval", "text"),
    [
        (0.11234, (0.10312, 0.12156), "0.112 [0.103, 0.122]"),
        (0.5, (0.42, 0.58), "0.50 [0.42, 0.58]"),
        (-0.121, (-0.16, -0.08), "−0.12 [−0.16, −0.08]"),
        (-0.001, (-0.2, 0.2), "0.0 [−0.2, 0.2]"),
        (0.3, (0.1, None), "0.3 [0.1, open]"),
        (0.3, (None, None), "0.300 (interval unknown)"),
        (0.3, None, "0.300 (interval unknown)"),
        (None, None, "unknown"),
    ],
)
def test_an_estimate_is_written_to_the_digits_its_interval_supports(value: Any, interval: Any, text: str) -> None:
    assert numbers.with_interval(value, interval) == text


def test_sizes_in_words() -> None:
    words = {57300: "57k", 1.2e9: "1.2B", 999.6: "1k", 12: "12", 9.96e6: "10M"}
    assert {value: numbers.in_words(value) for value in words} == words


@given(st.integers(1, 999_999), st.integers(-2, 12))
def test_ticks_in_words_are_their_values(digits: int, power: int) -> None:
    value = float(f"{digits}e{power}")
    text = numbers.tick_words(value)
    letter = text.lstrip("0123456789.e+-")
    assert float(text.removesuffix(letter)) * {"": 1, "k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[letter] == pytest.approx(
        value, rel=1e-12
    )


def test_lengths_in_epochs_are_short_and_differ() -> None:
    assert style.lengths([0.125, 0.449992, 7.99906, 64, 1024]) == ["0.125", "0.45", "8", "64", "1024"]
    assert style.lengths([1.0001, 1.0002]) == ["1.0001", "1.0002"]


def test_plain_numbers_are_json_with_unknown_as_null() -> None:
    raw = {"a": np.float64(1 / 3), "b": np.array([1.0, np.nan, np.inf]), "c": (np.int64(7), True, None), 0.5: "x"}
    assert numbers.plain(raw) == {"a": 0.333333, "b": [1.0, None, None], "c": [7, True, None], "0.5": "x"}


def test_long_names_keep_beginning_and_end() -> None:
    assert legend.shortened("N7") == "N7"
    assert legend.shortened("a" * 30 + "z" * 30) == "a" * 15 + "…" + "z" * 8
