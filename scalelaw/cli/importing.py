"""`scalelaw import` and `scalelaw export`: anybody's results in, ours out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, UseAppendAction, arg

from scalelaw.cli.pairs import pairs
from scalelaw.cli.tables import Column, Json, Results, column_map, load, print_json

if TYPE_CHECKING:
    from scalelaw.imports import Imported

Unit = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="OURS=UNIT", help="What a column counts in, as C=PFLOP-days, loss=bits, N=millions; repeatable."),
]
Given = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="NAME=VALUE", help="A value for every run, as hardware=h100 or devices=8; repeatable."),
]


def import_runs(
    sources: Positional[Annotated[tuple[str, ...], arg(metavar="SOURCE...")]],
    out: Annotated[Path, arg(aliases=["-o"], metavar="PATH")],
    column: Column = (),
    unit: Unit = (),
    given: Annotated[Given, arg(name="set")] = (),
    mapping: Annotated[Path | None, arg(metavar="FILE")] = None,
    format: Literal["csv", "parquet", "json", "tensorboard", "wandb-offline", "wandb-history", "wandb-api"]
    | None = None,
    step: str | None = None,
    total_steps: str | None = None,
    keep: Literal["first", "last"] | None = None,
    utilisation: float | None = None,
    cost: Literal["flop", "time"] | None = None,
    flop: Literal["6nd"] | None = None,
    as_is: bool = False,
    json: Json = False,
) -> int:
    """Anybody's results as a table that every reading command takes: CSV, Parquet, JSON lines, W&B, TensorBoard.

    A source is a file, a folder of TensorBoard event files, of W&B's offline logs or of its history Parquet, or
    wandb:ENTITY/PROJECT. Several are put together by run. Rows of one run that contradict one another are refused.

    Args:
        sources: Files, folders or wandb:ENTITY/PROJECT.
        out: A new .parquet file, or a new folder, which also keeps the traces of histories.
        mapping: A TOML file that says what --column, --unit and --set say, in [columns], [units] and [set].
        format: Of the sources; told by their names unless given.
        step: The column of steps of a history: the last row of each run becomes its row.
        total_steps: Steps that a history's runs should have, a number or a column; those that fell short are failed.
        keep: Which of two rows to keep that are one run and contradict each other.
        utilisation: Share of the TPU-v4 peak to assume where core-hours come from FLOP; 0.36 unless given.
        cost: What core-hours come from where both FLOP and hours are known; FLOP unless given, or hours on TPU v4.
        flop: Take training FLOP as 6 x parameters x tokens where multiply-adds are unknown.
        as_is: Work nothing out from the rest.
    """
    from scalelaw import imports
    from scalelaw.errors import UserError
    from scalelaw.imports import writing

    if not sources:
        raise UserError("import: name at least one source: a file, a folder, or wandb:ENTITY/PROJECT")
    writing.check_out(out)
    named = imports.column_map(
        column_map(column),
        pairs("--unit", unit, "OURS=UNIT, as loss=bits"),
        pairs("--set", given, "NAME=VALUE, as hardware=h100"),
        mapping,
    )
    options = imports.Options(named, format, step, total_steps)
    found = imports.import_runs(
        sources, options, keep=keep, utilisation=utilisation, cost_from=cost, flop_rule=flop, as_is=as_is
    )
    provenance = imports.write(found, out)
    if json:
        print_json({"written": str(out), "runs": len(found.runs), **provenance, "others": list(found.others),
                    "unknown": list(found.unknown), "hints": list(found.hints)})  # fmt: skip
    else:
        print("\n".join(_lines(found, out)))
    return 0


def export(
    results: Results,
    out: Annotated[Path, arg(aliases=["-o"], metavar="FILE")],
    column: Column = (),
    json: Json = False,
) -> int:
    """Writes every run and column as CSV, Parquet or JSON lines, exact to the last bit.

    Args:
        out: A new file that ends in .csv, .parquet or .jsonl.
    """
    import sys

    from scalelaw.imports import exports

    exports.check_out(out)
    runs = load(results, column_map(column))
    notes = exports.export(runs, out)
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    if json:
        answer: dict[str, Any] = {"written": str(out), "runs": len(runs), "columns": list(runs.frame), "notes": notes}
        print_json(answer)
    else:
        print(f"{out}: {len(runs)} runs, {len(runs.frame.columns)} columns")
    return 0


_WANTED = {"loss": ("val_loss",), "N": ("macs_per_image", "params"), "D": ("images_seen",),
           "C": ("core_hours", "train_flop"), "learning rate": ("peak_lr",)}  # fmt: skip


def _lines(found: Imported, out: Path) -> list[str]:
    from scalelaw.text import columns

    lines = [f"{source.name}: {source.kind}, {len(source.frame)} rows" for source in found.sources]
    rows = []
    for meaning in found.meanings:
        origin = "set for all runs" if meaning.source is None else repr(meaning.source)
        plain = meaning.unit == "ones" or meaning.source == meaning.column  # our names bear their units
        counted = meaning.unit is not None and (meaning.unit_said or not plain)
        unit = (f"in {meaning.unit}" + ("" if meaning.unit_said else " (not said, so ours)")) if counted else ""
        rows.append((f"  {meaning.column}", origin, unit))
    lines += columns(rows, left=(0, 1, 2)) if rows else ["  no column is one of ours; name them with --column"]
    if found.others:
        names = [repr(name) if name == kept else f"{name!r} as {kept!r}" for name, kept in found.others.items()]
        lines.append(f"kept beside ours: {', '.join(names)}")
    if found.hints:
        lines.append(f"not taken, but likely: {' '.join(found.hints)}")
    missing = [f"{name} ({' or '.join(ours)})" for name, ours in _WANTED.items() if set(ours) <= set(found.unknown)]
    if missing:
        lines.append(f"unknown in every run: {', '.join(missing)}")
    lines += [f"note: {note}" for note in found.notes]
    if found.traces and out.suffix.lower() == ".parquet":
        lines.append("note: a file has no room for traces; name a folder to keep them")
    traces = f", {len(found.traces)} traces" if found.traces and out.suffix.lower() != ".parquet" else ""
    return [*lines, f"{len(found.runs)} runs{traces} written to {out}"]
