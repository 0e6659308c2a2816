"""W&B's public API, for those who have the package `wandb`: one row a run from settings and last results."""

from __future__ import annotations

import importlib
from typing import Any

import pandas as pd

from scalelaw.errors import UserError
from scalelaw.imports.source import of_records
from scalelaw.imports.wandb_tables import runs_of
from scalelaw.runs import files

PREFIX = "wandb:"


def read(address: str) -> pd.DataFrame:
    """The runs of `wandb:ENTITY/PROJECT`.

    Raises:
        UserError: without the package, for another address, or when W&B does not answer.
    """
    path = address.removeprefix(PREFIX)
    if path.count("/") != 1 or not all(path.split("/")):
        raise UserError(f"{address}: must be wandb:ENTITY/PROJECT")
    try:
        wandb: Any = importlib.import_module("wandb")
    except ImportError:
        raise UserError(f"{address}: needs the package wandb: pip install 'scalelaw[wandb]'; or export the runs as "
                        "CSV from W&B's page") from None  # fmt: skip
    try:
        rows: list[dict[str, object]] = [
            {
                "ID": run.id,
                "Name": run.name,
                "State": run.state,
                "Created": run.created_at,
                "config": dict(run.config),
                "summary": {key: run.summary[key] for key in run.summary.keys()},  # noqa: SIM118
            }
            for run in wandb.Api().runs(path)
        ]
    except Exception as error:  # the package has errors of its own for the net, the key and the project
        raise UserError(f"{address}: W&B did not give the runs ({files.reason(error)}); see `wandb login`, or export "
                        "them as CSV from W&B's page") from error  # fmt: skip
    return runs_of(of_records(rows), address)
