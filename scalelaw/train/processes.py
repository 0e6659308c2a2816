"""Several processes on one run (`jax.distributed`): who writes, and how all stop and save at the same step.

One process leads: it alone holds the lease and writes configuration, trace, status and row; checkpoints are written by
all. Every other module asks here, so that nothing else knows of process numbers.
"""

from __future__ import annotations

import jax
import numpy as np

LOST_WORDS = ("gloo", "nccl", "connection", "coordination service", "heartbeat", "unavailable", "socket closed", "peer")
AGREE_STEPS = 8  # the processes ask one another so often; one message among them each time


def leads() -> bool:
    """Whether this process writes the run's files."""
    return int(jax.process_index()) == 0


def alone() -> bool:
    """Whether this process is the only one."""
    return int(jax.process_count()) == 1


def agreed(step: int, stop: bool, save: bool) -> tuple[bool, bool]:
    """Whether all stop after this step, and whether all save: anybody's wish to stop, the leader's to save.

    Processes that save at different steps would wait for each other for ever, so they decide together.
    """
    if alone():
        return stop, save
    if step % AGREE_STEPS:
        return False, False
    from jax.experimental import multihost_utils

    wishes = np.asarray(multihost_utils.process_allgather(np.array([stop, save])))  # [processes, 2]
    return bool(wishes[:, 0].any()), bool(wishes[0, 1])


def meet(place: str) -> None:
    """Waits until every process has come here; what one of them wrote before, all can read after."""
    if alone():
        return
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(place)


def led(mine: bool) -> bool:
    """What the leader says, to all."""
    if alone():
        return mine
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.array(mine)))


def lost_another(error: Exception) -> bool:
    """Whether an error is what jax makes of the death of another of several processes; its wording is all there is."""
    if alone() or not isinstance(error, jax.errors.JaxRuntimeError):
        return False
    return any(word in str(error).lower() for word in LOST_WORDS)
