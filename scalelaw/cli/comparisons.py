"""`scalelaw compare`: two families or recipes by the compute that each needs."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from scalelaw.cli.tables import Column, Json, PathOrUri, column_map, load, print_json

ColumnOfB = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(metavar="OURS=THEIRS", help="A column of B where its names differ: --column is then A's alone; repeatable."),
]


def compare(
    a: PathOrUri,
    b: PathOrUri,
    at: float,
    basis: Literal["core_hours", "train_flop"] | None = None,
    front: Literal["surface", "power", "offset"] | None = None,
    far: bool = False,
    column: Column = (),
    column_b: ColumnOfB = (),
    json: Json = False,
) -> int:
    """Says how many times the compute A needs to reach what B reaches, where the two cross, and how sure that is.

    Args:
        a: Results folder, Parquet or CSV file of A.
        b: The same of B.
        at: Compute of B, in core-hours or FLOP as the basis is.
        basis: core_hours or train_flop; by default core-hours where both tables have them.
        front: The lowest loss against compute: by each one's surface, or by a law through its envelope; by default
            surfaces where both tables allow one, else power.
        far: Allow a compute more than 100 times the dearest run of either.
        column_b: A column by its name in B's table.
    """
    from scalelaw import plan

    columns = column_map(column)
    tables = load(a, columns), load(b, column_map(column_b) if column_b else columns)
    found = plan.compare(*tables, at, basis=basis, front=front, far=far)
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    return 0
