"""What launchers record in an object store, which cannot make them wait for each other.

One that reads `sweep.json`, changes it and writes it writes away what another has written meanwhile. So each first puts
what it has to say in an object of its own, `launches/<digest of its runs>.json`, which no launcher of other runs
touches. When its runs have their folders it writes `sweep.json` with what all these objects hold, and again until it
finds nothing new in them: so whoever writes last has everybody's. Stores show an object to all once it is written.

A launcher that is killed between its write and its second look may leave a `sweep.json` without another's entries; the
next one that records puts them back.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import reduce
from typing import Any

from scalelaw.errors import UserError
from scalelaw.runs import files, recording
from scalelaw.runs.recording import SWEEP
from scalelaw.runs.store.place import Place, at_once

FOLDER = "launches"
_NAME = rf"{FOLDER}/[0-9a-f]{{16}}\.json"


def are_begun(place: Place) -> bool:
    """Whether a launcher has begun to record there; `sweep.json` comes last."""
    return any(re.fullmatch(_NAME, name) for name in place.listing(FOLDER))


def announce(place: Place, own: Mapping[str, Any]) -> None:
    """Puts there what a launcher says of its own runs.

    Raises:
        StoreError: when the store refuses; nothing is there then that was not before.
    """
    digest = hashlib.sha256(files.canonical(sorted(own["runs"])).encode()).hexdigest()
    place.write(f"{FOLDER}/{digest[:16]}.json", recording.content(own))


def announced(place: Place, record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with what launchers have put there.

    Raises:
        StoreError: when the store cannot be read.
        UserError: when what is there is no JSON.
    """
    return reduce(recording.joined, _every(place), dict(record))


def write(place: Place, record: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Writes the record of a launcher that has read it, changed in it what it says of its own runs and announced that.

    Raises:
        StoreError: when the store refuses.
        UserError: when what another launcher has put there is no JSON.
    """
    written: dict[str, Any] | None = None
    while (whole := recording.joined(announced(place, record), own)) != written:
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
