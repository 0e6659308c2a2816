"""A Ray cluster: joined or started, and what its nodes can give.

Ray itself waits without end for a cluster that does not answer and for resources that no node has; here both are said.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from scalelaw.errors import UserError
from scalelaw.launch.accelerators import cores
from scalelaw.sweep.resources import RaySection

ANSWER_SECONDS = 5.0
STORE_BYTES = 80_000_000  # of a cluster started here; the engine passes nothing but events
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4  # the type of the frame with which every HTTP/2 server, and so Ray's, begins its answer


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is a driver of.

    Attributes:
        asked: what a run takes of it.
        place: where that was written, for messages.
        started: whether it was started here, and ends with this process.
    """

    asked: RaySection
    place: str
    started: bool

    def nodes(self) -> list[dict[str, float]]:
        """What each living node has in all, by Ray's names."""
        return [node["Resources"] for node in _ray().nodes() if node["Alive"]]

    def capacity(self) -> int:
        """How many runs fit at once into the nodes there are, were nothing else there."""
        return fitting(self.nodes(), self.asked.per_host(), self.asked.hosts)

    def check(self) -> None:
        """Raises UserError when nothing that the cluster has, or may yet start, can ever give what a run takes."""
        nodes = self.nodes()
        if fitting(nodes, self.asked.per_host(), self.asked.hosts) or self._may_grow():
            return
        fit = sum(fitting([node], self.asked.per_host(), 1) > 0 for node in nodes)
        had = ", ".join(dict.fromkeys(_in_words(node) for node in nodes))
        said = f"{fit} of its {len(nodes)} nodes have that" if fit else f"no node has that (it has: {had})"
        raise UserError(f"{self.place}: a run takes {self.asked} of the Ray cluster, but {said}; ask for less there, "
                        "or start such nodes")  # fmt: skip

    def _may_grow(self) -> bool:
        """Whether an autoscaler has said that it could start enough; not every one tells."""
        try:
            most = _ray()._private.state.state.get_max_resources_from_cluster_config()
        except Exception:  # no part of Ray's promised interface
            return False
        need = self.asked.per_host()
        return bool(most) and all(most.get(name, 0) >= self.asked.hosts * amount for name, amount in need.items())

    def leave(self) -> None:
        """Ends what is ours on the cluster, and the cluster if it was started here."""
        _ray().shutdown()


def fitting(nodes: Sequence[Mapping[str, float]], need: Mapping[str, float], hosts: int) -> int:
    """How many runs of so many hosts fit at once, each host of a run on a node of its own.

    Args:
        nodes: what each has, by Ray's names.
        need: of one host of a run.
    """
    slots = [min(int(node.get(name, 0) / amount + 1e-9) for name, amount in need.items()) for node in nodes]
    # g runs fit when nodes, each used at most once by each run, have g x hosts places
    most = sum(slots) // hosts
    return next((g for g in range(most, 0, -1) if sum(min(slot, g) for slot in slots) >= g * hosts), 0)


def join(address: str | None, asked: RaySection, place: str, workers: int | None) -> Cluster:
    """Becomes a driver of the cluster at `address`, of that which RAY_ADDRESS names, or of one started here.

    Args:
        address: HOST:PORT, or auto for the cluster that runs on this machine.
        asked, place: as of `Cluster`.
        workers: how many the cluster is to have room for, when it is started here.

    Raises:
        UserError: when Ray is not installed, the cluster does not answer or is of another version, or can never give
            what a run takes.
    """
    ray = _ray()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address != "auto":
        _check_answers(address)
    # Whoever listens to signals goes on doing so: Ray puts a handler of its own in the place of SIGTERM's.
    before = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            count = max(len(cores()), (workers or 0) * asked.cpus)
            ray.init(address="local", num_cpus=count, include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "a Ray cluster on this machine"
        what = " ".join(str(error).split())[:300]
        mend = (
            "; ray start --head starts one, and without --ray-address one is started here" if address == "auto" else ""
        )
        raise UserError(f"{where}: {what}{mend}") from error
    finally:
        signal.signal(signal.SIGTERM, before)
    cluster = Cluster(asked, place, not address)
    try:
        cluster.check()
    except UserError:
        cluster.leave()
        raise
    return cluster


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise UserError("--engine ray needs Ray: pip install 'scalelaw[ray]'") from error
    return ray


def _check_answers(address: str) -> None:
    """Raises UserError when nobody at HOST:PORT answers as Ray would; Ray would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address.startswith("ray://"):
        raise UserError(f"--ray-address {address}: the launcher must stand on a node of the cluster; run this command "
                        "there, as ray job submit does, with the address HOST:6379 or auto")  # fmt: skip
    if not colon or not port.isdigit():
        raise UserError(f"--ray-address {address}: must be HOST:PORT, such as 10.0.0.5:6379, or auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(_HTTP2_HELLO)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray-address {address}: does not answer ({error}); ray status on the head node shows "
                        "whether Ray runs there, ray start --head prints the address") from error  # fmt: skip
    if len(answer) < 4 or answer[3] != _SETTINGS:
        raise UserError(f"--ray-address {address}: something answers there, but it is not Ray; ray start --head prints "
                        "the address, its port is 6379 unless given")  # fmt: skip


def _in_words(node: Mapping[str, float]) -> str:
    words = [f"{node.get('CPU', 0):g} CPU"]
    words += [f"{node[name]:g} {name}" for name in ("GPU", "TPU") if node.get(name)]
    return " ".join([*words, f"{node.get('memory', 0) / 1e9:.0f} GB"])
