"""Sections [data] of images on disk, and what is said of those that cannot be used."""

import pytest

from scalelaw.errors import UserError
from scalelaw.sweep.config import DataSection
from scalelaw.sweep.facts import with_digest


def section(place, source="folder", **more):
    return DataSection(source=source, path=str(place), **more)


def refused(section):
    with pytest.raises(UserError) as caught:
        with_digest(section)
    return list(caught.value.messages)
