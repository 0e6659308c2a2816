"""`python store_driver.py MOMENT ARGS`: runs `scalelaw ARGS` on a stored folder, killing itself by SIGKILL at a moment.

Moments: `archive` (half a checkpoint's archive is written), `manifest` (the archive is there, the manifest names the
one before), `pushed` (a checkpoint of this attempt is whole in the store), `end` (what a run leaves behind is there,
its row is not), `row` (the row is there, its checkpoints too), `never`.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    moment, *arguments = sys.argv[1:]

    from scalelaw import cli
    from scalelaw.runs.store import claim, pushing, snapshots
    from scalelaw.runs.store.folder import StoredFolder
    from scalelaw.runs.store.place import Place

    claim.SETTLE_SECONDS, pushing.LOOK_SECONDS = 0.1, 0.005
    writing, push, drop = Place.writing, snapshots.push, StoredFolder.drop_checkpoints

    @contextmanager
    def stopped(self, name):
        if moment == "manifest" and name.endswith("manifest.json"):
            die()
        if moment == "end" and name.endswith("row.parquet"):
            die()
        with writing(self, name) as stream:
            if moment == "archive" and name.endswith(".tar"):
                stream.write(b"the start of an archive")
                stream.flush()
                die()
            yield stream

    def pushed(*args):
        push(*args)
        if moment == "pushed":
            die()

    Place.writing, snapshots.push = stopped, pushed
    StoredFolder.drop_checkpoints = die if moment == "row" else drop
    cli.main(arguments)


main()
