"""The command line: `scalelaw COMMAND ...`. Exit codes: 0 done; 1 some runs failed; 2 bad input; 75 pre-empted, or
nobody reads on while runs train: call again; 130 interrupted.

Nothing heavy is imported before a command runs, so that `scalelaw --help` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from scalelaw import stopping
from scalelaw.errors import UserError

FAILED, BAD_INPUT, PREEMPTED, INTERRUPTED = 1, 2, stopping.PREEMPTED, 130


def main(argv: list[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    stopping.listen()
    code: str | int | None
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except UserError as error:
        for line in error.messages:
            print(f"scalelaw: {line}", file=sys.stderr)
        code = BAD_INPUT
    except KeyboardInterrupt:
        stopping.hush()
        print("scalelaw: interrupted; finished runs are kept, the same command goes on", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError as error:  # the reader has gone: `scalelaw ... | head`
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PREEMPTED if isinstance(error, stopping.Unheard) else 0
    except SystemExit as end:
        code = end.code
    stopping.leave(code)


def _run(argv: list[str]) -> int:
    import tyro

    from scalelaw.cli import (
        backtests,
        catalogue,
        comparisons,
        dedups,
        finetunings,
        fits,
        importing,
        plans,
        predictions,
        rates,
        readings,
        simulations,
        statuses,
        sweeps,
        trainings,
        transfers,
    )
    from scalelaw.cli.places import on_disk

    commands: dict[str, Callable[..., Any]] = {
        "sweep": sweeps.sweep,
        "finetune": finetunings.finetune,
        "train": trainings.train,
        "run": trainings.run,
        "status": statuses.status,
        "fit": fits.fit,
        "choose": backtests.choose,
        "extrapolate": backtests.extrapolate,
        "frontier": readings.frontier,
        "rates": rates.rates,
        "predict": predictions.predict,
        "compare": comparisons.compare,
        "plan": plans.plan,
        "figures": readings.figures,
        "transfer": transfers.transfer,
        "simulate": simulations.simulate,
        "dedup": dedups.dedup,
        "import": importing.import_runs,
        "export": importing.export,
        "variants": catalogue.variants,
        "init": catalogue.init,
    }
    answer = tyro.extras.subcommand_cli_from_dict(
        {name: on_disk(command) for name, command in commands.items()},
        prog="scalelaw",
        description="Train small sweeps, fit loss against compute, say what a bigger budget will buy.",
        args=argv,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes),
    )
    return int(answer or 0)
