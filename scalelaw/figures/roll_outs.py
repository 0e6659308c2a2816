"""Roll-outs: the loss surface fitted without the dearest runs, and what these then were, cut-off by cut-off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from scalelaw.backtest import HoldOut, hold_out_largest
from scalelaw.errors import UserError
from scalelaw.figures import style
from scalelaw.figures.legend import Entry, Group, mark, model_key, shared_key, stroke
from scalelaw.figures.numbers import Numbers, model_of_run, models, plain, status_text
from scalelaw.figures.panels import Layout, outer, row
from scalelaw.frontiers.columns import best_of, columns_of, one_training_set
from scalelaw.frontiers.surface import fit_surface
from scalelaw.runs import RunTable

Array = npt.NDArray[np.float64]

CUT_OFFS = (2.0, 4.0, 10.0, 20.0, 50.0, 100.0)
"""Runs that cost more than the dearest over this are held out."""
MOST_PANELS = 4
FEWEST = 10
"""Runs to fit below which a cut-off is left out: two for each of the law's five parameters."""
_DODGE = 2.6  # points between neighbouring models at one budget
_BAR: dict[str, Any] = {"linewidth": 1.6, "alpha": 0.35}


def collect(runs: RunTable) -> Numbers:
    """Predictions of the held-out runs with intervals for single runs, beside their losses, at several cut-offs.

    Raises:
        UserError: when no cut-off leaves runs enough to fit.
    """
    best = best_of(runs)
    notes = list(best.notes)
    best = one_training_set(best, notes)
    columns = columns_of(best, None, notes)
    names = np.array(model_of_run(best))
    cheap = [~_held_out(columns.compute, factor) for factor in CUT_OFFS]
    factors = [factor for factor, left in zip(CUT_OFFS, cheap, strict=True) if left.sum() >= FEWEST]
    if not factors:
        raise UserError(
            f"{runs.source}: no roll-out: fewer than {FEWEST} runs cost less than half of the dearest; "
            "train cheaper ones"
        )
    surface = fit_surface(columns.size, columns.data, columns.loss, "best", columns.chance)
    panels, refused = [], []
    for factor in factors[:MOST_PANELS]:
        try:
            found = hold_out_largest(
                surface.law,
                factor,
                compute=columns.compute,
                fix=surface.fix,
                N=columns.size,
                D=columns.data,
                L=columns.loss,
            )
        except UserError as error:
            refused.append(f"cut-off {factor:g}: {error.messages[0]}")
            continue
        panels.append(_panel(found, columns.compute, _held_out(columns.compute, factor), names))
    if not panels:
        raise UserError(*refused)
    numbers: Numbers = {
        "figure": "back-test roll-outs",
        "law": surface.law.equation,
        "compute": columns.compute_name,
        "models": models(runs),
        "panels": panels,
        "notes": notes + refused,
    }
    numbers["caption"] = _caption(numbers)
    return dict(plain(numbers))


def _held_out(compute: Array, factor: float) -> npt.NDArray[np.bool_]:
    """(runs,) those that cost more than the dearest over `factor`."""
    return np.asarray(compute > compute.max() / factor * (1 + 1e-9))


def _panel(found: HoldOut, compute: Array, hidden: npt.NDArray[np.bool_], names: npt.NDArray[Any]) -> Numbers:
    """One cut-off: what `hold_out_largest` says, and its held-out runs by rising compute."""
    cost = compute[hidden]
    order = np.argsort(cost, kind="stable")
    band, loss = found.band, found.data["L"]
    runs: Numbers = {
        "model": names[hidden][order],
        "compute": cost[order],
        "beyond": cost[order] / compute[~hidden].max(),
        "measured": loss[order],
        "predicted": band.mid[order],
        "ratio": (loss / band.mid)[order],
        **dict.fromkeys(("low", "high", "ratio_low", "ratio_high", "inside")),
    }
    if band.low is not None and band.high is not None:
        runs["low"], runs["high"] = band.low[order], band.high[order]
        runs["ratio_low"], runs["ratio_high"] = (band.low / band.mid)[order], (band.high / band.mid)[order]
        runs["inside"] = ((band.low <= loss) & (loss <= band.high))[order]
    return {
        "factor": found.factor,
        "reach": found.reach,
        "runs_fitted": found.fit.n,
        "status": found.fit.status,
        "covered": found.covered,
        "rms": found.rms,
        "bias": found.bias,
        "runs": runs,
    }


def _caption(numbers: Numbers) -> str:
    panels = numbers["panels"]
    known = [panel for panel in panels if panel["runs"]["inside"] is not None]
    inside = sum(sum(panel["runs"]["inside"]) for panel in known)
    total = sum(len(panel["runs"]["inside"]) for panel in known)
    words = (
        f"Back-test of {numbers['law']}: fitted without the dearest runs, compared with them at {len(panels)} "
        "cut-offs. "
        "Measured over predicted loss against the extrapolation factor, compute over the dearest fitted "
        "run's; bars are 95 % prediction intervals of single runs."
    )
    if not known:
        return f"{words} The fits have no intervals."
    return f"{words} {inside} of {total} held-out runs lie in theirs (a run is held out at several cut-offs)."


def layout(numbers: Numbers) -> Layout:
    """A panel a cut-off."""
    return row(len(numbers["panels"]), height=2.15)


def draw(axes: Sequence[Axes], numbers: Numbers) -> Sequence[Axes]:
    """Draws what `collect` returned, one cut-off a panel, all on one scale of loss."""
    shades = style.shades(numbers["models"])
    panels = numbers["panels"]
    low, high = style.log_limits(_ends(panels), 0.06)
    for ax, panel, (left, foot) in zip(axes, panels, outer(axes), strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_ylim(low, high)
        _draw_panel(ax, panel["runs"], shades)
        style.plain_axis(ax.yaxis, style.plain_ticks(*style.inner(low, high), most=7))
        ax.set_xlim(*style.log_limits([1.0, *panel["runs"]["beyond"]], 0.09))
        style.plain_axis(ax.xaxis, style.plain_ticks(*ax.get_xlim(), most=5))
        known = panel["runs"]["inside"]
        inside = "" if known is None else f", {sum(known)} inside"
        title = f"{panel['reach']:.2g}× beyond{status_text(panel['status'])}"
        title += f"\n{panel['runs_fitted']} runs predict {len(panel['runs']['ratio'])}{inside}"
        ax.set_title(title, fontsize=style.PAPER["legend.fontsize"], pad=4)
        if left:
            ax.set_ylabel("Measured / predicted loss")
        else:
            ax.tick_params(labelleft=False)
        if foot:
            ax.set_xlabel("Extrapolation factor")
    drawn = {name for panel in panels for name in panel["runs"]["model"]}
    shared_key(axes, model_key(shades, drawn), Group("Run", _signs(panels)))
    return axes


def _ends(panels: Sequence[Numbers]) -> list[float]:
    """What the scale of loss must hold: the runs, and intervals unless they are far wider: these leave the panel."""
    ratios = [ratio for panel in panels for ratio in panel["runs"]["ratio"]] + [1.0]
    bars = [end for panel in panels for name in ("ratio_low", "ratio_high") for end in panel["runs"][name] or []]
    closed = [end for end in bars if end is not None]
    widest = 1.7 * max(max(abs(np.log(ratio)) for ratio in ratios), 0.03)
    return [*ratios, *np.clip(closed, np.exp(-widest), np.exp(widest)).tolist()]


def _draw_panel(ax: Axes, runs: Numbers, shades: dict[str, str]) -> None:
    ax.axhline(1.0, color=style.INK, linewidth=0.6, zorder=1)
    drawn = [name for name in shades if name in runs["model"]]
    step = min(_DODGE, 12 / len(drawn))
    for k, name in enumerate(runs["model"]):
        x, shift = runs["beyond"][k], step * (drawn.index(name) - (len(drawn) - 1) / 2)
        aside = ax.transData + ScaledTranslation(shift / 72, 0, ax.figure.dpi_scale_trans)
        if runs["ratio_low"] is not None:
            ends = zip((runs["ratio_low"][k], runs["ratio_high"][k]), ax.get_ylim(), strict=True)
            low, high = (edge if end is None else end for end, edge in ends)  # an open end reaches the frame
            ax.vlines([x], [low], [high], color=shades[name], transform=aside, zorder=2, **_BAR)
        face = "white" if runs["inside"] is not None and not runs["inside"][k] else shades[name]
        ax.plot([x], [runs["ratio"][k]], linestyle="", marker="o", color=shades[name], mfc=face, markersize=3.2,
                transform=aside, zorder=3)  # fmt: skip


def _signs(panels: Sequence[Numbers]) -> list[Entry]:
    signs = []
    known = [inside for panel in panels for inside in panel["runs"]["inside"] or []]
    if known:
        bar = mark(style.ARROWS["bar"], style.INK, markersize=9, markeredgewidth=_BAR["linewidth"], alpha=_BAR["alpha"])
        signs.append(Entry("95 % prediction interval", bar))
        signs.append(Entry("measured, inside it", mark("o", style.INK)))
    else:
        signs.append(Entry("measured; the fit has no interval", mark("o", style.INK)))
    if known and not all(known):
        signs.append(Entry("measured, outside", mark("o", style.INK, filled=False)))
    signs.append(Entry("as predicted", stroke(style.INK, linewidth=0.6)))
    return signs
