"""Ratios of compute, and the tables of next_runs.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from designs import EQUAL, LARGEST, Array

from scalelaw.plan.design.worlds import WANTED, Want

ENOUGH = 1.3


def ratio(record: dict[str, Any], name: str, want: Want) -> tuple[float, bool]:
    """Compute that a design needs over that of the planned runs for equal error, and whether it is a lower bound.

    The planned runs' errors are a straight line in logs, the design's a cubic: it is flat before the runs outweigh the
    pilot and where the form's error is left, and a parabola misses errors over 480 pilots by up to 15 %. Where an error
    rises with compute again, as that of a wrong form may, its largest value from there on counts: an error that is
    reached and kept. The geometric mean over the spends, with 4 times the target's compute taken where the design has
    not got there.
    """
    spends = np.log(record["spends"])
    line = np.polyval(np.polyfit(spends, np.log(record["errors"]["planned"][want]), 1), spends)
    pairs = zip(record["ladder"], record["errors"][name][want], strict=True)
    known = np.log([(spend, error) for spend, error in pairs if error is not None])
    dense = np.linspace(known[0, 0], known[-1, 0], 2001)
    curve = _kept(np.polyval(np.polyfit(known[:, 0], known[:, 1], 3), dense))
    reached = [dense[np.argmax(curve <= goal)] if curve[-1] <= goal else np.inf for goal in _kept(line)]
    bound = bool(np.isinf(reached).any())
    return float(np.exp(np.mean(np.minimum(reached, dense[-1]) - spends))), bound


def _kept(curve: Array) -> Array:
    """The largest value from each point on."""
    return np.asarray(np.maximum.accumulate(curve[::-1])[::-1])


def lower(record: dict[str, Any], name: str, want: Want) -> list[float]:
    """Errors of a design over those of the planned runs at each spend that both have."""
    by_spend = dict(zip(record["ladder"], record["errors"][name][want], strict=True))
    pairs = zip(record["spends"], record["errors"]["planned"][want], strict=True)
    found = [(by_spend.get(spend), error) for spend, error in pairs]
    return [other / error for other, error in found if other is not None]


def table(records: list[dict[str, Any]]) -> str:
    """Markdown: errors of the planned runs, and the ratios of the other designs."""
    names = [*EQUAL, *LARGEST]
    heads = ["world", "asked", "error before", *(f"at {s:.2g}" for s in records[0]["spends"]), *names]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for record in records:
        for want in WANTED:
            row = [record["world"], want, f"{record['before'][want]:.3g}"]
            row += [f"{error:.3g}" for error in record["errors"]["planned"][want]]
            for name in names:
                value, bound = ratio(record, name, want)
                text = f"{'> ' if bound else ''}{value:.1f}"
                row.append(text if value >= ENOUGH else f"**{text}**")
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def report(records: list[dict[str, Any]], origin: dict[str, Any]) -> str:
    """The table with what it needs to be read and repeated."""
    lines = []
    for want in WANTED:
        for group, names in (("equal compute", list(EQUAL)), ("the largest", list(LARGEST))):
            of = [ratio(record, name, want)[0] for record in records for name in names]
            shares = [share for record in records for name in names for share in lower(record, name, want)]
            met, fewer = (
                f"{sum(value >= limit for value in v)} of {len(v)}" for v, limit in ((of, ENOUGH), (shares, 1))
            )
            row = [want, group, met, f"{np.median(of):.1f}", f"{min(of):.2f}", fewer, f"{np.median(shares):.2f}"]
            lines.append("| " + " | ".join(row) + " |")
    summary = "\n".join(lines)
    draws = ", ".join(str(count) for count in sorted({record["draws"] for record in records}))
    keys = [(want, f"{who} {want}") for want in WANTED for who in ("planned", "only planned")]
    parts = [(want, origin[key]) for want, key in keys if key in origin]
    anew = "".join(_anew(want, of, records) for want, of in parts)
    return f"""# Compute that planned runs save

`{origin["command"]}` at {origin["commit"]}; {origin["machine"]}.
{anew}{draws} draws a world, seed {records[0]["seed"]}.

Ratio: compute at which a design reaches, and keeps, the error (root mean square, of ln best size, ln lowest loss,
exponent) of the planned runs, over theirs; geometric mean over five spends. `>`: not reached with 4 times the target's
compute at some spend, which then counts as 4. Bold: below {ENOUGH}. Errors at equal spend are those of the other design
over those of the planned runs. Best size and exponent are the additive fit's, the lowest loss the mean's over forms
(`scalelaw.plan.average`), for every design alike.

| asked | against | {ENOUGH} or more | median | lowest | planned error lower at equal spend | median ratio of errors |
|---|---|---|---|---|---|---|
{summary}

Geometric mean of the ratios over worlds whose surface is additive, as the fit's is, and over the others:

{by_form(records)}

Errors of the planned runs are given at shares of the target's compute.

{table(records)}

{coverage_of(records)}
"""


def _anew(want: Want, of: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """Which command simulated a question anew, and with how many draws."""
    draws = {record["draws_of"][want] for record in records if want in record.get("draws_of", {})}
    alone = not draws or "--planned" in of["command"]
    more = f", {', '.join(map(str, sorted(draws)))} draws" if draws else ""
    more += ", planned runs alone" if alone else ", every design"
    return f"The {want}: `{of['command']}` at {of['commit']}{more}.\n"


def by_form(records: list[dict[str, Any]]) -> str:
    """Markdown: geometric means over worlds of the ratios of each design."""
    names = [*EQUAL, *LARGEST]
    lines = ["| " + " | ".join(["asked", "surface", *names]) + " |", "|---" * (len(names) + 2) + "|"]
    for want in WANTED:
        for word, additive in (("additive", True), ("another", False)):
            of = [record for record in records if record["world"].startswith("additive") == additive]
            means = [np.exp(np.mean([np.log(ratio(record, name, want)[0]) for record in of])) for name in names]
            row = [want, word, *(f"{mean:.2f}" if mean >= ENOUGH else f"**{mean:.2f}**" for mean in means)]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def coverage_of(records: list[dict[str, Any]]) -> str:
    """Markdown: how often the mean's 95 % interval of the lowest loss held the truth."""
    of = [record for record in records if "inside" in record]
    if not of:
        return ""
    names = ["planned", *EQUAL, *LARGEST]
    lines = ["The mean's 95 % interval of the lowest loss held the truth, averaged over spends:", ""]
    lines += ["| " + " | ".join(["world", *names]) + " |", "|---" * (len(names) + 1) + "|"]
    for record in of:
        shares = [[share for share in record["inside"][name] if share is not None] for name in names]
        lines.append("| " + " | ".join([record["world"], *(f"{np.mean(share):.0%}" for share in shares)]) + " |")
    return "\n".join(lines) + "\n"
