"""Environments of the peers: each package, pinned, with its own dependencies, apart from ours and built once."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy

HERE = Path(__file__).resolve().parent
HOME = Path(sys.prefix) / "peers"
"""Inside the environment that runs the benchmarks: out of version control, and gone with it."""
BUILD_SECONDS, RUN_SECONDS = 900, 1800


class Unavailable(Exception):
    """A peer that cannot be built or run here, and why."""


@dataclass(frozen=True)
class Peer:
    """A package and how to build it.

    Attributes:
        name, version: on the package index.
        script: of this folder; prints one JSON object.
        libraries: installed first. NumPy and SciPy are ours, so that only the packages differ.
        alone: whether the package goes in without its dependencies and whatever Python it asks for.
    """

    name: str
    version: str
    script: str
    libraries: tuple[str, ...]
    alone: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


NUMERICS = (f"numpy=={np.__version__}", f"scipy=={scipy.__version__}")
PEERS = (
    Peer("chinchilla", "0.2.0", "chinchilla_fit.py", NUMERICS),
    # asks for Python 3.12 and runs on 3.11 too
    Peer("simple-scaling-laws", "0.2.0", "simple_scaling_laws_fit.py",
         (*NUMERICS, "polars==2.1.0", "pyyaml==6.0.3"), alone=True),
)  # fmt: skip
# without torchvision, which it asks for: its script needs no transforms
TIMM = Peer("timm", "1.0.31", "timm_nfnet.py",
            (NUMERICS[0], "torch==2.13.0", "pillow", "pyyaml", "safetensors", "huggingface_hub"),
            alone=True)  # fmt: skip


def run(peer: Peer, table: Path, *arguments: str) -> dict[str, Any]:
    """What the peer's script prints about a CSV table with columns N, D and loss.

    Raises:
        Unavailable: when it cannot be built or run.
    """
    python = _built(peer)
    out = _call([str(python), str(HERE / peer.script), str(table), *arguments], RUN_SECONDS, f"{peer} does not run")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def command(peer: Peer, *arguments: str) -> list[str]:
    """How to start the peer's script, for whoever talks with it while it runs.

    Raises:
        Unavailable: when it cannot be built.
    """
    return [str(_built(peer)), str(HERE / peer.script), *arguments]


def _built(peer: Peer) -> Path:
    """The interpreter of the peer's environment, made where it is not there or is another one."""
    home = HOME / f"{peer.name}-{peer.version}"
    python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready, content = home / "ready", "\n".join([sys.version, *peer.libraries])
    if ready.exists() and ready.read_text(encoding="utf-8") == content:
        return python
    try:
        venv.create(home, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"{peer}: no environment could be made ({error})") from error
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    alone = ["--no-deps", "--ignore-requires-python"] if peer.alone else []
    for wanted in (peer.libraries, (*alone, f"{peer.name}=={peer.version}")):
        _call([*pip, *wanted], BUILD_SECONDS, f"{peer} does not install")
    ready.write_text(content, encoding="utf-8")
    return python


def _call(command: list[str], seconds: int, trouble: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{trouble}: {error}") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise Unavailable(f"{trouble}: {said[-1] if said else done.returncode}")
    return done.stdout
