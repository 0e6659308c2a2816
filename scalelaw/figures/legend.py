"""The key under a panel: groups of entries side by side under headings, then whole lines.

It stands outside the axes, so that no run, line or band can lie under it, whatever the data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rcParams
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, OffsetBox, TextArea, VPacker
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox, ScaledTranslation, blended_transform_factory

from scalelaw.figures.numbers import thinned
from scalelaw.figures.style import BAND, INK

_GID = "key"
_HANDLE = 14.0  # points
_GAP = 3.0
_COLUMN_GAP = 9.0
_GROUP_GAP = 16.0


@dataclass(frozen=True)
class Entry:
    """One line of a key: a small drawing (None leaves its place out) and what it means."""

    label: str
    drawing: Artist | tuple[Artist, ...] | None = None
    width: float = _HANDLE


@dataclass(frozen=True)
class Group:
    """Entries under one heading."""

    heading: str
    entries: Sequence[Entry]


def stroke(color: str, **style: Any) -> Line2D:
    """A piece of line."""
    return Line2D([0, _HANDLE], [0, 0], color=color, **style)


def mark(marker: Any, colour: str, *, filled: bool = True, x: float = _HANDLE / 2, **style: Any) -> Line2D:
    """A marker, hollow or filled."""
    return Line2D([x], [0], linestyle="", marker=marker, color=colour, mfc=colour if filled else "white", **style)


def banded(color: str, **style: Any) -> tuple[Artist, ...]:
    """A piece of line on its band."""
    return Rectangle((0, -2.8), _HANDLE, 5.6, color=BAND, linewidth=0), stroke(color, **style)


class _Across(AnchoredOffsetbox):
    """A key wider than its panel, which claims no more than the panel's width: its neighbours' is free below them."""

    def get_tightbbox(self, renderer: Any = None) -> Bbox:
        box, panel = self.get_window_extent(renderer), self.axes.bbox  # type: ignore[union-attr]
        left, right = (min(max(x, panel.x0), panel.x1) for x in (box.x0, box.x1))
        return Bbox([[left, box.y0], [right, box.y1]])


def block() -> Artist:
    """A piece of an upright band."""
    return Rectangle((0.28 * _HANDLE, -4.5), 0.44 * _HANDLE, 9.0, color=BAND, linewidth=0)


def key(ax: Axes, groups: Sequence[Group], lines: Sequence[Entry] = (), *, across: bool = False) -> None:
    """Puts a key below the tick labels and the label of the x axis.

    The groups share as few rows as the width of the axes allows, or of the figure where the key goes `across` it, below
    all panels of the last row.
    """
    size = _points("legend.fontsize")
    span = ax.figure.bbox if across else ax.bbox
    width = span.width / ax.figure.dpi * 72 * (0.82 if across else 1.1)
    longest = max((len(group.entries) for group in groups), default=1)
    rows = next((r for r in range(1, longest + 1) if _width(groups, r, size) <= width), longest)
    blocks: list[Artist] = [_block(group, rows, size) for group in groups if group.entries]
    stack: list[Artist] = [HPacker(children=blocks, sep=_GROUP_GAP, pad=0, align="top")] if blocks else []
    stack += [_row(entry, size) for entry in lines]
    if not stack:
        return
    middle = blended_transform_factory(ax.figure.transFigure, ax.transAxes) if across else ax.transAxes
    box = (_Across if across else AnchoredOffsetbox)(
        "upper center",
        child=VPacker(children=stack, sep=0.6 * size, pad=0, align="left"),
        pad=0,
        borderpad=0,
        frameon=False,
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=middle + ScaledTranslation(0, -_drop() / 72, ax.figure.dpi_scale_trans),
    )
    box.set_gid(_GID)
    ax.add_artist(box)


def model_key(shades: Mapping[str, str], drawn: Collection[str]) -> Group:
    """A dot in its colour for each model that is drawn, in the order of `shades`; some evenly where they are many."""
    names = thinned([name for name in shades if name in drawn])
    return Group("Model", [Entry(shortened(name), mark("o", shades[name])) for name in names])


def shared_key(axes: Sequence[Axes], models: Group, signs: Group) -> None:
    """One key for all panels: models and signs side by side below several panels, one above the other below one."""
    if len(axes) > 1:
        key(axes[-1], [models, signs], across=True)
    else:
        key(axes[0], [models], signs.entries)


def _points(setting: Any) -> float:
    """A font size of the settings in points."""
    return float(FontProperties(size=rcParams[setting]).get_size_in_points())


def _drop() -> float:
    """Points from the axes to below the label of the x axis: ticks, two lines of text at 1.35 of their size, gaps."""
    ticks = rcParams["xtick.major.pad"] + rcParams["xtick.major.size"] * (rcParams["xtick.direction"] != "in")
    text = 1.35 * (_points("xtick.labelsize") + _points("axes.labelsize"))
    return float(ticks + text + rcParams["axes.labelpad"] + 4.0)


def make_room(figure: Figure, body: float) -> None:
    """Gives the figure `body` inches of height and as many more as its keys take."""
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    keys = figure.findobj(lambda artist: artist.get_gid() == _GID)
    heights = [box.get_window_extent(renderer).height / figure.dpi for box in keys]
    figure.set_figheight(body + sum(heights))


def inset(ax: Axes, lines: Sequence[Entry], low: float, high: float) -> None:
    """Puts lines into the upper left corner and sets the log y axis to hold `low` to `high` below them."""
    size = _points("legend.fontsize")
    room = len(lines) * 1.45 * size / (0.95 * ax.bbox.height / ax.figure.dpi * 72)
    bottom, top = math.log(low), math.log(high)
    ax.set_ylim(low, math.exp(bottom + (top - bottom) / (1 - min(room, 0.6))))
    stack = VPacker(children=[_row(entry, size) for entry in lines], sep=0.3 * size, pad=0, align="left")
    ax.add_artist(AnchoredOffsetbox("upper left", child=stack, pad=0, borderpad=0.6, frameon=False))


def shortened(name: str, most: int = 24) -> str:
    """The name, or its beginning and end around an ellipsis."""
    return name if len(name) <= most else f"{name[: most - most // 3 - 1]}…{name[-(most // 3) :]}"


def text_width(text: str, size: float) -> float:
    """Width of a text in points."""
    font = FontProperties(family=rcParams["font.family"], size=size)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, "$" in text)
    return float(width)


def _columns(group: Group, rows: int) -> list[Sequence[Entry]]:
    """The entries in columns of at most `rows`, balanced."""
    count = math.ceil(len(group.entries) / rows)
    height = math.ceil(len(group.entries) / count)
    return [group.entries[start : start + height] for start in range(0, len(group.entries), height)]


def _width(groups: Sequence[Group], rows: int, size: float) -> float:
    """Width in points that the groups take in `rows` rows."""
    total = 0.0
    for group in [group for group in groups if group.entries]:
        columns = _columns(group, rows)
        entries = [max(e.width + _GAP + text_width(e.label, size) for e in column) for column in columns]
        total += max(sum(entries) + _COLUMN_GAP * (len(columns) - 1), text_width(group.heading, size)) + _GROUP_GAP
    return total - _GROUP_GAP


def _block(group: Group, rows: int, size: float) -> OffsetBox:
    columns: list[Artist] = [
        VPacker(children=[_row(entry, size) for entry in column], sep=0.3 * size, pad=0, align="left")
        for column in _columns(group, rows)
    ]
    body = HPacker(children=columns, sep=_COLUMN_GAP, pad=0, align="top")
    heading = TextArea(group.heading, textprops={"size": size, "style": "italic", "color": INK})
    return VPacker(children=[heading, body], sep=0.35 * size, pad=0, align="left")


def _row(entry: Entry, size: float) -> OffsetBox:
    text = TextArea(entry.label, textprops={"size": size, "color": INK})
    if entry.drawing is None:
        return text
    area = DrawingArea(entry.width, 0.7 * size, 0, 0.35 * size)
    for artist in entry.drawing if isinstance(entry.drawing, tuple) else (entry.drawing,):
        area.add_artist(artist)
    return HPacker(children=[area, text], sep=_GAP, pad=0, align="center")
