"""`scalelaw status`: how far a sweep is, once or as it goes on."""

from __future__ import annotations

import json as json_module
import sys
from typing import TYPE_CHECKING, Any

from scalelaw.cli.tables import Json, PathOrUri, print_json
from scalelaw.text import columns

if TYPE_CHECKING:
    from scalelaw.launch.status import SweepStatus

FAILED, INTERRUPTED = 1, 130


def status(
    results: PathOrUri,
    runs: bool = False,
    follow: bool = False,
    price: float | None = None,
    hardware: str | None = None,
    utilisation: float | None = None,
    json: Json = False,
) -> int:
    """Says how far a sweep is: runs by status, those under way, core-hours, time and money, the law so far.

    Args:
        results: Results folder, a path or a URI.
        runs: List every run with its status.
        follow: Stay until nothing is running or pending: a live display on a terminal; elsewhere, and with --json, a
            line for each change. Exits with 1 when runs have failed, with 130 on Ctrl-C.
        price: Dollars an hour of one device costs: says what was spent and what is left.
        hardware: What that device is, as in predict; whatever the runs trained on unless given.
        utilisation: Share of the peak of --hardware that what is left will reach; unless given what was measured there,
            or a published range.
    """
    from scalelaw.errors import UserError
    from scalelaw.launch.money import Prices
    from scalelaw.launch.status import sweep_status
    from scalelaw.runs import open_results

    if price is None and (hardware is not None or utilisation is not None):
        raise UserError("status: --hardware and --utilisation say what device --price is for; add that, or leave them "
                        "out")  # fmt: skip
    if follow and runs:
        raise UserError("status: --runs lists every run once and --follow goes on; leave one of them out")
    prices = None if price is None else Prices(price, hardware, utilisation)
    folder = open_results(results)
    if follow:
        return _follow(folder, prices, json)
    found = sweep_status(folder, prices)
    _warn(found, ())
    if json:
        print_json({**found.to_dict(), **({"runs": dict(found.statuses)} if runs else {})})
        return 0
    if runs:
        print(*columns(list(found.statuses.items()), left=(0, 1)), sep="\n")
    print(found)
    return 0


def _follow(folder: Any, prices: Any, json: bool) -> int:
    """Shows every change until the sweep has ended. Returns the exit code."""
    from datetime import datetime

    from scalelaw.launch.following import followed

    seen: tuple[str, ...] = ()
    found: SweepStatus | None = None
    try:
        if not json and sys.stdout.isatty():
            return _live(folder, prices)
        for found in followed(folder, prices):
            seen = _warn(found, seen)
            if json:
                said = json_module.dumps(found.to_dict(), allow_nan=False)
            else:
                said = f"{datetime.now():%H:%M:%S} {found.line()}"
            print(said, flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    assert found is not None
    if not json:
        print(found)
    return FAILED if found.counts["failed"] else 0


def _live(folder: Any, prices: Any) -> int:
    """One block that is drawn anew at every look."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from scalelaw.launch.following import followed

    found: SweepStatus | None = None
    with Live(console=Console(), auto_refresh=False) as live:
        for found in followed(folder, prices, every_look=True):
            live.update(Text(str(found), no_wrap=True), refresh=True)
    assert found is not None
    return FAILED if found.counts["failed"] else 0


def _warn(found: SweepStatus, before: tuple[str, ...]) -> tuple[str, ...]:
    """Says problems that were not said before, on standard error."""
    for problem in found.problems:
        if problem not in before:
            print(f"warning: {problem}", file=sys.stderr)
    return found.problems
