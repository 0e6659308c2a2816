"""`scalelaw simulate`: what the whole chain makes of sweeps whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from scalelaw.cli.pairs import numbers
from scalelaw.cli.tables import Json, print_json
from scalelaw.cli.words import LawWord, law_of
from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.laws import Law
    from scalelaw.simulate import Layout, Score, Study

Given = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="NAME=VALUE", help="A parameter of the true law, as alpha=0.3; repeatable."),
]
REPEATS = {"R_D": 15.4, "R_N": 5.3}
"""Muennighoff et al. 2023 (arXiv 2305.16264), appendix A: epochs, and multiples of the matched size, worth having."""


def simulate(
    spec: Positional[Path],
    law: LawWord = "size-data",
    given: Annotated[Given, arg(name="set")] = (),
    size_exponent: float | None = None,
    draws: int = 100,
    seed: int = 0,
    times: float = 4.0,
    noise: float = 0.02,
    size_noise: float = 0.0,
    rate: float | None = None,
    rate_by_size: float = -0.2,
    rate_by_epochs: float = -0.4,
    rate_scatter: float = 0.0,
    bend: float = 0.1,
    lopsided: float = 0.7,
    diverges: float = 4.0,
    json: Json = False,
) -> int:
    """Draws sweeps from a known truth, sends each through the whole chain, and prints coverage and bias.

    Nothing is trained. The true surface is balanced in the middle of the spec's runs unless its parameters are set.

    Args:
        spec: The sweep's TOML file, whose runs are drawn.
        law: The true law, in N (multiply-adds an image), D (images seen) and U (unique images).
        given: Parameters of the true law; size-data, repetition and overfit have defaults for all.
        size_exponent: Of the best size in compute, for the default surface; 0.5 unless given.
        draws: How many sweeps.
        seed: Equal seeds give equal tables.
        times: The budget to predict for, as a multiple of the dearest run.
        noise: Standard deviation of ln loss between seeds.
        size_noise: Standard deviation of an effect that all runs of one variant share.
        rate: The best learning rate at the middle size and one epoch; the middle of the spec's rates unless given.
        rate_by_size: Exponent of the best learning rate in size.
        rate_by_epochs: Exponent of the best learning rate in epochs.
        rate_scatter: Standard deviation of a cell's ln best rate about that.
        bend: Quadratic coefficient of ln loss in ln rate at the best rate.
        lopsided: Above 0 too high a rate costs more than too low a one.
        diverges: Rates above this multiple of the best one diverge.
    """
    from rich.console import Console
    from rich.progress import Progress

    from scalelaw import simulate as simulation
    from scalelaw.sweep import read_spec

    layout = simulation.layout_of(read_spec(spec, planning=True))
    true = _truth(law, given, size_exponent, layout)
    middle = layout.middle("macs_per_image")
    rates = simulation.RateBasin(
        rate=layout.middle("peak_lr") if rate is None else rate,
        size=middle,
        by_size=rate_by_size,
        by_epochs=rate_by_epochs,
        bend=bend,
        lopsided=lopsided,
        diverges=diverges,
        scatter=rate_scatter,
    )
    truth = simulation.Truth(true, rates, noise=noise, size_noise=size_noise)
    with Progress(console=Console(stderr=True), transient=True, disable=json) as progress:
        task = progress.add_task(f"{draws} draws of {len(layout.frame)} runs", total=max(draws, 1))
        found = simulation.study(
            layout, truth, draws, seed=seed, times=times, each=lambda done: progress.update(task, completed=done)
        )
    if json:
        world = {**vars(rates), "law": true.word, "noise": noise, "size_noise": size_noise}
        print_json({**found.to_dict(), "spec": str(spec), "seed": seed, "world": _finite(world)})
        return 0
    print("\n".join(_lines(found, true)))
    return 0


def _truth(word: str, given: tuple[str, ...], size_exponent: float | None, layout: Layout) -> Law:
    """The true law: what `--set` gives, the rest from the balanced surface."""
    from scalelaw import laws, simulate
    from scalelaw.errors import UserError, nearest

    kind = law_of(word)
    default: dict[str, float] = {}
    if kind.word in ("size-data", "repetition", "overfit"):
        surface = simulate.balanced(layout, 0.5 if size_exponent is None else size_exponent)
        default = {**REPEATS, **simulate.overfitting(layout, surface).params}
    elif size_exponent is not None:
        raise UserError(f"--size-exponent: belongs to size-data, repetition and overfit, not to {word!r}; leave it out")
    known, own = list(kind.names()), numbers("--set", given, "NAME=VALUE, as alpha=0.3")
    for text in given:
        if (name := text.partition("=")[0]) not in known:
            raise UserError(f"--set {text}: {word} has no {name!r}{nearest(name, known)} (it has {', '.join(known)})")
    params = {**default, **own}
    if missing := [name for name in known if name not in params]:
        raise UserError(f"simulate: {word} needs {', '.join(missing)}; add --set {missing[0]}=...")
    return laws.build(kind, params)


def _finite(world: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a rate limit that is none becomes null."""
    return {name: None if value == float("inf") else value for name, value in world.items()}


def _lines(found: Study, true: Law) -> list[str]:
    numbers = ", ".join(f"{name} = {value:.4g}" for name, value in found.truth.items())
    heads = ("quantity", "reported by", "truth", "answered", "bias", "spread", "95 % covers", "all cover")
    rows = [heads, *(_row(one) for one in found.scores)]
    lines = [
        f"{found.draws} sweeps of {found.runs} runs, {100 * found.diverged:.1f} % of them diverged",
        f"truth: {true.equation}: {numbers}",
        *columns(rows, left=(0, 1)),
        "bias and spread: mean and standard deviation of the error of what is answered (status converged); of ln for",
        f"sizes, rates and losses. `all` takes in what is reported under another status. Budget: {found.times:g} x "
        "the dearest run.",
        "loss_of_plan and rate_of_plan are relative to a new run of each plan, and to the best rate there.",
    ]
    if found.regret is not None:
        mean, worst = (100 * value for value in found.regret)
        lines.append(
            f"the plan's true loss is {mean:.2f} % above the lowest at its budget (95 % of plans: {worst:.2f} %)"
        )
    lines += [f"refused in {100 * share:.0f} % of draws: {reason}" for reason, share in found.refusals.items()]
    return lines


def _row(one: Score) -> tuple[str, ...]:
    def signed(value: float | None) -> str:
        return "-" if value is None else f"{value:+.4f}"

    covers = "-" if one.coverage is None else f"{one.coverage:.3f} +-{one.coverage_stderr or 0:.3f}"
    spread = "-" if one.spread is None else f"{one.spread:.4f}"
    whole = "-" if one.coverage_all is None else f"{one.coverage_all:.3f}"
    return (
        one.quantity, one.source, f"{one.truth:.4g}", f"{100 * one.answered:.0f} %", signed(one.bias), spread, covers,
        whole,
    )  # fmt: skip
