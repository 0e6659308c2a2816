"""`scalelaw plan`: which runs to train next to be surer of an answer at a target."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.conf import arg

from scalelaw.cli.tables import Column, Json, Results, TomlFile, column_map, load, print_json, refuse_existing

Want = Literal["size", "loss", "exponent"]


def plan(
    results: Results,
    target: float,
    spend: float,
    want: Annotated[Want, arg(name="for")] = "size",
    unit: Literal["core-hours", "flop", "times"] = "core-hours",
    most: int = 96,
    far: bool = False,
    toml: TomlFile = None,
    column: Column = (),
    json: Json = False,
) -> int:
    """Chooses the runs that most lower the error of an answer at a target for what they cost.

    Args:
        target: The budget that is asked about.
        spend: What the chosen runs may cost together.
        want: The best size at the target, the lowest loss there, or the exponent of the best size in compute.
        unit: Of target and spend: TPU-v4 core-hours, FLOP, or multiples of the largest finished run.
        most: At most so many runs.
        far: Allow a target more than 100 times the largest finished run.
        toml: Write a spec of the chosen runs, for `scalelaw sweep`, to this file; an existing file is kept.
    """
    from scalelaw import compute
    from scalelaw.errors import UserError
    from scalelaw.plan import next_runs
    from scalelaw.runs import files

    refuse_existing(toml)

    def budget(flag: str, value: float) -> compute.Budget:
        try:
            amounts: dict[str, float] = {unit.replace("-", "_"): value}
            return compute.Budget(**amounts)  # type: ignore[arg-type]  # one of three amounts, all numbers
        except UserError as error:
            raise UserError(f"plan {flag}: {error}") from error

    aim, money = budget("--target", target), budget("--spend", spend)
    found = next_runs(load(results, column_map(column)), aim, money, want, most=most, far=far)
    if toml is not None and found.runs:
        if found.toml is None:
            raise UserError(f"plan --toml {toml}: {found.no_toml}")
        files.write_text(toml, found.toml)
    if json:
        print_json(found.to_dict())
        return 0
    print(found)
    if toml is not None:
        print(f"{toml}: scalelaw sweep {toml} trains them" if found.runs else f"{toml}: not written, no run is chosen")
    return 0
