"""Ray clusters of several nodes that are all this machine, with a temporary folder of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("ray", reason="Ray is not installed: it has no wheel for this Python")

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
STORE = 78_643_200  # bytes: the least that Ray takes


@contextmanager
def folder_for_ray() -> Iterator[None]:
    """Where Ray keeps its files meanwhile: no folder of the user's, and its processes none of theirs."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short: sockets' names may have 107 characters
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = folder
    try:
        yield
    finally:
        os.environ.pop("RAY_TMPDIR")
        if before is not None:
            os.environ["RAY_TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cluster_of(*cpus: int) -> Iterator[Any]:
    """A cluster with a node for each number of CPUs; the first is the head, and this process may join it."""
    from ray.cluster_utils import Cluster

    with folder_for_ray():
        args = {"num_cpus": cpus[0], "object_store_memory": STORE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=args)
        try:
            for count in cpus[1:]:
                cluster.add_node(num_cpus=count, object_store_memory=STORE)
            yield cluster
        finally:
            cluster.shutdown()
