"""What tests of figures share: sweeps from a known truth, and what is seen on a drawn page."""

from __future__ import annotations

import itertools
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from scalelaw import compute
from scalelaw.runs import RunTable

IMAGES = 32768
E, A, ALPHA, B, BETA = 0.6, 6.5, 0.28, 3.2, 0.42
SIZE_UNIT, DATA_UNIT = 1e5, 1e4
"""Loss = E + A (M / SIZE_UNIT)^-ALPHA + B (D / DATA_UNIT)^-BETA at the best rate."""


def best_rate(M: float, epochs: float) -> float:
    """The rate of lowest loss."""
    return float(1.6 * (M / 1.2e5) ** -0.1 * epochs**-0.2)


def sweep(
    models: int = 5,
    epochs: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0),
    rates: tuple[float, ...] = (0.4, 0.8, 1.6, 3.2),
    budgets: tuple[float, ...] = (2e10, 1e11, 5e11),
    noise: float = 0.005,
    names: tuple[str, ...] = (),
    curve: float = 0.03,
    skew: float = 0.0,
    lengths: tuple[float, float] = (0.01, 40.0),
) -> RunTable:
    """A sweep of sizes x epochs x rates and of equal-compute budgets; basins are `curve` phi(ln rate).

    Runs of fewer or more epochs than `lengths` are left out.
    """
    rng = np.random.default_rng(0)
    sizes = [(names[k] if names else f"N{k}", 1.2e5 * 2.3**k) for k in range(models)]
    cells = [(*size, length) for size in sizes for length in epochs]
    cells += [(name, M, flop / 6 / M / IMAGES) for flop in budgets for name, M in sizes]
    rows: list[dict[str, Any]] = []
    for name, M, length in [cell for cell in cells if lengths[0] < cell[2] < lengths[1]]:
        D = round(length * IMAGES)
        for rate in rates:
            u = np.log(rate / best_rate(M, length))
            rise = curve * (u * u if not skew else 2 * (np.exp(skew * u) - 1 - skew * u) / skew**2)
            loss = E + A * (M / SIZE_UNIT) ** -ALPHA + B * (D / DATA_UNIT) ** -BETA
            flop = compute.train_flop(M, D)
            rows.append({
                "run_id": f"r{len(rows)}", "variant": name, "status": "finished", "params": int(2 * M**0.9),
                "macs_per_image": M, "unique_images": IMAGES, "epochs": length, "images_seen": D, "batch_size": 64,
                "peak_lr": rate, "seed": 0, "train_flop": flop, "core_hours": compute.core_hours(flop),
                "core_hours_basis": "estimated", "utilisation": 0.36,
                "val_loss": loss * np.exp(rise + noise * rng.standard_normal()),
            })  # fmt: skip
    return RunTable.from_frame(pd.DataFrame(rows))


def outcomes_at(flop: float) -> RunTable:
    """Runs of one budget, called N4 and N6: what may be trained after a prediction."""
    later = sweep(models=7, epochs=(), rates=(1.6,), budgets=(flop,)).frame
    later = later[later["variant"].isin(["N4", "N6"])]
    return RunTable.from_frame(later.reset_index(drop=True))


def texts_in_view(figure: Figure) -> dict[str, Any]:
    """Every text that is seen, with its extent in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    hidden = set()
    for ax in figure.findobj(matplotlib.axes._base._AxesBase):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low * (1 - 1e-9) <= tick.get_loc() <= high * (1 + 1e-9) and not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
    seen = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text() and text not in hidden]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in seen]
    return {f"{place}: {text}": box for place, (text, box) in enumerate(boxes) if box.width > 0}


def assert_apart(boxes: dict[str, Any]) -> None:
    """No text lies over another by more than half a pixel."""
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 0.5 or high <= 0.5, f"{one} lies over {other}"


def drawn_values(figure: Figure) -> list[float]:
    """Every number that stands at a place of data: lines, bars, bands; not the guides that cross a whole panel."""
    values: list[float] = []
    for ax in figure.axes:
        places = [(line, np.asarray(line.get_xydata(), float)) for line in ax.lines]
        places += [(group, path.vertices) for group in ax.collections for path in group.get_paths()]
        places += [(patch, patch.get_patch_transform().transform(patch.get_path().vertices)) for patch in ax.patches]
        for artist, xy in places:
            base = getattr(artist, "get_data_transform", artist.get_transform)()
            values += [] if _is(base, ax.get_yaxis_transform(), ax.get_yaxis_transform("grid")) else [*xy[:, 0]]
            values += [] if _is(base, ax.get_xaxis_transform(), ax.get_xaxis_transform("grid")) else [*xy[:, 1]]
    return [float(value) for value in values]


def _is(transform: Any, *others: Any) -> bool:
    """Whether the transform takes one coordinate as a share of the panel."""
    return any(transform == other for other in others)


def flat(value: Any) -> list[float]:
    """All numbers of a JSON value."""
    if isinstance(value, dict):
        return [number for entry in value.values() for number in flat(entry)]
    if isinstance(value, list):
        return [number for entry in value for number in flat(entry)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []
