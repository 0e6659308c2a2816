"""The look of every figure, and how it is saved: same numbers, same bytes."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.ticker import FixedFormatter, FixedLocator, LogLocator, NullFormatter, NullLocator

from scalelaw.errors import UserError
from scalelaw.figures.numbers import Numbers

WIDTH = 3.35
"""Inches: one column of a two-column paper."""
FULL_WIDTH = 6.9
"""Inches: both columns."""
COMPUTE_UNITS = {"core_hours": "core-hours", "train_flop": "FLOP"}
"""A column of compute in a title or key."""

PAPER: dict[str, Any] = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],  # both come with matplotlib
    "mathtext.fontset": "stix",
    "font.size": 8.0,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.labelpad": 2.0,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "xtick.major.pad": 2.5,
    "ytick.major.pad": 2.5,
    "lines.linewidth": 0.9,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0.7,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
    "figure.dpi": 150,
}

INK = "#222222"
ACCENT = "#0072b2"
GUIDE = "#d9d9d9"
BAND = "#c8c8c8"
_SIZES = LinearSegmentedColormap.from_list(
    "sizes", ["#e5c00c", "#f59838", "#ec785a", "#ce6472", "#b0517e", "#973a86", "#6e2d92", "#082c9d"]
)
MARKERS = ("v", "o", "s", "D", "^", "P", "X", "p")
"""One an epoch budget, in rising order."""

# An arrow whose tail is the point it stands at: the true value lies that way, at least this far.
_STEM = [(0.0, 0.0), (0.0, 2.0), (-0.55, 1.35), (0.0, 2.0), (0.55, 1.35)]
_MOVES = [Outline.MOVETO, Outline.LINETO, Outline.MOVETO, Outline.LINETO, Outline.LINETO]
ARROWS = {
    "above": Outline(_STEM, _MOVES),
    "below": Outline([(x, -y) for x, y in _STEM], _MOVES),
    "bar": Outline([(0.0, -1.0), (0.0, 1.0)], [Outline.MOVETO, Outline.LINETO]),
}
SIDEWAYS = {
    "above": Outline([(y, x) for x, y in _STEM], _MOVES),
    "below": Outline([(-y, x) for x, y in _STEM], _MOVES),
    "bar": Outline([(-1.0, 0.0), (1.0, 0.0)], [Outline.MOVETO, Outline.LINETO]),
}
"""The same along a horizontal axis: above points to the right."""


@contextlib.contextmanager
def paper() -> Iterator[None]:
    """The paper's settings while the block runs; the user's own settings and backend are neither read nor changed."""
    with matplotlib.rc_context():
        backend = {"backend", "backend_fallback", "toolbar", "interactive", "webagg.port"}
        defaults: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in backend}
        matplotlib.rcParams.update(defaults | PAPER)
        yield


def colours(models: Sequence[Any]) -> list[str]:
    """One colour a model, by rising size from light to dark.

    Lightness falls evenly along the sequence, so the order survives every kind of colour blindness and a grey print;
    hue turns from yellow over red to blue. Up to 8 models stay apart by a CIELAB distance of 10 under full
    deuteranopia, protanopia and tritanopia.
    """
    first = 0.0 if len(models) > 6 else 1 / 7  # few models do without the pale end
    places = np.linspace(first, 1.0, len(models)) if len(models) > 1 else [0.6]
    return [to_hex(_SIZES(place)) for place in places]


def shades(models: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Each model's colour by its name, of models as `numbers.models` lists them."""
    return dict(zip([row["name"] for row in models], colours(models), strict=True))


def log_limits(values: Sequence[float], margin: float = 0.04) -> tuple[float, float]:
    """The range of `values` with a `margin` of its log width on either side."""
    low, high = math.log(min(values)), math.log(max(values))
    room = max((high - low) * margin, 0.02)
    return math.exp(low - room), math.exp(high + room)


def inner(low: float, high: float, margin: float = 0.035) -> tuple[float, float]:
    """The range without a `margin` of its log width on either side: labels there would meet those of the other axis."""
    room = margin * math.log(high / low)
    return low * math.exp(room), high * math.exp(-room)


def decades(axis: Any, low: float, high: float) -> None:
    """Powers of ten between `low` and `high` on a log axis; where they are fewer than two, round numbers."""
    if math.floor(math.log10(high)) - math.ceil(math.log10(low)) < 1:
        plain_axis(axis, plain_ticks(low, high, most=4), scientific)
        return
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_minor_locator(LogLocator(subs=list(range(2, 10)), numticks=7))
    axis.set_minor_formatter(NullFormatter())


def scientific(value: float) -> str:
    """A number as digits times a power of ten."""
    digits, _, power = f"{value:e}".partition("e")
    if -2 <= int(power) <= 3:
        return f"{value:g}"
    leading = "" if float(digits) == 1 else rf"{float(digits):g}{{\times}}"
    return rf"${leading}10^{{{int(power)}}}$"


def compute_axis(ax: Axes, column: str) -> None:
    """Decades and label of the compute axis."""
    decades(ax.xaxis, *ax.get_xlim())
    ax.set_xlabel("TPU-v4 core-hours" if column == "core_hours" else "Training FLOP")


def flop_axis(ax: Axes, column: str, flop_per_core_hour: Numbers | None) -> None:
    """A second axis above one of core-hours, in training FLOP.

    Where utilisation differs between runs, a core-hour is not one number of FLOP: the axis then holds for the median
    run and says so.
    """
    if column != "core_hours" or flop_per_core_hour is None:
        return
    ratio = flop_per_core_hour["median"]
    ax.tick_params(axis="x", which="both", top=False)
    above = ax.secondary_xaxis("top", functions=(lambda hours: hours * ratio, lambda flop: flop / ratio))
    low, high = ax.get_xlim()
    decades(above.xaxis, low * ratio, high * ratio)
    one = flop_per_core_hour["high"] <= 1.01 * flop_per_core_hour["low"]
    above.set_xlabel("Training FLOP" if one else "Training FLOP (at the median utilisation)", labelpad=4.0)


def plain_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round numbers between `low` and `high` that look even on a log axis: the most that keep apart, at most `most`."""
    width = math.log(high / low)
    best: list[float] = []
    for candidate in _tick_series(low, high):
        ticks = [tick for tick in candidate if low <= tick <= high]
        gaps = np.diff(np.log(ticks)) / width
        if len(best) < len(ticks) <= most and (len(ticks) < 2 or gaps.min() > 0.6 / most):
            best = ticks
    return best


def _tick_series(low: float, high: float) -> Iterator[list[float]]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for series in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        yield [float(f"{digit * 10.0**power:.12g}") for power in powers for digit in series]
    for power in range(math.floor(math.log10(high - low)) - 1, math.floor(math.log10(high - low)) + 1):
        for digit in (1, 2, 5):
            step = digit * 10.0**power
            yield [float(f"{k * step:.12g}") for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def doublings(low: float, high: float, anchor: float = 1.0) -> list[float]:
    """`anchor` times the powers of two between `low` and `high`; of many every second, fourth, ... is kept."""
    slack = 1e-9
    first = math.ceil(math.log2(low / anchor) - slack)
    last = math.floor(math.log2(high / anchor) + slack)
    step = 1
    while (last - first) // step > 8:
        step *= 2
    return [anchor * 2.0**k for k in range(first, last + 1) if k % step == 0]


def apart(values: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Every first, second, third ... of rising `values`: as many as stand `gap` of the log axis apart."""
    for step in range(1, len(values)):
        kept = list(values[::step])
        if len(kept) < 2 or np.diff(np.log(kept)).min() >= gap * math.log(high / low):
            return kept
    return list(values[:1])


def lengths(values: Sequence[float]) -> list[str]:
    """Epochs in three digits, for shares of a data set are seldom round; in more where three would make two alike."""
    texts = [f"{value:.3g}" if value < 100 else f"{value:g}" for value in values]
    return texts if len(set(texts)) == len(set(values)) else [f"{value:g}" for value in values]


def plain_axis(axis: Any, ticks: Sequence[float], words: Callable[[float], str] | None = None) -> None:
    """Ticks at these values, none between, written as plain numbers or by `words`; even steps share their decimals."""
    even = len(ticks) > 2 and np.allclose(np.diff(ticks), ticks[1] - ticks[0])
    decimals = max((len(f"{tick:g}".partition(".")[2]) for tick in ticks), default=0) if even else None
    texts = [f"{tick:g}" if decimals is None else f"{tick:.{decimals}f}" for tick in ticks]
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FixedFormatter([words(tick) for tick in ticks] if words else texts))
    axis.set_minor_locator(NullLocator())


def save(figure: Figure, folder: str | Path, name: str, numbers: Numbers) -> list[Path]:
    """Writes <name>.pdf, <name>.png (300 dpi) and <name>.json into `folder`: aside first, then renamed.

    The same numbers give the same bytes: no dates, no version of the drawing library, fonts embedded whole.

    Raises:
        UserError: when the folder cannot be made or written.
    """
    folder = Path(folder)
    contents = {
        "pdf": _rendered(figure, "pdf", {"CreationDate": None, "Creator": "scalelaw", "Producer": None}),
        "png": _rendered(figure, "png", {"Software": None}),
        "json": (json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as aside:
            for kind, content in contents.items():
                (Path(aside) / kind).write_bytes(content)
            for kind in contents:
                os.replace(Path(aside) / kind, folder / f"{name}.{kind}")
    except OSError as error:
        raise UserError(f"{folder}: cannot write {name} ({error.strerror or error}); name another with -o") from error
    return [folder / f"{name}.{kind}" for kind in contents]


def _rendered(figure: Figure, kind: str, metadata: dict[str, str | None]) -> bytes:
    stream = io.BytesIO()
    with paper():
        figure.savefig(stream, format=kind, metadata=metadata)
    return stream.getvalue()
