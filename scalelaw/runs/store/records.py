"""What launchers record in an object store, which cannot make them wait for each other.

One that reads `sweep.json`, changes it and writes it writes away what another has written meanwhile. So each first puts
what it has to say in an object of its own, `launches/<digest of its runs>.json`, which no launcher of other runs
touches. Then it writes `sweep.json` with what all these objects hold, and again until it finds nothing new in them: so
whoever writes last has everybody's. Stores show an object to all from the moment that it is written.

A launcher that is killed between its write and its second look may leave a `sweep.json` without another's entries; the
next one that records puts them back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import reduce
from typing import Any

from scalelaw.errors import UserError
from scalelaw.runs import files, recording
from scalelaw.runs.recording import SWEEP
from scalelaw.runs.store.place import Place, at_once

FOLDER = "launches"


def put(place: Place, record: Mapping[str, Any], run_ids: Collection[str]) -> None:
    """Writes the record of a launcher that has read it and changed what it says of these runs, its own.

    Raises:
        StoreError: when the store refuses.
        UserError: when what another launcher has put there cannot be read.
    """
    own = recording.about(record, run_ids)
    digest = hashlib.sha256(files.canonical(sorted(run_ids)).encode()).hexdigest()
    place.write(f"{FOLDER}/{digest[:16]}.json", recording.content(own))
    written: dict[str, Any] | None = None
    while (whole := recording.joined(reduce(recording.joined, _every(place), record), own)) != written:
        place.write(SWEEP, recording.content(whole))
        written = whole


def _every(place: Place) -> list[dict[str, Any]]:
    """What launchers have put there, the oldest first: a later one knows better about runs that are in both."""
    marks = place.listing(FOLDER)
    names = sorted(marks, key=lambda name: (marks[name][0], name))
    return [_parsed(place, name, content) for name, content in zip(names, at_once(place.read, names), strict=True)
            if content is not None]  # fmt: skip


def _parsed(place: Place, name: str, content: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise UserError(f"{place.shown}/{name}: is not JSON ({error}); mend or remove it") from error
    return found
