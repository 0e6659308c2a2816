"""`scalelaw transfer`: is the run of lowest pre-training loss the best start for fine-tuning?"""

from __future__ import annotations

from scalelaw.cli.tables import Column, Json, Results, column_map, load, print_json


def transfer(results: Results, column: Column = (), json: Json = False) -> int:
    """At matched pre-training compute: rank correlation of loss and error after fine-tuning, the regret of choosing by
    loss, and how the best start differs, each with its interval.

    Fine-tuned runs name their parent; its cost and loss come from its own row, or from the columns
    parent_core_hours and parent_val_loss.
    """
    from scalelaw.transfer import compare_starts

    found = compare_starts(load(results, column_map(column)))
    if json:
        print_json(found.to_dict())
    else:
        print(found)
    return 0
