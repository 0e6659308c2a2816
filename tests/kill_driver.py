"""`python kill_driver.py MOMENT LOG ARGS`: runs `scalelaw ARGS` and kills itself, by SIGKILL, at a moment.

A moment is a number of seconds after the first batch (after the first new checkpoint with a `+`), or the name of
something that is under way then. LOG gets the examples of every batch that is fed: step, then indices.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

FILES = {"part": "part-", "weights": "weights.npz", "row": "row.parquet", "status": "status.json"}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    moment, log, *arguments = sys.argv[1:]

    from scalelaw import cli
    from scalelaw.cli import trainings

    prepare = trainings._prepare_jax

    def prepared(threads: int) -> None:
        prepare(threads)  # jax reads at its import where compiled programs are kept
        lie_in_wait(moment, log, arguments)

    trainings._prepare_jax = prepared
    cli.main(arguments)


def lie_in_wait(moment: str, log: str, arguments: list[str]) -> None:
    timed = float(moment) if moment.replace(".", "").isdigit() else None
    folder = Path(arguments[arguments.index("-o") + 1])

    def committed() -> set[Path]:
        return {path for path in folder.glob("*/checkpoint/*") if path.name.isdigit()}

    from scalelaw.runs import files
    from scalelaw.train import checkpoint, evaluation, worker
    from scalelaw.train.data.source import Indexed

    feed = Indexed.feed

    def logged(self: Any, order: Any, first_step: int, rows: slice) -> Iterator[Any]:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        if timed is not None and order.images > order.batch_size:  # not the batch that is fed to compile
            threading.Timer(timed, die).start()
        for step, batch in enumerate(feed(self, order, first_step, rows), first_step):
            if order.images > order.batch_size:
                os.write(handle, np.concatenate([[step], batch.inputs["index"]]).astype(np.int32).tobytes())
            yield batch

    Indexed.feed = logged

    if moment in FILES:  # half of the file is written, nothing renamed
        write = files.write_atomically

        def torn(path: Path, content: Any, **aside: Any) -> None:
            def half(temporary: Path) -> None:
                content(temporary)
                os.truncate(temporary, temporary.stat().st_size // 2)
                die()

            write(path, half if path.name.startswith(FILES[moment]) else content, **aside)

        files.write_atomically = torn
    if moment == "committed":  # the row is there, the checkpoints too
        worker.Worker._discard = lambda self, run_id: die()
    if moment == "evaluation":
        count, told = itertools.count(), evaluation.processes.alone
        evaluation.processes.alone = lambda: die() if next(count) == 2 else told()
    if moment == "restore":
        checkpoint.Checkpoints._read_state = lambda *_: die()
    if moment == "checkpoint" or moment.startswith("+"):
        earlier = committed()

        def watch() -> None:
            if moment == "checkpoint":  # being written: aside, not yet renamed
                while not list(folder.glob("*/checkpoint/*tmp*")):
                    time.sleep(0.001)
            else:
                while not committed() - earlier:
                    time.sleep(0.001)
                time.sleep(float(moment))
            die()

        threading.Thread(target=watch, daemon=True).start()


main()
